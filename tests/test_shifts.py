import numpy as np
import pytest
import torch
from click.testing import CliRunner

from llc import predictors
from llc.cli import main
from llc.development import shifted_behaviour
from llc.development.shifts import Shift, shifts
from llc.errors import InvalidInput
from llc.tasks import LinearRegression
from llc.training import RunConfig, load_model

TASK = LinearRegression(dim=3, num_examples=4, noise_variance=0.1, num_tasks=4)


def test_a_shift_changes_one_thing():
    """With the same draws: x is multiplied, noise is multiplied, tasks are others; the rest stays."""
    xs, ys = TASK.sample(6, stream="test")
    scaled, _ = Shift("", scale=2.0).of(TASK).sample(6, stream="test")
    torch.testing.assert_close(scaled, 2 * xs)
    same_xs, noisy = Shift("", noise=4.0).of(TASK).sample(6, stream="test")
    torch.testing.assert_close(same_xs, xs)
    clean = 2 * ys - noisy  # signal = 2 (signal + e) − (signal + 2 e)
    assert min(float((clean - xs @ task).abs().max(1).values.min()) for task in TASK.tasks) < 1e-5
    assert Shift("", num_tasks=None).of(TASK).tasks is None
    assert Shift("", num_tasks=2).of(TASK).num_tasks == 2
    assert Shift("").of(TASK) == TASK


def test_ridge_on_scaled_covariates_is_literal_ridge(own):
    """Distances against float64 formulas on the same sequences; averages and D-normalised values follow."""
    found = shifted_behaviour(own, steps="last", scales=[3.0], noises=[4.0], num_tasks=[2], sequences=50)
    run = own.run(4)
    of_run = RunConfig.from_table(run.config)
    xs, ys = Shift("", scale=3.0).of(of_run.task).sample(50, stream="test")
    with torch.no_grad():
        said = load_model(run, 60)(xs, ys).double()
    at = found.sel(num_tasks=4, seed=0, step=60, shift="x scaled by 3")
    np.testing.assert_allclose(at.loss, (said - ys).square().mean(0), rtol=1e-5)
    ridge = predictors.ridge(xs, ys, noise_variance=of_run.task.noise_variance)
    np.testing.assert_allclose(at.distance_ridge, (said - ridge).square().mean(0), rtol=1e-5)
    np.testing.assert_allclose(at.distance_ridge_per_dim * of_run.task.dim, at.distance_ridge)
    # K = 3, so that the score compares the first and the third prediction.
    change = (said - ys).square()[:, 2] - (said - ys).square()[:, 0]
    assert float(at.icl_score) == pytest.approx(float(change.mean()), rel=1e-5)
    assert float(at.icl_score_se) == pytest.approx(float(change.std()) / 50**0.5, rel=1e-5)
    assert found["shift"].values.tolist() == ["q_M", "x scaled by 3", "noise variance times 4", "M' = 2"]
    assert all(variable.attrs["long_name"] for variable in found.variables.values())
    assert own.behaviour.identical(found)


def test_own_inputs_are_those_of_training(own):
    found = shifted_behaviour(own, steps="60", scales=[], noises=[], num_tasks=[])
    np.testing.assert_allclose(found.loss.sel(shift="q_M", step=60), own.metrics.loss_id.sel(step=60), rtol=1e-6)


def test_bad_shifts_are_named(own):
    with pytest.raises(InvalidInput, match="scale = 0 given"):
        shifts(scales=[0])
    with pytest.raises(InvalidInput, match=r"M' = 1\.5 given"):
        shifts(num_tasks=[1.5])
    with pytest.raises(InvalidInput, match="icl_positions = 3, 3 given, expected 1 <= k1 < k2 <= K = 3"):
        shifted_behaviour(own, icl_positions=(3, 3))
    for arguments, said in (
        (["--scales", "0"], "expected numbers > 0"),
        (["--icl-positions", "1"], "expected two positions"),
        (["--steps", "7"], "no checkpoint at step 7"),
    ):
        result = CliRunner().invoke(main, ["behaviour", str(own.path), *arguments])
        assert result.exit_code in {1, 2}
        assert said in result.output


def test_on_the_command_line(own):
    result = CliRunner().invoke(main, ["behaviour", str(own.path), "--steps", "last", "--icl-positions", "1,3"])
    assert result.exit_code == 0, result.output
    assert "x scaled by 0.5" in result.output
