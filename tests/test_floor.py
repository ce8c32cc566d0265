"""λ, depth and bend from two temperatures: cold = λ − a + b, hot = λ − a/4 + 4b."""

import math

import numpy as np
import pytest

from llc.estimate.floor import RATIO, Depth, basin


def numbers(llc: float, nats: float, bend: float) -> tuple[float, float]:
    """λ̂(w*) at nβ and at nβ/4, without noise."""
    return llc - nats + bend, llc - nats / RATIO + RATIO * bend


@pytest.mark.parametrize("nats", [0.0, 0.3, 12.0, 400.0])
def test_a_quadratic_well_off_its_floor_needs_no_minimiser(nats):
    """Without a bend two temperatures give λ = (4 hot − cold)/3 and a = 4(hot − cold)/3, however high w* lies."""
    cold, hot = numbers(9.0, nats, 0.0)
    found = basin((cold, 1e-9), (hot, 1e-9))
    assert found.llc == pytest.approx(9.0, rel=1e-5)
    assert found.nats == pytest.approx(nats, rel=1e-5, abs=1e-5)
    assert found.bend == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("bend", [-1.5, -0.2, 0.4, 2.0])
def test_a_bend_is_told_apart_where_the_floor_is_known(bend):
    """At w* on the floor, a = 0 for sure: two equations for λ and b."""
    cold, hot = numbers(9.0, 0.0, bend)
    found = basin((cold, 1e-9), (hot, 1e-9), settled=Depth(0.0))
    assert found.llc == pytest.approx(9.0, rel=1e-5)
    assert found.bend == pytest.approx(bend, rel=1e-5)
    assert found.nats == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(("share", "error", "settled", "found"), [
    (-0.2, 0.1, 0.0, True), (-0.2, 2.0, 0.0, False), (-0.05, 1e-3, 0.0, False), (0.2, 0.1, 0.0, False),
    (-0.2, 0.1, None, True), (-0.05, 1e-3, None, False), (0.2, 0.1, None, False),
])  # fmt: skip
def test_worse_solutions_tell_themselves_at_two_temperatures(share, error, settled, found):
    """Around solutions that are worse by x nats at nβ, λ̂(w*) is λ' + x, and λ' + x/4 at nβ/4."""
    llc = 10.0
    numbers_of = numbers(llc, 0.0, share * llc)
    assert (
        basin(
            *((number, error) for number in numbers_of), settled=settled if settled is None else Depth(settled)
        ).escaped
        is found
    )


def test_without_a_minimiser_half_of_nothing_is_known_of_a_bend():
    """b and a fit the two numbers equally well; b is taken to be small, and λ is 5b off, inside the stated error."""
    bend = 0.3
    cold, hot = numbers(9.0, 0.0, bend)
    found = basin((cold, 1e-9), (hot, 1e-9))
    assert found.bend == pytest.approx(0.0, abs=1e-4)
    assert found.llc - 9.0 == pytest.approx(5 * bend, rel=1e-3)
    assert found.bend_se == pytest.approx(0.05 * (9.0 + 5 * bend), rel=1e-3)
    assert found.llc_se == pytest.approx(5 * found.bend_se, rel=1e-3)


@pytest.mark.parametrize(
    ("knows_floor", "nats", "noise", "left_open"),
    [
        (False, 4.0, 0.0, 0.0),
        (True, 0.0, 6.0, 0.0),
        (True, 4.0, 0.0, 0.0),
        (True, 4.0, 20.0, 0.0),
        (True, 4.0, 0.0, 3.0),
    ],
)
def test_the_stated_errors_are_the_spread(knows_floor, nats, noise, left_open):
    """Noise on both numbers, on the minimiser's depth and on the bend, each as large as it is taken to be.

    The root mean square of 5000 errors is the stated one within a tenth. (It is so within its own error, a hundredth,
    where the bend's prior goes by the true λ; by the estimated one, which is noisy itself, errors are up to 8 % more.)
    """
    draw, llc, cold_se, hot_se = np.random.default_rng(0), 12.0, 0.3, 0.4
    depth_se = math.hypot(0.01 * nats, 0.1 * noise, left_open)
    found = []
    for _ in range(5000):
        cold, hot = numbers(llc, nats, 0.05 * llc * draw.standard_normal())
        found.append(
            basin(
                (cold + cold_se * draw.standard_normal(), cold_se),
                (hot + hot_se * draw.standard_normal(), hot_se),
                settled=Depth(nats + depth_se * draw.standard_normal(), left_open) if knows_floor else None,
                noise=noise,
            )
        )
    for name, truth in (("llc", llc), ("nats", nats)):
        values = np.array([getattr(one, name) for one in found])
        stated = math.sqrt(np.mean([getattr(one, f"{name}_se") ** 2 for one in found]))
        spread = math.sqrt(np.mean((values - truth) ** 2))
        assert abs(spread / stated - 1) < 0.1, name


def test_far_above_the_floor_the_bend_is_still_a_share_of_llc():
    """Not of λ̂(w*), which is mostly the height: 100 times as high, the same error but for the minimiser's."""
    low, high = (basin(*((value, 1e-9) for value in numbers(9.0, nats, 0.0))) for nats in (4.0, 400.0))
    assert high.bend_se == pytest.approx(low.bend_se, rel=1e-3)
    assert high.llc_se == pytest.approx(low.llc_se, rel=1e-3)


def test_a_minimiser_is_trusted_more_where_nothing_is_degenerate():
    """A tenth of the error: 0.04 nats of 40 in place of 0.4, where the chains say next to nothing."""
    cold, hot = numbers(9.0, 40.0, 0.0)
    for degeneracy, error in ((1.0, 0.4), (0.2, 0.4), (0.1, 0.22), (0.0, 0.04)):
        found = basin((cold, 1e-9), (hot, 100.0), settled=Depth(40.0), degeneracy=degeneracy)
        assert found.nats_se == pytest.approx(error, rel=1e-2)


def test_more_noise_never_means_a_smaller_error():
    at = {"cold": numbers(9.0, 2.0, 0.0)[0], "hot": numbers(9.0, 2.0, 0.0)[1]}
    quiet = basin((at["cold"], 0.1), (at["hot"], 0.1), settled=Depth(2.0))
    assert basin((at["cold"], 0.3), (at["hot"], 0.1), settled=Depth(2.0)).llc_se > quiet.llc_se
    assert basin((at["cold"], 0.1), (at["hot"], 0.3), settled=Depth(2.0)).llc_se > quiet.llc_se
    assert basin((at["cold"], 0.1), (at["hot"], 0.1), settled=Depth(2.0), noise=9.0).llc_se > quiet.llc_se
    tilted = [
        basin((at["cold"], 0.1), (at["hot"], 0.1), settled=Depth(2.0), tilt=9.0, degeneracy=degeneracy).llc_se
        for degeneracy in (0.0, 0.1, 0.2, 0.5)
    ]
    assert tilted[0] < quiet.llc_se < tilted[1] < tilted[2] == tilted[3]  # regular wells have none
    assert basin((at["cold"], 0.1), (at["hot"], 0.1)).llc_se > quiet.llc_se


@pytest.mark.parametrize(
    ("nats", "cold_se", "at_floor"),
    [(0.0, 0.1, True), (0.5, 0.01, True), (3.0, 0.01, False), (-3.0, 0.01, False)],
)
def test_on_the_floor_is_within_its_error_or_a_tenth_of_llc(nats, cold_se, at_floor):
    cold, hot = numbers(10.0, nats, 0.0)
    assert basin((cold, cold_se), (hot, cold_se), settled=Depth(nats)).at_floor is at_floor


def test_without_a_minimiser_a_bend_may_stand_for_the_height():
    """b = λ/20 looks like 4b nats of height: three nats are on the floor as far as can be told, thirty are not."""
    for nats, at_floor in ((3.0, True), (30.0, False)):
        cold, hot = numbers(10.0, nats, 0.0)
        assert basin((cold, 0.01), (hot, 0.01)).at_floor is at_floor


def test_chains_that_never_moved_have_a_basin_without_error():
    found = basin((0.0, 0.0), (0.0, 0.0))
    assert found.llc == found.nats == 0.0
    assert found.llc_se < 1e-8


def test_numbers_that_are_none_give_none():
    found = basin((math.nan, 0.1), (3.0, 0.1))
    assert all(math.isnan(value) for value in vars(found).values())
