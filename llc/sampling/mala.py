"""The Metropolis-adjusted Langevin algorithm: exact at any step size, on the full dataset only."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from llc.devices import double
from llc.randomness import Rng, normal_like, uniform
from llc.sampling.rows import choose
from llc.sampling.sampler import Evaluate, Evaluation


class State(NamedTuple):
    """A chain's position w, (P,), and what was seen there."""

    position: Tensor
    seen: Evaluation | None


class MALA:
    """Exact at any step size, on the full dataset only: the Metropolis test needs U itself, not an estimate of it."""

    name = "mala"
    hyperparameters = ("step_size",)
    full_batch = True

    def init(self, position: Tensor) -> State:
        """A chain that starts at `position`."""
        return State(position.clone(), None)

    def step(
        self, state: State, evaluate: Evaluate, rng: Rng, *, step_size: float | Tensor
    ) -> tuple[State, Evaluation]:
        """One step that leaves exp(−U) invariant, U(w) = nβ L_n(w) + γ/2 ‖w − w*‖²:

            w' = w − (ε/2) ∇U(w) + √ε ξ,   accepted with probability min(1, e^{U(w) − U(w')} q(w|w')/q(w'|w)),
            q(b|a) ∝ exp(−‖b − a + (ε/2)∇U(a)‖²/(2ε))

        Roberts & Tweedie (1996). A high acceptance rate is not convergence: it only says that steps are small.

        Args:
            state: from `init` or an earlier step.
            evaluate: gives U and ∇U on the full dataset.
            rng: of the noise and the test; of R chains, one each.
            step_size: ε > 0; of R chains, (R, 1).
        Returns:
            The new state, and the evaluation at the old position with whether the proposal was `accepted`, 1 or 0.
        """
        here = evaluate(state.position) if state.seen is None else state.seen
        noise = normal_like(state.position, rng)
        proposal = state.position - step_size / 2 * here.gradient + step_size**0.5 * noise
        there = evaluate(proposal)
        back = (state.position - proposal + step_size / 2 * there.gradient) / step_size**0.5
        density = double(noise).square() - double(back).square()
        log_ratio = here.potential - there.potential + density.sum(-1).cpu() / 2
        accepted = torch.log(uniform(rng)) < log_ratio
        position, seen = choose(accepted, (proposal, there), (state.position, here))
        return State(position, seen), here._replace(accepted=accepted.float())

    def bias(self, settings: dict[str, float], *, square: float, noise: float) -> float:
        """0: the Metropolis test leaves the posterior exact."""
        return 0.0

    def stability_limit(self, curvature: float, gamma: float) -> float:
        """ε above which hardly anything is accepted in the steepest direction."""
        return 4 / (curvature + gamma) if curvature + gamma > 0 else 1.0

    def relaxation(self, settings: dict[str, float], gamma: float) -> float:
        """2/(εγ)."""
        return 2 / (settings["step_size"] * gamma) if gamma > 0 else math.inf

    def default_settings(self, curvature: float, gamma: float, draws: int) -> dict[str, float]:
        """ε = 1/(nβ h_max + γ)."""
        return {"step_size": self.stability_limit(curvature, gamma) / 4}
