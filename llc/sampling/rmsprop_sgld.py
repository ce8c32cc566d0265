"""SGLD with a diagonal preconditioner learned in warm-up and then frozen."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from llc.randomness import Rng, normal_like
from llc.sampling.sampler import Evaluate, Evaluation


class State(NamedTuple):
    """A chain's position w and its running mean V of squared gradients, each (P,).

    How many `steps` of warm-up V has seen, and whether it is `frozen` since that is over, each (1,).
    """

    position: Tensor
    squares: Tensor
    steps: Tensor
    frozen: Tensor


@dataclass(frozen=True)
class RMSpropSGLD:
    """SGLD in a metric G that squared gradients give; see `step`.

    Args:
        decay: ρ, of the running mean of squared gradients, per step.
        damping: δ, keeps G finite where gradients vanish, in units of the root mean square of all √V.
    """

    decay: float = 0.99
    damping: float = 0.1
    name: ClassVar = "rmsprop-sgld"
    hyperparameters: ClassVar = ("step_size",)
    full_batch: ClassVar = False

    def init(self, position: Tensor) -> State:
        """A chain that starts at `position` and still adapts."""
        none = torch.zeros_like(position[..., :1])
        return State(position.clone(), torch.zeros_like(position), none, none.bool())

    def freeze(self, state: State) -> State:
        """End of warm-up: from here on G is constant, without which the chain stays biased even as ε → 0."""
        return state._replace(frozen=torch.ones_like(state.frozen))

    def step(
        self, state: State, evaluate: Evaluate, rng: Rng, *, step_size: float | Tensor
    ) -> tuple[State, Evaluation]:
        """One step towards exp(−U), U(w) = nβ L(w) + γ/2 ‖w − w*‖²:

            V ← ρV + (1 − ρ)(∇Û)²,  V̂ = V/(1 − ρ^t),  G = s/(√V̂ + δs),  s = rms of √V̂      (warm-up only)
            w ← w − (ε/2) G ∇Û(w) + √(εG) ξ,   ξ ~ N(0, I)

        Li et al. (2016), arXiv 1512.07666, with Adam's bias correction and with G scaled to be about 1 for a typical
        parameter, so that ε means what it means for SGLD.

        Args:
            state: from `init` or an earlier step.
            evaluate: gives the loss and ∇Û at a position, from this step's minibatch.
            rng: of the noise; of R chains, one each.
            step_size: ε > 0; of R chains, (R, 1).
        Returns:
            The new state, and the evaluation at the old position.
        """
        evaluation = evaluate(state.position)
        squares = self.decay * state.squares + (1 - self.decay) * evaluation.gradient.square()
        state = state._replace(
            squares=torch.where(state.frozen, state.squares, squares), steps=state.steps + (~state.frozen)
        )
        preconditioner = self.metric(state)
        noise = normal_like(state.position, rng)
        position = state.position - step_size / 2 * preconditioner * evaluation.gradient
        position.add_((step_size * preconditioner).sqrt() * noise)
        return state._replace(position=position), evaluation

    def metric(self, state: State) -> Tensor:
        """G, (P,): what the sampler multiplies gradients with."""
        root = torch.where(state.steps > 0, (state.squares / (1 - self.decay**state.steps)).sqrt(), 1.0)
        scale = root.square().mean(-1, keepdim=True).sqrt()
        scale = torch.where(scale > 0, scale, 1.0)
        return scale / (root + self.damping * scale)

    def bias(self, settings: dict[str, float], *, square: float, noise: float) -> float:
        """As for SGLD, in the metric G: ε Σ_i G_i(E(∇Û_i)² − γ)/8.

        Args:
            square: Σ_i G_i(E(∇Û_i)² − γ).
            noise: tr GC, not needed here.
        """
        return settings["step_size"] * max(0.0, square) / 8

    def stability_limit(self, curvature: float, gamma: float) -> float:
        """ε below which every direction is stable, whatever G turns out to be: G is at most 1/δ."""
        return self.damping * 4 / (curvature + gamma) if curvature + gamma > 0 else 1.0

    def relaxation(self, settings: dict[str, float], gamma: float) -> float:
        """2/(εγ), as G is about 1."""
        return 2 / (settings["step_size"] * gamma) if gamma > 0 else math.inf

    def default_settings(self, curvature: float, gamma: float, draws: int) -> dict[str, float]:
        """ε at half the guaranteed stability limit."""
        return {"step_size": self.stability_limit(curvature, gamma) / 2}
