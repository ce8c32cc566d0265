"""How far w* lies above the floor of its basin, and λ̂ of the basin, which needs no L(w*)."""

import math
from dataclasses import dataclass

import numpy as np

# The second temperature is so many times the first, at the same ρ = γ/nβ.
RATIO = 4.0
# The floor counts as found at w* where it is within so many standard errors, or within what the data's own noise moves
# it (`llc.estimate.noise`): a minimum of noisy data lies below the truth by about that.
_AT_FLOOR = 2.0


@dataclass(frozen=True)
class Basin:
    """What two temperatures tell.

    Attributes:
        llc, llc_se: λ̂ of the basin. nats, nats_se: nβ(L(w*) − L_0), w* above the floor.
        at_floor: whether w* is on the floor as far as can be told, so that the prior of the floor was used.
    """

    llc: float
    llc_se: float
    nats: float
    nats_se: float
    at_floor: bool


def basin(cold: tuple[float, float], hot: tuple[float, float], noise: float, *, ratio: float = RATIO) -> Basin:
    """λ̂ and the floor from the mean-type estimates at two temperatures with one ρ = γ/nβ.

        nβ (E_nβ[L] − L(w*)) = λ − a,    a = nβ(L(w*) − L_0)

    In a quadratic well exactly so, wherever w* is on its wall: λ then depends on ρ alone and the floor L_0 is that of
    L + ρ/2 ‖w − w*‖². At nβ/r the same floor counts a/r, hence λ = (r λ̂_hot − λ̂_cold)/(r − 1) and
    a = r (λ̂_hot − λ̂_cold)/(r − 1). Where that a is no more than its error, or than what the noise of n samples makes of
    a floor, w* is on it: then a has the prior N(0, noise²) and both temperatures say λ.

    Args:
        cold, hot: λ̂(w*) at nβ and at nβ/ratio, each with its standard error. noise: nats, see `noise_nats`.
    """
    (cold_llc, cold_se), (hot_llc, hot_se) = cold, hot
    nats = ratio * (hot_llc - cold_llc) / (ratio - 1)
    nats_se = ratio * math.hypot(hot_se, cold_se) / (ratio - 1)
    at_floor = abs(nats) <= max(_AT_FLOOR * nats_se, 2 * noise)
    if not at_floor:
        llc = (ratio * hot_llc - cold_llc) / (ratio - 1)
        return Basin(llc, math.hypot(ratio * hot_se, cold_se) / (ratio - 1), nats, nats_se, False)
    tiny = 1e-6 * max(cold_se, hot_se, 1e-300)
    rows = np.array([[1, -1], [1, -1 / ratio], [0, 1]])
    errors = np.array([max(cold_se, tiny), max(hot_se, tiny), max(noise, tiny)])
    weighted = rows / errors[:, None]
    covariance = np.linalg.inv(weighted.T @ weighted)
    llc, nats = covariance @ weighted.T @ (np.array([cold_llc, hot_llc, 0.0]) / errors)
    return Basin(float(llc), math.sqrt(covariance[0, 0]), float(nats), math.sqrt(covariance[1, 1]), True)
