"""The suites of problems at which the estimator chooses everything itself."""

from collections.abc import Callable

from llc.validation.problems import (
    above_the_floor,
    autoencoder,
    classification,
    deep_linear,
    polynomial,
    regression,
    strata,
    superposition,
)
from llc.validation.problems.case import Case, redrawn

# What makes the i-th case of a kind, how many there are, and how many of them are in the quick suite.
_KINDS: tuple[tuple[Callable[[int, int], Case], int, int], ...] = (
    (regression.regular, 14, 2),
    (regression.degenerate, 10, 1),
    (classification.logistic, 8, 1),
    (classification.softmax, 8, 1),
    (deep_linear.noiseless, 22, 2),
    (deep_linear.noisy, 16, 2),
    (deep_linear.minimum, 8, 1),
    (above_the_floor.left_by_sgd, 12, 1),
    (above_the_floor.left_by_adam, 12, 1),
    (polynomial.crossing, 5, 1),
    (strata.off_the_lowest, 6, 1),
    (superposition.regular_polygon, 4, 1),
    (autoencoder.principal, 8, 1),
)

# Kinds of which the full suite has so many samples of each truth. Of three that were false and were redrawn, the first
# sample's λ̂ lay 4 to 15 % of λ from those of four others; `benchmarks/draws.py` tells it in general.
_SAMPLES: dict[Callable[[int, int], Case], int] = {deep_linear.noisy: 3}


def defaults(problems: int = 0, *, quick: bool = False) -> list[Case]:
    """133 truths, or 16 of them, without settings; samples of a truth one after another.

    Args:
        problems: which sizes, data and truths are drawn.
        quick: 16 truths, a sample of each, in place of 133.
    """
    cases = []
    for make, full, few in _KINDS:
        for index in range(few if quick else full):
            first = make(problems, index)
            samples = 1 if quick else _SAMPLES.get(make, 1)
            cases += [first, *(redrawn(first, sample) for sample in range(1, samples))]
    return cases
