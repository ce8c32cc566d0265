"""Problems whose learning coefficients are known exactly: what `llc validate` holds the estimator against."""

import itertools
from collections.abc import Sequence

import numpy as np

from llc.errors import InvalidInput, did_you_mean, shown_name
from llc.validation import learning_coefficient
from llc.validation.problems.case import Case
from llc.validation.problems.deep_linear import deep_linear
from llc.validation.problems.defaults import defaults
from llc.validation.problems.polynomial import CROSSINGS, crossing_name, polynomial
from llc.validation.problems.regression import regression
from llc.validation.problems.strata import two_layer_stratum

SUITES = ("quick", "full", "tuned-quick", "tuned")

# Where the asymptotics of λ are nearly reached: the prior is about as wide as the weights, so that products of many
# small factors still count, and directions that the data hold are far narrower.
_NBETA, _GAMMA = 1e4, 2.0
# Draws of four chains, of the classes of about 500 (tuned-quick), 1,000 and 10,000 parameters.
_SMALL, _MIDDLE, _LARGE = (200, 600, 1200), (700, 1400, 6000), (8000, 12000, 6000)


def suite(name: str, problems: int = 0) -> list[Case]:
    """The cases of a suite: `quick` or `full` at the defaults, `tuned-quick` or `tuned` at settings of their own.

    Args:
        name: one of these four.
        problems: which wells, data, strata and networks are drawn; in the tuned suites normal crossings are the same in
            all. Settings were chosen while looking at some of draw 0, so that other draws say how accurate estimates
            are elsewhere.
    Raises:
        InvalidInput: there is none of that name, or `problems` is negative.
    """
    if problems < 0:
        raise InvalidInput(f"problems = {problems} given, expected 0 or more")
    if name in {"full", "quick"}:
        return defaults(problems, quick=name == "quick")
    first = 1000 * problems
    if name == "tuned-quick":
        return [
            *(_well(first + seed) for seed in range(2)),
            *(_crossing(half_exponents, 1500) for half_exponents in ([1], [2], [1, 1])),
            *(_regression(dim, first + dim) for dim in (5, 50)),
            *(_stratum(shape, 1200, first) for shape in _strata(problems)[:2]),
            *(_deep_linear(first + seed, *_SMALL) for seed in range(7)),
        ]
    if name == "tuned":
        return [
            *(_well(first + seed) for seed in range(10)),
            *(_crossing(half_exponents, 4000) for half_exponents in CROSSINGS),
            *(_regression(dim, first + dim) for dim in (2, 5, 10, 20, 50, 100)),
            *(_stratum(shape, 3000, first) for shape in _strata(problems)),
            *(_deep_linear(first + seed, *_MIDDLE) for seed in range(90)),
            *(_deep_linear(first + seed, *_LARGE) for seed in range(90, 102)),
        ]
    raise InvalidInput(f"unknown suite {shown_name(name)}; {did_you_mean(name, [*SUITES, 'draws'])}")


def _well(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    curvatures = (10.0 ** rng.uniform(-3, 1, size=20)).tolist()
    exact = learning_coefficient.gaussian_well(curvatures, nbeta=500.0, gamma=1.0)
    settings = {"nbeta": 500.0, "gamma": 1.0, "draws": 1000}
    return Case(f"Gaussian well {seed}", "Gaussian well", polynomial, ("well", curvatures), exact, 1, 20, settings)


def _crossing(half_exponents: list[int], draws: int) -> Case:
    exact = learning_coefficient.normal_crossing(half_exponents)
    return Case(
        name=f"normal crossing {crossing_name(half_exponents)}",
        kind="normal crossing",
        build=polynomial,
        arguments=("crossing", half_exponents),
        exact=float(exact.value),
        multiplicity=exact.multiplicity,
        parameters=len(half_exponents),
        settings={"nbeta": 1e5, "gamma": 1.0, "draws": draws},
    )


def _regression(dim: int, seed: int) -> Case:
    exact = learning_coefficient.regular(dim)
    return Case(
        name=f"linear regression {dim}",
        kind="regular regression",
        build=regression,
        arguments=(dim, 2000, seed),
        exact=float(exact.value),
        multiplicity=exact.multiplicity,
        parameters=dim,
        settings={"gamma": 1.0, "draws": 1000, "batch_size": 500},
    )


# M → H → N with factor ranks a, b and product rank r, where λ(w*) is larger than on the lowest stratum.
_STRATA = (
    (22, 13, 6, 9, 5, 1),
    (7, 8, 30, 3, 6, 2),
    (19, 12, 14, 6, 11, 5),
    (13, 8, 29, 1, 2, 0),
    (11, 11, 23, 5, 6, 1),
    (27, 13, 11, 6, 8, 5),
    (6, 15, 29, 5, 8, 2),
    (24, 15, 13, 3, 10, 2),
    (27, 20, 19, 12, 16, 8),
    (18, 11, 10, 8, 5, 2),
)
# Chains go to a lower stratum, and λ̂ comes out lower, where the prior lets them: its width has to be small beside the
# sizes of the factors, from 0.5 to 1.5. At a hundredth of these two (the same ratio), λ̂ is up to 4 % low.
_LOCAL_NBETA, _LOCAL_GAMMA = 1e8, 5e3


def _strata(problems: int) -> Sequence[Sequence[int]]:
    """Ten shapes, M, H, N, a, b, r; those of draw 0 are written out above."""
    if problems == 0:
        return _STRATA
    rng = np.random.default_rng([11, problems])
    found: list[Sequence[int]] = []
    while len(found) < len(_STRATA):
        inputs, hidden, outputs = rng.integers(6, 31, size=3).tolist()
        rank_in = int(rng.integers(1, min(inputs, hidden) + 1))
        rank_out = int(rng.integers(1, min(hidden, outputs) + 1))
        rank = int(rng.integers(max(0, rank_in + rank_out - hidden), min(rank_in, rank_out) + 1))
        local = learning_coefficient.two_layer_local(
            inputs, hidden, outputs, rank_in=rank_in, rank_out=rank_out, rank=rank
        )
        if local.value > learning_coefficient.deep_linear((inputs, hidden, outputs), rank).value:
            found.append((inputs, hidden, outputs, rank_in, rank_out, rank))
    return found


def _stratum(shape: Sequence[int], draws: int, seed: int) -> Case:
    inputs, hidden, outputs, rank_in, rank_out, rank = shape
    exact = learning_coefficient.two_layer_local(inputs, hidden, outputs, rank_in=rank_in, rank_out=rank_out, rank=rank)
    return Case(
        name=f"two layers {inputs}-{hidden}-{outputs}, ranks {rank_in} and {rank_out}, product {rank}",
        kind="two-layer stratum",
        build=two_layer_stratum,
        arguments=((inputs, hidden, outputs), (rank_in, rank_out, rank), 128, seed),
        exact=float(exact.value),
        multiplicity=exact.multiplicity,
        parameters=hidden * (inputs + outputs),
        settings={"nbeta": _LOCAL_NBETA, "gamma": _LOCAL_GAMMA, "batch_size": 128, "draws": draws},
    )


def _deep_linear(seed: int, least: int, most: int, draws: int) -> Case:
    """Two to six layers of random widths, between `least` and `most` parameters, of random rank from 0 up."""
    rng = np.random.default_rng([7, seed])
    while True:
        layers = int(rng.integers(2, 7))
        typical = (rng.uniform(least, most) / layers) ** 0.5
        widths = [max(2, int(typical * rng.uniform(0.6, 1.4))) for _ in range(layers + 1)]
        parameters = sum(a * b for a, b in itertools.pairwise(widths))
        if least <= parameters <= most:
            break
    rank = int(rng.integers(0, min(widths) + 1))
    samples = max(128, 4 * max(widths))
    exact = learning_coefficient.deep_linear(widths, rank)
    return Case(
        name=f"deep linear {'-'.join(map(str, widths))}, rank {rank}",
        kind=f"deep linear, {layers} layers",
        build=deep_linear,
        arguments=(tuple(widths), rank, samples, seed),
        exact=float(exact.value),
        multiplicity=exact.multiplicity,
        parameters=parameters,
        settings={"nbeta": _NBETA, "gamma": _GAMMA, "batch_size": samples, "draws": draws},
    )
