"""How steep the loss is: what a stable step size depends on."""

import torch
from torch import Tensor

from llc.randomness import generator
from llc.sampling.target import Minibatch, Target


def largest_curvature(target: Target, *, iterations: int = 20, seed: int = 0) -> float:
    """nβ h_max at w*: the largest absolute eigenvalue of nβ ∇²L, by power iteration on one minibatch.

    A few per cent of accuracy is enough for a step size; a minibatch's largest eigenvalue is on average above the
    full data's, which errs on the safe side. See `power_iteration`.
    """
    draw = generator(seed, "curvature")
    minibatch = next(target.minibatches(draw))
    value, _ = power_iteration(target, target.center, random_direction(target, draw), minibatch, iterations)
    return value


def random_direction(target: Target, draw: torch.Generator) -> Tensor:
    """A direction to start a power iteration from, (P,)."""
    return torch.randn(target.center.shape, generator=draw, dtype=target.center.dtype).to(target.device)


def power_iteration(
    target: Target, position: Tensor, direction: Tensor, minibatch: Minibatch, iterations: int
) -> tuple[float, Tensor]:
    """The largest absolute eigenvalue of nβ ∇²L at a position, and the direction where it was found.

        v ← Hv/‖Hv‖,   Hv ≈ nβ [∇L(w + δv) − ∇L(w − δv)]/(2δ),   δ = 10⁻³ max(1, ‖w‖)

    Differences of gradients ask nothing of the model but a gradient; each iteration takes two.

    Args:
        position: (P,). direction: where to start, (P,); the last one found makes a few iterations enough.
    """
    size = 1e-3 * max(1.0, float(position.norm()))
    value = 0.0
    for _ in range(iterations):
        direction = direction / direction.norm()
        ahead = target.evaluate(position + size * direction, minibatch).gradient
        behind = target.evaluate(position - size * direction, minibatch).gradient
        product = (ahead - behind) / (2 * size) - target.gamma * direction
        value = float(product.norm())
        if value == 0 or not torch.isfinite(product).all():
            break
        direction = product
    return value, direction
