"""How many steps chains get on a rung, and how wide a rung they can cross in what is left of a budget."""

import math

from llc.estimate.settings import SamplingConfig
from llc.sampling import LEAST_DRAWS, Chains, Sampler

# Steps of a rung: so many times what the sampler needs along directions that only γ holds, …
_RELAXATIONS = 4.0
# … within these bounds; a third of them is warm-up.
LEAST_STEPS, _MOST_STEPS = 400, 2500
# To cross the prior once, chains may take this share of what is left of the budget.
CROSSING_SHARE = 0.5
# A budget is overrun by no more than this where it pays for the steps of a rung at all.
_OVERRUN = 1.5


def rung_lengths(
    kernel: Sampler, config: SamplingConfig, curvature: float, gamma: float, affordable: float
) -> tuple[int, int]:
    """Warm-up and draws.

    Args:
        curvature: nβ h_max.
        affordable: steps of each chain that the budget leaves.
    """
    if config.draws is not None:
        return (config.draws if config.warmup is None else config.warmup), config.draws
    settings = kernel.default_settings(curvature, gamma, LEAST_STEPS)
    if config.step_size is not None:
        settings["step_size"] = config.step_size
    relaxation = kernel.relaxation(settings, gamma) if hasattr(kernel, "relaxation") else math.inf
    most = max(_MOST_STEPS, CROSSING_SHARE * affordable)
    steps = int(min(max(_RELAXATIONS * relaxation, LEAST_STEPS), most, max(affordable, LEAST_STEPS / 4)))
    warmup = steps // 3 if config.warmup is None else config.warmup
    return warmup, max(LEAST_DRAWS, steps - steps // 3)


def reachable(kernel: Sampler, last: Chains, gamma: float, farther: float, affordable: float) -> float:
    """By how much more than what a rung asks for the budget would let chains cross what only the prior holds.

    Steps for one crossing go with √(nβ/γ), from how long they were on the last rung.

    Args:
        last: the chains there.
        gamma: γ there.
        farther: times nβ/γ that the rung asks for.
        affordable: steps of each chain that the budget leaves.
    """
    if not hasattr(kernel, "relaxation"):
        return math.inf
    now = min(kernel.relaxation(one, gamma) for one in last.settings)
    return (CROSSING_SHARE * affordable / (now * math.sqrt(farther))) ** 2


def ended_after(spent: int, allowed: int) -> str:
    """Why draws ended; a budget that does not pay for the fewest that tell anything is overrun, and says so."""
    said = f"max_gradients = {allowed} are spent"
    return said if spent <= _OVERRUN * allowed else f"{said}; the least that tells anything took {spent}"
