"""Kinetic (underdamped) Langevin dynamics with one gradient a step."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from llc.randomness import Rng, normal_like
from llc.sampling.sampler import Evaluate, Evaluation

# The share of λ̂ that minibatch noise may add before friction is raised.
HEAT_SHARE = 0.1
# How many times over a chain is to forget its energy. Fewer, and R̂ cannot tell chains that agree from chains that do
# not; more friction than that, and chains crawl through the directions that the data leave free.
_FORGETS = 20


class State(NamedTuple):
    """A chain's position w and velocity v, each (P,)."""

    position: Tensor
    velocity: Tensor


class Kinetic:
    """Exact on a quadratic at any stable step; see `step`."""

    name = "kinetic"
    hyperparameters = ("step_size", "friction")
    full_batch = False

    def init(self, position: Tensor) -> State:
        """A chain that starts at `position`, at rest."""
        return State(position.clone(), torch.zeros_like(position))

    def step(
        self,
        state: State,
        evaluate: Evaluate,
        rng: Rng,
        *,
        step_size: float | Tensor,
        friction: float | Tensor,
    ) -> tuple[State, Evaluation]:
        """One step towards exp(−U(w) − ‖v‖²/2), U(w) = nβ L(w) + γ/2 ‖w − w*‖²:

            v ← v − h ∇Û(w);   w ← w + h/2 v;   v ← e^{−αh} v + √(1 − e^{−2αh}) ξ;   w ← w + h/2 v

        This is the BAOAB splitting of Leimkuhler & Matthews (2013) with its two half kicks joined: on a quadratic U
        the positions have the exact variance at any stable step, h < 2/√a for the largest Hessian eigenvalue a. The
        noise of a minibatch gradient heats the chain by an amount that falls with α.

        Args:
            state: from `init` or an earlier step.
            evaluate: gives the loss and ∇Û at a position, from this step's minibatch.
            rng: of the noise; of R chains, one each.
            step_size: h > 0.
            friction: α > 0, in units of 1/h. Of R chains, (R, 1).
        Returns:
            The new state, and the evaluation at the old position.
        """
        evaluation = evaluate(state.position)
        forgotten = torch.as_tensor(friction * step_size)
        noise = normal_like(state.position, rng)
        velocity = state.velocity - step_size * evaluation.gradient
        position = state.position + step_size / 2 * velocity
        velocity.mul_(torch.exp(-forgotten)).add_(torch.sqrt(-torch.expm1(-2 * forgotten)) * noise)
        position.add_(step_size / 2 * velocity)
        return State(position, velocity), evaluation

    def bias(self, settings: dict[str, float], *, square: float, noise: float) -> float:
        """By how much minibatch noise raises λ̂, to first order: h tr C/(4α).

        A kick by a noisy gradient adds h²C_i to the variance of v_i and friction takes 2αh of any excess, so that the
        temperature of direction i is 1 + hC_i/(2α). Gradient noise lies almost wholly in directions that the data hold,
        where λ̂ rises by half of that; the step size alone does no harm on a quadratic.

        Args:
            square: E‖∇Û‖² − γP, not needed here.
            noise: tr C.
        """
        return settings["step_size"] * noise / (4 * settings["friction"])

    def stability_limit(self, curvature: float, gamma: float) -> float:
        """h from which the steepest direction diverges: 2/√(nβ h_max + γ)."""
        return 2 / math.sqrt(curvature + gamma) if curvature + gamma > 0 else 1.0

    def relaxation(self, settings: dict[str, float], gamma: float) -> float:
        """1/(√γ h): along directions that only γ holds, at the friction that suits them."""
        return 1 / (gamma**0.5 * settings["step_size"]) if gamma > 0 else math.inf

    def default_settings(self, curvature: float, gamma: float, draws: int) -> dict[str, float]:
        """h at two fifths of the stability limit, 0.8/√(nβ h_max + γ); α = max(2√γ, 20/(h·draws)), at most 1/(2h).

        In a quadratic well any stable h would do. Wells that steepen as a chain moves out heat chains that come near
        the limit, hence the distance. Directions that only γ holds relax in a time α/γ, soonest at α = 2√γ; the others
        forget their energy in 1/α, of which the draws should hold some twenty; minibatches ask for a large α (see
        `adapt`).

        Args:
            curvature: nβ h_max, the largest eigenvalue of nβ times the loss's Hessian.
            gamma: γ.
            draws: how many the chain is to make.
        """
        step_size = 0.4 * self.stability_limit(curvature, gamma)
        return {"step_size": step_size, "friction": _least_friction(step_size, gamma, draws)}

    def adapt(
        self, settings: dict[str, float], *, noise: float, llc: float, gamma: float, draws: int
    ) -> dict[str, float]:
        """α raised, up to 1/(2h), until minibatch noise adds no more than a tenth to λ̂ (see `bias`).

        The position's distribution does not depend on α otherwise, so that chains may choose it in warm-up.

        Args:
            noise: tr C where the chain is.
            llc: λ̂ so far.
            gamma: γ.
            draws: how many the chain is to make.
        """
        step_size = settings["step_size"]
        least = _least_friction(step_size, gamma, draws)
        wanted = step_size * noise / (4 * HEAT_SHARE * llc) if llc > 0 else least
        return {"step_size": step_size, "friction": min(max(least, wanted), 0.5 / step_size)}

    def exploring(self, settings: dict[str, float], gamma: float) -> dict[str, float]:
        """α = 2√γ, with which directions that only γ holds are crossed soonest."""
        return {**settings, "friction": min(2 * math.sqrt(gamma), settings["friction"])}


def _least_friction(step_size: float, gamma: float, draws: int) -> float:
    return min(max(2 * math.sqrt(gamma), _FORGETS / (step_size * draws)), 0.5 / step_size)
