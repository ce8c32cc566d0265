"""Stochastic gradient Langevin dynamics: the sampler of the published LLC studies."""

import math
from typing import NamedTuple

from torch import Tensor

from llc.randomness import Rng, normal_like
from llc.sampling.sampler import Evaluate, Evaluation


class State(NamedTuple):
    """A chain's position w, (P,); of R chains that move together, (R, P), and so for every sampler."""

    position: Tensor


class SGLD:
    """The sampler of the published LLC studies; see `step`."""

    name = "sgld"
    hyperparameters = ("step_size",)
    full_batch = False

    def init(self, position: Tensor) -> State:
        """A chain that starts at `position`."""
        return State(position.clone())

    def step(
        self, state: State, evaluate: Evaluate, rng: Rng, *, step_size: float | Tensor
    ) -> tuple[State, Evaluation]:
        """One step towards exp(−U), U(w) = nβ L(w) + γ/2 ‖w − w*‖²:

            w ← w − (ε/2) ∇Û(w) + √ε ξ,   ξ ~ N(0, I),   ∇Û(w) = nβ ∇L_B(w) + γ(w − w*)

        Welling & Teh (2011); localised as in Lau et al. (2023), arXiv 2308.12108. On a quadratic U with Hessian
        eigenvalue a its stationary variance is 1/(a(1 − εa/4)): too wide by the factor 1/(1 − εa/4), unstable from
        ε = 4/a on. Flat directions, held by γ alone, need about 2/(εγ) steps to be explored.

        Args:
            state: from `init` or an earlier step.
            evaluate: gives the loss and ∇Û at a position, from this step's minibatch.
            rng: of the noise; of R chains, one each.
            step_size: ε > 0; of R chains, (R, 1).
        Returns:
            The new state, and the evaluation at the old position.
        """
        evaluation = evaluate(state.position)
        noise = normal_like(state.position, rng)
        position = state.position - step_size / 2 * evaluation.gradient
        return State(position.add_(step_size**0.5 * noise)), evaluation

    def bias(self, settings: dict[str, float], *, square: float, noise: float) -> float:
        """By how much the step size and minibatch noise raise λ̂: ε(E‖∇Û‖² − γP)/8.

        On a quadratic with precisions a_i = nβh_i + γ and gradient noise of variance C_i the stationary variance is
        (1 + εC_i/4)/(a_i(1 − εa_i/4)), and E(∇Û_i)² = (a_i + C_i)/(1 − εa_i/4). The excess of ½Σ nβh_i Var(w_i) over
        its exact value is then the above where the data hold a direction (nβh_i ≫ γ); in the others it is next to
        nothing, and so is what they add to E‖∇Û‖² − γP.

        Args:
            square: E‖∇Û‖² − γP.
            noise: tr C, not needed here.
        """
        return settings["step_size"] * max(0.0, square) / 8

    def stability_limit(self, curvature: float, gamma: float) -> float:
        """ε from which the steepest direction diverges: 4/(nβ h_max + γ)."""
        return 4 / (curvature + gamma) if curvature + gamma > 0 else 1.0

    def relaxation(self, settings: dict[str, float], gamma: float) -> float:
        """2/(εγ)."""
        return 2 / (settings["step_size"] * gamma) if gamma > 0 else math.inf

    def default_settings(self, curvature: float, gamma: float, draws: int) -> dict[str, float]:
        """ε = 1/(nβ h_max + γ), a quarter of the stability limit: at most a third too wide in the stiffest direction.

        Args:
            curvature: nβ h_max, the largest eigenvalue of nβ times the loss's Hessian at w*.
            gamma: γ.
            draws: how many the chain is to make, not needed here.
        """
        return {"step_size": self.stability_limit(curvature, gamma) / 4}
