"""How far w* lies above the floor of its basin, and λ̂ of the basin, which needs no L(w*)."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from llc.estimate.thresholds import FLOOR_ERRORS, FLOOR_SHARE, NOTHING

# The second temperature is so many times the first, at the same ρ = γ/nβ.
RATIO = 4.0
# Standard deviation of the bend, as a share of λ̂: how much λ̂ at nβ is off for a well that is no quadratic there.
_BEND = 0.05
# A minimiser's floor is off by so much of its depth, and by so much of what the noise of the data moves a floor: along
# degenerate directions it fits noise that the draws do not see, or is at a minimum that has fitted it.
_DEPTH_ERROR, _NOISE_ERROR = 0.01, 0.1
# … Where the well has no degenerate directions it is off by a tenth of that share and by no tilt (`tilt_nats`), in full
# by either from this degeneracy on.
_REGULAR, _DEGENERATE = 0.1, 0.2
# Chains have left for worse solutions where the bend is below minus this share of λ̂, and as many standard errors. On
# 48 problems of known λ the lowest that was certain was −5 %; where chains have left it is −10 to −25 %.
_ESCAPED, _CERTAIN = 0.075, 3.0


@dataclass(frozen=True)
class Depth:
    """What a minimiser found below w*.

    Attributes:
        nats: a = nβ(L(w*) − L_0).
        nats_se: what its search left open, as a standard error.
        sample_losses: ℓ_i − ℓ_i(w*) where it ended, of `samples_looked_at`; None if that is w*.
    """

    nats: float
    nats_se: float = 0.0
    sample_losses: np.ndarray | None = field(default=None, compare=False)

    def times(self, factor: float) -> "Depth":
        """The same in other units."""
        return replace(self, nats=factor * self.nats, nats_se=factor * self.nats_se)


@dataclass(frozen=True)
class Basin:
    """What two temperatures tell, with standard errors.

    Attributes:
        llc: λ̂ of the basin.
        nats: nβ(L(w*) − L_0), w* above the floor.
        bend: what the shape of the well, not quadratic at this temperature, adds to λ̂(nβ).
    """

    llc: float
    llc_se: float
    nats: float
    nats_se: float
    bend: float
    bend_se: float

    @property
    def at_floor(self) -> bool:
        """Whether w* is on the floor, as far as can be told and as matters."""
        return not abs(self.nats) > max(FLOOR_ERRORS * self.nats_se, FLOOR_SHARE * abs(self.llc), NOTHING)

    @property
    def escaped(self) -> bool:
        """Whether chains are certainly about other, worse solutions, of which there are so many more.

        In the basin of w* λ̂ at w* is about the same at nβ and nβ/4, floor counted. About solutions that are worse by
        ΔL, with coefficient λ', it is λ' + nβΔL: where it falls with nβ, that is a negative bend −nβΔL/4; or without a
        minimiser's floor, a w* that lies below the floor.
        """
        bends = self.bend < -max(_ESCAPED * abs(self.llc), _CERTAIN * self.bend_se)
        return bends or self.nats < -max(4 * _ESCAPED * abs(self.llc), _CERTAIN * self.nats_se)


def basin(
    cold: tuple[float, float],
    hot: tuple[float, float],
    *,
    settled: Depth | None = None,
    noise: float = 0.0,
    tilt: float = 0.0,
    degeneracy: float = 1.0,
    ratio: float = RATIO,
) -> Basin:
    """λ̂ and the floor from the mean-type estimates at two temperatures with one ρ = γ/nβ.

        nβ (E_nβ[L] − L(w*)) = λ − a + b,    a = nβ(L(w*) − L_0)

    In a quadratic well b = 0 wherever w* is on its wall: λ then depends on ρ alone and the floor L_0 is that of
    L + ρ/2 ‖w − w*‖². The first correction to a quadratic is of order 1/nβ. So at nβ/r the floor counts a/r and the
    bend r b: two equations for three unknowns. The third is a minimiser's a (`llc.estimate.settle`), or without one
    that b is small. Least squares, with the priors b ~ N(0, (λ/20)²) and a ~ N(settled.nats, …).

    Args:
        cold, hot: λ̂(w*) at nβ and at nβ/ratio, each with its standard error.
        settled: of a minimiser; None if there is none.
        noise, tilt: nats, see `noise_nats` and `tilt_nats`.
        degeneracy: see `llc.estimate.scale.Rung`.
    """
    (cold_llc, cold_se), (hot_llc, hot_se) = cold, hot
    if not np.isfinite([cold_llc, cold_se, hot_llc, hot_se]).all():
        return Basin(*[math.nan] * 6)
    # λ̂ without a bend, for the sizes of priors: far above the floor λ̂(w*) is mostly the height.
    size = (ratio * hot_llc - cold_llc) / (ratio - 1) if settled is None else cold_llc + settled.nats
    scale = max(abs(size), math.hypot(ratio * hot_se, cold_se) / (ratio - 1), 1e-12)
    tiny = 1e-6 * scale
    rows, values, errors = [[1, -1, 1], [1, -1 / ratio, ratio]], [cold_llc, hot_llc], [cold_se, hot_se]
    rows.append([0, 0, 1])
    values.append(0.0)
    errors.append(_BEND * scale)
    rows.append([0, 1, 0])
    if settled is None:
        values.append(0.0)
        errors.append(1e3 * scale)
    else:
        values.append(settled.nats)
        degenerate = min(1.0, degeneracy / _DEGENERATE)
        share = _DEPTH_ERROR * (_REGULAR + (1 - _REGULAR) * degenerate)
        errors.append(math.hypot(share * settled.nats, _NOISE_ERROR * noise, degenerate * tilt, settled.nats_se))
    weights = 1 / np.maximum(errors, tiny)
    weighted = np.array(rows) * weights[:, None]
    solving = np.linalg.pinv(weighted)  # weights a thousand million apart are too much for WᵀW
    llc, nats, bend = solving @ (np.array(values) * weights)
    llc_se, nats_se, bend_se = np.linalg.norm(solving, axis=1)
    return Basin(float(llc), float(llc_se), float(nats), float(nats_se), float(bend), float(bend_se))
