"""Where the next rung of a ladder stands."""

import math

import pytest

from llc.estimate.ladder import CLOSER, RESOLUTION, WIDER, closer, next_step, simpler_farther_out
from llc.estimate.scale import Rung


@pytest.mark.parametrize("coldest", [0.1, 1.0, 3.0, 40.0, math.inf])
@pytest.mark.parametrize("steepness", [None, 0.5, 100.0, 3000.0, 1e5])
@pytest.mark.parametrize("weaker", [4.0, 16.0])
def test_curvature_beside_rho_grows_as_was_asked_for(weaker, steepness, coldest):
    """colder · wider is that factor, unless the first rung was too cold for the noise and the ladder begins anew."""
    step = next_step(weaker, steepness=steepness, coldest=coldest)
    if steepness is not None and coldest < 1 / 1.5:
        assert (step.colder, step.wider) == (coldest, 1.0)
        return
    factor = weaker * max(1.0, RESOLUTION / max(steepness or math.inf, 1.0))
    assert step.colder * step.wider == pytest.approx(factor)
    assert 1.0 <= step.colder <= max(1.0, coldest)


def test_half_of_a_long_way_is_by_nbeta():
    step = next_step(16.0, steepness=1.0, coldest=math.inf)
    assert step.colder == pytest.approx(step.wider) == pytest.approx(math.sqrt(16 * RESOLUTION))


def test_a_steep_loss_is_made_no_colder_before_it_is_wider():
    assert next_step(16.0, steepness=1e5, coldest=math.inf) == (1.0, WIDER, "")
    assert next_step(4 * WIDER, steepness=1e5, coldest=math.inf)[:2] == (4.0, WIDER)


def test_from_the_third_rung_on_gamma_alone_falls():
    assert next_step(16.0, steepness=None, coldest=math.inf) == (1.0, 16.0, "")


def test_the_noise_bounds_nbeta_and_gamma_takes_the_rest():
    step = next_step(16.0, steepness=1.0, coldest=3.0)
    assert (step.colder, step.wider) == (3.0, pytest.approx(16 * RESOLUTION / 3))
    assert "noise" in step.choice


def test_nbeta_does_not_move_for_a_little():
    assert next_step(16.0, steepness=1.0, coldest=1.4).colder == 1.0
    assert next_step(16.0, steepness=1.0, coldest=0.7).colder == 1.0


def test_chains_that_stay_near_are_made_colder_only():
    assert next_step(16.0, steepness=1.0, coldest=math.inf, stay=True)[:2] == (16.0, 1.0)
    assert next_step(16.0, steepness=None, coldest=3.0, stay=True)[:2] == (3.0, 1.0)
    assert next_step(16.0, steepness=None, coldest=1.4, stay=True) is None


def test_the_rung_nearer_to_the_weights_has_the_same_resolution():
    """As much colder as narrower, as far as the noise allows, and none where that is next to nothing."""
    for allowed, factor in ((math.inf, CLOSER), (7.0, 7.0)):
        step = closer(allowed)
        assert (step.colder, step.wider) == (factor, 1 / factor)
    assert closer(2.0) is None


@pytest.mark.parametrize(("near", "far", "found"), [(73, 50, True), (73, 72, False), (50, 73, False)])
def test_simpler_solutions_farther_out_are_told_by_a_lower_coefficient(near, far, found):
    assert simpler_farther_out(Rung(100.0, 16.0, near, 1.0), Rung(10.0, 1.0, far, 1.0)) is found
    assert not simpler_farther_out(Rung(100.0, 16.0, near, 20.0), Rung(10.0, 1.0, far, 20.0))
