"""The strategy map: what it measures against its definition, and a posterior that is found again."""

import functools

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner
from conftest import small_config

import llc
from llc import behaviour, development, figures, store
from llc.cli import main
from llc.development.strategies import _threshold
from llc.development.strategy_posterior import Entries, Posterior, fit, held_out, root_mean_square
from llc.errors import InvalidInput, StoreError
from llc.predictors import dmmse, ridge
from llc.predictors.description import description_bits


def entries(posterior: Posterior, noise: float = 0.0) -> tuple[Entries, np.ndarray]:
    """Checkpoints of eight M as a posterior would have them."""
    rng = np.random.default_rng(0)
    tasks, samples = np.meshgrid(2.0 ** np.arange(1, 9), np.geomspace(1e3, 1e6, 25), indexing="ij")
    tasks, samples = tasks.ravel(), samples.ravel()
    scale = 1.0 if posterior.form == "power" else 0.01
    made = Entries(
        samples, 4 / np.sqrt(tasks), np.full(tasks.shape, 2e3 * scale), (2e3 + 128 * tasks) * scale,
        np.zeros(tasks.shape), 1 + rng.random(tasks.shape),
    )  # fmt: skip
    share = np.clip(posterior.share(made) + noise * rng.standard_normal(tasks.shape), 0, 1)
    return Entries(*(getattr(made, name) for name in list(made.__dataclass_fields__)[:4]), share, made.weight), tasks


@pytest.mark.parametrize("truth", [Posterior("power", 0.3, 0.6, 3e-3), Posterior("log", 0.2, 0.15, 1e-3)])
def test_a_posterior_is_found_again(truth):
    made, tasks = entries(truth)
    assert np.ptp(made.share) > 0.9
    found = fit(made, truth.form)
    assert root_mean_square(made, found.share(made)) < 0.01
    assert (found.a, found.b) == pytest.approx((truth.a, truth.b), rel=0.1)
    noisy, _ = entries(truth, 0.05)
    assert root_mean_square(noisy, held_out(noisy, tasks, truth.form)) < 0.08


def test_the_wrong_complexity_predicts_worse():
    """K that does not grow with M has nothing to say of where each leaves."""
    made, tasks = entries(Posterior("power", 0.3, 0.6, 3e-3))
    flat = Entries(*(getattr(made, name) for name in ("samples", "loss_gap", "cost_a")), made.cost_a + 500.0,
                   made.share, made.weight)  # fmt: skip
    right, wrong = (root_mean_square(made, held_out(one, tasks, "power")) for one in (made, flat))
    assert right < 0.01
    assert wrong > 0.04
    assert np.isnan(held_out(made.take(tasks < 8), tasks[tasks < 8], "power")).all()


def test_bits_of_a_description():
    """The table of tasks is what grows: 32 bits a number, which are random and do not compress."""
    tasks = torch.randn(512, 8, generator=torch.Generator().manual_seed(1))
    lengths = [
        description_bits(functools.partial(dmmse, tasks=tasks[:number], noise_variance=0.1)) for number in (32, 512)
    ]
    assert (lengths[1] - lengths[0]) / (480 * 8) == pytest.approx(32, rel=0.1)
    short = description_bits(functools.partial(ridge, noise_variance=0.1))
    assert 500 < short < lengths[0]
    assert description_bits(llc.predictors.baseline(ridge)) < short  # the same code, and no number
    with pytest.raises(InvalidInput, match="its length is not known"):
        description_bits(len)


def test_the_map_is_what_predictions_say(own):
    """From outputs themselves, where the map is made of distances that training recorded."""
    found = development.strategies(own)
    run, step = own.run(num_tasks=4), 60
    test = behaviour.eval_sets(run.task, run.sequences)["id"]
    outputs = behaviour.predict(run.model(step), test.batch).double()
    ridge_, dmmse_ = (test.references[name].double() for name in ("ridge", "dmmse"))
    apart, near, far = (
        float((a - b).square().mean()) for a, b in ((ridge_, dmmse_), (outputs, ridge_), (outputs, dmmse_))
    )
    here = found.sel(num_tasks=4, seed=0, step=step)
    relative = np.clip((far - near) / apart, -1, 1)
    assert float(here.relative) == pytest.approx(relative, rel=1e-5)
    share = (relative + 1) / 2
    mixed = float((outputs - share * ridge_ - (1 - share) * dmmse_).square().mean())
    assert float(here.interpolation) == pytest.approx(mixed, rel=1e-5)
    gap = run.task.nats * float(
        (test.batch.targets - ridge_).square().mean() - (test.batch.targets - dmmse_).square().mean()
    )
    assert float(here.loss_gap) == pytest.approx(gap, rel=1e-4)
    assert np.isnan(found.relative.sel(num_tasks=np.inf)).all()  # the two are one there
    assert found.account.values.tolist() == ["bits"]
    assert store.settings_of(own.strategies, "strategies") == {"pair": []}


def test_a_threshold_is_where_the_map_changes_sign():
    tasks = [2.0, 8.0, 32.0, np.inf]
    relative = [[[-1, -0.5]], [[-0.5, 0.5]], [[0.5, 1.0]], [[np.nan, np.nan]]]
    found = xr.Dataset(
        {"relative": (("num_tasks", "seed", "step"), np.array(relative, float))},
        {"num_tasks": tasks, "seed": [0], "step": [1, 2]},
    )
    assert _threshold(found, "num_tasks").values == pytest.approx(np.array([[16.0, 4.0]]))
    assert np.isnan(_threshold(found * 0 + 1, "num_tasks")).all()


def with_tradeoff(experiment: llc.Experiment, runs: int, pair: tuple[str, str] = ("ridge", "dmmse")) -> None:
    """One in which the first of its runs ended like the complex reference."""
    about = {"long_name": "made up", "units": "1"}
    places = {"num_tasks": ("num_tasks", [1.0, 2.0, 4.0], about), "seed": ("seed", [0], about)}
    ends = [["dmmse" if run < runs else "ridge"] for run in range(3)]
    data = {"llc_simple": [[5.0]] * 3, "llc_end": [[2.0], [4.0], [8.0]], "ends_like": ends}
    made = xr.Dataset({name: (("num_tasks", "seed"), value, about) for name, value in data.items()}, places)
    made = made.assign_attrs(simple=pair[0], complex=pair[1])
    settings = {"pair": list(pair)}
    store.write_dataset(experiment.path / "tradeoff.nc", made, {**experiment.config, "tradeoff": settings})


def test_llc_in_place_of_bits(tmp_path):
    """λ̂ of runs that ended like the complex reference, and of what has the simple one alone."""
    sweep = {"sweep.axes": {"task.num_tasks": [1, 2, 4, "inf"]}}
    own = llc.train(small_config(**sweep), tmp_path / "own", jobs=1)
    with_tradeoff(own, 2)
    assert development.strategies(own).account.values.tolist() == ["bits"]  # two say nothing about runs
    with_tradeoff(own, 3)
    found = development.strategies(own)
    assert found.account.values.tolist() == ["bits", "bits, where llc is known", "llc", "llc log n"]
    known = found.complexity.sel(account="llc", seed=0)
    assert known.sel(num_tasks=4).values.tolist() == [5.0, 8.0]
    assert np.isnan(known.sel(num_tasks=np.inf)).all()
    assert "llc log n" in development.format_strategies(found)
    with_tradeoff(own, 3, ("dmmse", "ridge"))  # λ̂ of the other way round is not of these
    assert development.strategies(own).account.values.tolist() == ["bits"]


def test_the_command_and_the_figure(own):
    said = CliRunner().invoke(main, ["strategies", str(own.path)])
    assert said.exit_code == 0, said.output
    assert "Relative distance at the end: 1 is ridge, -1 is dmmse" in said.output
    spec = figures.spec_of(own, "strategies")
    assert [len(panel.y.ticks) for panel in spec.panels] == [2] * len(spec.panels)  # M = 1 and 4
    refused = CliRunner().invoke(main, ["strategies", str(own.path), "--pair", "ridge,zero"])
    assert refused.exit_code == 2
    assert "unknown reference zero" in refused.output


def test_nothing_to_place(tmp_path):
    alone = llc.train(small_config(**{"sweep.axes": {"task.num_tasks": ["inf"]}}), tmp_path / "alone", jobs=1)
    with pytest.raises(StoreError, match="has no run in which ridge and dmmse differ"):
        development.strategies(alone)
