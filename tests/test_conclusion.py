"""From a pair of chains to an estimate: exact draws, of which everything is known."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from exact_draws import (
    CHAINS,
    DRAWS,
    GAMMA,
    HEIGHT,
    KERNEL,
    LOSS_INIT,
    MINIMUM,
    NBETA,
    PARAMETERS,
    WARMUP,
    climb_of,
    concluded,
    pair_of,
    reading_of,
)

from llc.estimate import diagnostics
from llc.estimate.conclusion import conclude
from llc.estimate.floor import Depth
from llc.estimate.moments import second_moments
from llc.estimate.pair import read
from llc.estimate.reach import explored
from llc.estimate.scale import Rung, left, short
from llc.estimate.settings import SamplingConfig


def test_warm_up_and_lost_chains_are_in_no_number():
    """All of them, also what is seen at looks; two chains that survive are read as two chains are."""
    pair = pair_of()
    kept = [0, 3]
    alone = {
        name: getattr(pair.cold, name)[kept]
        for name in ("difference", "loss", "distance", "virial", "acceptance", "by_position", "superchain",
                     "full_difference", "sample_losses", "gradient_noise", "gradient_square", "rounding",
                     "step_over_limit")
    }  # fmt: skip
    alone["settings"] = [pair.cold.settings[chain] for chain in kept]
    spoilt = {name: np.array(getattr(pair.cold, name), float) for name in alone if name not in {"settings"}}
    for name, values in spoilt.items():
        values[[1, 2]] = np.nan
        if name in {"difference", "loss", "distance", "virial", "acceptance", "by_position"}:
            values[:, :WARMUP] = 1e6
        if name == "sample_losses":
            values[:, pair.cold.full_at < WARMUP] = 1e6
    spoilt["superchain"] = pair.cold.superchain
    lost = concluded(climb_of(pair_of(**spoilt, diverged={1: 3, 2: 700})))
    clean = concluded(climb_of(pair_of(**alone)))
    for name, value in vars(clean).items():
        if isinstance(value, float):
            assert getattr(lost, name) == pytest.approx(value, nan_ok=True), name
    assert repr(lost.summary) == repr(clean.summary)  # of NaN too, which is no NaN from Python 3.13 on
    assert repr(lost.by_position) == repr(clean.by_position)
    assert lost.verdict == "diverged"  # half of them
    assert "chain 1 at draw 3, chain 2 at draw 700" in lost.reason


def test_every_number_of_an_estimate_is_what_its_label_says():
    pair = pair_of(gradient_square=np.full((CHAINS, 41), 0.3))
    climbed = climb_of(pair)
    found, traces = concluded(climbed), pair.cold
    late = np.s_[:, WARMUP:]
    assert found.llc_raw == pytest.approx(NBETA * traces.difference[late].mean())
    assert found.loss_init == LOSS_INIT
    assert found.loss_sampled == pytest.approx(traces.loss[late].mean())
    assert found.distance == pytest.approx(traces.distance[late].mean())
    assert found.prior_share == pytest.approx(GAMMA * (traces.distance[late] ** 2).mean() / PARAMETERS)
    assert found.acceptance == pytest.approx(traces.acceptance[late].mean())
    assert found.explored == max(explored(traces, GAMMA, PARAMETERS, WARMUP).values())
    assert found.explored == pytest.approx(1.0, abs=0.1)
    basin, reading = climbed.reading.basin, climbed.reading
    assert (found.llc_at_w, found.llc_at_w_se) == (reading.cold.llc, reading.cold.llc_se)
    assert (found.llc_basin, found.llc_basin_se) == (basin.llc, basin.llc_se)
    assert (found.floor_nats, found.floor_nats_se) == (basin.nats, basin.nats_se)
    assert found.floor == pytest.approx(LOSS_INIT - basin.nats / NBETA)
    assert abs(found.floor - (LOSS_INIT - HEIGHT / NBETA)) < 4 * basin.nats_se / NBETA
    assert (found.noise_nats, found.tilt_nats, found.step_excess) == (reading.noise, reading.tilt, reading.excess)
    assert found.step_excess == pytest.approx(0.3 * 0.115)
    assert found.settings == {"curvature": NBETA * 10.0, "gamma": GAMMA, "num_parameters": PARAMETERS}
    moments = second_moments(traces, NBETA, GAMMA, WARMUP, full_batch=False)
    assert (found.llc_variance, found.llc_variance_se) == moments.variance
    assert (found.slope_nbeta, found.slope_nbeta_se) == moments.nbeta
    assert (found.slope_gamma, found.slope_gamma_se) == moments.gamma
    assert (found.gradients, found.sample_gradients) == (12_345, 123_450)
    assert (found.chains_at_once, found.warmup, found.rungs) == (1, WARMUP, climbed.rungs)
    # The shortest step at w*, over 40/(800 + 4); where chains were it was less.
    assert found.step_over_limit == pytest.approx(0.1 * 804 / 40)
    assert concluded(climb_of(pair_of(step_over_limit=np.array([0.1, 3.0, 2.0, np.nan])))).step_over_limit == 3.0
    pair.target.batch_size = 200
    every = second_moments(traces, NBETA, GAMMA, WARMUP, full_batch=True).variance
    assert concluded(climbed).llc_variance == every[0] != moments.variance[0]


def test_positions_share_the_excess_and_have_the_mean_of_lambda():
    pair = pair_of(gradient_square=np.full((CHAINS, 41), 3.0))
    found = concluded(climb_of(pair))
    assert [one.llc / found.llc_at_w for one in found.by_position] == pytest.approx([0.5, 1.5, 1.0])
    alone = diagnostics.summarise(NBETA * pair.cold.by_position[:, WARMUP:, 1])
    assert found.by_position[1].llc_se > alone.llc_se
    assert found.by_position[1].rhat == alone.rhat
    assert concluded(climb_of(pair_of(by_position=None))).by_position is None


@pytest.mark.parametrize(
    ("headline", "above", "ladder", "expected"),
    [
        ("auto", True, False, "basin"),
        ("auto", False, False, "w*"),
        ("auto", False, True, "basin"),
        ("w*", True, True, "w*"),
        ("basin", False, False, "basin"),
    ],
)
def test_which_lambda_is_the_headline(headline, above, ladder, expected):
    """The basin's where there is a ladder or w* lies above the floor, unless the other is asked for."""
    pair = pair_of(minimum=MINIMUM if above else 0 * MINIMUM)
    before = (Rung(NBETA, 16 * GAMMA, 1.2, 0.02),) if ladder else ()
    climbed = climb_of(pair, Depth(HEIGHT if above else 0.0), before)
    found = concluded(climbed, headline=headline)
    assert found.headline == expected
    if expected == "w*":
        assert found.summary.llc == found.llc_at_w
    else:
        rest, error = left(climbed.rungs)
        assert (rest > 0) is ladder
        assert found.summary.llc == pytest.approx(found.llc_basin + rest)
        if ladder:  # with one rung the rest of the way is in it too
            assert found.summary.llc_se == pytest.approx(
                math.hypot(found.llc_basin_se, error, short(climbed.rungs[-1]))
            )
        assert found.summary.llc_high - found.summary.llc == pytest.approx(1.645 * found.summary.llc_se, rel=1e-3)


def test_what_chains_have_not_walked_widens_the_interval():
    """A tenth of λ̂ times what is left; or as much as the two kinds of start differ on a line through both."""
    pair = pair_of(minimum=0 * MINIMUM, gone=(0.8, 0.8))
    rest = 1 - max(explored(pair.cold, GAMMA, PARAMETERS, WARMUP).values())
    assert 0.2 < rest < 0.4
    found, cold = concluded(climb_of(pair), headline="w*"), reading_of(pair).cold
    assert found.summary.llc_se == pytest.approx(math.hypot(cold.llc_se, 0.1 * cold.llc * rest))
    # Those from w* have gone less far, and have a λ̂ that is lower by 1.
    gone, kind = (0.6, 0.9), pair.cold.superchain[:, None]
    made = pair_of(minimum=0 * MINIMUM, gone=gone, difference=pair.cold.difference + kind / NBETA)
    shares = explored(made.cold, GAMMA, PARAMETERS, WARMUP)
    means = [NBETA * made.cold.difference[which::2, WARMUP:].mean() for which in (0, 1)]
    slope = (means[1] - means[0]) / (shares[1] - shares[0])
    cold = reading_of(made).cold
    assert slope > 0.1 * cold.llc
    found = concluded(climb_of(made), headline="w*")
    assert found.summary.llc_se == pytest.approx(math.hypot(cold.llc_se, slope * (1 - shares[1])))
    # On a ladder this has been seen.
    ladder = climb_of(made, before=(Rung(NBETA, 16 * GAMMA, 1.2, 0.02),))
    assert concluded(ladder, headline="w*").summary.llc_se == cold.llc_se


def test_chains_may_disagree_more_where_the_number_of_draws_is_chosen():
    """R̂ of about 1.1: above the limit of 1.05 of given draws, below the 1.2 of rounds that go on until they agree."""
    away = np.array([0.0, 0.9, 0.0, 0.9])[:, None] / NBETA
    pair = pair_of(minimum=0 * MINIMUM)
    apart = climb_of(pair_of(minimum=0 * MINIMUM, difference=pair.cold.difference + away))
    assert 1.05 < apart.reading.cold.rhat < 1.2
    assert concluded(apart, target_error=1.0).verdict != "drifting"
    assert concluded(apart, draws=DRAWS).verdict == "drifting"
    assert concluded(apart, draws=DRAWS, max_rhat=1.3).verdict != "drifting"
    assert concluded(apart, target_error=1.0, max_rhat=1.01).verdict == "drifting"


def test_the_reason_names_cuts_and_what_a_sampler_cannot_tell():
    cut = concluded(climb_of(pair_of(cuts=[(2, 60, 0.05), (0, 70, 0.05), (2, 90, 0.02)])))
    assert "; step size cut in chains 0, 2, which ran into higher curvature" in cut.reason
    blind = SimpleNamespace(**{**vars(KERNEL), "bias": lambda settings, *, square, noise: math.nan})
    pair = pair_of()
    climbed = replace(climb_of(pair), reading=read(pair, blind, find_warmup=False))
    said = {"curvature": NBETA * 10.0, "gamma": GAMMA, "num_parameters": PARAMETERS}
    found = conclude(climbed, blind, settings=said, config=SamplingConfig(nbeta=NBETA, gamma=GAMMA))
    assert found.reason.endswith("; by how much the step size of made-up raises llc is not known")
    assert found.summary.llc == pytest.approx(read(pair, KERNEL, find_warmup=False).basin.llc)


def test_losses_of_predictors_that_know_nothing_are_held_against_the_draws():
    climbed = climb_of(pair_of())
    said = {"curvature": NBETA * 10.0, "gamma": GAMMA, "num_parameters": PARAMETERS}
    config = SamplingConfig(nbeta=NBETA, gamma=GAMMA)
    for known, verdict in ((LOSS_INIT - 1.0, True), (LOSS_INIT + 1.0, False)):
        found = conclude(climbed, KERNEL, settings=said, config=config, reference_losses={"zero": known})
        assert (found.verdict == "delocalised") is verdict
        assert found.reference_losses == {"zero": known}


def test_where_every_chain_was_lost_there_are_no_numbers():
    lost = pair_of(diverged=dict.fromkeys(range(CHAINS), 5))
    found = concluded(climb_of(lost))
    assert found.verdict == "diverged"
    assert reading_of(lost).degeneracy == 0.0
    assert np.isnan([found.summary.llc, found.llc_raw, found.distance, found.rounding, found.explored]).all()
    assert found.by_position is None


@pytest.mark.parametrize("above", [True, False])
def test_verdicts_are_made_from_the_numbers_of_the_estimate(above, monkeypatch):
    """Shares are of λ̂ at w* on the floor, of the basin's above it, where that at w* is mostly the height."""
    seen = []
    monkeypatch.setattr("llc.estimate.conclusion.judge", lambda evidence: (seen.append(evidence), ("said", "why"))[1])
    climbed = climb_of(
        pair_of(minimum=MINIMUM if above else 0 * MINIMUM, gradient_square=np.full((CHAINS, 41), 0.3)),
        Depth(HEIGHT if above else 0.0),
        ended="no more",
        highest="no higher",
        farther=Rung(NBETA, 0.1, 1.0, 0.1),
    )
    found = concluded(climbed, target_error=0.07, max_rhat=1.17, plateau=True)
    (evidence,) = seen
    size = found.llc_basin if above else found.llc_raw
    assert evidence.variance_ratio == pytest.approx(found.llc_variance / size)
    assert evidence.step_excess == pytest.approx(found.step_excess / size)
    assert evidence.prior_over_curvature == pytest.approx(GAMMA / (NBETA * 10.0))
    assert (evidence.summary, evidence.chains, evidence.of_basin) == (found.summary, CHAINS, above)
    assert evidence.hot == (climbed.reading.hot if above else None)
    assert (evidence.basin, evidence.rungs, evidence.rest_se) == (
        climbed.reading.basin,
        climbed.rungs,
        climbed.reading.rest_se,
    )
    assert (evidence.ended, evidence.highest, evidence.farther) == ("no more", "no higher", climbed.farther)
    assert (evidence.wanted_error, evidence.max_rhat, evidence.plateau) == (0.07, 1.17, True)
    assert evidence.variance == (found.llc_variance, found.llc_variance_se)
    assert evidence.slopes == {"gamma": (found.slope_gamma, found.slope_gamma_se)}
    assert (evidence.loss_init, evidence.loss_sampled) == (LOSS_INIT, found.loss_sampled)
    assert (found.verdict, found.reason) == ("said", "why")
    concluded(climbed, draws=100)
    assert (seen[1].wanted_error, seen[1].max_rhat) == (math.inf, 1.05)


@pytest.mark.parametrize(("gamma", "expected"), [(GAMMA, math.inf), (0.0, 0.0)])
def test_where_the_loss_is_flat_only_the_prior_holds(gamma, expected, monkeypatch):
    seen = []
    monkeypatch.setattr("llc.estimate.conclusion.judge", lambda evidence: (seen.append(evidence), ("said", "why"))[1])
    climbed = climb_of(pair_of())
    climbed.pair.target.gamma = gamma
    flat = SimpleNamespace(**{**vars(KERNEL), "stability_limit": lambda curvature, gamma: 1.0})
    said = {"curvature": 0.0, "gamma": gamma, "num_parameters": PARAMETERS}
    conclude(climbed, flat, settings=said, config=SamplingConfig(nbeta=NBETA, gamma=GAMMA))
    assert seen[0].prior_over_curvature == expected
