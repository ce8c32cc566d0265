"""What a pair of chains at two temperatures says, of exact draws."""

import math
from dataclasses import replace

import numpy as np
import pytest
from exact_draws import DRAWS, EXACT, GAMMA, HEIGHT, KERNEL, MINIMUM, NBETA, RATIO, WARMUP, pair_of, reading_of
from numpy.testing import assert_allclose

from llc.estimate.floor import Depth, basin
from llc.estimate.noise import free_nats, noise_nats, tilt_nats
from llc.estimate.pair import Pair, read, rung_of
from llc.estimate.scale import Rung


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
    (rung,) = asked
    assert (rung.nbeta, rung.gamma, rung.degeneracy) == (NBETA, GAMMA, found.degeneracy)
    assert (rung.llc, rung.llc_se) == (first.llc, first.llc_se)
    assert math.isnan(rung.held)
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
