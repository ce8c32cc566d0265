"""Where the next rung of a ladder of localisations stands: how much colder, and how much wider."""

import math
from typing import NamedTuple

from llc.estimate.scale import Rung

# Directions with curvature from h_max down to h_max over 16 times this count on the second rung.
RESOLUTION = 3000.0
# The second rung's γ is lower by this factor at least, however steep the loss is already: chains have to go farther.
WIDER = 16.0
# The rung nearer to w* is so many times as cold and as narrow as the first, where the noise allows; at least …
CLOSER, _LEAST_CLOSER = 16.0, 4.0
# λ̂ that is higher there by more than this share of it, and by so many standard errors, is that of another well.
_HIGHER, _CERTAIN = 0.05, 3.0
# nβ is left where it is unless another is better by this factor.
_WORTH_MOVING = 1.5


class Step(NamedTuple):
    """To the next rung: nβ times `colder`, γ over `wider`, and why this nβ; "" where it stays."""

    colder: float
    wider: float
    choice: str


def closer(coldest: float) -> Step | None:
    """To the rung nearer to w*, with the ρ of the first; None where the noise forbids to look so closely."""
    factor = min(CLOSER, coldest)
    why = "for chains to stay with the solutions near w*, farther out are simpler ones"
    return Step(factor, 1 / factor, why) if factor >= _LEAST_CLOSER else None


def simpler_farther_out(near: Rung, far: Rung) -> bool:
    """Whether λ̂ near w* is certainly higher than farther out, at the same ρ or a finer one.

    Around one solution it cannot be: there the loss is about a homogeneous function of w − w*, of some order 2k ≥ 2,
    and with w − w* = u/√γ the posterior is that of nβγ⁻ᵏL(u) + ½‖u‖², where nβγ⁻ᵏ = γ¹⁻ᵏ/ρ falls, or for k = 1 stays,
    as γ grows at one ρ; λ̂ falls with it, and rises as ρ falls. Higher, it tells that chains from farther out have gone
    where λ is lower.
    """
    higher, error = near.llc - far.llc, math.hypot(near.llc_se, far.llc_se)
    return higher > max(_HIGHER * near.llc, _CERTAIN * error)


def next_step(weaker: float, *, steepness: float | None, coldest: float, stay: bool = False) -> Step | None:
    """How nβ and γ change, so that the steepest curvature beside ρ = γ/nβ becomes so many times what it is.

    On the second rung `RESOLUTION` times that at least: a half of it, in logarithms, by a larger nβ and a half by a
    smaller γ, so that directions count that only a cold chain feels, or only one that goes far. From then on γ alone
    falls, and chains go on from where they are: colder ones would have to begin at w* again, and get about more slowly.
    Where the noise of the data forbids a larger nβ, γ takes more; where it forbids even the first one, as n/log n may
    for a loss in other units, the ladder begins anew at what it allows, with the γ that it has. Where chains are to
    stay near w*, nβ alone rises, as far as the noise allows, and None is returned where that is no step.

    Args:
        weaker: how many times, beyond what the second rung adds.
        steepness: steepest curvature over ρ on the first rung; None from the second on.
        coldest: the largest nβ that the noise allows, over the nβ of now; 1 where nβ is not to change.
        stay: whether γ stays.
    """
    if stay:
        return Step(min(weaker, coldest), 1.0, "") if coldest >= _WORTH_MOVING else None
    first = steepness is not None
    factor = weaker * (max(1.0, RESOLUTION / max(steepness, 1.0)) if steepness is not None else 1.0)
    share = max(1.0, min(math.sqrt(factor), factor / WIDER)) if first else 1.0
    if first and coldest < 1 / _WORTH_MOVING:
        return Step(coldest, 1.0, "as cold as the noise of the data allows")
    if _WORTH_MOVING < coldest < share:
        return Step(coldest, factor / coldest, "as cold as the noise of the data allows")
    if 1 < share <= coldest:
        why = "for flat directions to count, far within what the noise of the data allows"
        return Step(share, factor / share, why)
    return Step(1.0, factor, "")
