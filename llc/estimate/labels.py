"""Labels on an estimate: what each number is called, and the ArviZ-shaped tree."""

import numpy as np
import xarray as xr

from llc.estimate.conclusion import Estimate

SCALARS = {
    "llc": ("estimated local learning coefficient", "1"),
    "llc_se": ("standard error of llc", "1"),
    "llc_low": ("lower end of the 90 % interval of llc", "1"),
    "llc_high": ("upper end of the 90 % interval of llc", "1"),
    "llc_raw": ("llc before the part that step size and minibatch noise add was taken off", "1"),
    "loss_init": ("mean loss at w* over the sampling dataset", "loss"),
    "loss_sampled": ("mean loss over the draws, loss_init + llc_raw/nbeta", "loss"),
    "ess_bulk": ("bulk effective sample size", "1"),
    "ess_tail": ("tail effective sample size", "1"),
    "rhat": ("rank-normalised R-hat", "1"),
    "rhat_nested": ("nested R-hat of chains from w* and from farther out", "1"),
    "drift": ("second half of the draws minus the first, in standard errors", "1"),
    "distance": ("mean distance of the draws from w*", "1"),
    "prior_share": ("gamma E|w - w*|^2 over the number of parameters", "1"),
    "explored": ("share of the way that the prior lets chains go that they have gone", "1"),
    "llc_variance": ("second estimate of llc, the variance of nbeta times the whole dataset's loss", "1"),
    "step_excess": ("part of llc that step size and minibatch noise are predicted to add", "1"),
    "rounding": ("part of llc_raw that low precision adds, measured against float32 at some draws", "1"),
    "step_over_limit": ("largest step size relative to the stability limit where chains were", "1"),
    "acceptance": ("share of proposals accepted, for Metropolis samplers", "1"),
    "gradients": ("minibatch gradients computed", "1"),
    "chains_at_once": ("chains that ran in one graph; 1 where each ran by itself", "1"),
    "warmup": ("draws of each chain that were set aside", "1"),
    "verdict": ("what the estimate is worth", "1"),
    "reason": ("why", "1"),
}
TRACES = {
    "llc": ("nbeta times the paired loss difference of a draw", "1"),
    "loss": ("minibatch loss of a draw", "loss"),
    "distance": ("distance of a draw from w*", "1"),
    "full_llc": ("nbeta times the whole dataset's loss difference, at the draws where it was looked at", "1"),
}
BY_POSITION = {
    "llc_position": ("estimated local learning coefficient of the loss at each position", "llc"),
    "llc_position_se": ("standard error of llc_position", "llc_se"),
    "llc_position_low": ("lower end of the 90 % interval of llc_position", "llc_low"),
    "llc_position_high": ("upper end of the 90 % interval of llc_position", "llc_high"),
}


def scalar_values(estimate: Estimate) -> dict[str, float | str]:
    """The numbers of an estimate, by the names of `SCALARS`."""
    every = {**vars(estimate), **vars(estimate.summary)}
    return {name: every[name] for name in SCALARS}


def trace_values(estimate: Estimate) -> dict[str, np.ndarray]:
    """Its traces (chain, warmup + draws), by the names of `TRACES`."""
    chains = estimate.chains
    nbeta = float(estimate.settings["nbeta"])
    full = np.full(chains.difference.shape, np.nan)
    full[:, chains.probed] = nbeta * chains.full_difference
    return {"llc": nbeta * chains.difference, "loss": chains.loss, "distance": chains.distance, "full_llc": full}


def along(estimate: Estimate) -> tuple[dict[str, tuple], dict[str, tuple]]:
    """What an estimate has along a dim of its own, as variables and coords.

    λ̂ by `position`, where the loss has positions, and the losses of predictors that know nothing by `reference`.
    """
    data: dict[str, tuple] = {}
    coords: dict[str, tuple] = {}
    if found := estimate.by_position:
        for name, (long_name, what) in BY_POSITION.items():
            values = np.array([getattr(one, what) for one in found])
            data[name] = ("position", values, {"long_name": long_name, "units": "1"})
        coords["position"] = ("position", np.arange(1, len(found) + 1), {"long_name": "position k", "units": "1"})
    if known := estimate.reference_losses:
        about = {"long_name": "mean loss of a predictor that knows nothing", "units": "loss"}
        data["reference_loss"] = ("reference", np.array(list(known.values())), about)
        coords["reference"] = ("reference", list(known), {"long_name": "which predictor", "units": "1"})
    return data, coords


def described(table: dict[str, tuple[str, str]], name: str) -> dict[str, str]:
    """`long_name` and `units` of a variable in `SCALARS` or `TRACES`."""
    return dict(zip(("long_name", "units"), table[name], strict=True))


def estimate_tree(estimate: Estimate) -> xr.DataTree:
    """The labelled, ArviZ-shaped form of an estimate."""
    chains = estimate.chains
    scalars: dict = {name: ((), value, described(SCALARS, name)) for name, value in scalar_values(estimate).items()}
    data, coords = along(estimate)
    groups = {"": slice(estimate.warmup, None), "warmup_": slice(0, estimate.warmup)}
    tree: dict[str, xr.Dataset] = {"/": xr.Dataset(scalars | data, coords, attrs=estimate.settings)}
    for prefix, draws in groups.items():
        traces: dict = {
            name: (("chain", "draw"), trace[chains.survivors, draws], described(TRACES, name))
            for name, trace in trace_values(estimate).items()
        }
        places = {
            "chain": ("chain", chains.survivors, {"long_name": "chain", "units": "1"}),
            "draw": ("draw", np.arange(chains.steps)[draws] - draws.start, {"long_name": "draw", "units": "1"}),
        }
        everything = xr.Dataset(traces, places)
        tree[f"{prefix}posterior"] = everything[["llc"]]
        tree[f"{prefix}sample_stats"] = everything.drop_vars("llc")
    if chains.observed:
        tree["observables"] = _observables(estimate)
    return xr.DataTree.from_dict(tree)


def _observables(estimate: Estimate) -> xr.Dataset:
    """What observables saw, (chain, draw_<name>, …); draws are numbered as in `posterior`, of the same chains."""
    chains = estimate.chains
    data: dict = {}
    places: dict = {"chain": ("chain", chains.survivors, {"long_name": "chain", "units": "1"})}
    for name, seen in chains.observed.items():
        draw = f"draw_{name}"
        data[name] = (("chain", draw, *seen.dims), seen.values[chains.survivors], {"long_name": name, "units": "1"})
        places[draw] = (draw, seen.at - estimate.warmup, {"long_name": f"draw at which {name} was taken", "units": "1"})
    return xr.Dataset(data, places)
