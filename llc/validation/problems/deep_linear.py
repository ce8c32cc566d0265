"""Deep linear networks: at a teacher with and without noise in its labels, and at the minimum of their own data."""

import itertools
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from llc.models.deep_linear import DeepLinear
from llc.randomness import generator
from llc.validation import learning_coefficient
from llc.validation.problems import chance
from llc.validation.problems.case import Case, Problem
from llc.validation.problems.losses import SQUARED, mean_squared_errors, squared_loss

INPUTS = ("N(0,1)", "U(-1,1)", "U(-10,10)")


def deep_linear(widths: Sequence[int], rank: int, samples: int, seed: int) -> Problem:
    """A deep linear network that is its own teacher: x ~ U(−10, 10), no noise, squared error averaged over outputs."""
    rng = generator("deep linear", seed)
    model = DeepLinear(widths)
    model.set_to_rank(rank, rng)
    return own_teacher(model, widths[0], samples, rng)


def own_teacher(model: DeepLinear, inputs: int, samples: int, rng: torch.Generator) -> Problem:
    """The network at weights that fit noiseless labels of its own, x ~ U(−10, 10)."""
    x = 20 * torch.rand(samples, inputs, generator=rng) - 10
    with torch.no_grad():
        y = model(x)
    return model, mean_squared_errors, (x, y)


def teacher(
    widths: Sequence[int],
    rank: int,
    inputs: str,
    samples: int,
    noise: float,
    loss: str,
    seed: int,
    *,
    redraw: int = 0,
) -> Problem:
    """y = W_L ⋯ W_1 x + noise, at the W that made it, every factor of just this rank (`DeepLinear.set_to_rank`).

    With noise these weights are the truth, whose λ is known, yet not the minimum of a finite sample.

    Args:
        inputs: a name in `INPUTS`.
        loss: a name in `losses.SQUARED`.
        redraw: another sample of the same truth.
    """
    model = DeepLinear(widths)
    model.set_to_rank(rank, generator("teacher", *widths, rank, seed))
    sample = generator("teacher", *widths, rank, seed, "sample", redraw)
    x = _inputs(inputs, samples, widths[0], sample)
    with torch.no_grad():
        y = model(x)
    return model, SQUARED[loss], (x, y + noise * torch.randn(y.shape, generator=sample) if noise else y)


def at_minimum(
    widths: Sequence[int], inputs: str, samples: int, noise: float, loss: str, seed: int, *, redraw: int = 0
) -> Problem:
    """`teacher` of the largest rank m = min H, at the minimum of its noisy sample.

    That is reduced-rank regression of rank m, USVᵀ say, shared out as W_l = Q_{l+1} S^{1/L} Q_lᵀ with Q_1 = V and
    Q_{L+1} = U. Around it products of rank m are a smooth set of m(H_1 + H_{L+1} − m) dimensions, which W ↦ W_L ⋯ W_1
    covers and on which the loss is curved in every direction, so that λ is half of that.
    """
    model, chosen, (x, y) = teacher(widths, min(widths), inputs, samples, noise, loss, seed, redraw=redraw)
    left, values, right = torch.linalg.svd(reduced_rank(x, y, min(widths)), full_matrices=False)
    rank, layers = min(widths), len(widths) - 1
    rng = generator("at minimum", seed)
    between = [chance.basis(width, rank, rng).double() for width in widths[1:-1]]
    bases = [right[:rank].T, *between, left[:, :rank]]
    assert isinstance(model, DeepLinear)
    with torch.no_grad():
        for weight, into, out in zip(model.weights, bases[:-1], bases[1:], strict=True):
            weight.copy_(out * values[:rank] ** (1 / layers) @ into.T)
    return model, chosen, (x, y)


def reduced_rank(x: Tensor, y: Tensor, rank: int) -> Tensor:
    """The (N, M) matrix of at most this rank with the least squared error, float64: P_r of the predictions, Ŵ P_rᵀ."""
    x, y = x.double(), y.double()
    full = torch.linalg.lstsq(x, y).solution
    # Only the outputs' covariance is needed: its leading directions are those of the predictions.
    predicted = x @ full
    _, directions = torch.linalg.eigh(predicted.T @ predicted)
    leading = directions[:, max(0, directions.shape[1] - rank) :]
    return leading @ leading.T @ full.T


def lowest(data: tuple[Tensor, ...], rank: int, loss: str) -> float:
    """The least mean loss of any network whose narrowest width is `rank`.

    No local minimum of a deep linear network lies higher (Laurent & von Brecht 2018, arXiv 1712.01473, where the
    narrowest width is an end; Kawaguchi 2016, arXiv 1605.07110).
    """
    x, y = data
    return squared_loss(y.double() - x.double() @ reduced_rank(x, y, rank).T, loss)


def _inputs(name: str, samples: int, dim: int, rng: torch.Generator) -> Tensor:
    if name == "N(0,1)":
        return torch.randn(samples, dim, generator=rng)
    reach = {"U(-1,1)": 1, "U(-10,10)": 10}[name]
    return reach * (2 * torch.rand(samples, dim, generator=rng) - 1)


def random_widths(least: int, most: int, rng: torch.Generator) -> list[int]:
    """Two to six layers with between `least` and `most` parameters."""
    while True:
        layers = chance.count(2, 6, rng)
        typical = (chance.samples(least, most, rng) / layers) ** 0.5
        widths = [max(2, int(typical * chance.real(0.6, 1.4, rng))) for _ in range(layers + 1)]
        if least <= count_parameters(widths) <= most:
            return widths


def count_parameters(widths: Sequence[int]) -> int:
    """Σ H_l H_{l+1}."""
    return sum(a * b for a, b in itertools.pairwise(widths))


def noiseless(problems: int, index: int) -> Case:
    """A teacher without noise: w* is a minimum of loss 0 on the lowest stratum of the true set."""
    rng = chance.stream("deep linear", problems, index)
    widths = random_widths(100, 1500, rng)
    rank = chance.count(0, min(widths), rng)
    samples = chance.samples(1000, 10_000, rng)
    return teacher_case("deep linear", widths, rank, samples, 0.0, rng, chance.number(problems, index))


def noisy(problems: int, index: int) -> Case:
    """A teacher with noise in its labels, at the truth: λ is the truth's."""
    rng = chance.stream("noisy deep linear", problems, index)
    widths = random_widths(100, 1000, rng)
    rank = chance.count(0, min(widths), rng)
    samples = chance.samples(2000, 10_000, rng)
    noise = chance.real(0.4, 1.5, rng)
    return teacher_case("deep linear, noisy", widths, rank, samples, noise, rng, chance.number(problems, index))


def teacher_case(
    kind: str, widths: Sequence[int], rank: int, samples: int, noise: float, rng: torch.Generator, seed: int
) -> Case:
    """The case of a teacher, its inputs and loss drawn."""
    # Averaged over outputs, noise of the size of the signal would hardly show.
    inputs, loss = chance.one_of(INPUTS, rng), chance.one_of(("summed", "half") if noise else tuple(SQUARED), rng)
    exact = learning_coefficient.deep_linear(widths, rank)
    told = f", noise {noise}" if noise else ""
    return Case(
        name=f"{kind} {_dashed(widths)}, rank {rank}, {inputs}, n {samples}{told}, {loss}, #{seed}",
        kind=kind,
        build=teacher,
        arguments=(tuple(widths), rank, inputs, samples, noise, loss, seed),
        exact=float(exact.value),
        multiplicity=exact.multiplicity,
        parameters=count_parameters(widths),
        settings={},
        lowest=partial(lowest, rank=min(widths), loss=loss) if noise else None,
    )


def minimum(problems: int, index: int) -> Case:
    """At the minimum of noisy data with a full-rank truth: λ = m(H_1 + H_{L+1} − m)/2, m = min H."""
    rng = chance.stream("deep linear minimum", problems, index)
    widths = random_widths(50, 600, rng)
    rank, seed = min(widths), chance.number(problems, index)
    inputs, loss = chance.one_of(INPUTS, rng), chance.one_of(tuple(SQUARED), rng)
    samples, noise = chance.samples(2000, 10_000, rng), chance.real(0.2, 1, rng)
    return Case(
        name=f"fitted deep linear {_dashed(widths)}, {inputs}, n {samples}, noise {noise}, {loss}, #{seed}",
        kind="deep linear, fitted",
        build=at_minimum,
        arguments=(tuple(widths), inputs, samples, noise, loss, seed),
        exact=rank * (widths[0] + widths[-1] - rank) / 2,
        multiplicity=1,
        parameters=count_parameters(widths),
        settings={},
    )


def _dashed(widths: Sequence[int]) -> str:
    return "-".join(map(str, widths))
