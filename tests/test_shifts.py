import numpy as np
import pytest
import torch
from click.testing import CliRunner

from llc import predictors
from llc.cli import main
from llc.development import shifted_behaviour
from llc.errors import InvalidInput
from llc.tasks import LinearRegression

TASK = LinearRegression(dim=3, num_examples=4, noise_variance=0.1, num_tasks=4)


def test_a_shift_changes_one_thing():
    """With the same draws: x is multiplied, noise is multiplied, tasks are others; the rest stays."""
    shifts = TASK.shifts()
    xs, ys = TASK.sample(6, stream="test").inputs
    scaled, _ = shifts["x scaled by 2"].sample(6, stream="test").inputs
    torch.testing.assert_close(scaled, 2 * xs)
    same_xs, noisy = shifts["noise variance times 4"].sample(6, stream="test").inputs
    torch.testing.assert_close(same_xs, xs)
    clean = 2 * ys - noisy  # signal = 2 (signal + e) − (signal + 2 e)
    assert min(float((clean - xs @ task).abs().max(1).values.min()) for task in TASK.tasks) < 1e-5
    assert shifts["M' = inf"].tasks is None
    assert shifts["M' = 1"].num_tasks == 1


def test_ridge_on_changed_noise_is_literal_ridge(own):
    """Distances against float64 formulas on the same sequences; averages follow."""
    found = shifted_behaviour(own, steps="last", changed={"noise_variance": [2.0], "num_tasks": [2]}, sequences=50)
    run = own.run(num_tasks=4)
    xs, ys = run.task.override({"noise_variance": 2.0}).sample(50, stream="test").inputs
    with torch.no_grad():
        said = run.model(60)(xs, ys).double()
    at = found.sel(num_tasks=4, seed=0, step=60, test_set="noise_variance = 2.0")
    np.testing.assert_allclose(at.loss, (said - ys).square().mean(0), rtol=1e-5)
    ridge = predictors.ridge(xs, ys, noise_variance=run.task.noise_variance)
    np.testing.assert_allclose(at.distance.sel(reference="ridge"), (said - ridge).square().mean(0), rtol=1e-5)
    # K = 3, so that the score compares the first and the third prediction.
    change = (said - ys).square()[:, 2] - (said - ys).square()[:, 0]
    assert float(at.icl_score) == pytest.approx(float(change.mean()), rel=1e-5)
    assert float(at.icl_score_se) == pytest.approx(float(change.std()) / 50**0.5, rel=1e-5)
    assert found.test_set.values.tolist() == ["as in training", "noise_variance = 2.0", "num_tasks = 2"]
    assert all(variable.attrs["long_name"] for variable in found.variables.values())
    assert own.behaviour.identical(found)


def test_own_inputs_are_those_of_training(own):
    found = shifted_behaviour(own, steps="60").sel(test_set="as in training", step=60)
    trained = own.metrics.sel(test_set="id", step=60)
    np.testing.assert_allclose(found.loss, trained.loss, rtol=1e-6)
    np.testing.assert_allclose(found.distance, trained.distance, rtol=1e-6)


def test_bad_shifts_are_named(own):
    with pytest.raises(InvalidInput, match=r"noise_variance = -1\.0 given"):
        shifted_behaviour(own, changed={"noise_variance": [-1.0]})
    with pytest.raises(InvalidInput, match=r"unknown key noise_varience; did you mean noise_variance\?"):
        shifted_behaviour(own, changed={"noise_varience": [1.0]})
    with pytest.raises(InvalidInput, match="icl_positions = 3, 3 given, expected 1 <= k1 < k2 <= K = 3"):
        shifted_behaviour(own, icl_positions=(3, 3))
    for arguments, said in (
        (["--change", "noise_variance"], "expected KEY=VALUE,VALUE"),
        (["--icl-positions", "1"], "expected two positions"),
        (["--steps", "7"], "no checkpoint at step 7"),
    ):
        result = CliRunner().invoke(main, ["behaviour", str(own.path), *arguments])
        assert result.exit_code in {1, 2}
        assert said in result.output


@pytest.mark.parametrize(
    ("change", "of_runs", "said"),
    [
        ({"noise_variance": [2.0], "dim": [7]}, "", r"dim = 7 .* num_tasks=1,seed=0 .*: dmmse: tasks \(1, 2\) given"),
        ({"num_examples": [2]}, "", r"num_examples = 2 .*: targets have the shape \(2,\), expected \(3,\); change a"),
        ({"dim": [5]}, "num_tasks=inf", r"dim = 5 does not fit what num_tasks=inf,seed=0 was trained on: mat1"),
    ],
)
def test_a_change_that_fits_no_model_is_named(change, of_runs, said, own, monkeypatch):
    """Where a reference sees it, where none does, and where only the model does."""
    monkeypatch.setattr(type(own), "runs", [run for run in own.runs if run.name.startswith(of_runs)])
    with pytest.raises(InvalidInput, match=f"the change {said}"):
        shifted_behaviour(own, steps="last", changed=change)


def test_on_the_command_line(own):
    result = CliRunner().invoke(main, ["behaviour", str(own.path), "--steps", "last", "--icl-positions", "1,3"])
    assert result.exit_code == 0, result.output
    assert "x scaled by 0.5" in result.output
