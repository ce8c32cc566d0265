"""The local learning coefficient of one model: λ̂ with its error, its traces and a verdict."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr
from torch import nn

from llc.complexity import diagnostics
from llc.errors import EstimateFailed, InvalidInput
from llc.parallel import Report, quiet
from llc.sampling import Chains, Target, largest_curvature, run_chains, sampler_named
from llc.sampling.target import Data, Loss, check_data, data_length


@dataclass(frozen=True)
class Estimate:
    """λ̂ and everything it rests on, as plain numbers; `estimate_llc` labels it."""

    summary: diagnostics.Summary
    verdict: str
    reason: str
    loss_init: float
    loss_sampled: float
    distance: float
    chains: Chains
    settings: dict[str, float | int | str] = field(default_factory=dict)


def estimate_llc(
    model: nn.Module,
    loss: Loss,
    data: Data,
    *,
    nbeta: float | None = None,
    gamma: float | None = None,
    sampler: str = "kinetic",
    step_size: float | None = None,
    chains: int = 4,
    draws: int = 200,
    warmup: int | None = None,
    batch_size: int | None = None,
    control_variates: bool = False,
    seed: int = 0,
    report: Report = quiet,
) -> xr.DataTree:
    """Estimate the local learning coefficient of a model at its current weights w*.

        λ̂(w*) = nβ (E[L_n(w)] − L_n(w*)),   w ~ exp(−nβ L_n(w) − γ/2 ‖w − w*‖²)

    Lau et al. (2023), arXiv 2308.12108. Each draw's minibatch loss is paired with the same samples' losses at w*, so
    that the spread between samples cancels.

    Args:
        model: any `nn.Module`. Neither its weights, mode nor device are touched.
        loss: `loss(model, batch) -> (B,)`, one loss a sample; `batch` has the structure of `data`.
        data: a tuple of tensors with one first dimension n, or a map-style dataset of n samples.
        nbeta: nβ, multiplies the mean loss; by default n / log n.
        gamma: γ; by default 9 P/‖w*‖², for which the prior's radius √(P/γ) is a third of ‖w*‖.
        sampler: `kinetic` or `sgld`.
        step_size: h (kinetic) or ε (SGLD); by default from the largest curvature at w*.
        chains, draws: how many chains, and how many draws each keeps.
        warmup: draws each chain makes first, kept apart and never averaged; by default as many as `draws`.
        batch_size: samples a draw; by default 256, or n if that is smaller.
        control_variates: see `llc.sampling.Target`; off by default.
        seed: of the chains' noise and minibatches.

    Returns:
        A tree whose root holds `llc`, `llc_se`, `llc_low`, `llc_high` (90 %), `verdict`, `reason` and diagnostics,
        and whose groups `posterior`, `sample_stats`, `warmup_posterior`, `warmup_sample_stats` hold the traces by
        (chain, draw) as ArviZ expects them. Chains that diverged are in no group; the reason names them.

    Raises:
        InvalidInput: an argument out of range, a loss of the wrong shape, weights that are not finite.
        EstimateFailed: every chain diverged.
    """
    estimate = estimate_numbers(
        model,
        loss,
        data,
        nbeta=nbeta,
        gamma=gamma,
        sampler=sampler,
        step_size=step_size,
        chains=chains,
        draws=draws,
        warmup=warmup,
        batch_size=batch_size,
        control_variates=control_variates,
        key=(seed, "llc"),
        report=report,
    )
    if len(estimate.chains.diverged) == chains:
        raise EstimateFailed(f"no estimate: {estimate.reason}")
    return estimate_tree(estimate)


def estimate_numbers(
    model: nn.Module,
    loss: Loss,
    data: Data,
    *,
    nbeta: float | None,
    gamma: float | None,
    sampler: str,
    step_size: float | None,
    chains: int,
    draws: int,
    warmup: int | None,
    batch_size: int | None,
    control_variates: bool,
    key: tuple,
    report: Report = quiet,
) -> Estimate:
    """`estimate_llc` without labels. A total failure is a verdict here, with NaN for numbers, not an error."""
    kernel = sampler_named(sampler)
    data = check_data(data)
    num_samples = data_length(data)
    if gamma is None:
        gamma = default_gamma([model])
    # Nothing the model or loss draws may disturb the caller's random state.
    with torch.random.fork_rng():
        target = Target(
            model,
            loss,
            data,
            nbeta=num_samples / math.log(num_samples) if nbeta is None else nbeta,
            gamma=gamma,
            batch_size=min(256, num_samples) if batch_size is None else batch_size,
            control_variates=control_variates,
        )
        curvature = largest_curvature(target)
        settings = kernel.default_settings(curvature, target.gamma)
        if step_size is not None:
            if not 0 < step_size < math.inf:
                raise InvalidInput(f"step_size = {step_size} given, expected a finite number > 0")
            settings["step_size"] = float(step_size)
        traces = run_chains(
            target,
            kernel,
            settings,
            chains=chains,
            warmup=draws if warmup is None else warmup,
            draws=draws,
            key=key,
            report=report,
        )
    said = {
        "sampler": sampler,
        "nbeta": target.nbeta,
        "gamma": target.gamma,
        "batch_size": target.batch_size,
        "control_variates": int(target.control_variates),
        "num_samples": target.num_samples,
        "num_parameters": target.num_parameters,
        "curvature": curvature,
        **settings,
    }
    return conclude(traces, nbeta=target.nbeta, loss_init=float(target.baseline.mean()), settings=said)


def conclude(traces: Chains, *, nbeta: float, loss_init: float, settings: dict) -> Estimate:
    """λ̂, error and verdict from the draws after warm-up of the chains that survived."""
    survivors = traces.survivors
    kept = np.s_[survivors, traces.warmup :]
    summary = diagnostics.summarise(nbeta * traces.difference[kept]) if survivors else diagnostics.FAILED
    verdict, reason = diagnostics.verdict(summary, chains=len(traces.difference), diverged=traces.diverged)
    return Estimate(
        summary=summary,
        verdict=verdict,
        reason=reason,
        loss_init=loss_init,
        loss_sampled=loss_init + summary.llc / nbeta,
        distance=float(traces.distance[kept].mean()) if survivors else np.nan,
        chains=traces,
        settings=settings,
    )


def default_gamma(models: Iterable[nn.Module]) -> float:
    """γ = 9 P/‖w‖², geometric mean over models: the prior alone would leave chains at about ‖w‖/3 from w*.

    One value has to serve every checkpoint that is compared, since λ̂ depends on γ.
    """
    logs = []
    for model in models:
        weights = [p.detach().double() for p in model.parameters() if p.requires_grad]
        square = sum(float(w.square().sum()) for w in weights)
        if 0 < square < math.inf:
            logs.append(math.log(9 * sum(w.numel() for w in weights) / square))
    return float(f"{math.exp(sum(logs) / len(logs)):.3g}") if logs else 1.0


SCALARS = {
    "llc": ("estimated local learning coefficient", "1"),
    "llc_se": ("standard error of llc", "1"),
    "llc_low": ("lower end of the 90 % interval of llc", "1"),
    "llc_high": ("upper end of the 90 % interval of llc", "1"),
    "loss_init": ("mean loss at w* over the sampling dataset", "loss"),
    "loss_sampled": ("mean loss over the draws, loss_init + llc/nbeta", "loss"),
    "ess_bulk": ("bulk effective sample size", "1"),
    "rhat": ("rank-normalised R-hat", "1"),
    "drift": ("second half of the draws minus the first, in standard errors", "1"),
    "distance": ("mean distance of the draws from w*", "1"),
    "verdict": ("what the estimate is worth", "1"),
    "reason": ("why", "1"),
}
TRACES = {
    "llc": ("nbeta times the paired loss difference of a draw", "1"),
    "loss": ("minibatch loss of a draw", "loss"),
    "distance": ("distance of a draw from w*", "1"),
}


def scalar_values(estimate: Estimate) -> dict[str, float | str]:
    """The numbers of an estimate, by the names of `SCALARS`."""
    every = {**vars(estimate), **vars(estimate.summary)}
    return {name: every[name] for name in SCALARS}


def trace_values(estimate: Estimate) -> dict[str, np.ndarray]:
    """Its traces (chain, warmup + draws), by the names of `TRACES`."""
    chains = estimate.chains
    nbeta = float(estimate.settings["nbeta"])
    return {"llc": nbeta * chains.difference, "loss": chains.loss, "distance": chains.distance}


def described(table: dict[str, tuple[str, str]], name: str) -> dict[str, str]:
    """`long_name` and `units` of a variable in `SCALARS` or `TRACES`."""
    return dict(zip(("long_name", "units"), table[name], strict=True))


def estimate_tree(estimate: Estimate) -> xr.DataTree:
    """The labelled, ArviZ-shaped form of an estimate."""
    chains = estimate.chains
    scalars: dict = {name: ((), value, described(SCALARS, name)) for name, value in scalar_values(estimate).items()}
    groups = {"": slice(chains.warmup, None), "warmup_": slice(0, chains.warmup)}
    tree: dict[str, xr.Dataset] = {"/": xr.Dataset(scalars, attrs=estimate.settings)}
    for prefix, draws in groups.items():
        traces: dict = {
            name: (("chain", "draw"), trace[chains.survivors, draws], described(TRACES, name))
            for name, trace in trace_values(estimate).items()
        }
        coords = {
            "chain": ("chain", chains.survivors, {"long_name": "chain", "units": "1"}),
            "draw": ("draw", np.arange(chains.steps)[draws] - draws.start, {"long_name": "draw", "units": "1"}),
        }
        everything = xr.Dataset(traces, coords)
        tree[f"{prefix}posterior"] = everything[["llc"]]
        tree[f"{prefix}sample_stats"] = everything.drop_vars("llc")
    return xr.DataTree.from_dict(tree)
