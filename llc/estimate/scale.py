"""At which scale λ̂ is a plateau: a ladder of ever weaker localisation, climbed until λ̂ no longer moves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# γ falls by this factor from one rung to the next.
WEAKER = 16.0
# Rungs at most: the prior's radius is then 64 times that of the first.
MOST_RUNGS = 4
# Directions with curvature from h_max down to h_max over this count in full on the first rung, where noise allows it.
RESOLUTION = 3000.0
# A step of λ̂ between rungs larger than this share of it asks for another rung.
_LARGE_STEP = 0.08
# What is left of the way, in units of the last step up: on deep linear networks of known λ the steps shrink by two to
# ten from rung to rung. Its error is of its own size.
_LEFT, _LEFT_ERROR = 0.25, 0.2
# Where the directions that the data hold count less than ½ each, the well is degenerate: λ̂ approaches λ slowly, and a
# wide prior may reach simpler solutions. On networks of known λ that leaves this share of λ̂, in full from a shortfall
# of this size on.
_DEGENERATE_ERROR, _DEGENERATE = 0.045, 0.2
# A step down is a way to simpler solutions that the prior lets in: its error is this share of it.
_DOWN_ERROR = 0.5
# Complexity that shows only where the prior is weak comes from degenerate directions, whose λ̂ approaches λ with the
# logarithm of nβ: that share of λ̂, times these, is added and its error.
_SLOW, _SLOW_ERROR = 0.06, 0.08


@dataclass(frozen=True)
class Rung:
    """λ̂ on one rung: the localisation, and the basin's λ̂ with its error.

    Attributes:
        degeneracy: 1 − 2λ̂/(P − γE‖w − w*‖²): 0 where all that the data hold counts ½ a direction, more where
            directions count less, or have not been crossed yet.
    """

    nbeta: float
    gamma: float
    llc: float
    llc_se: float
    degeneracy: float = 0.0

    @property
    def resolution(self) -> float:
        """ρ = γ/nβ: curvature of the mean loss below which a direction counts less than ½·½."""
        return self.gamma / self.nbeta


def settled(rungs: Sequence[Rung]) -> bool:
    """Whether the last step is small enough to read a plateau off."""
    if len(rungs) < 2:
        return False
    before, last = rungs[-2:]
    return abs(last.llc - before.llc) < max(_LARGE_STEP * abs(last.llc), 1.5 * math.hypot(last.llc_se, before.llc_se))


def late(rungs: Sequence[Rung]) -> float:
    """The share of λ̂ that came with weaker localisation, beyond its error."""
    first, last = rungs[0], rungs[-1]
    gained = last.llc - first.llc - math.hypot(first.llc_se, last.llc_se)
    return max(0.0, gained / last.llc) if last.llc > 0 else 0.0


def left(rungs: Sequence[Rung]) -> tuple[float, float]:
    """What λ̂ would still gain on further rungs, with its standard error."""
    if len(rungs) < 2:
        return 0.0, 0.0
    before, last = rungs[-2:]
    step = last.llc - before.llc
    up, down = max(0.0, step), max(0.0, -step - math.hypot(before.llc_se, last.llc_se))
    slow = late(rungs) * last.llc
    degenerate = min(1.0, max(0.0, last.degeneracy) / _DEGENERATE) * abs(last.llc)
    error = math.hypot(_LEFT_ERROR * up, _DOWN_ERROR * down, _SLOW_ERROR * slow, _DEGENERATE_ERROR * degenerate)
    return _LEFT * up + _SLOW * slow, error
