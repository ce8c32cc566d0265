"""From traces to an estimate: independent draws of a Gaussian well's posterior, of which everything is known."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from llc.estimate import diagnostics
from llc.estimate.climb import Climb
from llc.estimate.conclusion import conclude
from llc.estimate.floor import Depth, basin
from llc.estimate.moments import second_moments
from llc.estimate.noise import free_nats, noise_nats, tilt_nats
from llc.estimate.pair import Pair, read, rung_of
from llc.estimate.reach import explored
from llc.estimate.scale import Rung, left, short
from llc.estimate.settings import SamplingConfig
from llc.sampling.traces import Chains

CURVATURES = np.array([0.0, 0.0, 0.5, 1.0, 3.0, 10.0])
MINIMUM = np.array([0.0, 0.0, 0.3, -0.2, 0.15, 0.1])  # w* is at 0
PARAMETERS = len(CURVATURES)
NBETA, GAMMA, RATIO = 80.0, 4.0, 4.0
CHAINS, WARMUP, DRAWS = 4, 50, 2000
LOSS_INIT = 7.0


def draws_of(seed: int, nbeta: float, gamma: float, minimum: np.ndarray, gone: tuple[float, float]) -> Chains:
    """What chains that draw independently leave; the loss is alike for all samples.

    Those of either kind of start have gone a share of their way along the flat directions.
    """
    rng, chains = np.random.default_rng(seed), CHAINS
    held = nbeta * CURVATURES + gamma
    steps = WARMUP + DRAWS
    w = nbeta * CURVATURES * minimum / held + rng.standard_normal((chains, steps, len(held))) / np.sqrt(held)
    w[:, :, CURVATURES == 0] *= np.array(gone)[np.arange(chains) % 2, None, None]
    difference = (CURVATURES * ((w - minimum) ** 2 - minimum**2)).sum(-1) / 2
    full_at = np.arange(0, steps, 50)
    looks = (chains, len(full_at))
    share = np.array([0.5, 1.5, 1.0])
    return Chains(
        difference=difference,
        loss=LOSS_INIT + difference,
        distance=np.sqrt((w**2).sum(-1)),
        virial=(w * (nbeta * CURVATURES * (w - minimum) + gamma * w)).sum(-1),
        acceptance=rng.uniform(0.5, 0.9, (chains, steps)),
        by_position=difference[..., None] * share,
        warmup=WARMUP,
        superchain=np.arange(chains) % 2,
        full_at=full_at,
        full_difference=difference[:, full_at],
        sample_losses=np.repeat(difference[:, full_at, None], 5, axis=2),
        gradient_noise=np.zeros(looks),
        gradient_square=np.zeros(looks),
        rounding=np.zeros(looks),
        gradients=chains * steps,
        settings=[{"step_size": 0.1 + 0.01 * chain} for chain in range(chains)],
        step_over_limit=np.full(chains, 0.2),
    )


# A sampler whose heat is what it is told, so that what is told can be seen.
KERNEL = SimpleNamespace(
    name="made-up",
    bias=lambda settings, *, square, noise: settings["step_size"] * (square + 3 * noise),
    stability_limit=lambda curvature, gamma: 40.0 / (curvature + gamma),
)


def pair_of(seed: int = 0, minimum: np.ndarray = MINIMUM, gone: tuple[float, float] = (1.0, 1.0), **changes) -> Pair:
    """At nβ and nβ/4; changes are of the cold chains."""
    target = SimpleNamespace(
        nbeta=NBETA, gamma=GAMMA, num_parameters=PARAMETERS, loss_init=LOSS_INIT, batch_size=10, num_samples=200
    )
    cold = replace(draws_of(seed, NBETA, GAMMA, minimum, gone), **changes)
    return Pair(target, cold, draws_of(seed + 1000, NBETA / RATIO, GAMMA / RATIO, minimum, gone))


def shares(nbeta=NBETA, gamma=GAMMA):
    return nbeta * CURVATURES / (nbeta * CURVATURES + gamma)


EXACT = 0.5 * shares().sum()
# nβ(L(w*) − L_0), L_0 at the minimum of L + ρ/2 ‖w‖².
HEIGHT = 0.5 * NBETA * (CURVATURES * MINIMUM**2 * (1 - (1 - shares()) ** 2)).sum()


def reading_of(pair: Pair, settled: Depth | None = None, find_warmup: bool = False):
    return read(pair, KERNEL, find_warmup=find_warmup, settled=settled)


def climb_of(pair: Pair, settled: Depth | None = None, before: tuple[Rung, ...] = (), **changes) -> Climb:
    reading = reading_of(pair, settled)
    made = Climb([*before, rung_of(pair, reading)], pair, reading, NBETA * 10.0, 12_345, "", "", "as given", "none")
    return replace(made, **changes)


def concluded(climbed: Climb, **settings):
    said = {"curvature": NBETA * 10.0, "gamma": GAMMA, "num_parameters": PARAMETERS}
    config = SamplingConfig(**{"nbeta": NBETA, "gamma": GAMMA, **settings})
    return conclude(climbed, KERNEL, settings=said, config=config)


def test_exact_draws_read_as_their_closed_forms():
    """λ̂(w*) at both temperatures, and λ and the height above the floor, each within four standard errors."""
    found = reading_of(pair_of())
    for summary, part in ((found.cold, 1), (found.hot, RATIO)):
        assert abs(summary.llc - (EXACT - HEIGHT / part)) < 4 * summary.llc_se
        assert summary.llc_se < 0.05
    assert abs(found.basin.llc - EXACT) < 4 * found.basin.llc_se
    assert abs(found.basin.nats - HEIGHT) < 4 * found.basin.nats_se
    assert HEIGHT > 5
    told = reading_of(pair_of(), Depth(HEIGHT, 0.01))
    assert abs(told.basin.llc - EXACT) < 4 * told.basin.llc_se < 0.6 * 4 * found.basin.llc_se
    assert (told.excess, told.warmup) == (0.0, WARMUP)
    # Draws without an error leave the bend's, or what is open of the minimiser's find.
    assert 0 < told.rest_se < told.basin.llc_se
    assert told.rest_se < 0.5 * found.rest_se


def test_a_well_that_is_a_square_has_no_degeneracy():
    """(w − w*)·∇L is 2(L − L_0) about the minimum; from a w* off it, more, which no λ̂ may lose by."""
    at_floor = pair_of(minimum=0 * MINIMUM)
    assert reading_of(at_floor).degeneracy == pytest.approx(0.0, abs=0.06)
    quartic = replace(at_floor, cold=replace(at_floor.cold, virial=2 * at_floor.cold.virial))
    bare = 2 * at_floor.cold.virial - GAMMA * at_floor.cold.distance**2
    found = reading_of(quartic)
    assert found.degeneracy == pytest.approx(1 - 2 * found.basin.llc / bare[:, WARMUP:].mean(), abs=0.01)


def test_what_the_step_and_rounding_add_is_taken_off_and_its_error_carried():
    """Heat is the mean over chains of what the sampler says of each one's own gradients; errors add in squares."""
    pair = pair_of()
    looks = pair.cold.rounding.shape
    rng = np.random.default_rng(5)
    square, noise = 1 + rng.random(looks), 0.2 * rng.random(looks)
    rounding = 0.01 * (1 + rng.random(looks))
    plain = reading_of(pair).cold
    hot = reading_of(pair_of(gradient_square=square, gradient_noise=noise, rounding=rounding))
    steps = np.array([one["step_size"] for one in pair.cold.settings])
    excess = float((steps * (square.mean(1) + 3 * noise.mean(1))).mean())
    added = NBETA * rounding
    assert hot.excess == pytest.approx(excess)
    assert hot.cold.llc == pytest.approx(plain.llc - excess - added.mean())
    of_excess = excess * (0.1 + abs(excess / (plain.llc - excess)))
    errors = [plain.llc_se, of_excess, added.std(ddof=1) / math.sqrt(added.size)]
    assert hot.cold.llc_se == pytest.approx(math.hypot(*errors))
    assert hot.cold.llc_high - hot.cold.llc == pytest.approx(1.645 * math.hypot(*errors), rel=1e-3)


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
    assert lost.summary == clean.summary
    assert lost.by_position == clean.by_position
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


def test_burn_in_is_found_at_either_temperature():
    """A decay over the first 600 draws of 2,050 that a warm-up of 50 does not hold."""
    decay = 5.0 * np.exp(-np.arange(WARMUP + DRAWS) / 150.0) / NBETA
    pair = pair_of(minimum=0 * MINIMUM)
    made = pair_of(minimum=0 * MINIMUM, difference=pair.cold.difference + decay)
    found = reading_of(made, find_warmup=True)
    assert 150 < found.warmup <= made.cold.steps // 2
    assert abs(found.cold.llc - EXACT) < 4 * found.cold.llc_se
    left_in = reading_of(made).cold.llc
    assert left_in == pytest.approx(reading_of(pair).cold.llc + NBETA * decay[WARMUP:].mean())
    assert_allclose(found.cold.llc, NBETA * made.cold.difference[:, found.warmup :].mean())


def noisy(pair: Pair, seed: int = 9) -> np.ndarray:
    """Losses of five samples at looks: the common one, and a slope of each one's own along the distance."""
    slopes = np.random.default_rng(seed).standard_normal(5)
    return pair.cold.full_difference[..., None] + 0.1 * slopes * pair.cold.distance[:, pair.cold.full_at, None]


def test_the_noise_of_the_samples_is_that_after_warm_up_and_about_the_minimisers_floor():
    pair = pair_of()
    pair = pair_of(sample_losses=noisy(pair))
    late = pair.cold.sample_losses[:, pair.cold.full_at >= WARMUP]
    assert 0 < late.shape[1] < len(pair.cold.full_at)
    floor = np.array([-0.2, -0.1, -0.3, -0.05, -0.15])
    for settled, about in ((None, 0.0), (Depth(HEIGHT, 0.0, floor), floor)):
        found = reading_of(pair, settled)
        assert found.noise == pytest.approx(noise_nats(NBETA, late.reshape(-1, 5), 200))
        assert found.tilt == pytest.approx(tilt_nats(NBETA, late, 200, floor_losses=about))
        assert found.noise > 0
        assert found.tilt > 0


def test_what_directions_with_curvature_hold_is_asked_of_the_rung_and_widens_the_floor():
    """Of a rung whose λ̂ is half held, half of F may be missing below w*, give or take half of that."""
    asked = []

    def half_held(rung: Rung) -> Rung:
        asked.append(rung)
        return replace(rung, held=rung.llc / 2, held_se=0.07)

    pair = pair_of()
    pair = pair_of(sample_losses=6 * noisy(pair))
    settled = Depth(HEIGHT, 0.02)
    found = read(pair, KERNEL, find_warmup=False, settled=settled, with_held=half_held)
    first = basin((found.cold.llc, found.cold.llc_se), (found.hot.llc, found.hot.llc_se),
                  settled=settled, noise=found.noise, tilt=found.tilt)  # fmt: skip
    assert asked == [Rung(NBETA, GAMMA, first.llc, first.llc_se, found.degeneracy)]
    assert (found.held, found.held_se) == (first.llc / 2, 0.07)
    free, free_se = free_nats(found.noise, HEIGHT, llc=first.llc, held=first.llc / 2, degeneracy=found.degeneracy)
    assert free_se > 0.1
    deeper = Depth(HEIGHT + free, math.hypot(0.02, free_se))
    last = basin((found.cold.llc, found.cold.llc_se), (found.hot.llc, found.hot.llc_se), settled=deeper,
                 noise=found.noise, tilt=found.tilt, degeneracy=found.degeneracy)  # fmt: skip
    assert found.basin == last
    assert found.basin.nats_se > reading_of(pair, settled).basin.nats_se
    rung = rung_of(pair, found)
    assert rung == Rung(NBETA, GAMMA, last.llc, last.llc_se, found.degeneracy, first.llc / 2, 0.07)


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
