"""How steep the loss is at the centre: what a stable step size depends on."""

import torch
from torch import Tensor

from llc.randomness import generator
from llc.sampling.target import Minibatch, Target


def largest_curvature(target: Target, *, iterations: int = 20, seed: int = 0) -> float:
    """nβ h_max at w*: the largest absolute eigenvalue of nβ ∇²L, by power iteration on one minibatch.

        v ← Hv/‖Hv‖,   Hv ≈ nβ [∇L(w* + δv) − ∇L(w* − δv)]/(2δ),   δ = 10⁻³ max(1, ‖w*‖)

    Differences of gradients ask nothing of the model but a gradient. A few per cent of accuracy is enough for a step
    size; a minibatch's largest eigenvalue is on average above the full data's, which errs on the safe side.
    """
    draw = generator(seed, "curvature")
    minibatch = next(target.minibatches(draw))
    direction = torch.randn(target.center.shape, generator=draw, dtype=target.center.dtype).to(target.device)
    size = 1e-3 * max(1.0, float(target.center.norm()))
    value = 0.0
    for _ in range(iterations):
        direction = direction / direction.norm()
        product = _hessian_product(target, direction, size, minibatch)
        value = float(product.norm())
        if value == 0 or not torch.isfinite(product).all():
            break
        direction = product
    return value


def _hessian_product(target: Target, direction: Tensor, size: float, minibatch: Minibatch) -> Tensor:
    ahead = target.evaluate(target.center + size * direction, minibatch).gradient
    behind = target.evaluate(target.center - size * direction, minibatch).gradient
    return (ahead - behind) / (2 * size) - target.gamma * direction
