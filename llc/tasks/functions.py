"""Random functions of D coordinates, and how they are drawn: Garg et al. (2022), arXiv 2208.01066."""

import math
from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor

Family = Literal["linear", "sparse", "quadratic", "relu", "tree"]


class Shape(Protocol):
    """What the families need to know; a `FunctionClass` has it."""

    @property
    def sparsity(self) -> int:
        """Coordinates that count."""

    @property
    def hidden(self) -> int:
        """Units."""

    @property
    def depth(self) -> int:
        """Levels of a tree."""


def linear(xs: Tensor, shape: Shape, rng: torch.Generator) -> Tensor:
    """wᵀx, w ~ N(0, I)."""
    return (xs @ torch.randn(len(xs), xs.shape[-1], 1, generator=rng)).squeeze(-1)


def sparse(xs: Tensor, shape: Shape, rng: torch.Generator) -> Tensor:
    """wᵀx, w ~ N(0, I) on `sparsity` coordinates drawn, 0 on the others."""
    dim = xs.shape[-1]
    weights = torch.randn(len(xs), dim, generator=rng)
    chosen = torch.rand(len(xs), dim, generator=rng).argsort(-1) < min(shape.sparsity, dim)
    return (xs @ (weights * chosen)[..., None]).squeeze(-1)


def quadratic(xs: Tensor, shape: Shape, rng: torch.Generator) -> Tensor:
    """Σ w_j x_j²/√3, w ~ N(0, I)."""
    return linear(xs.square(), shape, rng) / math.sqrt(3)


def relu(xs: Tensor, shape: Shape, rng: torch.Generator) -> Tensor:
    """√(2/h) Σ a_i max(0, w_iᵀx), a and w ~ N(0, I), h = `hidden`."""
    inner = torch.randn(len(xs), xs.shape[-1], shape.hidden, generator=rng)
    outer = torch.randn(len(xs), shape.hidden, 1, generator=rng)
    return math.sqrt(2 / shape.hidden) * ((xs @ inner).relu() @ outer).squeeze(-1)


def tree(xs: Tensor, shape: Shape, rng: torch.Generator) -> Tensor:
    """A leaf's value N(0, 1) of a full binary tree of `depth` levels, each node of which asks for a coordinate's sign.

    A coordinate that is 0 is not positive.
    """
    nodes = 2**shape.depth - 1
    asked = torch.randint(xs.shape[-1], (len(xs), nodes), generator=rng)
    leaves = torch.randn(len(xs), nodes + 1, generator=rng)
    at = torch.zeros(xs.shape[:2], dtype=torch.long)
    for _ in range(shape.depth):
        coordinate = asked.gather(1, at)
        positive = xs.gather(2, coordinate[..., None]).squeeze(-1) > 0
        at = 2 * at + 1 + positive.long()
    return leaves.gather(1, at - nodes)


FAMILIES: dict[Family, Callable[[Tensor, Shape, torch.Generator], Tensor]] = {
    "linear": linear,
    "sparse": sparse,
    "quadratic": quadratic,
    "relu": relu,
    "tree": tree,
}
"""`family(xs, shape, rng) -> ys`: (B, K, D) -> (B, K), a function for each sequence."""

Prompt = Literal["standard", "quadrants", "orthogonal", "overlapping", "skewed", "half-subspace"]


def bent(xs: Tensor, prompt: Prompt, asked: int | None, rng: torch.Generator) -> Tensor:
    """xs (B, K, D) from N(0, I) as a prompt has them.

    `quadrants`: those before the question lie in one orthant drawn, the question in one drawn apart. `orthogonal`: the
    question is orthogonal to all before it. `overlapping`: it is one of them. `skewed`: N(0, R diag(1/j²) Rᵀ) times a
    number, R a rotation, of the same trace as I. `half-subspace`: from a random subspace of half the dimensions, of the
    same trace.

    Args:
        asked: the place of the question, from 0; the three prompts that bend it need one.
    """
    if prompt == "standard":
        return xs
    if prompt in {"skewed", "half-subspace"}:
        size, _, dim = xs.shape
        scales = 1 / torch.arange(1, dim + 1) if prompt == "skewed" else (torch.arange(dim) < (dim + 1) // 2).float()
        scales = scales * math.sqrt(dim) / scales.norm()
        rotation = torch.linalg.qr(torch.randn(size, dim, dim, generator=rng)).Q
        return (xs * scales) @ rotation.mT
    assert asked is not None
    size, _, dim = xs.shape
    xs = xs.clone()
    before, question = xs[:, :asked].clone(), xs[:, asked].clone()
    if prompt == "quadrants":
        signs = 2.0 * torch.randint(2, (2, size, dim), generator=rng) - 1
        xs[:, :asked] = before.abs() * signs[0][:, None]
        xs[:, asked] = question.abs() * signs[1]
    elif prompt == "orthogonal":
        basis = torch.linalg.qr(before.mT).Q  # (B, D, asked)
        rest = question - (basis @ (basis.mT @ question[..., None])).squeeze(-1)
        xs[:, asked] = rest
    else:
        seen = torch.randint(asked, (size,), generator=rng)
        xs[:, asked] = before[torch.arange(size), seen]
    return xs
