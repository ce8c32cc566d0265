"""devinterp's own sampling optimiser as a sampler here: its step, our target, noise, chains and verdicts."""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from llc.errors import InvalidInput
from llc.extras import to_install
from llc.randomness import Rng
from llc.sampling.sampler import Evaluate, Evaluation
from llc.sampling.sgld import SGLD


class State(NamedTuple):
    """A chain's position w, (P,), and of `rmsprop_sgld` its running mean V of squared gradients, (P,), else None."""

    position: Tensor
    squares: Tensor | None


@dataclass(frozen=True)
class DevInterp:
    """`devinterp.optim.SGMCMC` (devinterp 2) on exp(−U), U(w) = nβ L(w) + γ/2 ‖w − w*‖²; see `step`.

    What it is handed as the gradient is all of ∇Û, with its own nβ at 1 and its own localisation at 0. For `sgld` that
    is the same step. The G of `rmsprop_sgld` is then made of ∇Û and not of ∇L: with `eps` and `step_size` both nβ times
    those that devinterp is given, it is the same chain where γ is 0, and else one whose V knows of γ.

    Its thermostat (`sgnht`) is left out: devinterp 2.0.1 computes the friction but applies none, so that its chain is
    SGLD at a temperature of twice the diffusion factor, 1/50 unless told otherwise.

    Args:
        method: `sgld` or `rmsprop_sgld`.
        alpha, eps: of `rmsprop_sgld`: V's decay per step, and what keeps G finite, in units of ∇Û.

    Raises:
        InvalidInput: another method.
    """

    method: str = "sgld"
    alpha: float = 0.99
    eps: float = 0.1
    hyperparameters: ClassVar = ("step_size",)
    full_batch: ClassVar = False

    def __post_init__(self) -> None:
        if self.method not in {"sgld", "rmsprop_sgld"}:
            why = "; devinterp's sgnht applies no thermostat" if self.method == "sgnht" else ""
            raise InvalidInput(f"method = {self.method!r} given, expected 'sgld' or 'rmsprop_sgld'{why}")

    @property
    def name(self) -> str:
        """`devinterp-sgld` or `devinterp-rmsprop-sgld`."""
        return f"devinterp-{self.method.replace('_', '-')}"

    def init(self, position: Tensor) -> State:
        """A chain that starts at `position`.

        Raises:
            InvalidInput: devinterp is not installed.
        """
        _sgmcmc()
        return State(position.clone(), torch.zeros_like(position) if self._preconditioned else None)

    def step(
        self, state: State, evaluate: Evaluate, rng: Rng, *, step_size: float | Tensor
    ) -> tuple[State, Evaluation]:
        """One step of SGMCMC:

            w ← w − (ε/2) G ∇Û(w) + √(εG) ξ,   ξ ~ N(0, I),
            sgld: G = 1;   rmsprop_sgld: V ← αV + (1 − α)(∇Û)²,  G = 1/(√V + eps), warm-up or not

        devinterp draws ξ from this chain's generator, in float32 whatever the type of the weights.

        Args:
            state: from `init` or an earlier step.
            evaluate: gives the loss and ∇Û at a position, from this step's minibatch.
            rng: of the noise; of R chains, one each.
            step_size: ε > 0, devinterp's `lr`; of R chains, (R, 1).
        Returns:
            The new state, and the evaluation at the old position.
        """
        evaluation = evaluate(state.position)
        if not isinstance(rng, Sequence):
            return self._moved(state, evaluation.gradient, rng, float(step_size)), evaluation
        sizes = torch.as_tensor(step_size).expand(len(rng), 1).flatten().tolist()
        every = zip(_rows(state), evaluation.gradient, rng, sizes, strict=True)
        positions, squares = zip(*(self._moved(*of_row) for of_row in every), strict=True)
        return State(torch.stack(positions), torch.stack(squares) if self._preconditioned else None), evaluation

    def metric(self, state: State) -> Tensor:
        """G, (P,): what gradients are multiplied with."""
        return torch.ones_like(state.position) if state.squares is None else 1 / (state.squares.sqrt() + self.eps)

    def bias(self, settings: dict[str, float], *, square: float, noise: float) -> float:
        """By how much the step size and minibatch noise raise λ̂: as for `SGLD`; of `rmsprop_sgld` NaN, not known.

        Its G never stops following the gradients, and what that does to where chains settle (Γ in Li et al. 2016,
        arXiv 1512.07666, is left out) does not vanish as ε → 0. `RMSpropSGLD` freezes its own and knows its bias.

        Args:
            square: E‖∇Û‖² − γP.
            noise: tr C, not needed here.
        """
        return math.nan if self._preconditioned else SGLD().bias(settings, square=square, noise=noise)

    def stability_limit(self, curvature: float, gamma: float) -> float:
        """ε from which the steepest direction diverges, 4/(nβ h_max + γ); times eps, for G is 1/eps at most."""
        return SGLD().stability_limit(curvature, gamma) * (self.eps if self._preconditioned else 1)

    def relaxation(self, settings: dict[str, float], gamma: float) -> float:
        """2/(εγ), at G = 1, or where G is largest, 1/eps."""
        return SGLD().relaxation(settings, gamma) * (self.eps if self._preconditioned else 1)

    def default_settings(self, curvature: float, gamma: float, draws: int) -> dict[str, float]:
        """ε at a quarter of the stability limit, as of `SGLD`, or at half of it where it is that of the largest G.

        Args:
            curvature: nβ h_max, the largest eigenvalue of nβ times the loss's Hessian at w*.
            gamma: γ.
            draws: how many the chain is to make, not needed here.
        """
        return {"step_size": self.stability_limit(curvature, gamma) / (2 if self._preconditioned else 4)}

    @property
    def _preconditioned(self) -> bool:
        return self.method == "rmsprop_sgld"

    def _moved(self, state: State, gradient: Tensor, rng: torch.Generator, step_size: float) -> State:
        """One chain, (P,), after a step: a fresh optimiser on a copy of its weights, with the V it had."""
        weights = state.position.clone()
        weights.grad = gradient
        how: dict[str, Any] = {}
        if self._preconditioned:
            how = {"preconditioner": "rmsprop", "preconditioner_kwargs": {"alpha": self.alpha, "eps": self.eps}}
        # Not its method of that name, which warns of an nβ of 1 at every call; it makes the same optimiser.
        optimiser = _sgmcmc()([weights], lr=step_size, nbeta=1.0, **how)
        if state.squares is not None:
            optimiser.state[weights]["square_avg"] = squares = state.squares.clone()
        optimiser.step(noise_generator=rng)
        weights.grad = None
        return State(weights, squares if state.squares is not None else None)


def _rows(state: State) -> Iterator[State]:
    for row, position in enumerate(state.position):
        yield State(position, None if state.squares is None else state.squares[row])


@cache
def _sgmcmc() -> Any:
    """The optimiser's class, imported when a chain is to be run."""
    try:
        with warnings.catch_warnings():  # of packages that devinterp would like to have
            warnings.simplefilter("ignore")
            from devinterp.optim import SGMCMC
    except ImportError as error:
        raise InvalidInput(
            f"devinterp's samplers need devinterp 2, which cannot be imported ({error}); "
            f"{to_install('peers')}, or use sampler='sgld', the same step"
        ) from error
    return SGMCMC
