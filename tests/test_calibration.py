import numpy as np
import pytest
import xarray as xr
from conftest import SMALL_LLC
from wells import CURVATURES, GAMMA, NBETA, data, diagonal_well, exact_llc, well_loss

import llc
from llc import estimate, plots, store, study
from llc.errors import EstimateFailed, InvalidInput, StoreError
from llc.estimate import calibration
from llc.estimate.settings import SamplingConfig


def well_point(reference: float | None = None, scale: float = 1.0) -> estimate.Point:
    model = diagonal_well()
    model.center.fill_(scale)
    model.weight.data.fill_(scale)
    known = {} if reference is None else {"the zero predictor": reference}
    return estimate.Point("well", model, well_loss, data(), known)


CONFIG = SamplingConfig(draws=150, chains=2, nbeta=NBETA)


def test_the_loosest_prior_that_nothing_rejects_is_chosen():
    """Weights of norm √P: radius r means γ = 1/r². At nβ = 1, E[L] = ½Σ h/(h + γ) is 2.0 with r = 1000, 1.2 with 1."""
    found = calibration.calibrate(
        [well_point(reference=1.6)], CONFIG.model_copy(update={"nbeta": 1.0, "draws": 60}), radii=(1000.0, 1.0, 0.5)
    )
    assert found.settings.gamma == pytest.approx(1.0)
    assert "would do, but the prior is tighter" in found.rejected[1.0, 4.0]
    assert "delocalised at well" in found.rejected[1.0, 1e-6]


def test_the_control_is_what_the_prior_alone_gives():
    """At nβ = 0 each w_i has variance 1/γ, so nβE[L − L*] = nβ Σh_i/(2γ), here within five standard errors."""
    found = calibration.calibrate([well_point()], CONFIG.model_copy(update={"gamma": GAMMA}))
    exact = NBETA * sum(CURVATURES) / (2 * GAMMA)
    # χ² of the largest curvature dominates; some 30 independent draws in 300 at critical damping.
    assert abs(found.controls["well"] / exact - 1) < 5 * np.sqrt(2 / 30)
    assert exact_llc() < found.controls["well"] / 10


def test_sensitivity_at_half_and_twice_the_choice():
    found = calibration.calibrate([well_point()], CONFIG.model_copy(update={"gamma": GAMMA}))
    stages = [trial.stage for trial in found.trials]
    assert stages == ["grid"] + [f"{name} x {f}" for name in ("nbeta", "gamma", "step_size") for f in ("0.5", "2")]
    gammas = {trial.stage: trial.estimate.settings["gamma"] for trial in found.trials}
    assert gammas["gamma x 0.5"] * 2 == gammas["gamma x 2"] / 2 == GAMMA
    assert found.settings.step_size > 0
    for trial in found.trials:
        exact = exact_llc(nbeta=trial.estimate.settings["nbeta"], gamma=trial.estimate.settings["gamma"])
        if trial.stage != "step_size x 2":  # that one is above the stability limit's four fifths
            assert abs(trial.estimate.summary.llc - exact) < 5 * trial.estimate.summary.llc_se


def test_trials_of_different_lengths_share_a_table():
    """Without a number of draws each trial has as many as its interval takes; shorter traces end in NaN."""
    config = SamplingConfig(nbeta=NBETA, gamma=GAMMA, target_error=0.3, max_gradients=2500)
    found = calibration.calibrate([well_point()], config)
    dataset = estimate.calibration_dataset(found)
    lengths = [trial.estimate.chains.steps for trial in found.trials]
    assert len(set(lengths)) > 1
    assert dataset.sizes["draw"] == max(lengths)
    assert (dataset.llc_trace.notnull().sum("draw").values == np.array(lengths)[:, None]).all()


def test_nothing_left_is_an_error_with_reasons():
    with pytest.raises(EstimateFailed, match=r"no setting .*\(nbeta 50, gamma 1: delocalised at well"):
        calibration.calibrate([well_point(reference=0.001)], CONFIG, radii=(1.0,))


def test_calibrating_an_experiment(own):
    settings = {name: SMALL_LLC[name] for name in ("num_samples", "batch_size", "chains")}
    found, dataset = study.calibrate_experiment(
        own, points=1, radii=(0.3, 0.1), nbeta_factors=(1.0,), draws=20, **settings
    )
    assert dataset.sizes["trial"] == 2 + 6
    assert set(dataset.llc_trace.dims) == {"trial", "chain", "draw"}
    for variable in dataset.variables.values():
        assert {"long_name", "units"} <= set(variable.attrs)
    with xr.open_dataset(own.path / "calibration.nc") as kept:
        assert kept.sizes == dataset.sizes
    again = study.settings_from(own.path / "calibration.toml")
    assert again["gamma"] == found.settings.gamma
    assert again["num_samples"] == 64
    said = estimate.format_calibration(found)
    assert said.count("chosen") == 1
    assert "nbeta = 0" in said
    heat, traces = plots.calibration_heat(dataset), plots.calibration_traces(dataset)
    assert len(heat.axes) == 1
    assert len([axes for axes in traces.axes if axes.lines]) == 3
    # The settings file makes estimates with just these settings.
    llc.estimate_llc_over_training(own, steps="last", jobs=1, overwrite=True, **again)
    assert store.read_table(own.path / "llc.toml")["gamma"] == found.settings.gamma


def test_bad_input_is_named(own, tmp_path):
    with pytest.raises(InvalidInput, match="points = 0 given"):
        study.calibrate_experiment(own, points=0)
    with pytest.raises(StoreError, match="no settings file"):
        study.settings_from(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("gama = 3.0\n")
    with pytest.raises(InvalidInput, match=r"unknown key gama; did you mean gamma\?"):
        study.settings_from(tmp_path / "bad.toml")
    with pytest.raises(InvalidInput, match=r"gamma = 1.0 and radius = 0.5 given"):
        SamplingConfig(gamma=1.0, radius=0.5)
    with pytest.raises(InvalidInput, match=r"max_rhat = 1.1 given with chains = 1, expected at least 2 chains"):
        SamplingConfig(chains=1, max_rhat=1.1)
