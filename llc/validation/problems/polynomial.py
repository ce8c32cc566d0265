"""Polynomials of the weights: Gaussian wells and normal crossings."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llc.validation import learning_coefficient
from llc.validation.problems import chance
from llc.validation.problems.case import Case, Problem

CROSSINGS = ([1], [2], [3], [1, 0], [1, 1], [1, 2], [1, 1, 1])


class Polynomial(nn.Module):
    """K(w) = ½ Σ_i c_i w_i² or Π_i w_i^{2k_i}, as a loss that is the same for every sample."""

    numbers: Tensor

    def __init__(self, kind: str, numbers: Sequence[float]) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("numbers", torch.tensor([float(number) for number in numbers]))
        self.weight = nn.Parameter(torch.zeros(len(numbers)))

    def forward(self) -> Tensor:
        """K(w), a scalar."""
        squares = self.weight.square()
        if self.kind == "well":
            return (self.numbers * squares).sum() / 2
        return (squares**self.numbers).prod()


def polynomial(kind: str, numbers: Sequence[float], samples: int = 8) -> Problem:
    """A model that is its own loss, the same for each sample."""

    def loss(model: Polynomial, batch: tuple[Tensor]) -> Tensor:
        return model().expand(len(batch[0]))

    return Polynomial(kind, numbers), loss, (torch.zeros(samples),)


def crossing(problems: int, index: int) -> Case:
    """A normal crossing at w* = 0 with a usual number of samples: λ = min_i 1/(2k_i)."""
    rng = chance.stream("crossing", problems, index)
    half_exponents = CROSSINGS[index % len(CROSSINGS)]
    samples = chance.samples(2000, 50_000, rng)
    exact = learning_coefficient.normal_crossing(half_exponents)
    return Case(
        name=f"normal crossing {crossing_name(half_exponents)}, n {samples}",
        kind="normal crossing",
        build=polynomial,
        arguments=("crossing", half_exponents, samples),
        exact=float(exact.value),
        multiplicity=exact.multiplicity,
        parameters=len(half_exponents),
        settings={},
    )


def crossing_name(half_exponents: Sequence[int]) -> str:
    """The polynomial as it is written."""
    return "·".join(f"w^{2 * k}" for k in half_exponents)
