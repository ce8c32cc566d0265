"""The floor below w*, by a minimiser: how far the loss falls where a quadratic model of it says it does."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from llc.estimate.floor import Depth
from llc.estimate.thresholds import NOTHING
from llc.sampling import Minibatch, Target
from llc.sampling.looks import samples_looked_at

# Newton steps at most, and conjugate-gradient steps in each.
_STEPS, _INNER = 20, 20
# Of the gradients that an estimate may take, the minimiser may take this share; of a small budget more, up to so many
# gradients: without its floor an interval is four tenths of λ̂ wide.
_SHARE, _MORE, _ENOUGH = 0.05, 0.25, 1500
# What a search that was stopped would still have gained, in units of its last step: on a hundred networks and
# regressions with noisy labels it was 0.2 at the median, below 1.1 for three in four, 2.3 for nine in ten.
_REST, _REST_ERROR = 0.75, 1.25
# The shortest of the inner search's steps is halved so often before there is none.
_HALVINGS = 6


@dataclass(frozen=True)
class Settled:
    """Where the search ended.

    Attributes:
        nats: nβ(L(w*) − L) there.
        gradients: minibatch gradients it took.
        done: whether it ended by itself.
        gained: nats of the larger of its last two steps; 0 where there were fewer. A last step may be cut short.
        sample_losses: ℓ_i − ℓ_i(w*) there, of `samples_looked_at`; None if it is at w*.
    """

    nats: float
    gradients: int
    done: bool
    gained: float = 0.0
    sample_losses: np.ndarray | None = None

    @property
    def depth(self) -> Depth | None:
        """What this says of the floor; None where it was stopped before its second step."""
        if self.done:
            return Depth(self.nats, 0.0, self.sample_losses)
        if not self.gained:
            return None
        return Depth(self.nats + _REST * self.gained, _REST_ERROR * self.gained, self.sample_losses)


def settle(target: Target, *, max_gradients: int) -> Settled:
    """Minimise L_n(w) + ρ/2 ‖w − w*‖², ρ = γ/nβ, from w* by Newton's method with conjugate gradients.

        p = −(H + ρ)⁻¹ (∇L_n + ρ(w − w*)),   H v ≈ [∇L_n(w + δv) − ∇L_n(w − δv)]/(2δ)

    (Nocedal & Wright 2006, algorithm 7.1.) A direction of negative curvature ends the inner search: a degenerate
    minimum fits the noise of its data along those, which is not the floor that the draws see. Where the slope itself is
    such a direction, and steep enough that draws would feel it, there is no telling how far the loss falls. Flat
    directions make p long, far beyond where the loss is a square: the inner search's own way there, steep directions
    first, is gone back until the loss falls as it should. Losses are compared sample by sample.

    The floor is L_n itself at that minimum: what localisation costs there is in no draw's loss.

    Args:
        max_gradients: minibatch gradients that it may take.
    """
    n = target.num_samples
    everything = Minibatch(target.samples.everything, 1 / n)
    price = math.ceil(n / target.batch_size)
    rho = target.gamma / target.nbeta
    spent = 0

    def gradient(position: Tensor) -> Tensor:
        nonlocal spent
        spent += price
        return target.losses_and_gradient(position, everything)[1].double()

    def heights(position: Tensor) -> tuple[float, Tensor]:
        """Of what is minimised above w*, and of every sample's loss."""
        away = (position - target.origin).double()
        losses = target.losses(position) - target.baseline
        return float(losses.mean()) + rho / 2 * float(away.square().sum()), losses

    position, value, falls = target.origin.clone(), 0.0, [0.0]  # of L_n, in nats, after every step
    losses: Tensor | None = None

    def ended(*, done: bool, known: bool = True) -> Settled:
        steps = [abs(after - before) for before, after in itertools.pairwise(falls[-3:])]
        at_end = None if losses is None else losses.cpu().numpy()[samples_looked_at(n)]
        return Settled(falls[-1], spent, done, max(steps) if known and len(steps) > 1 else 0.0, at_end)

    for _ in range(_STEPS):
        if spent + 3 * price > max_gradients:
            return ended(done=False)
        slope = gradient(position) + rho * (position - target.origin).double()
        inner = min(_INNER, (max_gradients - spent) // (2 * price))
        steps = _newton_steps(gradient, position, slope, rho, inner=inner)
        if not steps:  # draws go about 1/√γ far
            felt = target.nbeta * float(slope.norm()) > NOTHING * math.sqrt(target.gamma)
            return ended(done=not felt, known=False)
        ways = (position + step.to(position) for step in steps)
        lower, losses_there, there = min(((*heights(way), way) for way in ways), key=lambda found: found[0])
        for halving in range(1, _HALVINGS + 1):
            if lower < value:
                break
            there = position + (steps[0] / 2**halving).to(position)
            lower, losses_there = heights(there)
        else:
            if not lower < value:  # a fall that a square foretells, and that there is not, is a well that is none
                foretold = -target.nbeta * float(slope @ steps[-1].to(slope)) / 2
                return ended(done=foretold < NOTHING, known=False)
        gained, position, value, losses = target.nbeta * (value - lower), there, lower, losses_there
        falls.append(-target.nbeta * float(losses.mean()))
        if gained < max(NOTHING, -0.01 * target.nbeta * value):
            return ended(done=not len(steps) == inner < _INNER)  # what is left of the budget may have cut it short
    return ended(done=False)


def depth(target: Target, max_gradients: int) -> tuple[Depth | None, int]:
    """How far w* lies above the floor, as far as a search finds within its share of the budget; and its gradients.

    Args:
        max_gradients: that the whole estimate may take.
    """
    found = settle(target, max_gradients=int(max(_SHARE * max_gradients, min(_MORE * max_gradients, _ENOUGH))))
    return found.depth, found.gradients


class Floors:
    """What `depth` finds below w*, once for every ρ of a ladder.

    Attributes:
        gradients: minibatch gradients that this took so far.
    """

    def __init__(self, max_gradients: int) -> None:
        self._max_gradients = max_gradients
        self._losses: dict[float, Depth | None] = {}  # in loss in place of nats
        self.gradients = 0

    def below(self, at: Target) -> Depth | None:
        """In nats at the target's nβ."""
        rho = at.gamma / at.nbeta
        if rho not in self._losses:
            found, gradients = depth(at, self._max_gradients)
            self.gradients += gradients
            self._losses[rho] = None if found is None else found.times(1 / at.nbeta)
        drop = self._losses[rho]
        return None if drop is None else drop.times(at.nbeta)


def _newton_steps(
    gradient: Callable[[Tensor], Tensor], position: Tensor, slope: Tensor, rho: float, *, inner: int
) -> list[Tensor]:
    """The way of conjugate gradients to the p with (H + ρ) p ≈ −slope, until the curvature turns negative."""
    size = 1e-3 * max(1.0, float(position.norm()))
    steps: list[Tensor] = []
    step, residual = torch.zeros_like(slope), -slope
    direction, square = residual.clone(), float(residual.square().sum())
    enough = 1e-6 * square
    for _ in range(inner):
        if square <= enough or square == 0:
            break
        unit = direction / direction.norm()
        ahead, behind = (gradient(position + (sign * size * unit).to(position)) for sign in (1, -1))
        product = ((ahead - behind) / (2 * size) + rho * unit) * direction.norm()
        curvature = float(direction @ product)
        if curvature <= 0:
            break
        length = square / curvature
        step = step + length * direction
        steps.append(step.to(position))
        residual = residual - length * product
        before, square = square, float(residual.square().sum())
        direction = residual + square / before * direction
    return steps
