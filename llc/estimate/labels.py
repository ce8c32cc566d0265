"""Labels on an estimate: what each number is called, and the ArviZ-shaped tree."""

import numpy as np
import xarray as xr

from llc.estimate.conclusion import Estimate
from llc.estimate.floor import RATIO
from llc.estimate.observing import losses_of
from llc.sampling import Chains, is_large

SCALARS = {
    "llc": ("estimated local learning coefficient", "1"),
    "llc_se": ("standard error of llc", "1"),
    "llc_low": ("lower end of the 90 % interval of llc", "1"),
    "llc_high": ("upper end of the 90 % interval of llc", "1"),
    "headline": ("which llc this is: at w*, or of the basin below it", "1"),
    "llc_at_w": ("llc at w*, nbeta (E[L] - L(w*))", "1"),
    "llc_at_w_se": ("standard error of llc_at_w", "1"),
    "llc_basin": ("llc of the basin, from two temperatures, free of L(w*)", "1"),
    "llc_basin_se": ("standard error of llc_basin", "1"),
    "floor": ("loss at the floor of the basin within the posterior's reach", "loss"),
    "floor_nats": ("nbeta times the loss at w* above that floor", "nats"),
    "floor_nats_se": ("standard error of floor_nats", "nats"),
    "noise_nats": ("how far the noise of the n samples moves a floor", "nats"),
    "tilt_nats": ("standard error of llc for the n samples being these, in a well that is no square", "nats"),
    "slope_nbeta": ("d llc / d log nbeta, from the draws", "1"),
    "slope_nbeta_se": ("standard error of slope_nbeta", "1"),
    "slope_gamma": ("d llc / d log gamma, from the draws", "1"),
    "slope_gamma_se": ("standard error of slope_gamma", "1"),
    "llc_raw": ("llc at w* before the part that step size and minibatch noise add was taken off", "1"),
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
    "llc_variance_se": ("standard error of llc_variance", "1"),
    "step_excess": ("part of llc that step size and minibatch noise are predicted to add", "1"),
    "rounding": ("part of llc_raw that low precision adds, measured against float32 at some draws", "1"),
    "step_over_limit": ("largest step size relative to the stability limit where chains were", "1"),
    "acceptance": ("share of proposals accepted, for Metropolis samplers", "1"),
    "gradients": ("minibatch gradients computed", "1"),
    "sample_gradients": ("gradients of single samples computed", "1"),
    "chains_at_once": ("chains that ran in one graph; 1 where each ran by itself", "1"),
    "warmup": ("draws of each chain that were set aside", "1"),
    "nbeta": ("inverse temperature, nbeta, of the mean loss", "1"),
    "gamma": ("localisation, gamma/2 |w - w*|^2", "1"),
    "step_size": ("step size that the chains ended with, the median of them", "1"),
    "num_samples": ("samples of the dataset, n", "1"),
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
    "llc_position": ("llc_at_w of the loss at each position: their mean is llc_at_w", "llc"),
    "llc_position_se": ("standard error of llc_position", "llc_se"),
    "llc_position_low": ("lower end of the 90 % interval of llc_position", "llc_low"),
    "llc_position_high": ("upper end of the 90 % interval of llc_position", "llc_high"),
}


def scalar_values(estimate: Estimate) -> dict[str, float | str]:
    """The numbers of an estimate, by the names of `SCALARS`."""
    every = {**estimate.settings, **vars(estimate), **vars(estimate.summary)}
    return {name: every[name] for name in SCALARS}


def trace_values(estimate: Estimate, chains: Chains | None = None) -> dict[str, np.ndarray]:
    """The traces of its cold chains, or of the hot ones, (chain, warmup + draws), by the names of `TRACES`."""
    hot = chains is estimate.hot_chains
    chains = estimate.chains if chains is None else chains
    nbeta = float(estimate.settings["nbeta"]) / (RATIO if hot else 1)
    full = np.full(chains.difference.shape, np.nan)
    full[:, chains.full_at] = nbeta * chains.full_difference
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


def rung_values(estimate: Estimate) -> xr.Dataset:
    """Every localisation that was tried, by `rung`."""
    about = {
        "nbeta": ("nbeta of a rung", "1"),
        "gamma": ("gamma of a rung", "1"),
        "llc": ("llc of the basin on a rung", "1"),
        "llc_se": ("standard error of llc on a rung", "1"),
        "degeneracy": ("how much less than a half each direction that the data hold counts", "1"),
        "held": ("what directions with curvature at w* hold of llc; NaN where that was not looked at", "1"),
        "held_se": ("standard error of held", "1"),
    }
    data = {
        name: ("rung", [getattr(rung, name) for rung in estimate.rungs], {"long_name": long_name, "units": units})
        for name, (long_name, units) in about.items()
    }
    places = {"rung": ("rung", np.arange(len(estimate.rungs)), {"long_name": "rung of the ladder", "units": "1"})}
    return xr.Dataset(data, places)


def described(table: dict[str, tuple[str, str]], name: str) -> dict[str, str]:
    """`long_name` and `units` of a variable in `SCALARS` or `TRACES`."""
    return dict(zip(("long_name", "units"), table[name], strict=True))


def estimate_tree(estimate: Estimate) -> xr.DataTree:
    """The labelled, ArviZ-shaped form of an estimate."""
    chains = estimate.chains
    scalars: dict = {name: ((), value, described(SCALARS, name)) for name, value in scalar_values(estimate).items()}
    data, coords = along(estimate)
    tree: dict[str, xr.Dataset] = {"/": xr.Dataset(scalars | data, coords, attrs=estimate.settings)}
    for kind, of_kind in (("", chains), ("hot_", estimate.hot_chains)):
        for part, draws in (("", slice(estimate.warmup, None)), ("warmup_", slice(0, estimate.warmup))):
            everything = _traces(estimate, of_kind, draws)
            tree[f"{kind}{part}posterior"] = everything[["llc"]]
            tree[f"{kind}{part}sample_stats"] = everything.drop_vars("llc")
    tree["ladder"] = rung_values(estimate)
    if set(chains.observed) > set(estimate.baselines):
        tree["observables"] = _observables(estimate)
    for name in estimate.baselines:
        tree[f"losses/{name}"] = _losses(estimate, name)
    return xr.DataTree.from_dict(tree, name=_in_one_line(estimate))


def _in_one_line(estimate: Estimate) -> str:
    """What `print(tree)` begins with."""
    found, at = estimate.summary, estimate.settings
    where = f"nbeta {at['nbeta']:.4g}, gamma {at['gamma']:.3g}, n {at['num_samples']}"
    return f"llc {found.llc:.4g} [{found.llc_low:.4g}, {found.llc_high:.4g}], {estimate.verdict}: {where}"


def _traces(estimate: Estimate, chains: Chains, draws: slice) -> xr.Dataset:
    """Some draws of the chains that survived."""
    traces: dict = {
        name: (("chain", "draw"), trace[chains.survivors, draws], described(TRACES, name))
        for name, trace in trace_values(estimate, chains).items()
    }
    places = {
        "chain": ("chain", chains.survivors, {"long_name": "chain", "units": "1"}),
        "draw": ("draw", np.arange(chains.steps)[draws] - draws.start, {"long_name": "draw", "units": "1"}),
    }
    return xr.Dataset(traces, places)


def _observables(estimate: Estimate) -> xr.Dataset:
    """What observables saw, (chain, draw_<name>, …); draws are numbered as in `posterior`, of the same chains."""
    chains = estimate.chains
    data: dict = {}
    places: dict = {"chain": ("chain", chains.survivors, {"long_name": "chain", "units": "1"})}
    for name, seen in chains.observed.items():
        if name in estimate.baselines:
            continue
        draw = f"draw_{name}"
        data[name] = (("chain", draw, *seen.dims), seen.values[chains.survivors], {"long_name": name, "units": "1"})
        places[draw] = (draw, seen.at - estimate.warmup, {"long_name": f"draw at which {name} was taken", "units": "1"})
    return xr.Dataset(data, places)


def _losses(estimate: Estimate, name: str) -> xr.Dataset:
    """Losses of a dataset, paired with those at w*, by (chain, draw, sample[, position])."""
    difference, draws = losses_of(estimate.chains, name, estimate.warmup)
    baseline = estimate.baselines[name]
    own = 0 if estimate.by_position is None else len(estimate.by_position)
    alike = baseline.ndim < 2 or own in {0, baseline.shape[1]}  # a group has the positions of its tree
    dims = ("sample", "position" if alike else f"position_{name}")[: baseline.ndim]
    said = "in a temporary file" if is_large(difference.shape, difference.dtype) else "in memory"
    return xr.Dataset(
        {
            "difference": (
                ("chain", "draw", *dims),
                difference,
                {"long_name": f"loss of a sample of {name} at a draw minus that at w*", "units": "loss", "kept": said},
            ),
            "baseline": (dims, baseline, {"long_name": f"loss of a sample of {name} at w*", "units": "loss"}),
        },
        {
            "chain": ("chain", estimate.chains.survivors, {"long_name": "chain", "units": "1"}),
            "draw": ("draw", draws, {"long_name": "draw, as in posterior", "units": "1"}),
        },
        attrs={"dataset": name, "weighted": int(name in estimate.weighted)},
    )
