"""How far the chains of a pair have gone, and whether they are where they may be."""

import math

import numpy as np
from arviz_stats.base import array_stats

from llc.estimate.floor import Basin
from llc.estimate.ladder import simpler_farther_out
from llc.estimate.pair import Pair, Reading, rung_of
from llc.estimate.spectrum import Held
from llc.estimate.thresholds import ROUGH_RHAT_LIMIT
from llc.sampling import Chains

# Chains that have gone less than this share of the way that the prior lets them go may not have found λ̂ yet, …
_LAGGING = 0.05
# … and below this share they are still next to w*, so that what γ is says nothing of λ̂.
_NOWHERE = 0.005


def lost(pair: Pair) -> bool:
    """Half of the chains at one of the temperatures, or more."""
    return any(2 * len(chains.diverged) >= len(chains.difference) for chains in (pair.cold, pair.hot))


def delocalised(pair: Pair, reading: Reading, reference_loss: float) -> bool:
    """Whether draws do no better than a predictor that knows nothing."""
    cold = pair.cold.difference[pair.cold.survivors, reading.warmup :]
    return bool(pair.target.loss_init + cold.mean() >= reference_loss)


def lags(pair: Pair, reading: Reading, before: Basin) -> bool:
    """Whether a rung tells nothing of λ̂ because its chains have hardly left w*.

    That is, where λ̂ is lower than on the rung before, with a larger γ, and chains have gone less than a twentieth of
    γE‖w − w*‖² = P − 2λ, which is how far the prior lets them go; or, whatever λ̂ is, less than half a percent of the
    way as `explored` has it.

    Args:
        before: λ̂ on the rung before.
    """
    gamma, parameters = pair.target.gamma, pair.target.num_parameters
    free = parameters - 2 * max(before.llc, reading.basin.llc)
    gone = gamma * float(_squares(pair, reading).mean())
    fell = before.llc - reading.basin.llc > 2 * math.hypot(before.llc_se, reading.basin.llc_se)
    shares = explored(pair.cold, gamma, parameters, reading.warmup).values()
    return (fell and gone < _LAGGING * free) or float(np.fmax.reduce([*shares, math.nan])) < _NOWHERE


def left_for_others(near: tuple[Pair, Reading], far: tuple[Pair, Reading], held: Held) -> bool:
    """Whether chains have gone to other solutions on the farther of two rungs.

    To simpler ones that are as good, as far as chains that agree can tell
    (`llc.estimate.ladder.simpler_farther_out`) and flatter curvatures do not explain; or to worse ones of which there
    are more (`llc.estimate.floor.Basin.escaped`), as they have not on the nearer.
    """
    if near[1].basin.escaped:
        return False
    rhats = [one.rhat for _, reading in (near, far) for one in (reading.cold, reading.hot)]
    rungs = rung_of(*near), rung_of(*far)
    simpler = max(rhats) <= ROUGH_RHAT_LIMIT and simpler_farther_out(*rungs)
    return far[1].basin.escaped or (simpler and rungs[0].llc - rungs[1].llc > held.lost_to_flatter(*rungs))


def explored(traces: Chains, gamma: float, parameters: int, warmup: int) -> dict[int, float]:
    """γE‖w − w*‖²/(P − nβE[(w − w*)·∇L]) by kind of start; NaN where the prior may hold under a tenth of P.

    The mean of (w − w*)·∇U has an error too: with few parameters or draws, three of them are allowed for.
    """
    found = {}
    for kind in np.unique(traces.superchain[traces.survivors]):
        chains = of_kind(traces, kind)
        prior = gamma * float(np.mean(np.square(traces.distance[chains, warmup:])))
        virial = traces.virial[chains, warmup:]
        left = parameters - (float(np.mean(virial)) - prior)
        certain = 0.1 * parameters + 3 * float(array_stats.mcse(virial, method="mean"))
        found[int(kind)] = prior / left if left > certain else math.nan
    return found


def of_kind(traces: Chains, kind: int) -> list[int]:
    """The chains that survived of those that began at w* (0), or farther out (1)."""
    return [chain for chain in traces.survivors if traces.superchain[chain] == kind]


def mean_curvature(pair: Pair, reading: Reading) -> float:
    """(w − w*)·∇L/‖w − w*‖² where the cold chains are: at a degenerate w* the loss is steep only away from it."""
    squares, target = _squares(pair, reading), pair.target
    virial = pair.cold.virial[pair.cold.survivors, reading.warmup :]
    slope = (virial - target.gamma * squares) / target.nbeta
    return max(0.0, float(slope.mean() / squares.mean())) if squares.mean() > 0 else 0.0


def _squares(pair: Pair, reading: Reading) -> np.ndarray:
    """‖w − w*‖² at the draws of the cold chains that count."""
    return np.square(pair.cold.distance[pair.cold.survivors, reading.warmup :])
