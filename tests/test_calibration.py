import numpy as np
import pytest
import xarray as xr
from conftest import SMALL_LLC
from wells import CURVATURES, GAMMA, NBETA, data, diagonal_well, exact_llc, well_loss

import llc
from llc import estimate, figures, store, study
from llc.errors import EstimateFailed, InvalidInput, StoreError
from llc.estimate import calibration
from llc.estimate.settings import SamplingConfig


def well_point(reference: float | None = None, scale: float = 1.0) -> estimate.Point:
    model = diagonal_well()
    model.center.fill_(scale)
    model.weight.data.fill_(scale)
    known = {} if reference is None else {"the zero predictor": reference}
    return estimate.Point("well", model, well_loss, data(), known)


CONFIG = SamplingConfig(draws=150, warmup=40, chains=2, nbeta=NBETA)


@pytest.mark.slow
def test_a_plateau_is_taken_where_there_is_one():
    """That of `estimate_llc`'s last localisation; weights three times as large begin with a ninth of the γ."""
    config = SamplingConfig(target_error=0.3)
    near, far = (calibration.scale_at(well_point(scale=scale), config, key=(0,)) for scale in (1.0, 3.0))
    for found in (near, far):
        last = found.pilot.rungs[-1]
        assert (found.nbeta, found.gamma, found.plateau) == (last.nbeta, last.gamma, True)
    assert near.pilot.rungs[0].gamma == pytest.approx(9 * far.pilot.rungs[0].gamma, rel=5e-3)


def test_without_a_plateau_the_prior_is_a_third_as_wide_as_the_weights():
    """Fifteen hundred gradients do not tell λ̂ to 10 % here; weights of norm √P give γ = 1 at radius 1."""
    found = calibration.scale_at(well_point(), SamplingConfig(), key=(0,), budget=1500)
    assert (found.gamma, found.plateau) == (9.0, False)


def test_where_chains_do_not_stay_gamma_is_raised():
    """The zero predictor's loss is 0.001, and no γ up to 1000 brings draws below it."""
    config = SamplingConfig(target_error=0.3)
    found = calibration.scale_at(well_point(reference=0.001), config, key=(0,), budget=1000)
    assert (found.gamma, found.plateau, found.pilot.verdict) == (1000.0, False, "delocalised")


def test_what_suits_all():
    """The warmest nβ, the largest γ; a plateau if all have one."""
    scales = [calibration.Scale(10.0, 3.0, True, True, None), calibration.Scale(20.0, 4.0, False, True, None)]
    assert calibration.common(scales) == {"nbeta": 10.0, "gamma": 4.0, "plateau": False, "control_variates": True}
    assert calibration.common(scales[:1])["plateau"]


@pytest.fixture(scope="module")
def calibrated():
    """At the given γ, with its halves and doubles; every estimate is counted."""
    said = []
    found = calibration.calibrate(
        [well_point()], CONFIG.model_copy(update={"gamma": GAMMA}), progress=lambda *told: said.append(told[:3])
    )
    assert said == [("well", number, 8) for number in range(1, 9)]
    return found


def test_the_control_is_what_the_prior_alone_gives(calibrated):
    """At nβ = 0 each w_i has variance 1/γ, so nβE[L − L*] = nβ Σh_i/(2γ), here within five standard errors."""
    exact = NBETA * sum(CURVATURES) / (2 * GAMMA)
    config = CONFIG.model_copy(update={"gamma": GAMMA, "draws": 1500})
    # χ² of the largest curvature dominates; some 30 independent draws in 300 at critical damping: 300 here.
    assert abs(calibration._prior_alone(well_point(), config, (0,)) / exact - 1) < 5 * np.sqrt(2 / 300)
    assert exact_llc() < calibrated.controls["well"] / 10


def test_sensitivity_at_half_and_twice_the_choice(calibrated):
    stages = [trial.stage for trial in calibrated.trials]
    assert stages == ["choice"] + [f"{name} x {f}" for name in ("nbeta", "gamma", "step_size") for f in ("0.5", "2")]
    gammas = {trial.stage: trial.estimate.settings["gamma"] for trial in calibrated.trials}
    assert gammas["gamma x 0.5"] * 2 == gammas["gamma x 2"] / 2 == GAMMA
    assert calibrated.settings.step_size > 0
    for trial in calibrated.trials:
        exact = exact_llc(nbeta=trial.estimate.settings["nbeta"], gamma=trial.estimate.settings["gamma"])
        if trial.stage != "step_size x 2":  # that one is above the stability limit's four fifths
            assert abs(trial.estimate.summary.llc - exact) < 5 * trial.estimate.summary.llc_se


@pytest.mark.slow
def test_trials_of_different_lengths_share_a_table():
    """Without a number of draws each trial has as many as its interval takes; shorter traces end in NaN."""
    config = SamplingConfig(nbeta=NBETA, gamma=GAMMA, target_error=0.3, max_gradients=2500)
    found = calibration.calibrate([well_point()], config)
    dataset = estimate.calibration_dataset(found)
    lengths = [trial.estimate.chains.steps for trial in found.trials]
    assert len(set(lengths)) > 1
    assert dataset.sizes["draw"] == max(lengths)
    assert (dataset.llc_trace.notnull().sum("draw").values == np.array(lengths)[:, None]).all()


def test_a_choice_that_will_not_do_is_an_error_with_its_reason():
    with pytest.raises(EstimateFailed, match=r"nbeta 50 and gamma 1 will not do: delocalised at well"):
        calibration.calibrate([well_point(reference=0.001)], CONFIG.model_copy(update={"gamma": 1.0}))


@pytest.mark.slow
def test_calibrating_an_experiment(own):
    settings = {name: SMALL_LLC[name] for name in ("num_samples", "batch_size", "chains", "max_gradients")}
    found, dataset = study.calibrate_experiment(own, points=1, draws=8, **settings)
    assert dataset.sizes["trial"] == 1 + 1 + 6
    assert set(dataset.llc_trace.dims) == {"trial", "chain", "draw"}
    for variable in dataset.variables.values():
        assert {"long_name", "units"} <= set(variable.attrs)
    with xr.open_dataset(own.path / "calibration.nc") as kept:
        assert kept.sizes == dataset.sizes
    said = []
    kept, again = study.calibrate_experiment(
        own, points=1, draws=8, progress=lambda *told: said.append(told[-1]), **settings
    )
    assert said == [f"{own.path / 'calibration.nc'} holds just this already; nothing to do"]
    assert kept == found
    assert estimate.format_calibration(again) == estimate.format_calibration(dataset)
    # The settings file is there to be edited.
    text = (own.path / "calibration.toml").read_text()
    (own.path / "calibration.toml").write_text("\n".join(line for line in text.split("\n") if "step_size" not in line))
    again = study.settings_from(own.path / "calibration.toml")
    assert "step_size" in text
    assert "step_size" not in again
    assert again["gamma"] == found.gamma
    assert again["num_samples"] == 64
    said = estimate.format_calibration(dataset)
    assert said.count("Chosen") == 1
    assert "nbeta = 0" in said
    scale, traces = figures.draw(figures.calibration_scale(dataset)), figures.draw(figures.calibration_traces(dataset))
    assert len(scale.axes) == 1
    assert len([axes for axes in traces.axes if axes.lines]) == 3
    # The settings file makes estimates with just these settings; here with few draws.
    llc.estimate_llc_over_training(own, steps="last", jobs=1, overwrite=True, **{**again, "draws": 8, "warmup": 4})
    assert store.read_table(own.path / "llc.toml")["gamma"] == found.gamma


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
