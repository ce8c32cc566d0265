"""Boundaries and stages of curves whose turns are known."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar

from llc.development.boundaries import noise, trend_changes, turns
from llc.development.stage_table import Curve, format_stages, latex_stages, stage_table
from llc.development.stages import find_stages
from llc.development.weighted_lines import WeightedLines
from llc.errors import InvalidInput

STEPS = np.unique(np.geomspace(1, 20_000, 40).round())


def rise_and_fall(steps: np.ndarray) -> np.ndarray:
    """Smooth in u = log(1 + step): up, down, and up again."""
    u = np.log1p(steps)
    return 20 + 8 * np.sin(0.9 * u) + 2 * u


def true_turns() -> list[float]:
    """Where d/du = 0: cos(0.9u) = −2/7.2, between the ends."""
    first = np.arccos(-2 / 7.2) / 0.9
    second = (2 * np.pi - np.arccos(-2 / 7.2)) / 0.9
    return [float(np.expm1(u)) for u in (first, second, first + 2 * np.pi / 0.9)]


def lines(steps: np.ndarray) -> np.ndarray:
    """Straight in log(1 + step), with another slope from e³ and from e⁶."""
    u = np.log1p(steps)
    return 5 + 4 * u - 6 * np.maximum(0, u - 3) + 5 * np.maximum(0, u - 6)


def test_the_turns_of_a_smooth_curve():
    rng = np.random.default_rng(1)
    errors = np.full(len(STEPS), 0.8)
    found = turns(STEPS, rise_and_fall(STEPS) + errors * rng.standard_normal(len(STEPS)), errors)
    assert [boundary.kind for boundary in found] == ["maximum", "minimum", "maximum"]
    for boundary, true in zip(found, true_turns(), strict=True):
        assert boundary.low <= true <= boundary.high
        assert abs(np.log1p(boundary.step) - np.log1p(true)) < 0.3
        assert boundary.support > 0.8


def test_the_changes_of_slope_of_a_broken_line():
    rng = np.random.default_rng(2)
    errors = np.full(len(STEPS), 0.3)
    found = trend_changes(STEPS, lines(STEPS) + errors * rng.standard_normal(len(STEPS)), errors)
    assert len(found) == 2
    for boundary, true in zip(found, np.expm1([3.0, 6.0]), strict=True):
        assert boundary.kind == "trend"
        assert boundary.low <= true <= boundary.high


@pytest.mark.parametrize("find", [turns, trend_changes])
def test_a_straight_line_has_no_boundary(find):
    """In one of ten noisy lines at most."""
    rng, errors = np.random.default_rng(3), np.full(len(STEPS), 1.0)
    values = [3 * np.log1p(STEPS) + errors * rng.standard_normal(len(STEPS)) for _ in range(10)]
    assert sum(bool(find(STEPS, value, errors, resamples=40)) for value in values) <= 1


@pytest.mark.parametrize("find", [turns, trend_changes])
def test_complex_numbers_make_no_curve(find):
    with pytest.raises(InvalidInput, match="have to be real numbers, one a point; some are complex"):
        find(STEPS, STEPS + 1j, np.ones(len(STEPS)))


@pytest.mark.parametrize("points", [6, 7, 11, 40])
def test_the_quick_partition_is_that_of_ruptures(points):
    rng = np.random.default_rng(points)
    steps = np.sort(rng.choice(5000, points, replace=False)).astype(float)
    numbers = set()
    for _ in range(8):
        errors = rng.uniform(0.1, 1.0, points)
        curve = lines(steps) + errors * rng.standard_normal(points)
        cost = WeightedLines(np.log1p(steps), curve, errors)
        most = min(6, points // 3 - 1)
        assert cost.quick_partition(most) == cost.best_partition(most)
        numbers.add(len(cost.quick_partition(most)))
    assert points < 40 or len(numbers) > 1  # or it would not be much of a comparison


@pytest.mark.slow
@pytest.mark.parametrize(
    ("find", "curve", "truth", "size"),
    [(turns, rise_and_fall, true_turns(), 0.8), (trend_changes, lines, np.expm1([3.0, 6.0]), 0.3)],
    ids=["turns", "trend"],
)
def test_intervals_cover_at_the_rate_they_state(find, curve, truth, size):
    """90 % intervals of 150 noisy curves; the rate's own standard error over three hundred of them is under 2 %.

    Those of turns are known to be a little wide (see `turns`).
    """
    rng, errors, held, there = np.random.default_rng(4), np.full(len(STEPS), size), 0, 0
    for number in range(150):
        found = find(STEPS, curve(STEPS) + errors * rng.standard_normal(len(STEPS)), errors, resamples=150, seed=number)
        if len(found) == len(truth):
            there += len(truth)
            held += sum(one.low <= true <= one.high for one, true in zip(found, truth, strict=True))
    assert there > 0.8 * 150 * len(truth)
    assert 0.86 < held / there < 0.985


def test_noise_of_a_curve_is_that_of_its_second_differences():
    rng = np.random.default_rng(5)
    values = rise_and_fall(np.arange(2000.0)) + 0.7 * rng.standard_normal(2000)
    assert noise(values) == pytest.approx(0.7, rel=0.1)


def test_the_table_of_a_developmental_landscape():
    """Five stages as in Hoogland et al. (2024): the loss falls in all, complexity rises in some and falls in others."""
    ends = np.array([0, 1000, 40_000, 126_000, 320_000, 500_000.0])
    steps = np.unique(np.geomspace(10, 500_000, 80).round())
    # λ̂ and loss move from one stage's end to the next, smoothly in log(1 + step).
    u, corners = np.log1p(steps), np.log1p(ends)
    llc = np.interp(u, corners, [5.0, 30.0, 90.0, 60.0, 95.0, 80.0])
    loss = np.interp(u, corners, [4.3, 4.0, 2.6, 2.4, 2.1, 2.0])
    rng = np.random.default_rng(6)
    errors = np.full(len(steps), 1.0)
    noisy = llc + errors * rng.standard_normal(len(steps))
    boundaries = turns(steps, noisy, errors) + [
        one for one in trend_changes(steps, noisy, errors, resamples=50) if 300 < one.step < 3000
    ]
    boundaries.sort(key=lambda one: one.step)
    table = stage_table(
        Curve(steps, noisy, errors), Curve(steps, loss, np.full(len(steps), 0.01)), boundaries, resamples=200
    )
    assert table["type"].tolist() == ["A", "A", "B", "A", "B"]
    # From step 10, where the curve is at 13.7; the spline rounds the curve's corners off.
    np.testing.assert_allclose(table["delta_llc"], [30 - llc[0], 60, -30, 35, -15], atol=5)
    inside = (table["delta_loss_low"] <= table["delta_loss"]) & (table["delta_loss"] <= table["delta_loss_high"])
    assert inside.all()
    printed = format_stages(table)
    assert len(printed.splitlines()) == 6
    assert printed.split()[:4] == ["stage", "start", "end", "type"]
    latex = latex_stages(table)
    assert latex.count(r"\\") == 6
    assert r"$\Delta\hat\lambda$" in latex


def test_stages_where_nothing_is_sure_say_so():
    errors = np.full(len(STEPS), 5.0)
    flat = Curve(STEPS, np.full(len(STEPS), 10.0) + np.random.default_rng(7).normal(0, 5, len(STEPS)), errors)
    table = stage_table(flat, Curve(STEPS, 5 - 0.1 * np.log1p(STEPS), np.full(len(STEPS), 0.01)), [])
    assert table["type"].tolist() == ["flat"]
    assert isinstance(table, pd.DataFrame)
    # Complexity falls for sure, and a loss that is level but for its errors has no sign.
    falls = Curve(STEPS, 100 - 8 * np.log1p(STEPS), errors)
    level = Curve(STEPS, 5 + np.random.default_rng(8).normal(0, 0.01, len(STEPS)), np.full(len(STEPS), 0.01))
    assert stage_table(falls, level, [])["type"].tolist() == ["loss flat"]


@pytest.mark.parametrize(
    ("steps", "values", "errors", "said"),
    [
        (
            [1, 2, 3],
            [1, 2, 3],
            [1, 1, 1],
            r"steps \(3,\), values \(3,\) and errors \(3,\) given, expected \(T,\) each with T at least 6",
        ),
        (range(6), [1, 2, np.nan, 4, 5, 6], [1] * 6, "values that are not finite"),
        ([0, 2, 1, 3, 4, 5], range(6), [1] * 6, "steps have to increase"),
        (range(6), range(6), [0] * 6, "errors to be > 0"),
    ],
)
def test_bad_curves_are_named(steps, values, errors, said):
    for find in (turns, trend_changes):
        with pytest.raises(InvalidInput, match=said):
            find(np.array(steps), np.array(values, float), np.array(errors, float))


def test_true_turns_are_where_the_derivative_vanishes():
    """The test's own truth."""
    for true, sign in zip(true_turns(), (-1, 1, -1), strict=True):
        low, high = np.expm1(np.log1p(true) - 0.5), np.expm1(np.log1p(true) + 0.5)
        best = minimize_scalar(lambda step, sign=sign: sign * rise_and_fall(step), bounds=(low, high), method="bounded")
        assert best.x == pytest.approx(true, rel=1e-3)


def test_between_two_steps_nothing_turns():
    """Evenly spaced steps from 0 leave a gap of half the axis of log(1 + step) without a datum."""
    steps, errors = np.arange(0, 3000, 100.0), np.full(30, 0.3)
    found = [
        turns(steps, 20 * (1 - np.exp(-steps / 800)) + errors * np.random.default_rng(seed).normal(size=30), errors,
              resamples=50)
        for seed in range(20)
    ]  # fmt: skip
    assert sum(bool(boundaries) for boundaries in found) <= 1
    assert turns(np.arange(6) * 100.0, np.linspace(0, 5, 6), np.full(6, 0.3)) == []
    rises = 20 * steps * np.exp(-steps / 300)  # and a turn that the data do show is found there
    (boundary,) = turns(steps, rises / 100, errors)
    assert boundary.low - 50 <= 300 <= boundary.high + 50


@pytest.mark.parametrize("steps", [np.arange(0, 900, 100.0), np.arange(100, 1100, 100.0)])
def test_a_loss_that_does_not_reach_a_stage_is_refused(steps):
    llc = Curve(np.arange(0, 1100, 100.0), np.linspace(0, 5, 11), np.full(11, 0.3))
    with pytest.raises(InvalidInput, match="given for stages from 0 to 1000; give it at their ends too"):
        stage_table(llc, Curve(steps, np.ones(len(steps)), np.full(len(steps), 0.1)), [])


RESAMPLED = {
    "turns": lambda own, **how: turns(STEPS, STEPS, STEPS, **how),
    "trend_changes": lambda own, **how: trend_changes(STEPS, STEPS, STEPS, **how),
    "stage_table": lambda own, **how: stage_table(Curve(STEPS, STEPS, STEPS), Curve(STEPS, STEPS, STEPS), [], **how),
    "find_stages": find_stages,
}


@pytest.mark.parametrize("number", [0, 100_001, 10**12])
@pytest.mark.parametrize("name", RESAMPLED)
def test_resamples_nobody_can_wait_for_are_refused(name, number, own):
    with pytest.raises(InvalidInput, match=f"resamples = {number} given, expected a whole number from 1 to 100000"):
        RESAMPLED[name](own, resamples=number)
