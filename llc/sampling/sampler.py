"""What a sampler is: the protocol that every algorithm satisfies, ours and anybody's."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from llc.randomness import Rng


class Evaluation(NamedTuple):
    """What one look at a minibatch tells about a position w.

    Of R chains that are looked at together (`llc.sampling.ensemble`), every number is a tensor (R,), float64 on the
    CPU, and tensors have R rows.

    Attributes:
        difference: L_B(w) − L_B(w*), paired sample by sample; with control variates, plus c·(w − w*).
        loss: L_B(w).
        gradient: ∇Û(w) = nβ(∇L_B(w) + c) + γ(w − w*), shape (P,).
        potential: Û(w) − Û(w*) = nβ·difference + γ/2 ‖w − w*‖².
        by_position: the paired difference of each position, (K,), for losses that have positions; without control
            variates, which are kept for the mean only.
        accepted: whether the Metropolis test of the step from w moved the chain, 1 or 0; None without a test.
    """

    difference: float | Tensor
    loss: float | Tensor
    gradient: Tensor
    potential: float | Tensor = math.nan
    by_position: Tensor | None = None
    accepted: Tensor | None = None


Evaluate = Callable[[Tensor], Evaluation]
"""A look at a position, (P,) or (R, P), with the minibatches of this step."""


class Sampler(Protocol):
    """One algorithm that moves chains towards exp(−U), U(w) = nβ L(w) + γ/2 ‖w − w*‖².

    The chain engine (`llc.sampling.run_chains`) moves R chains at once: positions are (R, P), hyperparameters (R, 1),
    `rng` is a list of R generators (`llc.randomness.normal_like` draws from it), and no row may look at another. The
    same code then serves a single chain, (P,), with plain numbers and one generator.

    A sampler may also have
        adapt(settings, *, noise, llc, gamma, draws) -> settings: anew in warm-up, given tr C of ∇Û and λ̂ so far;
        exploring(settings, gamma) -> settings: with which a chain goes far soon, for the second kind of start;
        freeze(state) -> state: ends what the algorithm learns in warm-up;
        metric(state) -> (R, P): what it multiplies gradients with, if not 1;
        relaxation(settings, gamma) -> steps in which directions that only γ holds forget where they were.
    """

    @property
    def name(self) -> str:
        """By which `SAMPLERS` knows it."""
        ...

    @property
    def hyperparameters(self) -> tuple[str, ...]:
        """Names of the keyword arguments of `step`; `step_size` among them, for the engine may have to cut it."""
        ...

    @property
    def full_batch(self) -> bool:
        """Whether it needs the whole dataset at once, as a Metropolis test does."""
        ...

    def init(self, position: Tensor) -> Any:
        """The state of a chain that starts at `position`: a NamedTuple of tensors, `position` among them."""
        ...

    # `*_` only lets a type checker accept a step that names its hyperparameters; nothing is passed there.
    def step(self, state: Any, evaluate: Evaluate, rng: Rng, *_: Any, **hyper: Any) -> tuple[Any, Evaluation]:
        """The next state, and the evaluation at the old position, with `accepted` where there is a Metropolis test.

        Hyperparameters are keyword arguments. A step makes new tensors and leaves those of the old state alone:
        chains may be taken back to it.
        """
        ...

    def default_settings(self, curvature: float, gamma: float, draws: int) -> dict[str, float]:
        """All hyperparameters.

        Args:
            curvature: nβ h_max, the largest eigenvalue of nβ times the loss's Hessian.
            gamma: γ.
            draws: how many the chain is to make.
        """
        ...

    def stability_limit(self, curvature: float, gamma: float) -> float:
        """The step size from which the steepest direction diverges."""
        ...

    def bias(self, settings: dict[str, float], *, square: float, noise: float) -> float:
        """By how much step size and minibatch noise raise λ̂, to first order.

        Args:
            square: E‖∇Û‖² − γP.
            noise: tr C of ∇Û; both in the sampler's metric.
        """
        ...
