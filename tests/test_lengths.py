"""How long chains run on a rung: by relaxation, within bounds and budget; and how far a budget reaches."""

import math

import pytest

from llc.estimate.lengths import CROSSING_SHARE, LEAST_STEPS, reachable, rung_lengths
from llc.estimate.settings import SamplingConfig
from llc.sampling import LEAST_DRAWS, SAMPLERS

KINETIC = SAMPLERS["kinetic"]


def test_a_third_is_warm_up_and_the_rest_is_drawn():
    warmup, draws = rung_lengths(KINETIC, SamplingConfig(), 100.0, 10.0, 1e6)
    assert warmup == (warmup + draws) // 3
    assert warmup + draws >= LEAST_STEPS


def test_longer_relaxation_gets_more_steps_up_to_half_of_a_large_budget():
    lengths = [sum(rung_lengths(KINETIC, SamplingConfig(), 1e4, gamma, 1e5)) for gamma in (100.0, 1.0, 1e-4, 1e-9)]
    assert lengths == sorted(lengths)
    assert lengths[-1] == CROSSING_SHARE * 1e5


@pytest.mark.parametrize("affordable", [150.0, 37.0])
def test_a_small_budget_bounds_them_down_to_a_hundred(affordable):
    assert sum(rung_lengths(KINETIC, SamplingConfig(), 1e4, 1.0, affordable)) == int(max(affordable, LEAST_STEPS / 4))


def test_what_is_given_is_kept():
    assert rung_lengths(KINETIC, SamplingConfig(draws=30), 1e4, 1.0, 10.0) == (30, 30)
    assert rung_lengths(KINETIC, SamplingConfig(draws=30, warmup=7), 1e4, 1.0, 10.0) == (7, 30)
    assert rung_lengths(KINETIC, SamplingConfig(warmup=7), 1e4, 10.0, 1e6)[0] == 7
    assert rung_lengths(KINETIC, SamplingConfig(), 1e4, 10.0, 1.0)[1] >= LEAST_DRAWS


class Chains:
    def __init__(self, step_size):
        self.settings = [KINETIC.default_settings(1e4, 1.0, 400) | {"step_size": step_size}]


def test_a_budget_reaches_as_far_as_its_steps_cross():
    """Steps for a crossing go with √(nβ/γ): four times the budget reaches sixteen times as far."""
    one, four = (reachable(KINETIC, Chains(0.01), 1.0, 16.0, steps) for steps in (1e3, 4e3))
    assert four == pytest.approx(16 * one)
    crossing = KINETIC.relaxation(Chains(0.01).settings[0], 1.0) * 4
    assert one == pytest.approx((CROSSING_SHARE * 1e3 / crossing) ** 2)
    assert reachable(object(), Chains(0.01), 1.0, 16.0, 1e3) == math.inf  # of a sampler that cannot tell
