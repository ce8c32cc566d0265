"""From the traces of chains to an estimate of λ̂ with its error and its verdict. Plain numbers, no labels."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np

from llc.complexity import diagnostics
from llc.complexity.verdict import Evidence, judge
from llc.sampling import Chains


@dataclass(frozen=True)
class Estimate:
    """λ̂ and everything it rests on, as plain numbers; `estimate_llc` labels it."""

    summary: diagnostics.Summary
    verdict: str
    reason: str
    loss_init: float
    llc_raw: float
    loss_sampled: float
    distance: float
    prior_share: float
    llc_variance: float
    step_excess: float
    acceptance: float
    gradients: int
    warmup: int
    chains: Chains
    settings: dict[str, float | int | str] = field(default_factory=dict)


def conclude(
    traces: Chains,
    kernel: ModuleType,
    *,
    settings: dict,
    loss_init: float,
    find_warmup: bool,
    reference_losses: Mapping[str, float] | None = None,
) -> Estimate:
    """λ̂, error and verdict from the draws after warm-up of the chains that survived.

    Args:
        settings: `nbeta`, `gamma`, `curvature`, `num_parameters` and the sampler's own.
        find_warmup: look for the end of burn-in, up to `traces.warmup` draws; otherwise that is it.
    """
    nbeta, gamma, parameters = settings["nbeta"], settings["gamma"], settings["num_parameters"]
    kept = traces.survivors
    warmup = traces.warmup
    if not kept:
        found = diagnostics.FAILED
    else:
        if find_warmup:
            warmup = min(warmup, diagnostics.detect_warmup(nbeta * traces.difference[kept]))
        found = diagnostics.summarise(nbeta * traces.difference[kept, warmup:])
    raw = found.llc
    with warnings.catch_warnings():  # means over nothing, where every chain was lost
        warnings.simplefilter("ignore", RuntimeWarning)
        squared_distance = float(np.mean(np.square(traces.distance[kept, warmup:])))
        variance = float(np.var(nbeta * traces.full_difference[kept], ddof=1))
        excess = float(np.mean([_step_excess(kernel, settings, traces, chain) for chain in kept]))
        acceptance = float(np.mean(traces.acceptance[kept, warmup:]))
        distance = float(np.mean(traces.distance[kept, warmup:]))
    found = diagnostics.corrected(found, excess)
    evidence = Evidence(
        summary=found,
        chains=len(traces.difference),
        diverged=traces.diverged,
        prior_share=gamma * squared_distance / parameters,
        prior_over_curvature=gamma / settings["curvature"] if settings["curvature"] else math.inf if gamma else 0.0,
        variance_ratio=variance / raw if raw else math.nan,
        step_excess=excess / abs(raw) if raw else math.nan,
        step_over_limit=settings["step_size"] / kernel.stability_limit(settings["curvature"], gamma),
        loss_sampled=loss_init + raw / nbeta,
        reference_losses=dict(reference_losses or {}),
    )
    verdict, reason = judge(evidence)
    if traces.cuts:
        chains = ", ".join(sorted({str(chain) for chain, _, _ in traces.cuts}))
        reason += f"; step size cut in chains {chains}, which ran into higher curvature"
    return Estimate(
        summary=found,
        verdict=verdict,
        reason=reason,
        loss_init=loss_init,
        llc_raw=raw,
        loss_sampled=evidence.loss_sampled,
        distance=distance,
        prior_share=evidence.prior_share,
        llc_variance=variance,
        step_excess=excess,
        acceptance=acceptance,
        gradients=traces.gradients,
        warmup=warmup,
        chains=traces,
        settings=settings,
    )


def _step_excess(kernel: ModuleType, settings: dict, traces: Chains, chain: int) -> float:
    """What one chain's step size and minibatch noise are predicted to add to λ̂."""
    return kernel.step_excess(
        {**settings, "step_size": traces.step_size(chain, settings["step_size"])},
        square=float(np.mean(traces.gradient_square[chain])),
        noise=float(np.mean(traces.gradient_noise[chain])),
    )
