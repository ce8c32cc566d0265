"""Losses of datasets along the draws: what is seen, when, and where it is kept."""

import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from wells import data, diagonal_well, regression, squared_errors, well_loss

import llc
from llc.errors import InvalidInput, StoreError
from llc.sampling import SAMPLERS, Look, Losses, Target, run_chains, storage

GIVEN = {"nbeta": 7.0, "gamma": 0.3, "draws": 40}


def others(samples: int = 9):
    rng = torch.Generator().manual_seed(5)
    xs = torch.randn(samples, 3, generator=rng, dtype=torch.float64)
    return xs, torch.randn(samples, generator=rng, dtype=torch.float64)


def by_output(model, batch):
    """(B, 2): the square and the absolute error."""
    off = model(batch[0]).squeeze(-1) - batch[1]
    return torch.stack([off.square(), off.abs()], 1)


@dataclass
class Where:
    """Positions of draws, to compute everything again from."""

    every: int
    name: str = "where"
    dims: tuple[str, ...] = ("weight",)
    seen: list = field(default_factory=list)

    def __call__(self, draw):
        return draw.position


def losses_at(model, position, loss, batch):
    moved = torch.func.functional_call
    sizes = [parameter.numel() for parameter in model.parameters()]
    parts = torch.as_tensor(position).split(sizes)
    weights = {name: part.view_as(p) for (name, p), part in zip(model.named_parameters(), parts, strict=True)}

    def call(*inputs):
        return moved(model, weights, inputs)

    return loss(call, batch).detach().numpy()


def test_losses_are_those_of_the_draws_minus_those_at_the_center():
    model, batch = regression()
    test = others()
    tree = llc.estimate_llc(
        model,
        squared_errors,
        batch,
        **GIVEN,
        batch_size=5,
        observables=[Where(5), Losses("own", every=5), Losses("test", test, loss=by_output, every=5)],
    )
    where = tree["observables"].where.values
    center = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    for name, loss, samples in (("own", squared_errors, batch), ("test", by_output, test)):
        seen = tree[f"losses/{name}"]
        assert seen.difference.dims[:3] == ("chain", "draw", "sample")
        np.testing.assert_allclose(seen.baseline, losses_at(model, center, loss, samples), rtol=1e-6)
        wanted = [[losses_at(model, at, loss, samples) - seen.baseline.values for at in chain] for chain in where]
        np.testing.assert_allclose(seen.difference, wanted, rtol=1e-5, atol=1e-6)
        assert seen.draw.values.tolist() == list(range(4, 40, 5))
    assert tree["losses/test"].difference.dims == ("chain", "draw", "sample", "position")


def test_a_mean_alone_can_be_kept():
    model, batch = regression()
    seen = [Losses("own"), Losses("mean", mean=True)]
    tree = llc.estimate_llc(model, squared_errors, batch, **GIVEN, observables=seen)
    assert tree["losses/mean"].difference.dims == ("chain", "draw")
    np.testing.assert_allclose(tree["losses/mean"].difference, tree["losses/own"].difference.mean("sample"), rtol=1e-5)
    assert "observables" not in tree.children


def test_what_is_large_lies_in_a_file_and_is_the_same(monkeypatch):
    model, batch = regression()
    how = {
        **GIVEN,
        "draws": None,
        "target_error": 0.3,
        "max_gradients": 800,
        "observables": [Losses("own"), Losses("test", others(), every=3)],
    }
    in_memory = llc.estimate_llc(model, squared_errors, batch, **how)
    monkeypatch.setattr(storage, "_MOST_IN_MEMORY", 100)
    on_disk = llc.estimate_llc(model, squared_errors, batch, **how)
    for name in ("own", "test"):
        np.testing.assert_array_equal(in_memory[f"losses/{name}"].difference, on_disk[f"losses/{name}"].difference)
        assert in_memory[f"losses/{name}"].difference.attrs["kept"] == "in memory"
        assert on_disk[f"losses/{name}"].difference.attrs["kept"] == "in a temporary file"
    xr.testing.assert_identical(llc.loss_kernel(in_memory, "own"), llc.loss_kernel(on_disk, "own"))


def test_files_take_no_memory(monkeypatch):
    monkeypatch.setattr(storage, "_MOST_IN_MEMORY", 2**20)
    values = np.ones(2**16, np.float32)
    tracemalloc.start()
    kept = storage.Storage((2, 100, 2**16), np.float32)
    for slot in range(100):
        kept.put(1, slot, values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
    kept.forget(1, [3])
    whole = kept.array()
    assert np.isnan(whole[0]).all()
    assert np.isnan(whole[1, 3]).all()
    assert whole[1, [0, 99]].min() == 1


@pytest.mark.parametrize("how", [{}, GIVEN])
def test_a_full_disk_is_said_before_anything_is_drawn(monkeypatch, how):
    model, batch = regression(40)
    monkeypatch.setattr(storage, "_MOST_IN_MEMORY", 100)
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**10))
    taken, step = [], SAMPLERS["gle"].step
    monkeypatch.setattr(SAMPLERS["gle"], "step", lambda *given, **more: taken.append(1) or step(*given, **more))
    with pytest.raises(StoreError, match=r"has no room for that \(0\.0 GiB are free\); set TMPDIR"):
        llc.estimate_llc(model, squared_errors, batch, observables=[llc.Losses("own")], **how)
    assert not taken


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_is_said(monkeypatch):
    monkeypatch.setattr(storage, "_MOST_IN_MEMORY", 100)
    kept = storage.Storage((1, 100, 4), np.float32)
    kept._file.close()
    kept._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    with kept._file, pytest.raises(StoreError, match=r"No space left on device.*set TMPDIR"):
        kept.put(0, 0, np.ones(4))


@pytest.mark.slow
def test_on_a_ladder_losses_are_those_of_its_last_rung(monkeypatch):
    """Draws after burn-in alone; as many as the mean of λ̂ needs to agree."""
    model, batch = regression(40)
    with torch.no_grad():
        batch[1].copy_(model(batch[0]).squeeze(-1))
    looks = []
    of_look = Look.at
    monkeypatch.setattr(Look, "at", lambda *given: looks.append(1) or of_look(*given))
    tree = llc.estimate_llc(
        model, squared_errors, batch, target_error=0.5, max_gradients=4000, chains=1, observables=[Losses("own")]
    )
    seen = tree["losses/own"]
    assert tree.ladder.sizes["rung"] > 1
    assert seen.sizes["draw"] <= 256
    assert len(looks) == seen.sizes["draw"] * seen.sizes["chain"]
    assert seen.draw.values.min() >= 0
    found = llc.per_sample_llc(tree, "own")
    assert abs(float(found.llc.mean()) - float(tree.llc_at_w)) < 4 * float(tree.llc_at_w_se)


def test_a_lost_chain_has_no_losses():
    target = Target(diagonal_well(), well_loss, data(), nbeta=50.0, gamma=2.0, batch_size=8)
    look = Look(Losses("own", every=1), [target], well_loss)
    how = {"chains": 2, "warmup": 0, "draws": 2000, "key": (0,), "observables": [look]}
    lost = run_chains(target, SAMPLERS["sgld"], {"step_size": 1.0}, **how)
    assert set(lost.diverged) == {0, 1}
    gone = np.isnan(lost.observed["own"].values).all(2)
    np.testing.assert_array_equal(gone, np.isnan(lost.distance))


def test_hot_chains_are_not_looked_at(monkeypatch):
    """They are at another temperature, and what they show is of no use."""
    seen = []
    monkeypatch.setattr(Look, "at", lambda _self, target, _position: seen.append(target.nbeta) or torch.zeros(23))
    model, batch = regression()
    llc.estimate_llc(model, squared_errors, batch, **GIVEN, observables=[Losses("own", every=10)])
    assert seen == [7.0] * 8


def unsteady(model, batch):
    return squared_errors(model, batch) + torch.rand(len(batch[0]))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: [Losses("two words")], "called 'two words' asked for, expected a word such as test"),
        (lambda: [Losses("test", every=0)], "losses of test asked for at every 0 draws"),
        (lambda: [Losses("test", others()), Losses("test")], "2 observables are called test"),
        (
            lambda: [Losses("test", others(), every=100)],
            "losses of test are asked for at every 100 draws, expected every 1 to 40",
        ),
        (
            lambda: [Losses("test", others(), loss=unsteady)],
            "losses of test: the loss at w\\* changes from call to call",
        ),
        (lambda: [Losses("test", "text")], "losses of test: data is of type str"),
        (lambda: [Losses("test", (torch.zeros(4, 2),))], "losses of test: the loss failed on a batch"),
        (lambda: Losses("test"), "expected a list of them"),
    ],
)
def test_what_cannot_be_looked_at_is_named(make, said):
    model, batch = regression()
    with pytest.raises(InvalidInput, match=said):
        llc.estimate_llc(model, squared_errors, batch, **GIVEN, observables=make())


def test_a_tree_can_be_saved_and_read_from_again(tmp_path):
    model, batch = regression()
    tree = llc.estimate_llc(model, squared_errors, batch, **GIVEN, observables=[Losses("own", every=1)])
    tree.to_netcdf(tmp_path / "estimate.nc")
    with xr.open_datatree(tmp_path / "estimate.nc") as again:
        xr.testing.assert_allclose(llc.loss_kernel(tree, "own"), llc.loss_kernel(again, "own"))


def test_parts_answer_at_one_temperature():
    """Every component at the nβ and γ of all; of two layers, each has its own λ̂, and the parts are no more than all."""
    model, batch = regression()
    parts = {"first": ["0.*"], "second": ["2.*"]}
    found = llc.susceptibilities(
        model, squared_errors, batch, parts, {"own": None, "test": others()}, nbeta=7.0, gamma=0.3, draws=40
    )
    assert found.part.values.tolist() == ["first", "second"]
    assert found.susceptibility.dims == ("part", "sample")
    assert found.dataset_of_sample.values.tolist() == ["own"] * 23 + ["test"] * 9
    assert found.susceptibility_mean.dims == ("part", "dataset")
    assert set(found.nbeta.values.tolist()) == {7.0}
    assert found.verdict.dims == ("part",)
    own = found.susceptibility.where(found.dataset_of_sample == "own", drop=True)
    # Σ_i χ(i) over the data that are sampled is 0: more of every sample changes nothing but the temperature.
    np.testing.assert_allclose(own.sum("sample"), 0, atol=1e-3 * float(abs(own).sum()))
    test = found.susceptibility.where(found.dataset_of_sample == "test", drop=True).mean("sample")
    np.testing.assert_allclose(found.susceptibility_mean.sel(dataset="test"), test, rtol=1e-3)
    with pytest.raises(InvalidInput, match="part none: no parameter matches"):
        llc.susceptibilities(model, squared_errors, batch, {"none": ["nothing"]}, nbeta=7.0, gamma=0.3, draws=40)


def with_positions(model, batch):
    return squared_errors(model, batch)[:, None].expand(-1, 3)


def whole_errors(model, batch):
    return (model(batch[0]).squeeze(-1) > batch[1]).double()


def test_datasets_may_have_other_positions_other_losses_and_no_gradient():
    model, batch = regression()
    others_of = [Losses("five", others(), loss=by_output, every=5), Losses("wrong", loss=whole_errors, every=5)]
    weights = torch.arange(23.0)
    tree = llc.estimate_llc(
        model, with_positions, batch, **GIVEN, sample_weights=weights, observables=[*others_of, Losses("own", every=10)]
    )
    assert tree["losses/five"].difference.dims[-1] == "position_five"
    assert llc.per_sample_llc(tree, "five").llc.dims == ("sample", "position")
    plain = llc.estimate_llc(model, squared_errors, batch, **GIVEN, observables=others_of[:1])
    assert plain["losses/five"].difference.dims[-1] == "position"  # a tree without any takes theirs
    with pytest.raises(InvalidInput, match="by_position = 2 given, expected True or False"):
        llc.loss_kernel(plain, "five", by_position=2)
    center = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    np.testing.assert_allclose(tree["losses/wrong"].baseline, losses_at(model, center, whole_errors, batch))
    weighted = losses_at(model, center, squared_errors, batch) * (weights / weights.mean()).numpy()
    np.testing.assert_allclose(tree["losses/own"].baseline[:, 0], weighted, rtol=1e-6)


def test_a_part_above_its_floor_is_said_to_be():
    """λ̂ at w* has a part in that, and covariances have none."""
    model, batch = regression()
    with torch.no_grad():
        model[2].bias.add_(3.0)
    how = {"nbeta": 40.0, "gamma": 0.3, "draws": 40, "headline": "w*"}
    found = llc.susceptibilities(model, squared_errors, batch, {"all": ["*"]}, **how)
    assert found.verdict.item() == "off-minimum"
    assert found.susceptibility_verdict.dims == ("part", "dataset")
    assert found.susceptibility_verdict.item() in {"converged", "drifting"}
    for wrong, said in (
        ({"chains": 0}, "part all: "),
        ({"radius": 0.3}, "radius given"),
        ({"datasets": {}}, "datasets = {} given"),
        ({"datasets": {"_whole": None}}, "datasets = .*_whole"),
        ({"convention": "theirs"}, "convention = 'theirs' given"),
    ):
        with pytest.raises(InvalidInput, match=said):
            llc.susceptibilities(model, squared_errors, batch, {"all": ["*"]}, **{**how, **wrong})
