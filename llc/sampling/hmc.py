"""Hamiltonian Monte Carlo: exact at any step size, on the full dataset only."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from llc.devices import double
from llc.randomness import Rng, normal_like, uniform, whole
from llc.sampling.rows import choose
from llc.sampling.sampler import Evaluate, Evaluation


class State(NamedTuple):
    """A chain's position w, (P,), and what was seen there."""

    position: Tensor
    seen: Evaluation | None


class HMC:
    """Exact at any step size, on the full dataset only: the Metropolis test needs U itself, not an estimate of it."""

    name = "hmc"
    hyperparameters = ("step_size", "leapfrog_steps")
    full_batch = True

    def init(self, position: Tensor) -> State:
        """A chain that starts at `position`."""
        return State(position.clone(), None)

    def step(
        self,
        state: State,
        evaluate: Evaluate,
        rng: Rng,
        *,
        step_size: float | Tensor,
        leapfrog_steps: float | Tensor,
    ) -> tuple[State, Evaluation]:
        """One step that leaves exp(−U) invariant, U(w) = nβ L_n(w) + γ/2 ‖w − w*‖²:

            p ~ N(0, I);   L times:  p ← p − h/2 ∇U(w);  w ← w + h p;  p ← p − h/2 ∇U(w);
            accepted with probability min(1, e^{H(before) − H(after)}),   H = U(w) + ‖p‖²/2

        Duane et al. (1987); Neal (2011). L is drawn uniformly from 1 … 2·leapfrog_steps − 1, so that no direction can
        turn in step with the trajectory.

        Args:
            state: from `init` or an earlier step.
            evaluate: gives U and ∇U on the full dataset; called L times, of R chains as often as the longest takes.
            rng: of momenta, lengths and tests; of R chains, one each.
            step_size: h > 0; of R chains, (R, 1).
            leapfrog_steps: the mean of L, the same for all of them.
        Returns:
            The new state, and the evaluation at the old position with whether the proposal was `accepted`, 1 or 0.
        """
        here = evaluate(state.position) if state.seen is None else state.seen
        momentum = normal_like(state.position, rng)
        mean_length = int(torch.as_tensor(leapfrog_steps).max())
        lengths = whole(1, 2 * mean_length, rng)
        position, there = state.position, here
        before = here.potential + _kinetic(momentum)
        for step in range(int(lengths.max())):
            halfway = momentum - step_size / 2 * there.gradient
            further = position + step_size * halfway
            seen = evaluate(further)
            moved = halfway - step_size / 2 * seen.gradient
            position, momentum, there = choose(step < lengths, (further, moved, seen), (position, momentum, there))
        log_ratio = before - there.potential - _kinetic(momentum)
        accepted = torch.log(uniform(rng)) < log_ratio
        position, seen = choose(accepted, (position, there), (state.position, here))
        return State(position, seen), here._replace(accepted=accepted.float())

    def bias(self, settings: dict[str, float], *, square: float, noise: float) -> float:
        """0: the Metropolis test leaves the posterior exact."""
        return 0.0

    def stability_limit(self, curvature: float, gamma: float) -> float:
        """h above which trajectories diverge in the steepest direction."""
        return 2 / math.sqrt(curvature + gamma) if curvature + gamma > 0 else 1.0

    def relaxation(self, settings: dict[str, float], gamma: float) -> float:
        """(1/(√γ h L))², trajectories being steps of a random walk; at least 1."""
        length = settings["step_size"] * settings["leapfrog_steps"]
        return max(1.0, 1 / (gamma * length**2)) if gamma > 0 else math.inf

    def default_settings(self, curvature: float, gamma: float, draws: int) -> dict[str, float]:
        """h at a fifth of the stability limit, a small energy error; ten leapfrog steps on average."""
        return {"step_size": self.stability_limit(curvature, gamma) / 5, "leapfrog_steps": 10.0}


def _kinetic(momentum: Tensor) -> Tensor:
    return double(momentum).square().sum(-1).cpu() / 2
