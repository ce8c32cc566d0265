"""Sizes and matrices drawn at random, from named streams."""

from collections.abc import Sequence

import torch
from torch import Tensor

from llc.randomness import generator, uniform, whole


def stream(kind: str, problems: int, index: int) -> torch.Generator:
    """Where the sizes of the index-th case of a kind come from, in draw number `problems`."""
    return generator("defaults", kind, problems, index)


def number(problems: int, index: int) -> int:
    """The seed of that case's own numbers; its name ends with it."""
    return 1000 * problems + index


def count(low: int, high: int, rng: torch.Generator) -> int:
    """A whole number from low … high."""
    return int(whole(low, high + 1, rng))


def real(low: float, high: float, rng: torch.Generator) -> float:
    """A number between, to two places, so that a name can say it."""
    return round(low + (high - low) * float(uniform(rng)), 2)


def samples(low: int, high: int, rng: torch.Generator) -> int:
    """How many samples, evenly on a log scale, to two digits."""
    return int(float(f"{low * (high / low) ** float(uniform(rng)):.2g}"))


def one_of(choices: Sequence[str], rng: torch.Generator) -> str:
    """One of several."""
    return choices[int(whole(0, len(choices), rng))]


def basis(dim: int, size: int, rng: torch.Generator) -> Tensor:
    """Orthonormal columns, (dim, size), float32."""
    return torch.linalg.qr(torch.randn(dim, max(1, size), generator=rng))[0][:, :size]


def sizes(size: int, rng: torch.Generator) -> Tensor:
    """Numbers from ½ to 1½, (size,)."""
    return 0.5 + torch.rand(size, generator=rng)


def matrix(dim: int, rng: torch.Generator) -> Tensor:
    """A square matrix with singular values from ½ to 1½."""
    return basis(dim, dim, rng) * sizes(dim, rng) @ basis(dim, dim, rng).T
