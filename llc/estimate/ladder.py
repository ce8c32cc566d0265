"""Where the next rung of a ladder of localisations stands: how much colder, and how much wider."""

import math
from typing import NamedTuple

# Directions with curvature from h_max down to h_max over 16 times this count on the second rung.
RESOLUTION = 3000.0
# The second rung's γ is lower by this factor at least, however steep the loss is already: chains have to go farther.
WIDER = 16.0
# nβ is left where it is unless another is better by this factor.
_WORTH_MOVING = 1.5


class Step(NamedTuple):
    """To the next rung: nβ times `colder`, γ over `wider`, and why this nβ; "" where it stays."""

    colder: float
    wider: float
    choice: str


def next_step(weaker: float, *, steepness: float | None, coldest: float) -> Step:
    """How nβ and γ change, so that the steepest curvature beside ρ = γ/nβ becomes so many times what it is.

    On the second rung `RESOLUTION` times that at least: a half of it, in logarithms, by a larger nβ and a half by a
    smaller γ, so that directions count that only a cold chain feels, or only one that goes far. From then on γ alone
    falls, and chains go on from where they are: colder ones would have to begin at w* again, and get about more slowly.
    Where the noise of the data forbids a larger nβ, γ takes more; where it forbids even the first one, as n/log n may
    for a loss in other units, the ladder begins anew at what it allows, with the γ that it has.

    Args:
        weaker: how many times, beyond what the second rung adds.
        steepness: steepest curvature over ρ on the first rung; None from the second on.
        coldest: the largest nβ that the noise allows, over the nβ of now; 1 where nβ is not to change.
    """
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
