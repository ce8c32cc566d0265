"""SGLD with a diagonal preconditioner learned in warm-up and then frozen."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from llc.sampling.target import Evaluation

# Decay of the running mean of squared gradients, per step.
DECAY = 0.99
# Keeps G finite where gradients vanish, in units of the root mean square of all √V.
DAMPING = 0.1


class State(NamedTuple):
    """A chain's position w and its running mean V of squared gradients, each (P,); `frozen` once warm-up is over."""

    position: Tensor
    squares: Tensor
    steps: int
    frozen: bool


def init(position: Tensor) -> State:
    """A chain that starts at `position` and still adapts."""
    return State(position.clone(), torch.zeros_like(position), 0, frozen=False)


def freeze(state: State) -> State:
    """End of warm-up: from here on G is constant, without which the chain stays biased even as ε → 0."""
    return state._replace(frozen=True)


def update(
    state: State, evaluate: Callable[[Tensor], Evaluation], generator: torch.Generator, *, step_size: float
) -> tuple[State, Evaluation]:
    """One step towards exp(−U), U(w) = nβ L(w) + γ/2 ‖w − w*‖²:

        V ← ρV + (1 − ρ)(∇Û)²,  V̂ = V/(1 − ρ^t),  G = s/(√V̂ + δs),  s = rms of √V̂      (warm-up only)
        w ← w − (ε/2) G ∇Û(w) + √(εG) ξ,   ξ ~ N(0, I)

    Li et al. (2016), arXiv 1512.07666, with Adam's bias correction and with G scaled to be about 1 for a typical
    parameter, so that ε means what it means for SGLD.

    Args:
        state: from `init` or an earlier update.
        evaluate: gives the loss and ∇Û at a position, from this step's minibatch.
        generator: of the noise.
        step_size: ε > 0.
    Returns:
        The new state, and the evaluation at the old position.
    """
    evaluation = evaluate(state.position)
    squares, steps = state.squares, state.steps
    if not state.frozen:
        squares = DECAY * squares + (1 - DECAY) * evaluation.gradient.square()
        steps += 1
    preconditioner = metric(State(state.position, squares, steps, state.frozen))
    noise = torch.randn(state.position.shape, generator=generator, dtype=state.position.dtype)
    position = state.position - step_size / 2 * preconditioner * evaluation.gradient
    position.add_((step_size * preconditioner).sqrt() * noise.to(position.device))
    return State(position, squares, steps, state.frozen), evaluation


def metric(state: State) -> Tensor:
    """G, (P,): what the sampler multiplies gradients with."""
    root = (state.squares / (1 - DECAY**state.steps)).sqrt() if state.steps else torch.ones_like(state.squares)
    scale = float(root.square().mean().sqrt()) or 1.0
    return scale / (root + DAMPING * scale)


def step_excess(settings: dict[str, float], *, square: float, noise: float) -> float:
    """As for SGLD, in the metric G: ε Σ_i G_i(E(∇Û_i)² − γ)/8.

    Args:
        square: Σ_i G_i(E(∇Û_i)² − γ). noise: tr GC, not needed here.
    """
    return settings["step_size"] * max(0.0, square) / 8


def stability_limit(curvature: float, gamma: float) -> float:
    """ε below which every direction is stable, whatever G turns out to be: G is at most 1/δ."""
    return DAMPING * 4 / (curvature + gamma) if curvature + gamma > 0 else 1.0


def default_settings(curvature: float, gamma: float, draws: int) -> dict[str, float]:
    """ε at half the guaranteed stability limit."""
    return {"step_size": stability_limit(curvature, gamma) / 2}
