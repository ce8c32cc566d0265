"""At which scale λ̂ is a plateau: a ladder of ever finer resolution, climbed until λ̂ no longer moves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# ρ = γ/nβ falls by this factor from one rung to the next.
WEAKER = 16.0
# Rungs at most.
MOST_RUNGS = 4
# A step of λ̂ between rungs larger than this share of it asks for another rung.
_LARGE_STEP = 0.08
# From this degeneracy on the curvatures at w* are looked at.
DEGENERATE = 0.1
# What is left of the way, in units of the last step up: on deep linear networks of known λ the steps shrink by two to
# ten from rung to rung.
_LEFT, _LEFT_ERROR = 0.25, 0.4
# Where the loss rises like a higher power than a square, λ̂ approaches λ with the logarithm of nβ: so many times the
# square of the degeneracy is added, and the error goes with the degeneracy. On 25 noiseless deep networks of known λ
# (problems 28 and 31) the last rung was 3.1 ± 0.7 % low, which is 0.15 ± 0.03 times its square; on ten with noise in
# their labels, what that takes given back, 0.2.
_DEGENERATE, _DEGENERATE_ERROR = 0.18, 0.07
# In a well of a single power, w⁴ or a two-layer network at 0, there is nothing to add: it looks alike at every scale,
# and neither λ̂ nor the degeneracy changes along the ladder. Changes count beyond so many errors of λ̂, and so much of
# the degeneracy, and from so much on in full.
_SURE, _SAME, _CHANGED = 2.5, 0.05, 0.1
# Where directions with curvature at w* hold all of λ̂ but this share or less, as much less is added: wells of full rank
# curve, and look degenerate from w*, but have nothing that approaches slowly.
_FREE = 0.08
# Wells more degenerate than this are not flat yet where two neighbouring rungs agree, unless ρ has fallen this far.
_ROUND, _FAR = 0.3, 250.0
# Resolutions nearer to one another than this are counted as if they were so far apart.
_LEAST_STEP = 2.0
# A step down is a way to simpler solutions that the prior lets in: its error is this share of it.
_DOWN_ERROR = 0.5


@dataclass(frozen=True)
class Rung:
    """λ̂ on one rung: the localisation, and the basin's λ̂ with its error.

    Attributes:
        degeneracy: 1 − 2λ̂/(nβE[(w − w*)·∇L]): 0 in a quadratic well, where every direction that the data hold counts
            ½; more where the loss rises like a higher power and they count less.
        held, held_se: what directions with curvature at w* hold of λ̂, see `llc.estimate.spectrum`; NaN where that was
            not looked at.
    """

    nbeta: float
    gamma: float
    llc: float
    llc_se: float
    degeneracy: float = 0.0
    held: float = math.nan
    held_se: float = math.nan

    @property
    def resolution(self) -> float:
        """ρ = γ/nβ: curvature of the mean loss below which a direction counts less than ½·½."""
        return self.gamma / self.nbeta


def settled(rungs: Sequence[Rung]) -> bool:
    """Whether the last step is small enough to read a plateau off, and, in a degenerate well, the way long enough."""
    if len(rungs) < 2:
        return False
    before, last = rungs[-2:]
    small = max(_LARGE_STEP * abs(last.llc), 1.5 * math.hypot(last.llc_se, before.llc_se))
    far = last.degeneracy < _ROUND or rungs[0].resolution >= _FAR * last.resolution
    return far and abs(last.llc - before.llc) < small


def left(rungs: Sequence[Rung]) -> tuple[float, float]:
    """What λ̂ would still gain on further rungs, with its standard error."""
    if len(rungs) < 2:
        return 0.0, 0.0
    before, last = rungs[-2:]
    step = last.llc - before.llc
    # A step over more than a rung shows more of the way, over less than one less of it.
    share = math.log(WEAKER) / math.log(max(before.resolution / last.resolution, _LEAST_STEP))
    certain = math.copysign(max(0.0, abs(step) - math.hypot(before.llc_se, last.llc_se)), step)
    up, down = max(0.0, certain), max(0.0, -certain)
    degenerate, size = max(0.0, last.degeneracy), abs(last.llc)
    rest = _DEGENERATE * _changed(rungs[0], last) * degenerate**2 * size * _open(last)
    rest_error = _DEGENERATE_ERROR * degenerate * size * _open(last, math.hypot(last.llc_se, last.held_se))
    if last.degeneracy >= DEGENERATE and last.held > last.llc:  # which it can be by its errors alone
        rest_error = math.hypot(rest_error, last.held - last.llc)
    error = math.hypot(_LEFT_ERROR * share * up, _DOWN_ERROR * down, rest_error)
    return _LEFT * share * up + rest, error


def short(last: Rung) -> float:
    """How far λ̂ of a regular well lies below what directions with curvature at w* hold, beyond its error.

    λ is no less than that. Slow directions tell nothing of themselves in draws that have not been along them, neither
    in λ̂ nor in its error. In a degenerate well it is no matter of draws alone, and part of what is `left`.
    """
    if not (math.isfinite(last.held) and last.degeneracy < DEGENERATE):
        return 0.0
    return max(0.0, last.held - last.llc - math.hypot(last.llc_se, last.held_se))


def _open(last: Rung, error: float = 0.0) -> float:
    """Whether there is anything that no curvature at w* holds: 1 where there is, or where that was not looked at.

    Args:
        error: that what is free may be larger by.
    """
    if not math.isfinite(last.held):
        return 1.0
    free = (last.llc - last.held + error) / max(abs(last.llc), 1e-300)
    return min(1.0, max(0.0, free / _FREE))


def _changed(first: Rung, last: Rung) -> float:
    """Whether the well looks other on the last rung than on the first: 0 where it is alike, 1 where it is not."""
    moved = max(0.0, abs(last.llc - first.llc) - _SURE * math.hypot(first.llc_se, last.llc_se))
    bent = max(0.0, abs(last.degeneracy - first.degeneracy) - _SAME)
    return min(1.0, (moved / max(abs(last.llc), 1e-300) + bent) / _CHANGED)
