from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import SMALL_LLC
from wells import CURVATURES, GAMMA, NBETA, data, diagonal_well, exact_llc, well_loss

import llc
from llc import estimate, figures, store, study
from llc.errors import EstimateFailed, InvalidInput, StoreError
from llc.estimate import calibration
from llc.estimate.scale import Rung
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


@pytest.mark.slow
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


def made(llc_value=5.0, verdict="converged", step=0.3, rungs=((40.0, 2.0),), variates=1):
    """An estimate, as far as a calibration reads it."""
    summary = SimpleNamespace(llc=llc_value, llc_se=0.2, rhat=1.01)
    chains = SimpleNamespace(settings=[{"step_size": step}, {"step_size": 2 * step}], difference=np.ones((2, 6)) / 10)
    ladder = [Rung(nbeta, gamma, llc_value, 0.2) for nbeta, gamma in rungs]
    given = {"nbeta": rungs[-1][0], "gamma": rungs[-1][1], "step_size": step, "control_variates": variates}
    return SimpleNamespace(summary=summary, verdict=verdict, reason="because", rungs=ladder, chains=chains,
                           settings=given, prior_share=0.4, step_excess=0.01, gradients=100)  # fmt: skip


@pytest.fixture
def pretend(monkeypatch):
    """Estimates that a function of the point's name and settings makes up, and what was asked for."""
    asked = []

    def with_estimates(function, control=100.0):
        def estimate_at(point, config, *, key, device=None):
            asked.append((point.name, config, key, device))
            return function(point.name, config)

        monkeypatch.setattr(calibration, "estimate_at", estimate_at)
        monkeypatch.setattr(calibration, "_prior_alone", lambda point, config, key: control)
        return asked

    return with_estimates


def points(*names):
    return [replace(well_point(), name=name) for name in names]


def test_a_pilot_has_its_own_draws_and_budget_and_what_is_not_chosen(pretend):
    asked = pretend(lambda *_: made(rungs=((40.0, 9.0), (80.0, 2.0))))
    config = SamplingConfig(draws=50, warmup=3, full_loss_every=5, max_rhat=1.5, chains=3, target_error=0.2, seed=4)
    found = calibration.scale_at(well_point(), config, key=("k",), budget=700, device="here")
    ((_, pilot, key, device),) = asked
    assert pilot == SamplingConfig(max_gradients=700, chains=3, target_error=0.2, seed=4)
    assert (key, device) == (("k",), "here")
    assert (found.nbeta, found.gamma, found.plateau, found.control_variates) == (80.0, 2.0, True, True)
    calibration.scale_at(well_point(), SamplingConfig(), key=(0,))
    assert asked[-1][1].max_gradients == 4000


@pytest.mark.parametrize(
    ("verdict", "gamma", "expected", "tries"),
    [
        ("scale-dependent", None, (40.0, 81.0, False), [None]),  # the first rung's, nine times as tight
        ("drifting", None, (40.0, 81.0, False), [None]),
        ("scale-dependent", 7.0, (80.0, 2.0, False), [7.0]),  # what is given is kept
        ("delocalised", None, (40.0, 9.0, False), [None, 90.0, 90.0, 90.0]),
        ("diverged", None, (40.0, 9.0, False), [None, 90.0, 90.0, 90.0]),
    ],
)
def test_without_a_plateau(pretend, verdict, gamma, expected, tries):
    asked = pretend(lambda *_: made(verdict=verdict, rungs=((40.0, 9.0), (80.0, 2.0)), variates=0))
    found = calibration.scale_at(well_point(), SamplingConfig(gamma=gamma), key=(0,))
    assert (found.nbeta, found.gamma, found.plateau) == expected
    assert found.control_variates is False
    assert [config.gamma for _, config, _, _ in asked] == tries


def test_gamma_is_raised_tenfold_until_chains_stay(pretend):
    def estimated(_, config):
        gamma = config.gamma or 0.5
        return made(verdict="delocalised" if gamma < 50 else "scale-dependent", rungs=((40.0, gamma),))

    asked = pretend(estimated)
    found = calibration.scale_at(well_point(), SamplingConfig(), key=(0,))
    assert [config.gamma for _, config, _, _ in asked] == [None, 5.0, 50.0]
    assert (found.nbeta, found.gamma, found.plateau) == (40.0, 50.0, False)


def test_a_calibration_step_by_step(pretend):
    """Pilots, the choice, its halves and doubles, the control: with whose keys, and told as they come."""

    def estimated(name, config):
        if config.nbeta is None:
            return made(rungs=((40.0, 2.0),) if name == "early" else ((30.0, 3.0),), verdict="converged")
        return made(step=0.12346 if name == "early" else 0.2, rungs=((config.nbeta, config.gamma),))

    told, asked = [], pretend(estimated)
    found = calibration.calibrate(
        points("early", "late"), SamplingConfig(chains=3), key=(7,), progress=lambda *one: told.append(one)
    )
    assert found.settings == SamplingConfig(
        chains=3, nbeta=30.0, gamma=3.0, step_size=0.123, plateau=True, control_variates=True
    )
    stages = ["pilot", "choice"] + [f"{name} x {f}" for name in ("nbeta", "gamma", "step_size") for f in ("0.5", "2")]
    assert [(trial.stage, trial.point) for trial in found.trials] == [
        (stage, point) for stage in stages for point in ("early", "late")
    ]
    assert [key for *_, key, _ in asked] == [(7, "pilot", point) if stage == "pilot" else (7, stage, point)
                                             for stage in stages for point in ("early", "late")]  # fmt: skip
    halved = {stage: config for (_, config, _, _), stage in zip(asked[::2], stages, strict=True)}
    assert halved["choice"].step_size is None
    assert (halved["nbeta x 0.5"].nbeta, halved["gamma x 2"].gamma, halved["step_size x 2"].step_size) == (15, 6, 0.246)
    assert halved["gamma x 2"].nbeta == halved["step_size x 0.5"].nbeta == 30.0
    assert [(name, done, total) for name, done, total, _ in told] == [
        (("early", "late")[done % 2 == 0], done, 18) for done in range(1, 19)
    ]
    assert told[0][3] == "pilot: llc 5.0 ± 0.2, converged"
    assert told[-1][3] == "the prior alone: llc 100.0"
    assert found.controls == {"early": 100.0, "late": 100.0}
    assert found.reason == (
        "llc has a plateau at 2 of 2 points; the warmest nbeta and the largest gamma of all; "
        "step size 0.123 is stable at all 2 points"
    )
    dataset = estimate.calibration_dataset(found)
    assert dataset.suits_nbeta.values.tolist() == [40.0, 30.0]
    assert dataset.suits_gamma.values.tolist() == [2.0, 3.0]
    assert dataset.checkpoint.values.tolist() == ["early", "late"]
    assert dataset.llc_trace.sel(trial=2).values.tolist() == [[3.0] * 6] * 2  # nβ times a tenth
    assert dataset.attrs == {
        "reason": found.reason,
        "chosen_nbeta": 30.0,
        "chosen_gamma": 3.0,
        "chosen_step_size": 0.123,
    }
    for name, value in {"prior_share": 0.4, "step_excess": 0.01, "gradients": 100, "llc": 5.0, "rhat": 1.01}.items():
        assert (dataset[name] == value).all()
    assert estimate.format_calibration(dataset).split("\n") == [
        "What would suit each by itself, as estimate_llc chooses:",
        "  early                        nbeta 40       gamma 2        at a plateau",
        "  late                         nbeta 30       gamma 3        at a plateau",
        "At the choice, and at half and twice it:",
        *[
            f"  {stage.replace('_', ' '):18s} {point:28s} llc 5.0 ± 0.2  converged"
            for stage in stages[1:]
            for point in ("early", "late")
        ],
        "Control, nbeta = 0 (what the prior alone would give):",
        "  early                        100",
        "  late                         100",
        f"Chosen: nbeta 30, gamma 3, step size 0.123: {found.reason}.",
    ]


@pytest.mark.parametrize(("llc_value", "close"), [(79.0, False), (81.0, True), (float("nan"), True)])
def test_what_is_near_to_what_the_prior_gives_is_warned_of(pretend, llc_value, close):
    pretend(lambda _, config: made(llc_value=llc_value, rungs=((config.nbeta, config.gamma),)))
    found = calibration.calibrate(points("early", "late"), SamplingConfig(nbeta=9.0, gamma=1.0))
    warned = "; beware: at early, late llc is within a fifth of what the prior alone would give"
    assert found.reason.endswith(warned) is close
    assert found.reason.startswith("as given; step size 0.3 is stable at all 2 points")
    assert (found.scales, found.settings.nbeta, found.settings.gamma) == ({}, 9.0, 1.0)


@pytest.mark.parametrize("verdict", ["diverged", "delocalised", "prior-dominated", "step-size-biased", "drifting"])
def test_only_what_longer_chains_do_not_mend_is_an_objection(pretend, verdict):
    pretend(lambda name, config: made(verdict=verdict if name == "late" else "converged",
                                      rungs=((config.nbeta, config.gamma),)))  # fmt: skip
    given = SamplingConfig(nbeta=9.0, gamma=1.0)
    if verdict == "drifting":
        assert calibration.calibrate(points("early", "late"), given)
        return
    with pytest.raises(EstimateFailed, match=f"^nbeta 9 and gamma 1 will not do: {verdict} at late: because$"):
        calibration.calibrate(points("early", "late"), given)


def test_a_radius_becomes_the_gamma_of_the_models(pretend):
    asked = pretend(lambda _, config: made(rungs=((config.nbeta, config.gamma),)))
    model = diagonal_well()
    model.weight.data = torch.tensor([2.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    found = calibration.calibrate([replace(well_point(), model=model)], SamplingConfig(nbeta=9.0, radius=0.5))
    assert found.settings.gamma == pytest.approx(5.0)
    assert all(config.radius is None for _, config, _, _ in asked)


def test_the_control_is_made_of_the_settings(monkeypatch):
    """nβ of the choice times the mean loss of chains at nβ = 0 after as many draws of warm-up; lost ones left out."""
    seen = {}

    def run_chains(target, kernel, settings, **how):
        seen.update(how, nbeta=target.nbeta, gamma=target.gamma, kernel=kernel.name, batch=target.batch_size)
        traces = np.full((2, how["warmup"] + how["draws"]), 0.5)
        traces[:, : how["warmup"]] = 1e6
        traces[1] = np.nan
        return SimpleNamespace(difference=traces, warmup=how["warmup"])

    monkeypatch.setattr(calibration, "run_chains", run_chains)
    config = SamplingConfig(nbeta=6.0, gamma=2.0, chains=3, batch_size=4)
    assert calibration._prior_alone(well_point(), config, ("k",)) == pytest.approx(3.0)
    expected = {"chains": 3, "warmup": 200, "draws": 200, "key": ("k", "control")}
    assert seen == {**expected, "nbeta": 0.0, "gamma": 2.0, "kernel": "kinetic", "batch": 4}
    calibration._prior_alone(well_point(), config.model_copy(update={"draws": 30, "sampler": "mala"}), ("k",))
    assert (seen["draws"], seen["warmup"], seen["kernel"]) == (30, 30, "mala")
