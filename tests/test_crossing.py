"""The tradeoff of loss and complexity, in numbers that can be checked."""

import numpy as np
import pytest
from scipy.optimize import brentq

from llc.development.crossing import Measured, log_odds, preference_turns, rank_correlation, turn_with_interval


@pytest.mark.parametrize(("delta_loss", "delta_llc"), [(-0.1, 5.0), (-1e-4, 30.0), (-2.0, 100.0)])
def test_preference_turns_where_the_log_odds_vanish(delta_loss, delta_llc):
    turn = float(preference_turns(delta_loss, delta_llc))
    assert turn == pytest.approx(brentq(lambda n: log_odds(n, delta_loss, delta_llc), 3, 1e9), rel=1e-6)
    assert log_odds(turn / 2, delta_loss, delta_llc) > 0 > log_odds(2 * turn, delta_loss, delta_llc)


def test_what_is_better_in_both_ways_trades_nothing():
    assert np.isnan(preference_turns(np.array([-1.0, 1.0, 1.0]), np.array([-1.0, 1.0, -1.0]))).all()
    assert float(preference_turns(-10.0, 1.0)) == 1.0  # so much more accurate that no n is small enough


def test_the_interval_of_the_turn_is_that_of_its_draws():
    """Against the delta method where errors are small, and against certainty where there are none."""
    found = turn_with_interval(Measured(-0.1, 0.002), Measured(20.0, 0.4), resamples=40_000)
    rate = preference_turns(-0.1, 20.0)
    step = 1e-4
    slopes = [
        float(preference_turns(-0.1 + step, 20.0) - rate) / step * 0.002,
        float(preference_turns(-0.1, 20.0 + step) - rate) / step * 0.4,
    ]
    half = 1.645 * np.hypot(*slopes)
    assert found.value == pytest.approx(float(rate))
    assert found.low == pytest.approx(float(rate) - half, rel=0.02)
    assert found.high == pytest.approx(float(rate) + half, rel=0.02)
    assert found.share == 1
    sure = turn_with_interval(Measured(-0.1, 0.0), Measured(20.0, 0.0))
    assert sure.low == sure.value == sure.high


def test_an_interval_that_knows_nothing_says_so():
    found = turn_with_interval(Measured(-0.1, 0.3), Measured(1.0, 10.0))
    assert found.low == 0
    assert found.high == np.inf
    assert 0 < found.share < 1


def test_rank_correlation_and_its_interval():
    rng = np.random.default_rng(0)
    first = np.arange(30.0)
    up, _, _ = rank_correlation(first, np.exp(first / 10))
    assert up == pytest.approx(1)
    noisy = first + 20 * rng.standard_normal(30)
    rho, low, high = rank_correlation(first, noisy)
    assert low < rho < high
    assert high - low < 0.8
    assert np.isnan(rank_correlation(first[:3], first[:3])).all()
    assert np.isnan(rank_correlation(np.ones_like(first), first)).all()
    some = np.where(first < 5, np.nan, first)
    assert rank_correlation(some, first)[0] == pytest.approx(1)
