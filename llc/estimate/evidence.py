"""What a verdict rests on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llc.estimate.diagnostics import Summary
from llc.estimate.floor import Basin
from llc.estimate.scale import Rung
from llc.estimate.thresholds import RHAT_LIMIT


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on.

    Attributes:
        summary: λ̂ as it is reported, with the diagnostics of the cold chains.
        hot: those of the hot ones, or None.
        chains: how many were started at each temperature.
        diverged, hot_diverged: the draw at which each lost one diverged.
        prior_share: γE‖w − w*‖²/P. In a Gaussian well it is 1 − 2λ̂/P.
        prior_over_curvature: γ/(nβ h_max).
        variance_ratio: Var(nβL_n)/λ̂. In a Gaussian well with x_i = nβh_i/(nβh_i + γ) it is Σx_i²/Σx_i = 1 + the
            elasticity d log λ̂/d log γ: near 1 where λ̂ is a plateau in γ, near 0 where it only measures the prior.
        explored: γE‖w − w*‖²/(P − nβE[(w − w*)·∇L]), the larger of the kinds of start. Integration by parts makes it 1
            in any posterior once chains have been everywhere; near 0 they have not left the neighbourhood of w* in
            the directions that only the prior holds. NaN where it holds next to none.
        step_excess: predicted excess of λ̂, as a share of it.
        step_over_limit: step size over the stability limit, the largest seen at w* and at draws.
        loss_sampled: E[L].
        loss_init: L(w*).
        reference_losses: losses of predictors that know nothing, by name.
        max_rhat: R̂ and nested R̂ above which chains disagree.
        basin: what two temperatures tell of the floor, or None.
        of_basin: whether λ̂ is the basin's, not that at w*.
        rungs: λ̂ on every rung that was kept; one where γ was given.
        rest_se: of the error of λ̂, what no number of draws would lessen, since the floor is not known better.
        wanted_error: relative half-width asked for; inf where the user said how many draws.
        ended: why chains did not go on.
        highest: why no other localisation was tried.
        variance: the variance-type estimate and its standard error.
        slopes: ∂λ̂/∂log γ, likewise.
        farther: the rung on which chains went to other solutions than w* is one of, or None.
        plateau: whether λ̂ was found to be one at this nβ and γ, elsewhere in the study.
    """

    summary: Summary
    chains: int
    diverged: dict[int, int]
    prior_share: float
    prior_over_curvature: float
    variance_ratio: float
    explored: float
    step_excess: float
    step_over_limit: float
    loss_sampled: float
    loss_init: float = math.nan
    reference_losses: dict[str, float] = field(default_factory=dict)
    max_rhat: float = RHAT_LIMIT
    hot: Summary | None = None
    basin: Basin | None = None
    of_basin: bool = False
    rungs: Sequence[Rung] = ()
    rest_se: float = 0.0
    wanted_error: float = math.inf
    ended: str = ""
    highest: str = ""
    variance: tuple[float, float] = (math.nan, math.nan)
    slopes: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    farther: Rung | None = None
    plateau: bool | None = None
    hot_diverged: Mapping[int, int] = field(default_factory=dict)
