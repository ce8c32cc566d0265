"""The toy model of superposition at regular polygons."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from llc.randomness import generator
from llc.validation.problems import chance
from llc.validation.problems.case import Case, Problem
from llc.validation.problems.losses import squared_errors

# Features, and what polygon they make: more than seven are nearly flat, and fewer than four are a regular simplex.
POLYGONS = (5, 4, 6, 7)
# Lengths and biases to begin with, near the population's minimum.
_NEAR = {4: (1.0, 0.0), 5: (1.17, -0.28), 6: (1.32, -0.62), 7: (1.45, -0.98)}
_STEPS = 200
_FLAT = 1e-9


class Superposition(nn.Module):
    """x ↦ ReLU(WᵀWx + b), (B, c) -> (B, c), W 2 × c.

    Elhage et al. (2022), Toy models of superposition; Chen et al. (2023), arXiv 2310.06301.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        """(B, c) -> (B, c)."""
        return torch.relu(x @ self.weight.T @ self.weight + self.bias)


def polygon(features: int, samples: int, seed: int, *, redraw: int = 0) -> Problem:
    """E‖x − ReLU(WᵀWx + b)‖², one feature of x at a time in U(0, 1), at the minimum that is a regular c-gon.

    A finite sample's own minimum, a few per cent from regular, found from the polygon by Newton's method, and turned.
    Turning is O(2): one flat direction, across which the Hessian is positive for 5 to 7 features. For 4 the loss is 0
    at W a square and b = 0, where ReLU has its kink: to second order it is quadratic on pieces, positive but for the
    turn (with i active every other output must stay at 0, which needs angles of at least 90°), so that by scaling
    there, too,

        λ = (3c − 1)/2,   m = 1.

    Args:
        redraw: another sample of the same truth.
    """
    sample = generator("superposition", features, seed, "sample", redraw)
    x = torch.zeros(samples, features)
    active = torch.randint(0, features, (samples,), generator=sample)
    x[torch.arange(samples), active] = torch.rand(samples, generator=sample)
    length, bias = _NEAR[features]
    angles = 2 * math.pi * torch.arange(features, dtype=torch.float64) / features
    corners = length * torch.stack([angles.cos(), angles.sin()])
    wide = x.double()

    def loss(w: Tensor) -> Tensor:
        weight, bias = w[: 2 * features].reshape(2, features), w[2 * features :]
        return (torch.relu(wide @ weight.T @ weight + bias) - wide).square().sum(1).mean()

    start = torch.cat([corners.reshape(-1), torch.full((features,), bias, dtype=torch.float64)])
    found = start if features == 4 else _settle(loss, start)
    turn = chance.basis(2, 2, generator("superposition", features, seed)).double()
    model = Superposition(features)
    with torch.no_grad():
        model.weight.copy_(turn @ found[: 2 * features].reshape(2, features))
        model.bias.copy_(found[2 * features :])
    return model, squared_errors, (x, x)


def _settle(loss: Callable[[Tensor], Tensor], w: Tensor) -> Tensor:
    """Newton's method with |h_i| for curvatures h_i and steps halved until the loss falls, to rounding."""
    gradient_of = torch.func.grad(loss)
    curvature_of = torch.func.jacrev(gradient_of)
    for _ in range(_STEPS):
        gradient = gradient_of(w)
        if float(gradient.abs().max()) < 1e-14:
            break
        values, vectors = torch.linalg.eigh(curvature_of(w))
        size = values.abs()
        inverse = torch.where(size > _FLAT * size.max(), 1 / size, torch.zeros_like(size))
        step = vectors @ (inverse * (vectors.T @ gradient))
        while float(loss(w - step)) > float(loss(w)) and float(step.abs().max()) > 1e-15:
            step = step / 2
        w = w - step
    return w


def regular_polygon(problems: int, index: int) -> Case:
    """A polygon of 4 to 7 features in the plane."""
    rng = chance.stream("superposition", problems, index)
    features, seed = POLYGONS[index % len(POLYGONS)], chance.number(problems, index)
    samples = chance.samples(5000, 20_000, rng)
    return Case(
        name=f"superposition, {features}-gon, n {samples}, #{seed}",
        kind="superposition",
        build=polygon,
        arguments=(features, samples, seed),
        exact=(3 * features - 1) / 2,
        multiplicity=1,
        parameters=3 * features,
        settings={},
    )
