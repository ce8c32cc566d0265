"""The Metropolis-adjusted Langevin algorithm: exact at any step size, on the full dataset only."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from llc.sampling.target import Evaluation

# The Metropolis test needs U itself, not an estimate of it.
FULL_BATCH = True


class State(NamedTuple):
    """A chain's position w, (P,), what was seen there, and whether the last proposal was accepted."""

    position: Tensor
    seen: Evaluation | None
    accepted: float


def init(position: Tensor) -> State:
    """A chain that starts at `position`."""
    return State(position.clone(), None, 1.0)


def update(
    state: State, evaluate: Callable[[Tensor], Evaluation], generator: torch.Generator, *, step_size: float
) -> tuple[State, Evaluation]:
    """One step that leaves exp(−U) invariant, U(w) = nβ L_n(w) + γ/2 ‖w − w*‖²:

        w' = w − (ε/2) ∇U(w) + √ε ξ,   accepted with probability min(1, e^{U(w) − U(w')} q(w|w')/q(w'|w)),
        q(b|a) ∝ exp(−‖b − a + (ε/2)∇U(a)‖²/(2ε))

    Roberts & Tweedie (1996). A high acceptance rate is not convergence: it only says that steps are small.

    Args:
        state: from `init` or an earlier update.
        evaluate: gives U and ∇U on the full dataset.
        generator: of the noise and the test.
        step_size: ε > 0.
    Returns:
        The new state, and the evaluation at the old position.
    """
    here = state.seen or evaluate(state.position)
    noise = torch.randn(state.position.shape, generator=generator, dtype=state.position.dtype)
    noise = noise.to(state.position.device)
    proposal = state.position.add(here.gradient, alpha=-step_size / 2).add_(noise, alpha=step_size**0.5)
    there = evaluate(proposal)
    back = (state.position - proposal).add_(there.gradient, alpha=step_size / 2).double()
    forth = noise.double().square().sum() * step_size
    log_ratio = here.potential - there.potential + float(forth - back.square().sum()) / (2 * step_size)
    if math.log(float(torch.rand((), generator=generator, dtype=torch.float64))) < log_ratio:
        return State(proposal, there, 1.0), here
    return State(state.position, here, 0.0), here


def step_excess(settings: dict[str, float], *, square: float, noise: float) -> float:
    """0: the Metropolis test leaves the posterior exact."""
    return 0.0


def stability_limit(curvature: float, gamma: float) -> float:
    """ε above which hardly anything is accepted in the steepest direction."""
    return 4 / (curvature + gamma) if curvature + gamma > 0 else 1.0


def default_settings(curvature: float, gamma: float, draws: int) -> dict[str, float]:
    """ε = 1/(nβ h_max + γ)."""
    return {"step_size": stability_limit(curvature, gamma) / 4}
