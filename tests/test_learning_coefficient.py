import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

import llc
from llc.errors import InvalidInput
from llc.validation import learning_coefficient as exact


def brute_force(widths, rank):
    """Aoyagi's theorem in its other form: search all subsets of layers for those that satisfy its conditions."""
    excess = [width - rank for width in widths]
    found = set()
    for size in range(2, len(widths) + 1):
        for chosen in itertools.combinations(range(len(widths)), size):
            inside = [excess[i] for i in chosen]
            outside = [excess[i] for i in range(len(widths)) if i not in chosen]
            layers, total = size - 1, sum(inside)
            # With ties several subsets qualify and must agree, so that ≤ stands where the theorem orders them.
            if outside and not (max(inside) <= min(outside) and total < layers * min(outside)):
                continue
            if total < layers * max(inside):
                continue
            ceiling = -(-total // layers)
            a = total - (ceiling - 1) * layers
            value = (
                Fraction(rank * (widths[0] + widths[-1]) - rank**2, 2)
                + Fraction(a * (layers - a), 4 * layers)
                - Fraction(layers * (layers - 1), 4) * Fraction(total, layers) ** 2
                + Fraction(sum(x * y for x, y in itertools.combinations(inside, 2)), 2)
            )
            found.add((value, a * (layers - a) + 1))
    return found


@pytest.mark.parametrize(
    ("widths", "rank", "value", "multiplicity"),
    [
        ((3, 2), 2, Fraction(3), 1),
        ((1, 1, 1), 0, Fraction(1, 2), 2),
        ((5, 3, 5), 0, Fraction(13, 2), 2),
        ((5, 3, 5), 1, Fraction(8), 1),
        ((10, 10, 10), 3, Fraction(44), 2),
        ((2, 2, 2, 2), 1, Fraction(2), 3),
    ],
)
def test_published_examples(widths, rank, value, multiplicity):
    assert llc.learning_coefficient.deep_linear(widths, rank) == (value, multiplicity)


def test_deep_linear_equals_a_search_over_subsets():
    for layers in (1, 2, 3, 4):
        for widths in itertools.product(range(1, 6), repeat=layers + 1):
            for rank in range(min(widths) + 1):
                assert brute_force(widths, rank) == {exact.deep_linear(widths, rank)}, (widths, rank)


def test_two_layers_equal_reduced_rank_regression():
    for widths in itertools.product(range(1, 9), repeat=3):
        for rank in range(min(widths) + 1):
            assert exact.deep_linear(widths, rank) == exact.reduced_rank(*widths, rank), (widths, rank)


def test_one_layer_is_a_regular_model():
    for inputs, outputs in itertools.product(range(1, 6), repeat=2):
        for rank in range(min(inputs, outputs) + 1):
            assert exact.deep_linear((inputs, outputs), rank) == exact.regular(inputs * outputs)


def test_order_of_hidden_widths_does_not_matter():
    for widths in itertools.permutations((3, 5, 4)):
        assert exact.deep_linear((6, *widths, 7), 2) == exact.deep_linear((6, 3, 4, 5, 7), 2)


def strata(inputs, hidden, outputs):
    for rank_in, rank_out in itertools.product(range(inputs + 1), range(outputs + 1)):
        for rank in range(min(rank_in, rank_out) + 1):
            if rank_in + rank_out - rank <= hidden:
                yield rank_in, rank_out, rank


def factors(widths, rank_in, rank_out, rank, seed=0):
    """A and B of the given ranks whose product has the given rank, in random bases."""
    inputs, hidden, outputs = widths
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(hidden, hidden)))
    into = basis[:, :rank_in] @ rng.normal(size=(rank_in, inputs))
    kept = list(range(rank)) + list(range(rank_in, rank_in + rank_out - rank))
    return into, rng.normal(size=(outputs, rank_out)) @ basis[:, kept].T


@pytest.mark.parametrize("widths", [(2, 3, 2), (3, 3, 4), (2, 4, 3)])
def test_local_strata_fix_the_directions_they_should(widths):
    """The Jacobian of (A, B) ↦ BA has rank r(M+N−r) + N'α + (M'−α)β; where nothing is left over λ is half of it."""
    inputs, hidden, outputs = widths
    for rank_in, rank_out, rank in strata(*widths):
        into, out = factors(widths, rank_in, rank_out, rank)
        assert np.linalg.matrix_rank(out @ into, tol=1e-9) == rank
        jacobian = np.hstack([np.kron(np.eye(inputs), out), np.kron(into.T, np.eye(outputs))])
        a, b = rank_in - rank, rank_out - rank
        m, n = inputs - rank, outputs - rank
        fixed = rank * (inputs + outputs - rank) + n * a + (m - a) * b
        assert np.linalg.matrix_rank(jacobian, tol=1e-9) == fixed
        found = exact.two_layer_local(*widths, rank_in=rank_in, rank_out=rank_out, rank=rank)
        assert found.value >= exact.deep_linear(widths, rank).value
        if hidden == rank + a + b:
            assert found == (Fraction(fixed, 2), 1)


def test_the_smallest_stratum_is_deep_linear():
    for widths in itertools.product(range(1, 6), repeat=3):
        for rank in range(min(widths) + 1):
            local = exact.two_layer_local(*widths, rank_in=rank, rank_out=rank, rank=rank)
            assert local == exact.deep_linear(widths, rank)


def test_normal_crossings():
    assert exact.normal_crossing([1]) == (Fraction(1, 2), 1)
    assert exact.normal_crossing([1, 1, 0]) == (Fraction(1, 2), 2)
    assert exact.normal_crossing([2, 3, 3]) == (Fraction(1, 6), 2)


def test_normal_crossing_against_the_volume_scaling():
    """Vol{w ∈ [0,1]²: w_1²w_2⁶ < ε} ~ ε^λ: the log-log slope of the exact volume tends to λ = 1/6."""
    # Vol = ∫ min(1, (ε/u²)^{1/6}) du on [0, 1], exactly: √ε + ε^{1/6} (1 − ε^{1/2 · 2/3}) / (2/3)
    volume = lambda e: e**0.5 + e ** (1 / 6) * (1 - e ** (1 / 3)) * 1.5  # noqa: E731
    slope = np.log(volume(1e-18) / volume(1e-20)) / np.log(1e2)
    assert slope == pytest.approx(float(exact.normal_crossing([1, 3]).value), abs=1e-4)


def test_gaussian_well_limits():
    curvatures = [0.0, 0.5, 2.0]
    assert exact.gaussian_well(curvatures, nbeta=1e12, gamma=1.0) == pytest.approx(1.0)
    assert exact.gaussian_well(curvatures, nbeta=10.0, gamma=0.0) == 1.0
    assert exact.gaussian_well([3.0], nbeta=2.0, gamma=6.0) == 0.25


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: exact.deep_linear([3], 0), "expected an input and an output width"),
        (lambda: exact.deep_linear([3, 2], 3), "rank = 3 given, expected 0 to the smallest width, 2"),
        (lambda: exact.deep_linear([3, 2.5], 1), "widths = 2.5 given, expected a whole number"),
        (lambda: exact.deep_linear([3, 2], 0.5), "rank = 0.5 given, expected a whole number"),
        (lambda: exact.reduced_rank(2, -1, 2, 1), "widths = -1 given"),
        (lambda: exact.reduced_rank(2, 2, 2, 0.5), "rank = 0.5 given"),
        (lambda: exact.two_layer_local(2, -1, 2, rank_in=1, rank_out=1, rank=1), "widths = -1 given"),
        (lambda: exact.two_layer_local(2, 1, 2, rank_in=-1, rank_out=1, rank=1), "ranks = -1 given"),
        (lambda: exact.regular(-1), "num_parameters = -1 given"),
        (lambda: exact.reduced_rank(2, 2, 2, 3), "rank = 3 given, expected 0 to 2"),
        (lambda: exact.normal_crossing([0, 0]), "expected at least one > 0"),
        (lambda: exact.normal_crossing([]), "expected at least one > 0"),
        (lambda: exact.normal_crossing([-1]), "half_exponents = -1 given"),
        (lambda: exact.deep_linear("32", 0), "widths = '32' given, expected whole numbers"),
        (lambda: exact.deep_linear(3, 0), "widths = 3 given, expected whole numbers"),
        (lambda: exact.gaussian_well([-1.0, 2.0], nbeta=1.0), "curvatures = [-1.0, 2.0] given, expected all >= 0"),
        (lambda: exact.gaussian_well([math.inf], nbeta=1.0), "curvatures = [inf] given"),
        (lambda: exact.gaussian_well([1.0], nbeta=1.0, gamma=math.inf), "gamma = inf given"),
        (lambda: exact.gaussian_well([1.0], nbeta=0.0), "nbeta = 0.0"),
        (lambda: exact.gaussian_well([1.0], nbeta=math.inf), "nbeta = inf"),
        (lambda: exact.two_layer_local(1, 3, 2, rank_in=2, rank_out=1, rank=1), "cannot have"),
        (lambda: exact.two_layer_local(2, 3, 1, rank_in=1, rank_out=2, rank=1), "cannot have"),
        (lambda: exact.two_layer_local(2, 1, 2, rank_in=1, rank_out=1, rank=0), "cannot have"),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(InvalidInput) as error:
        call()
    assert said in str(error.value)
