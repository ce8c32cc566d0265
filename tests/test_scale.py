"""When a ladder of localisations is a plateau, and what is left of it otherwise."""

import math

import pytest

from llc.estimate.scale import WEAKER, Rung, left, settled, short


def ladder(*values: float, se: float = 0.01) -> list[Rung]:
    return [Rung(100.0, WEAKER**-number, value, se) for number, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "se", "is_settled"),
    [
        ((10.0,), 0.01, False),  # nothing to compare it with
        ((10.0, 10.7), 0.01, True),  # 6.5 % of 10.7
        ((10.0, 11.0), 0.01, False),  # 9.1 % of 11
        ((10.0, 11.0), 0.5, True),  # within 1.5 errors of the difference, 1.06
        ((10.0, 9.0), 0.01, False),  # down is a step too
        ((5.0, 10.0, 10.1), 0.01, True),  # only the last step counts
        ((10.0, 10.1, 12.0), 0.01, False),
    ],
)
def test_a_plateau_is_a_small_last_step(values, se, is_settled):
    assert settled(ladder(*values, se=se)) is is_settled


@pytest.mark.parametrize(
    ("degeneracy", "rungs", "is_settled"), [(0.2, 2, True), (0.4, 2, False), (0.4, 3, True), (0.4, 4, True)]
)
def test_a_degenerate_well_is_level_only_over_a_long_way(degeneracy, rungs, is_settled):
    """Two rungs, 16 apart, agree where λ̂ creeps; over 256 it would have moved."""
    level = [Rung(100.0, WEAKER**-number, 10.0, 0.01, degeneracy) for number in range(rungs)]
    assert settled(level) is is_settled


def test_one_rung_says_nothing_of_what_is_left():
    assert left(ladder(10.0)) == (0.0, 0.0)


def test_a_level_ladder_has_nothing_left():
    assert left(ladder(10.0, 10.0, 10.0)) == (0.0, 0.0)


def test_a_fall_within_its_error_leaves_nothing():
    """Of a regular well, weaker localisation can only add directions: a small fall is noise."""
    assert left(ladder(10.0, 9.5, se=1.0)) == (0.0, 0.0)


def test_half_of_a_fall_beyond_its_error_is_carried():
    """A wider prior that lets chains into simpler solutions lowers λ̂: by 2, of which √2·0.1 may be error."""
    assert left(ladder(10.0, 8.0, se=0.1)) == pytest.approx((0.0, 0.5 * (2.0 - math.hypot(0.1, 0.1))))


def test_a_degenerate_well_has_a_rest_and_an_error_of_its_own():
    """18 ± 7 % of λ̂ at a degeneracy of one; below that the rest goes with its square."""
    for degeneracy in (0.5, 0.2, 0.0, -0.1):
        last = Rung(100.0, 1.0, 10.0, 0.1, degeneracy)
        share = max(0.0, degeneracy)
        assert left([Rung(100.0, 16.0, 10.0, 0.1), last]) == pytest.approx((1.8 * share**2, 0.7 * share))


@pytest.mark.parametrize(("first", "last", "share"), [
    ((10.0, 0.67), (10.0, 0.67), 0.0), ((10.0, 0.63), (9.9, 0.67), 0.0),
    ((10.0, 0.57), (10.0, 0.67), 0.5), ((10.0, 0.2), (10.0, 0.67), 1.0), ((8.0, 0.67), (10.0, 0.67), 1.0),
])  # fmt: skip
def test_a_well_of_a_single_power_looks_alike_at_every_scale(first, last, share):
    """Neither λ̂ nor the degeneracy changes along the ladder: there is nothing to add."""
    rungs = [Rung(100.0, 16.0, first[0], 0.1, first[1]), Rung(100.0, 1.0, last[0], 0.1, last[1])]
    rest = left(rungs)[0] - left([Rung(100.0, 16.0, first[0], 0.1), Rung(100.0, 1.0, last[0], 0.1)])[0]
    assert rest == pytest.approx(0.18 * share * last[1] ** 2 * last[0])


def test_what_is_left_is_a_quarter_of_the_last_step():
    assert left(ladder(10.0, 14.0, 15.0, se=0.0)) == pytest.approx((0.25, 0.4))


@pytest.mark.parametrize(("gamma", "share"), [(16.0, 1.0), (4.0, 2.0), (256.0, 0.5), (1.0, 4.0)])
def test_what_is_left_counts_in_rungs(gamma, share):
    """A step of 1 over half a rung, in logarithms, leaves twice as much; over two rungs, half as much."""
    rungs = [Rung(100.0, gamma, 10.0, 0.0), Rung(100.0, 1.0, 11.0, 0.0)]
    assert left(rungs) == pytest.approx((0.25 * share, 0.4 * share))


def test_the_rest_of_a_geometric_approach_is_within_the_error():
    """λ − c·q^k for steps that shrink two- to tenfold from rung to rung: the truth is within two stated errors."""
    for shrink in (2.0, 4.0, 10.0):
        values = [20.0 - 5.0 / shrink**number for number in range(4)]
        for rungs in (values[:3], values):
            rest, error = left(ladder(*rungs, se=0.0))
            assert abs(rungs[-1] + rest - 20.0) < 2 * error + 1e-9


def test_resolution_is_gamma_over_nbeta():
    assert Rung(50.0, 2.0, 1.0, 0.1).resolution == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("held", "held_se", "share"),
    [(math.nan, 0.0, 1.0), (5.0, 0.0, 1.0), (9.6, 0.0, 0.5), (9.7, 0.1, 0.375), (10.0, 0.0, 0.0)],
)
def test_where_curvature_holds_all_of_it_nothing_approaches_slowly(held, held_se, share):
    """λ̂ = 10 of a well that looks half degenerate from w*, of which all but a twelfth and more is held.

    The error is that of what may be free within the errors of both.
    """
    rungs = [Rung(100.0, 16.0, 10.0, 0.1), Rung(100.0, 1.0, 10.0, 0.1, 0.5, held, held_se)]
    may_be_free = min(1.0, share + math.hypot(0.1, held_se) / 0.8) if math.isfinite(held) else 1.0
    assert left(rungs) == pytest.approx((share * 0.18 * 0.25 * 10, may_be_free * 0.07 * 0.5 * 10))


def test_what_is_held_is_a_lower_bound():
    """λ is no less than ½ rank H: where λ̂ is, by so much it may be wrong; in a regular well, beyond its error."""
    rungs = [Rung(100.0, 16.0, 10.0, 0.0), Rung(100.0, 1.0, 10.0, 0.0, 0.5, 10.5, 0.0)]
    assert left(rungs) == pytest.approx((0.0, 0.5))
    assert short(rungs[-1]) == 0.0
    assert short(Rung(100.0, 1.0, 10.0, 0.3, 0.05, 10.8, 0.4)) == pytest.approx(0.3)
    assert short(Rung(100.0, 1.0, 10.0, 0.0, 0.0, 9.0, 0.0)) == 0.0
    assert short(Rung(100.0, 1.0, 10.0, 0.0)) == 0.0  # not looked at
