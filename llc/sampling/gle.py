"""Generalised Langevin dynamics: kinetic Langevin whose friction is high for fast motions and low for slow ones."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from llc.randomness import Rng, normal_like
from llc.sampling.sampler import Evaluate, Evaluation

# Friction of the fastest motions, in units of their frequency √(nβ h_max + γ): near critical damping.
_FAST = 0.5
# Friction of the slowest, in units of theirs, √γ: critical.
_SLOW = 2.0


class State(NamedTuple):
    """A chain's position w, velocity v and the slow part s of its velocity, each (P,)."""

    position: Tensor
    velocity: Tensor
    slow: Tensor


class GLE:
    """Exact on a quadratic at any stable step; see `step`."""

    name = "gle"
    hyperparameters = ("step_size", "friction", "slow_friction", "crossover")
    full_batch = False

    def init(self, position: Tensor) -> State:
        """A chain that starts at `position`, at rest."""
        return State(position.clone(), torch.zeros_like(position), torch.zeros_like(position))

    def step(
        self,
        state: State,
        evaluate: Evaluate,
        rng: Rng,
        *,
        step_size: float | Tensor,
        friction: float | Tensor,
        slow_friction: float | Tensor,
        crossover: float | Tensor,
    ) -> tuple[State, Evaluation]:
        """One step towards exp(−U(w) − ‖v‖²/2 − ‖s‖²/2), U(w) = nβ L(w) + γ/2 ‖w − w*‖²:

            v ← v − h ∇Û(w);   w ← w + h/2 v;   (v, s) ← T (v, s) + S (ξ, η);   w ← w + h/2 v,
            T = e^{−hA},   S Sᵀ = 1 − T Tᵀ,   A = (α  b; b  c),   b² = c(α − α₀)

        The joined BAOAB splitting of `Kinetic` with an auxiliary variable in its exact middle part, after Ceriotti,
        Bussi & Parrinello (2010): a motion of frequency ω feels the friction α₀ + (α − α₀) ω²/(ω² + c²). Directions
        that the data hold forget their energy within a few of their own periods, while those that only γ holds are
        crossed as a wave and not at a crawl. One friction can do only one of the two where their frequencies are far
        apart. The noise of minibatch gradients heats slow motions, for which friction is low: for full batches.

        Args:
            state: from `init` or an earlier step.
            evaluate: gives the loss and ∇Û at a position.
            rng: of the noise; of R chains, one each.
            step_size: h > 0.
            friction: α, of fast motions; slow_friction: α₀ ≤ α, of slow ones; crossover: c, the frequency between them;
                all in units of 1/h. Of R chains, (R, 1).
        Returns:
            The new state, and the evaluation at the old position.
        """
        evaluation = evaluate(state.position)
        velocity = state.velocity - step_size * evaluation.gradient
        position = state.position + step_size / 2 * velocity
        size, alpha, alpha_0, c = (
            torch.as_tensor(one).double() for one in (step_size, friction, slow_friction, crossover)
        )
        (vv, vs, ss), (n_vv, n_vs, n_ss) = (
            tuple(entry.to(position) for entry in entries) for entries in _middle(size, alpha, alpha_0, c)
        )
        noise, other = normal_like(position, rng), normal_like(position, rng)
        slow = vs * velocity + ss * state.slow + n_vs * noise + n_ss * other
        velocity = vv * velocity + vs * state.slow + n_vv * noise + n_vs * other
        position.add_(step_size / 2 * velocity)
        return State(position, velocity, slow), evaluation

    def bias(self, settings: dict[str, float], *, square: float, noise: float) -> float:
        """By how much minibatch noise raises λ̂, to first order: h tr C/(4 α'), α' the friction at the crossover.

        As for `Kinetic`; motions that the data hold are mostly above the crossover, so that this errs on the high side.

        Args:
            square: E‖∇Û‖² − γP, not needed here.
            noise: tr C.
        """
        return settings["step_size"] * noise / (2 * (settings["friction"] + settings["slow_friction"]))

    def stability_limit(self, curvature: float, gamma: float) -> float:
        """h from which the steepest direction diverges: 2/√(nβ h_max + γ)."""
        return 2 / math.sqrt(curvature + gamma) if curvature + gamma > 0 else 1.0

    def relaxation(self, settings: dict[str, float], gamma: float) -> float:
        """1/(√γ h): along directions that only γ holds."""
        return 1 / (gamma**0.5 * settings["step_size"]) if gamma > 0 else math.inf

    def default_settings(self, curvature: float, gamma: float, draws: int) -> dict[str, float]:
        """h at two fifths of the stability limit; α half of the highest frequency, α₀ = 2√γ, c their geometric mean.

        Args:
            curvature: nβ h_max, the largest eigenvalue of nβ times the loss's Hessian.
            gamma: γ.
            draws: how many the chain is to make, not needed here.
        """
        step_size = 0.4 * self.stability_limit(curvature, gamma)
        fastest, slowest = 0.8 / step_size, max(math.sqrt(gamma), 1e-4 / step_size)
        friction = _FAST * fastest
        return {
            "step_size": step_size,
            "friction": friction,
            "slow_friction": min(_SLOW * slowest, friction),
            "crossover": math.sqrt(fastest * slowest),
        }


def _middle(
    size: Tensor, alpha: Tensor, alpha_0: Tensor, c: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """The entries (vv, vs, ss) of T = e^{−hA} and of S = √(1 − T²), both symmetric, from A's eigenvalues."""
    mean, half = (alpha + c) / 2, (alpha - c) / 2
    off = torch.sqrt(c * (alpha - alpha_0).clamp(min=0.0))
    root = torch.sqrt(half.square() + off.square()).clamp(min=1e-300)
    high, low = mean + root, (mean - root).clamp(min=0.0)
    entries = []
    for of in (lambda rate: torch.exp(-size * rate), lambda rate: torch.sqrt(-torch.expm1(-2 * size * rate))):
        one, other = of(high), of(low)
        middle, lever = (one + other) / 2, (one - other) / (2 * root)
        entries.append((middle + lever * half, lever * off, middle - lever * half))
    return entries[0], entries[1]
