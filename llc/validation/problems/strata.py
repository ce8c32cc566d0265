"""Two-layer linear networks off the lowest stratum of their true set, where λ(w*) is larger."""

from collections.abc import Sequence

import torch

from llc.models.deep_linear import DeepLinear
from llc.randomness import generator
from llc.validation import learning_coefficient
from llc.validation.problems import chance
from llc.validation.problems.case import Case, Problem
from llc.validation.problems.deep_linear import own_teacher


def two_layer_stratum(widths: Sequence[int], ranks: Sequence[int], samples: int, seed: int) -> Problem:
    """A two-layer linear network whose factors have ranks a and b and whose product has rank r, its own teacher.

    The hidden directions are shared by both factors (r), used by the first alone (a − r), by the second alone (b − r),
    or by neither.

    Args:
        widths: M, H, N.
        ranks: a, b, r.
    """
    inputs, hidden, outputs = widths
    rank_in, rank_out, rank = ranks
    rng = generator("stratum", seed)
    between = torch.linalg.qr(torch.randn(hidden, hidden, generator=rng))[0]
    first = between[:, :rank_in]
    second = torch.cat([between[:, :rank], between[:, rank_in : rank_in + rank_out - rank]], 1)
    model = DeepLinear([inputs, hidden, outputs])
    with torch.no_grad():
        model.weights[0].copy_(first * chance.sizes(rank_in, rng) @ chance.basis(inputs, rank_in, rng).T)
        model.weights[1].copy_(chance.basis(outputs, rank_out, rng) * chance.sizes(rank_out, rng) @ second.T)
    return own_teacher(model, inputs, samples, rng)


def off_the_lowest(problems: int, index: int) -> Case:
    """Factors of ranks above the product's, drawn until λ(w*) is above the lowest stratum's."""
    rng = chance.stream("stratum", problems, index)
    while True:
        inputs, hidden, outputs = (chance.count(4, 20, rng) for _ in range(3))
        rank_in = chance.count(1, min(inputs, hidden), rng)
        rank_out = chance.count(1, min(hidden, outputs), rng)
        rank = chance.count(max(0, rank_in + rank_out - hidden), min(rank_in, rank_out), rng)
        exact = learning_coefficient.two_layer_local(
            inputs, hidden, outputs, rank_in=rank_in, rank_out=rank_out, rank=rank
        )
        if exact.value > learning_coefficient.deep_linear((inputs, hidden, outputs), rank).value:
            break
    samples, seed = chance.samples(1000, 10_000, rng), chance.number(problems, index)
    return Case(
        name=f"two layers {inputs}-{hidden}-{outputs}, ranks {rank_in}, {rank_out}, {rank}, n {samples}, #{seed}",
        kind="two-layer stratum",
        build=two_layer_stratum,
        arguments=((inputs, hidden, outputs), (rank_in, rank_out, rank), samples, seed),
        exact=float(exact.value),
        multiplicity=exact.multiplicity,
        parameters=hidden * (inputs + outputs),
        settings={},
    )
