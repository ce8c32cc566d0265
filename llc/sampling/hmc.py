"""Hamiltonian Monte Carlo: exact at any step size, on the full dataset only."""

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
    state: State,
    evaluate: Callable[[Tensor], Evaluation],
    generator: torch.Generator,
    *,
    step_size: float,
    leapfrog_steps: float,
) -> tuple[State, Evaluation]:
    """One step that leaves exp(−U) invariant, U(w) = nβ L_n(w) + γ/2 ‖w − w*‖²:

        p ~ N(0, I);   L times:  p ← p − h/2 ∇U(w);  w ← w + h p;  p ← p − h/2 ∇U(w);
        accepted with probability min(1, e^{H(before) − H(after)}),   H = U(w) + ‖p‖²/2

    Duane et al. (1987); Neal (2011). L is drawn uniformly from 1 … 2·leapfrog_steps − 1, so that no direction can
    turn in step with the trajectory.

    Args:
        state: from `init` or an earlier update.
        evaluate: gives U and ∇U on the full dataset; called L times.
        generator: of momenta, lengths and tests.
        step_size: h > 0. leapfrog_steps: the mean of L.
    Returns:
        The new state, and the evaluation at the old position.
    """
    here = state.seen or evaluate(state.position)
    momentum = torch.randn(state.position.shape, generator=generator, dtype=state.position.dtype)
    momentum = momentum.to(state.position.device)
    length = int(torch.randint(1, 2 * int(leapfrog_steps), (), generator=generator))
    position, there = state.position.clone(), here
    before = here.potential + _kinetic(momentum)
    for _ in range(length):
        momentum = momentum.sub(there.gradient, alpha=step_size / 2)
        position = position.add(momentum, alpha=step_size)
        there = evaluate(position)
        momentum = momentum.sub(there.gradient, alpha=step_size / 2)
    log_ratio = before - there.potential - _kinetic(momentum)
    if math.log(float(torch.rand((), generator=generator, dtype=torch.float64))) < log_ratio:
        return State(position, there, 1.0), here
    return State(state.position, here, 0.0), here


def step_excess(settings: dict[str, float], *, square: float, noise: float) -> float:
    """0: the Metropolis test leaves the posterior exact."""
    return 0.0


def stability_limit(curvature: float, gamma: float) -> float:
    """h above which trajectories diverge in the steepest direction."""
    return 2 / math.sqrt(curvature + gamma) if curvature + gamma > 0 else 1.0


def default_settings(curvature: float, gamma: float, draws: int) -> dict[str, float]:
    """h at a fifth of the stability limit, a small energy error; ten leapfrog steps on average."""
    return {"step_size": stability_limit(curvature, gamma) / 5, "leapfrog_steps": 10.0}


def _kinetic(momentum: Tensor) -> float:
    return float(momentum.double().square().sum()) / 2
