"""Chains in one graph: the same numbers as chains one by one, whatever their targets and whatever happens to them."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import SMALL_LLC
from torch import nn
from wells import GAMMA, NBETA, Well, correlated_hessian, data, regression, squared_errors, well_loss

import llc
from llc.estimate import measure
from llc.sampling import SAMPLERS, Chains, Ensemble, Target, check_data, largest_curvatures, one_graph, run_many
from llc.study import over_training


def by_position(model, batch):
    xs, ys = batch
    first = squared_errors(model, batch)
    return torch.stack([first, (model(xs).squeeze(-1) - 2 * ys) ** 2], 1)


def targets(loss=squared_errors, **settings) -> list[Target]:
    """Three of one shape, with weights, data, nβ and γ of their own."""
    model, (xs, ys) = regression(20)
    found = []
    for number in range(3):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 + 0.1 * number)
        own = {"nbeta": 7.0 + number, "gamma": 0.3 + number, "batch_size": 5, **settings}
        found.append(Target(model, loss, (xs + number, ys * (1 + number)), **own))
    return found


@pytest.mark.parametrize("rows_at_once", [2, 100])
@pytest.mark.parametrize(
    "settings",
    [{}, {"control_variates": True}, {"parameters": ["0.*"]}, {"loss": by_position}, {"batch_size": 20}],
    ids=["plain", "control variates", "some parameters", "positions", "full batches"],
)
def test_one_graph_sees_what_each_target_sees(settings, rows_at_once):
    several = targets(**settings)
    graph = one_graph(several, rows_at_once)
    rows = [several[place] for place in (0, 2, 1, 2, 0)]
    together, apart = Ensemble(rows, graph), Ensemble(rows)
    rng = torch.Generator().manual_seed(1)
    minibatches = [next(target.minibatches(rng)) for target in rows]
    position = together.center + 0.1 * torch.randn(together.center.shape, generator=rng, dtype=torch.float64)
    counted = [target.gradients for target in several]
    for one, other in zip(together.evaluate(position, minibatches), apart.evaluate(position, minibatches), strict=True):
        if other is None:
            assert one is None
        else:
            torch.testing.assert_close(one, other)
    assert [target.gradients - before for target, before in zip(several, counted, strict=True)] == [4, 2, 4]
    torch.testing.assert_close(together.difference(position), apart.difference(position))
    torch.testing.assert_close(together.potential(position), apart.potential(position))
    few = together.take([1, 3])
    torch.testing.assert_close(few.difference(position[[1, 3]]), apart.difference(position)[[1, 3]])
    np.testing.assert_allclose(largest_curvatures(several, graph), largest_curvatures(several), rtol=1e-6)


def test_low_precision_is_compared_with_float32_in_a_graph_too():
    """What bfloat16 adds is what it gives minus what a target in float32 gives, also where weights are stacked."""
    model, batch = regression(20)
    settings = {"nbeta": 7.0, "gamma": 0.3, "batch_size": 5}
    rough, exact = (
        Target(model.float(), squared_errors, [part.float() for part in batch], **settings, precision=precision)
        for precision in ("bf16", "float32")
    )
    together = Ensemble([rough] * 2, one_graph([rough], 10))
    position = together.center + torch.tensor([[0.3], [0.1]])
    there = together.difference(position)
    added = there - Ensemble([exact] * 2).difference(position)
    assert float(added.abs().min()) > 0
    torch.testing.assert_close(together.rounding(position, there), added)


def assert_same_chains(ours: Chains, theirs: Chains) -> None:
    for name, value in vars(theirs).items():
        if name == "at_once":
            continue
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(getattr(ours, name), value, rtol=1e-5, atol=1e-7, err_msg=name)
        elif name == "ended":
            torch.testing.assert_close(ours.ended.position, value.position, rtol=1e-5, atol=1e-7)
        elif name == "settings":
            for one, other in zip(ours.settings, value, strict=True):
                assert one == pytest.approx(other)
        elif name == "cuts":
            assert [cut[:2] for cut in ours.cuts] == [cut[:2] for cut in value]
            assert [cut[2] for cut in ours.cuts] == pytest.approx([cut[2] for cut in value])
        else:
            assert getattr(ours, name) == value, name


# HMC takes nine gradients a draw.
# One on minibatches and one with a Metropolis test; the others take as long and go the same way.
QUICK = {"kinetic", "mala"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in SAMPLERS]
)
def test_chains_in_one_graph_are_those_one_by_one(name):
    """Two kinds of start, looks of both kinds and adaptation among them."""
    sampler = SAMPLERS[name]
    exact = name in {"mala", "hmc"}
    several = targets(loss=by_position, **({"batch_size": 20} if exact else {}))
    warmup, draws = (15, 15) if exact else (60, 10)  # the others adapt at their fiftieth step
    chosen = [
        sampler.default_settings(curvature, target.gamma, 30)
        for target, curvature in zip(several, largest_curvatures(several), strict=True)
    ]
    found = []
    for graph in (one_graph(several, 5), None):
        for target in several:
            target.gradients = 0
        found.append(
            run_many(
                several,
                sampler,
                chosen,
                chains=4,
                warmup=warmup,
                draws=draws,
                keys=[("key", number) for number in range(3)],
                full_looks=3,
                adapt=True,
                look=True,
                hot_settings=[{**one, "step_size": 2 * one["step_size"]} for one in chosen],
                graph=graph,
            )
        )
    together, apart = found
    assert {chains.at_once for chains in together} == {5}
    assert {chains.at_once for chains in apart} == {1}
    for ours, theirs in zip(together, apart, strict=True):
        if name == "hmc":  # all of its rows take as many gradients as the one that goes longest
            assert ours.gradients > theirs.gradients
            theirs = dataclasses.replace(theirs, gradients=ours.gradients)  # noqa: PLW2901
        assert_same_chains(ours, theirs)
        assert set(ours.superchain) == {0, 1}


@pytest.mark.parametrize("adapt", [True, False])
def test_chains_that_are_cut_or_lost_do_not_touch_the_others(adapt):
    """The second of three wells is too steep for the step: its chains go back, or are lost, and the others go on."""
    wells = [Well(correlated_hessian() * scale) for scale in (1.0, 20.0, 0.5)]
    several = [Target(well, well_loss, data(), nbeta=NBETA, gamma=GAMMA, batch_size=8) for well in wells]
    sampler = SAMPLERS["kinetic"]
    settings = sampler.default_settings(NBETA * 8.0, GAMMA, 200)
    found = [
        run_many(
            several,
            sampler,
            [settings] * 3,
            chains=2,
            warmup=0,
            draws=250,
            keys=[("key", number) for number in range(3)],
            adapt=adapt,
            graph=graph,
        )
        for graph in (one_graph(several, 100), None)
    ]
    together, apart = found
    assert bool(together[1].cuts) == adapt
    assert bool(together[1].diverged) == (not adapt)
    assert not any(chains.cuts or chains.diverged for chains in (together[0], together[2]))
    for ours, theirs in zip(together, apart, strict=True):
        assert_same_chains(ours, theirs)


class Deciding(nn.Module):
    """Looks at its numbers, which no graph of many models can."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1).double()

    def forward(self, xs):
        found = self.layer(xs)
        return found if float(self.layer.weight.detach().sum()) > 0 else -found


class OfTheWhole(nn.Module):
    """Counts on something outside its weights and buffers."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1).double()
        self.scale = scale

    def forward(self, xs):
        return self.scale * self.layer(xs)


def test_what_cannot_share_a_graph_does_not():
    settings = {"nbeta": 7.0, "gamma": 0.3}
    _, (xs, ys) = regression(20)

    def of(model, batch=(xs, ys), size=5, **more) -> Target:
        return Target(model, squared_errors, batch, batch_size=size, **settings, **more)

    assert one_graph([of(nn.Linear(3, 1).double())] * 2, 9) is not None
    assert one_graph([of(Deciding())] * 2, 9) is None
    assert one_graph([of(OfTheWhole(1.0))] * 3, 9) is not None
    assert one_graph([of(OfTheWhole(1.0)), of(OfTheWhole(1.0)), of(OfTheWhole(1.01))], 9) is None
    assert one_graph([of(nn.Linear(3, 1).double()), of(nn.Sequential(nn.Linear(3, 1)).double())], 9) is None
    assert one_graph([of(nn.Linear(3, 1).double()), of(nn.Linear(3, 1).double(), (xs[:10], ys[:10]))], 9) is None
    assert one_graph([of(nn.Linear(3, 1).double(), size=6, control_variates=True)], 9) is None
    one_by_one = check_data(torch.utils.data.TensorDataset(xs, ys), torch.utils.data.default_collate)
    assert one_graph([of(nn.Linear(3, 1).double(), one_by_one)], 9) is None


@pytest.mark.slow
def test_a_study_in_one_graph_is_the_study_checkpoint_by_checkpoint(own, finished, monkeypatch):
    """As on a GPU: checkpoints of all runs share graphs, and every estimate says so."""
    for path in [own.path / "llc.nc", *own.path.glob("*/llc/*/*.nc")]:
        path.unlink()
    monkeypatch.setattr(measure, "graph_where_it_pays", lambda several, _chains: one_graph(several, 3))
    monkeypatch.setattr(over_training, "_checkpoints_at_once", lambda *_: 4)
    found = llc.estimate_llc_over_training(own, steps="0,20", **{**SMALL_LLC, "jobs": 1})
    apart = finished.llc.sel(step=[0, 20])
    assert (found.chains_at_once == 3).all()
    assert (apart.chains_at_once == 1).all()
    np.testing.assert_allclose(found.loss_init, apart.loss_init, rtol=1e-5)
    scale = float(abs(apart.llc_trace).max())
    np.testing.assert_allclose(found.llc_trace[..., :10], apart.llc_trace[..., :10], atol=1e-3 * scale)
    assert (found.verdict == apart.verdict).mean() > 0.8  # rounding grows along chains that are not done


def test_of_many_checkpoints_in_one_graph_only_a_damaged_one_fails(own, monkeypatch):
    for path in [own.path / "llc.nc", *own.path.glob("*/llc/*/*.nc")]:
        path.unlink()
    broken = own.run(num_tasks=4).checkpoints / "000020.safetensors"
    broken.write_bytes(broken.read_bytes()[:100])
    monkeypatch.setattr(measure, "graph_where_it_pays", lambda several, _chains: one_graph(several, 100))
    monkeypatch.setattr(over_training, "_checkpoints_at_once", lambda *_: 9)
    with pytest.raises(llc.LLCError, match=r"1 of 3 checkpoints could not be estimated: .*000020"):
        llc.estimate_llc_over_training(own, steps="20", **{**SMALL_LLC, "jobs": 1})
    assert int(own.llc.llc.notnull().sum()) == 2
