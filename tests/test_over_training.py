import os

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import SMALL_LLC
from parts import SAME_LLC, part_of

import llc
from llc.behaviour import FlatLoss, TaskLoss
from llc.errors import EstimateFailed, InvalidInput, StoreError
from llc.estimate.measure import Point, estimate_at
from llc.estimate.verdict import VERDICTS
from llc.sampling import SAMPLERS
from llc.study import LLCConfig, choose_steps, format_estimates, pilots, points


def estimate_path(run, step):
    return next((run.path / "llc").glob(f"*/{step:06d}.nc"))


def test_every_run_and_step_has_an_estimate(finished):
    found = finished.llc
    assert found.llc.dims == ("num_tasks", "seed", "step")
    assert found.step.values.tolist() == [0, 20, 60]
    assert found.llc.notnull().all()
    assert found.llc_trace.dims == ("num_tasks", "seed", "step", "chain", "draw")
    assert found.llc_trace.sizes["draw"] == SMALL_LLC["warmup"] + SMALL_LLC["draws"]  # warm-up first
    assert set(np.unique(found.verdict)) <= set(VERDICTS)


def test_a_verdict_is_stored_whole(single):
    """Estimates with short and long verdicts side by side, merged through files."""
    for step, verdict in ((0, "no"), (20, "a much longer verdict")):
        path = estimate_path(single.runs[0], step)
        data = llc.store.read_dataset(path)
        data["verdict"] = xr.full_like(data.verdict, verdict, dtype=object)
        data.to_netcdf(path)
    (single.path / "llc.nc").unlink()
    again = llc.estimate_llc_over_training(single, steps="0,20,60", **SAME_LLC)
    assert again.verdict.sel(num_tasks=4, seed=0, step=20).item() == "a much longer verdict"
    assert single.llc.verdict.sel(num_tasks=4, seed=0, step=20).item() == "a much longer verdict"


def test_an_estimate_is_what_the_single_call_gives(finished):
    """The same checkpoint through the public single-model function, with the recorded settings."""
    run = finished.run(num_tasks=4)
    settings = points.LLCConfig.from_table(llc.store.read_table(finished.path / "llc.toml"))
    with llc.parallel.torch_threads(1):  # as the workers have
        data = run.task.sample(64, stream="llc")
        point = Point("one", run.model(60), FlatLoss(TaskLoss(run.task)), data.flat)
        single = estimate_at(point, settings, key=(0, "llc", run.name, 60))
    stored = finished.llc.sel(num_tasks=4, seed=0, step=60)
    assert float(stored.llc) == single.summary.llc
    assert float(stored.llc_trace[:, SMALL_LLC["warmup"] :].mean()) == pytest.approx(single.llc_raw)
    assert float(stored.llc_raw - stored.step_excess) == pytest.approx(single.llc_at_w)
    assert stored.headline.item() == "basin"
    assert float(stored.llc) == single.llc_basin


def test_results_do_not_depend_on_jobs(finished, own):
    for run in own.runs[:2]:
        estimate_path(run, 20).unlink()
    again = llc.estimate_llc_over_training(own, steps="20", **{**SMALL_LLC, "jobs": 2})
    assert again.drop_attrs().identical(finished.llc.drop_attrs())


@pytest.mark.slow
def test_workers_have_the_samplers_that_a_user_has_added(single, monkeypatch):
    """One that cannot be imported there."""

    class Mine(type(SAMPLERS["sgld"])):
        name = "mine"

    monkeypatch.setitem(SAMPLERS, "mine", Mine())
    given = {**SMALL_LLC, "jobs": 2, "max_gradients": 200}
    sgld, mine = (
        llc.estimate_llc_over_training(single, steps="20,60", overwrite=True, **given, sampler=name).load()
        for name in ("sgld", "mine")
    )
    np.testing.assert_array_equal(mine.llc, sgld.llc)


@pytest.mark.slow
def test_pilots_in_processes_of_their_own_choose_the_same(finished, monkeypatch):
    """With a sampler that they cannot import."""
    monkeypatch.setitem(SAMPLERS, "mine", type("Mine", (type(SAMPLERS["kinetic"]),), {"name": "mine"})())
    given = {name: value for name, value in SMALL_LLC.items() if name not in {"nbeta", "jobs"}}
    one, two = (
        pilots.settle(LLCConfig(sampler=name, **given), finished.runs, jobs=jobs, budget=200)
        for name, jobs in (("kinetic", 1), ("mine", 2))
    )
    assert (two.nbeta, two.gamma) == (one.nbeta, one.gamma)


def test_only_what_is_missing_is_estimated_and_a_damaged_checkpoint_is_named(finished, tmp_path):
    """One estimate is lost, and step 40 is new to both runs, in one of which its checkpoint is damaged."""
    own = part_of(finished, tmp_path / "own", 1, 4)

    def times():
        return {path: path.stat().st_mtime_ns for path in own.path.glob("*/llc/*/*.nc")}

    lost = estimate_path(own.run(num_tasks=4), 20)
    lost.unlink()
    before, said = times(), []
    bad = own.run(num_tasks=4).checkpoints / "000040.safetensors"
    bad.write_bytes(bad.read_bytes()[:500])
    with pytest.raises(
        EstimateFailed, match=r"1 of 3 checkpoints could not be estimated: .*000040.safetensors is damaged"
    ):
        llc.estimate_llc_over_training(
            own, steps="20,40", **SAME_LLC, progress=lambda *message: said.append(message[1:3])
        )
    assert said[-1] == (2, 3)
    after = times()
    assert after.keys() - before.keys() == {lost, estimate_path(own.run(num_tasks=1), 40)}
    assert before.items() <= after.items()
    found = own.llc.llc.sel(seed=0)
    assert found.step.values.tolist() == [0, 20, 40, 60]
    assert found.sel(step=40).notnull().values.tolist() == [True, False]
    assert found.sel(step=20).notnull().all()
    said.clear()
    llc.estimate_llc_over_training(own, steps="20", **SAME_LLC, progress=lambda *message: said.append(message[-1]))
    assert said == ["all of these were estimated before; nothing to do"]


def test_other_settings_are_refused_and_can_overwrite(single, monkeypatch):
    with pytest.raises(StoreError, match=r"draws: 16 there, 17 now.*--overwrite"):
        llc.estimate_llc_over_training(single, steps="last", **{**SAME_LLC, "draws": 17})
    with monkeypatch.context() as patch:  # before pilots, which take minutes
        patch.setattr("llc.study.over_training.settle", None)
        with pytest.raises(StoreError, match=r"gamma: .* there, 5.0 now"):
            llc.estimate_llc_over_training(single, steps="last", **{**SAME_LLC, "nbeta": None, "gamma": 5.0})
    again = llc.estimate_llc_over_training(
        single, steps="last", overwrite=True, **{**SMALL_LLC, "draws": 17, "chains": 1}
    )
    assert again.step.values.tolist() == [60]
    assert all(len(list((run.path / "llc").iterdir())) == 1 for run in single.runs)  # the old ones are gone


def test_a_failed_overwrite_loses_nothing(own):
    """Every checkpoint of the new study is damaged: the old one is still what `exp.llc` says."""
    before = own.llc
    for run in own.runs:
        bad = run.checkpoints / "000040.safetensors"
        bad.write_bytes(bad.read_bytes()[:300])
    with pytest.raises(EstimateFailed, match=r"3 of 3 checkpoints .*000040.safetensors is damaged"):
        llc.estimate_llc_over_training(own, steps="40", overwrite=True, **{**SMALL_LLC, "draws": 17})
    assert own.llc.identical(before)
    assert "nothing to do" in _said(own)


def test_a_merge_that_was_lost_is_made_again(single):
    """Whatever the clock said when the old one was written."""
    merged, newest = single.path / "llc.nc", estimate_path(single.runs[0], 60)
    hidden = newest.rename(single.path / "hidden")
    assert 60 not in llc.estimate_llc_over_training(single, steps="0", **SAME_LLC).step
    stale = merged.read_bytes()
    hidden.rename(newest)
    for clock in (0, 2**31):
        merged.write_bytes(stale)
        os.utime(merged, (clock, clock))
        assert 60 in llc.estimate_llc_over_training(single, steps="60", **SAME_LLC).step


def _said(experiment) -> str:
    said = []
    llc.estimate_llc_over_training(
        experiment, steps="0,20,60", **SMALL_LLC, progress=lambda *message: said.append(message[-1])
    )
    return said[-1]


def test_estimates_of_different_lengths_share_a_file(single):
    """Rounds go on until an error is reached: the shorter estimate's traces end in NaN, and no number is lost."""
    paths = [estimate_path(single.run(num_tasks=4), step) for step in (0, 20)]
    short = llc.store.read_dataset(paths[1]).isel(draw=slice(0, 14))
    short.to_netcdf(paths[1])
    (single.path / "llc.nc").unlink()
    found = llc.estimate_llc_over_training(single, steps="0,20,60", **SAME_LLC).sel(num_tasks=4, seed=0)
    assert found.sizes["draw"] == 21
    np.testing.assert_array_equal(found.llc_trace.sel(step=20)[:, :14], short.llc_trace[0, 0, 0])
    assert found.llc_trace.sel(step=20)[:, 14:].isnull().all()
    assert found.llc_trace.sel(step=0).notnull().all()


def test_one_gamma_serves_all_checkpoints(finished):
    """γ = P/(radius·‖w‖)², geometric mean over the runs' last checkpoints, to the three digits it is written with."""
    logs = []
    for run in finished.runs:
        flat = torch.cat([value.double().flatten() for value in run.weights(60).values()])
        logs.append(np.log(len(flat) / 0.3**2 / float(flat.square().sum())))
    stored = llc.store.read_table(finished.path / "llc.toml")
    assert stored["gamma"] == pytest.approx(np.exp(np.mean(logs)), rel=6e-3)
    assert stored["nbeta"] == SMALL_LLC["nbeta"]


def test_pilots_choose_what_is_not_given(finished, monkeypatch):
    """γ is that of the radius, as above; nβ is n/log n, which the noise of a model hardly trained does not move."""
    given = {name: value for name, value in SMALL_LLC.items() if name not in {"nbeta", "jobs"}}
    said = []
    config = pilots.settle(LLCConfig(**given), finished.runs, progress=lambda *told: said.append(told), budget=200)
    assert [told[:3] for told in said] == [("pilots", done, 2) for done in range(3)]
    assert said[-1][3] == f"nbeta {config.nbeta:.4g} and gamma {config.gamma:.3g} for all"
    assert config.gamma == pytest.approx(llc.store.read_table(finished.path / "llc.toml")["gamma"], rel=6e-3)
    assert config.radius is None
    assert config.nbeta == pytest.approx(64 / np.log(64))


def test_nll_is_the_scaled_loss(finished):
    run = finished.run(num_tasks=4)
    model, batch = run.model(60), run.task.sample(5)
    plain = points.run_loss(run, points.LLCConfig())(model, batch)
    scaled = points.run_loss(run, points.LLCConfig(loss="nll"))(model, batch)
    by_position = points.run_loss(run, points.LLCConfig(loss="nll", positions=True))(model, batch)
    torch.testing.assert_close(by_position.mean(1), scaled)
    torch.testing.assert_close(scaled, plain * 3 / (2 * 0.125))


def test_data_of_a_test_set_are_sampled_where_asked_for(finished):
    """The data-refined λ̂: same weights, other data, and the loss of these."""
    run = finished.run(num_tasks=4)
    point = points.study_point(run, 60, LLCConfig(num_samples=64, test_set="ood"))
    ood = run.task.test_tasks()["ood"].sample(64, stream="llc")
    for one, other in zip(point.data, ood.flat, strict=True):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        own = FlatLoss(TaskLoss(run.task.test_tasks()["ood"]))(point.model, ood.flat)
        torch.testing.assert_close(point.loss(point.model, point.data), own)
    with pytest.raises(InvalidInput, match="unknown test_set odd; did you mean ood"):
        points.study_point(run, 60, LLCConfig(test_set="odd"))
    with pytest.raises(InvalidInput, match="unknown test_set odd"):  # before anything runs
        llc.estimate_llc_over_training(finished, test_set="odd", nbeta=10.0, gamma=10.0, overwrite=True)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("last", [60]),
        ("20,0", [0, 20]),
        ([60, 20], [20, 60]),
        ("linear:4", [0, 20, 40, 60]),
        ("log:1", [60]),
    ],
)
def test_choices_of_steps(finished, choice, expected):
    assert choose_steps(choice, finished.run(num_tasks=4)) == expected


def test_logarithmic_choice_is_even_in_log_step(finished):
    run = finished.run(num_tasks=4)
    assert choose_steps("all", run) == run.steps
    chosen = choose_steps("log:4", run)
    assert chosen[0] == 0
    assert chosen[-1] == 60
    ideal = np.expm1(np.linspace(0, np.log1p(60), 4))
    for want, step in zip(ideal, chosen, strict=True):
        assert abs(np.log1p(step) - np.log1p(want)) == min(abs(np.log1p(s) - np.log1p(want)) for s in run.steps)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("41", "no checkpoint at step 41; nearest are 40 and 60"),
        ("log:0", "steps = 'log:0' given, expected log:N"),
        ("some", "steps = 'some' given, expected log:N, linear:N, all, last, or steps such as 500,1000"),
    ],
)
def test_bad_choices_of_steps_are_named(finished, steps, said):
    with pytest.raises((InvalidInput, StoreError)) as error:
        choose_steps(steps, finished.run(num_tasks=4))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"nbeta": 0.0}, "nbeta = 0.0 given"),
        ({"gamma": -1.0}, "gamma = -1.0 given"),
        ({"sampler": "slgd"}, "sampler = 'slgd' given, did you mean sgld?"),
        ({"batch_size": 5000}, "batch_size = 5000 given, expected at most num_samples = 4096"),
        ({"draws": 4}, "draws = 4 given"),
        ({"draw": 5}, "unknown key draw; did you mean draws?"),
        ({"loss": "mae"}, "loss = 'mae' given, expected 'task' or 'nll'"),
    ],
)
def test_bad_settings_are_named_and_nothing_is_lost(finished, settings, said):
    before = sorted(finished.path.rglob("*"))
    with pytest.raises(InvalidInput) as error:
        llc.estimate_llc_over_training(finished, **settings)
    assert said in str(error.value)
    assert sorted(finished.path.rglob("*")) == before


def test_losses_of_what_knows_nothing_are_beside_the_estimate(finished):
    known = finished.llc.reference_loss.sel(num_tasks=4, seed=0, step=60)
    run = finished.run(num_tasks=4)
    batch = run.task.sample(64, stream="llc")
    assert float(known.sel(reference="the zero predictor")) == pytest.approx(float(batch.targets.square().mean()))
    untrained = TaskLoss(run.task)(run.model(0), batch).detach().mean()
    assert float(known.sel(reference="the untrained model")) == pytest.approx(float(untrained))


def test_a_long_list_names_only_what_needs_a_look():
    steps = np.arange(50)
    verdict = np.where(steps == 7, "drifting", "converged").astype(object)
    number = (("num_tasks", "seed", "step"), np.ones((1, 1, 50)))
    words = {"verdict": verdict, "reason": np.where(steps == 7, "no plateau", "plateau").astype(object)}
    data = dict.fromkeys(("llc", "llc_low", "llc_high"), number)
    data |= {name: (("num_tasks", "seed", "step"), value[None, None]) for name, value in words.items()}
    found = xr.Dataset(data, {"num_tasks": [np.inf], "seed": [0], "step": steps})
    lines = format_estimates(found).splitlines()
    assert len(lines) == 3
    assert lines[1].split() == ["7", "1.00", "1.00", "1.00", "drifting:", "no", "plateau"]
    assert lines[2] == "49 others are converged"
    assert len(format_estimates(found.isel(step=slice(0, 20))).splitlines()) == 21


def test_positions_and_patterns_over_training(single):
    """λ̂ by position, which is at w*, averages to λ̂ at w*, with only the named parameters moving."""
    found = llc.estimate_llc_over_training(
        single, steps="last", positions=True, parameters=["blocks.*"], overwrite=True, **SMALL_LLC
    )
    assert found.llc_position.dims == ("num_tasks", "seed", "step", "position")
    np.testing.assert_allclose(found.llc_position.mean("position"), found.llc_at_w, rtol=1e-6)
    with pytest.raises(InvalidInput, match=r"no parameter matches 'block\.\*'"):
        llc.estimate_llc_over_training(single, steps="last", parameters=["block.*"], overwrite=True, **SMALL_LLC)
