"""From the traces of chains to an estimate of λ̂ with its error and its verdict. Plain numbers, no labels."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats

from llc.estimate import diagnostics
from llc.estimate.climb import Climb
from llc.estimate.evidence import Evidence
from llc.estimate.moments import second_moments
from llc.estimate.pair import Reading
from llc.estimate.reach import explored, of_kind
from llc.estimate.scale import Rung, left, short
from llc.estimate.settings import SamplingConfig
from llc.estimate.thresholds import RHAT_LIMIT, ROUGH_RHAT_LIMIT
from llc.estimate.verdict import judge
from llc.sampling import Chains, Sampler

# Shares of the way gone that differ by less say nothing about the rest of it.
_LEAST_LEVER = 0.1
# What λ̂ may still change, as a share of it, for each share of the way that is still to go. Set on six deep linear
# networks with known λ, stopped after six to eight tenths of the way: λ̂ was about a tenth of the rest off, mostly low.
_UNEXPLORED_ERROR = 0.1


@dataclass(frozen=True)
class Estimate:
    """λ̂ and everything it rests on, as plain numbers; `estimate_llc` labels it."""

    summary: diagnostics.Summary
    verdict: str
    reason: str
    headline: str
    llc_at_w: float
    llc_at_w_se: float
    llc_basin: float
    llc_basin_se: float
    floor: float
    floor_nats: float
    floor_nats_se: float
    noise_nats: float
    tilt_nats: float
    slope_nbeta: float
    slope_nbeta_se: float
    slope_gamma: float
    slope_gamma_se: float
    loss_init: float
    llc_raw: float
    loss_sampled: float
    distance: float
    prior_share: float
    explored: float
    llc_variance: float
    llc_variance_se: float
    step_excess: float
    rounding: float
    step_over_limit: float
    acceptance: float
    gradients: int
    sample_gradients: int
    chains_at_once: int
    warmup: int
    rungs: list[Rung]
    by_position: list[diagnostics.Summary] | None
    chains: Chains
    hot_chains: Chains
    settings: dict[str, float | int | str] = field(default_factory=dict)
    # ℓ_i(w*) of the datasets whose losses were looked at along the draws.
    baselines: dict[str, np.ndarray] = field(default_factory=dict)
    weighted: frozenset[str] = frozenset()
    reference_losses: dict[str, float] = field(default_factory=dict)


def conclude(
    climbed: Climb,
    kernel: Sampler,
    *,
    settings: dict,
    config: SamplingConfig,
    reference_losses: Mapping[str, float] | None = None,
) -> Estimate:
    """λ̂, error and verdict from the draws after warm-up of the chains that survived.

    Args:
        settings: `nbeta`, `gamma`, `curvature`, `num_parameters` and the sampler's own.
        config: which λ̂ is the headline, the error asked for, R̂ above which chains disagree.
    """
    traces, reading, target = climbed.pair.cold, climbed.reading, climbed.pair.target
    nbeta, gamma, parameters = target.nbeta, target.gamma, target.num_parameters
    kept, warmup, basin = traces.survivors, reading.warmup, reading.basin
    of_basin = config.headline == "basin" or (
        config.headline == "auto" and (len(climbed.rungs) > 1 or not basin.at_floor)
    )
    raw = nbeta * float(np.mean(traces.difference[kept, warmup:])) if kept else math.nan
    with warnings.catch_warnings():  # means over nothing, where every chain was lost
        warnings.simplefilter("ignore", RuntimeWarning)
        squared_distance = float(np.mean(np.square(traces.distance[kept, warmup:])))
        rounding = nbeta * traces.rounding[kept]
        acceptance = float(np.mean(traces.acceptance[kept, warmup:]))
        distance = float(np.mean(traces.distance[kept, warmup:]))
    explored_by_kind = explored(traces, gamma, parameters, warmup)
    found = _headline(reading, of_basin, climbed.rungs)
    if len(climbed.rungs) == 1:  # on a ladder, what weaker localisation adds has been seen
        found = diagnostics.widened(found, _unexplored_error(traces, nbeta, found.llc, explored_by_kind, warmup))
    slopes = second_moments(traces, nbeta, gamma, warmup, full_batch=target.batch_size == target.num_samples)
    variance = slopes.variance
    size = raw if basin.at_floor else basin.llc  # shares are of λ̂; above the floor that at w* is mostly the height
    evidence = Evidence(
        summary=found,
        chains=len(traces.difference),
        diverged=traces.diverged,
        hot_diverged=climbed.pair.hot.diverged,
        prior_share=gamma * squared_distance / parameters,
        prior_over_curvature=gamma / settings["curvature"] if settings["curvature"] else math.inf if gamma else 0.0,
        variance_ratio=variance[0] / size if size else math.nan,
        explored=float(np.fmax.reduce([*explored_by_kind.values(), math.nan])),
        step_excess=reading.excess / abs(size) if size else math.nan,
        step_over_limit=_step_over_limit(kernel, settings, traces),
        loss_sampled=target.loss_init + raw / nbeta,
        loss_init=target.loss_init,
        reference_losses=dict(reference_losses or {}),
        max_rhat=config.max_rhat or (ROUGH_RHAT_LIMIT if config.draws is None else RHAT_LIMIT),
        hot=reading.hot if of_basin else None,
        basin=basin,
        of_basin=of_basin,
        rungs=climbed.rungs,
        rest_se=reading.rest_se,
        wanted_error=config.target_error if config.draws is None else math.inf,
        ended=climbed.ended,
        highest=climbed.highest,
        farther=climbed.farther,
        variance=variance,
        slopes={"gamma": slopes.gamma},
        plateau=config.plateau,
    )
    verdict, reason = judge(evidence)
    if traces.cuts:
        chains = ", ".join(sorted({str(chain) for chain, _, _ in traces.cuts}))
        reason += f"; step size cut in chains {chains}, which ran into higher curvature"
    if kept and math.isnan(kernel.bias(traces.settings[kept[0]], square=0.0, noise=0.0)):
        reason += f"; by how much the step size of {kernel.name} raises llc is not known"
    return Estimate(
        summary=found,
        verdict=verdict,
        reason=reason,
        headline="basin" if of_basin else "w*",
        llc_at_w=reading.cold.llc,
        llc_at_w_se=reading.cold.llc_se,
        llc_basin=basin.llc,
        llc_basin_se=basin.llc_se,
        floor=target.loss_init - basin.nats / nbeta,
        floor_nats=basin.nats,
        floor_nats_se=basin.nats_se,
        noise_nats=reading.noise,
        tilt_nats=reading.tilt,
        slope_nbeta=slopes.nbeta[0],
        slope_nbeta_se=slopes.nbeta[1],
        slope_gamma=slopes.gamma[0],
        slope_gamma_se=slopes.gamma[1],
        loss_init=target.loss_init,
        llc_raw=raw,
        loss_sampled=evidence.loss_sampled,
        distance=distance,
        prior_share=evidence.prior_share,
        explored=evidence.explored,
        llc_variance=variance[0],
        llc_variance_se=variance[1],
        step_excess=reading.excess,
        rounding=float(np.mean(rounding)) if rounding.size else math.nan,
        step_over_limit=evidence.step_over_limit,
        acceptance=acceptance,
        gradients=climbed.gradients,
        sample_gradients=climbed.gradients * target.batch_size,
        chains_at_once=traces.at_once,
        warmup=warmup,
        rungs=climbed.rungs,
        by_position=_by_position(traces, nbeta, kept, warmup, 1 - reading.cold.llc / raw if raw else math.nan),
        chains=traces,
        hot_chains=climbed.pair.hot,
        settings=settings,
        reference_losses=evidence.reference_losses,
    )


def _headline(reading: Reading, of_basin: bool, rungs: list[Rung]) -> diagnostics.Summary:
    """The λ̂ that is reported, with the diagnostics of the cold chains."""
    if not of_basin:
        return reading.cold
    rest, rest_error = left(rungs)
    llc, se = reading.basin.llc + rest, math.hypot(reading.basin.llc_se, rest_error, short(rungs[-1]))
    reach = float(stats.norm.ppf(0.5 + diagnostics.INTERVAL / 2)) * se
    return replace(reading.cold, llc=llc, llc_se=se, llc_low=llc - reach, llc_high=llc + reach)


def _unexplored_error(traces: Chains, nbeta: float, llc: float, explored: dict[int, float], warmup: int) -> float:
    """What λ̂ may still do while chains go the rest 1 − e of their way: a standard error, not a correction.

    A tenth of the rest, times λ̂; or more, where the two kinds of start show it: they have gone shares e_0 and e_1 and
    give λ̂_0 and λ̂_1, and on a straight line the rest would change λ̂ by (λ̂_1 − λ̂_0)/(e_1 − e_0)·(1 − e).
    """
    gone = [share for share in explored.values() if math.isfinite(share)]
    if not gone:
        return 0.0
    rest = max(0.0, 1 - max(gone))
    slope = _UNEXPLORED_ERROR * abs(llc)
    if len(gone) == 2 and abs(gone[1] - gone[0]) > _LEAST_LEVER:
        means = [nbeta * float(np.mean(traces.difference[of_kind(traces, kind), warmup:])) for kind in (0, 1)]
        slope = max(slope, abs((means[1] - means[0]) / (gone[1] - gone[0])))
    return slope * rest


def _step_over_limit(kernel: Sampler, settings: dict, traces: Chains) -> float:
    """Step size over the stability limit: at w*, or where a surviving chain was, whichever is larger."""
    at_center = min(ended["step_size"] for ended in traces.settings)
    seen = [traces.step_over_limit[chain] for chain in traces.survivors]
    return float(np.fmax.reduce([at_center / kernel.stability_limit(settings["curvature"], settings["gamma"]), *seen]))


def _by_position(
    traces: Chains, nbeta: float, kept: list[int], warmup: int, excess_share: float
) -> list[diagnostics.Summary] | None:
    """λ̂ of every position from the draws that λ̂ rests on; the predicted excess is shared in proportion."""
    if traces.by_position is None or not kept:
        return None
    return [
        diagnostics.corrected(found, excess_share * found.llc)
        for position in range(traces.by_position.shape[2])
        for found in [diagnostics.summarise(nbeta * traces.by_position[kept, warmup:, position])]
    ]
