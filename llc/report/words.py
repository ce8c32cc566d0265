"""What the numbers say, in sentences made from them and from nothing else."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from llc.development.boundaries import noise
from llc.estimate.verdict import COMPARABLE
from llc.report.draw import label
from llc.report.made import features_of


def question(config: dict, imported_from: str | None = None) -> str:
    """What the study asks and with what."""
    task, training, sweep = config["task"], config["training"], config["sweep"]
    how = (
        f"{training['steps']:,} steps of batch {training['batch_size']}"
        if imported_from is None
        else f"with weights that were trained elsewhere and imported from {imported_from}"
    )
    diversities = ", ".join("∞" if m == "inf" else f"{m}" for m in sweep["num_tasks"])
    seeds = len(sweep["seeds"])
    return (
        f"How does a network's complexity develop while it learns to regress in context? Models were trained on "
        f"sequences of K = {task['num_examples']} examples in D = {task['dim']} dimensions (noise variance "
        f"{task['noise_variance']:g}), whose task vectors come from a set of M: M ∈ {{{diversities}}}, "
        f"{seeds} {'seed' if seeds == 1 else 'seeds'} each, {how}. Two ideal predictors frame what they can learn: "
        "ridge regression, which fits any task and knows none, and dMMSE_M, which knows the M training tasks by heart. "
        "On the training distribution the second is better, and the more tasks it knows, the more complex it is; a run "
        "that is like ridge for a while and then leaves it shows a tradeoff of loss and complexity."
    )


# Of the way from the zero predictor to ridge; a run that came less far never generalised.
_CAME_SOME_WAY = 0.1
_LEAST_FOR_JITTER = 4


def behaviour(summary: pd.DataFrame, metrics: xr.Dataset) -> list[str]:
    """Where runs ended, and which of them were transient."""
    several = summary["seed"].nunique() > 1
    means = metrics.mean("position")
    said = []
    for row in _rows(summary):
        name = label(row.M, row.seed, several=several)
        if np.isinf(row.M):
            said.append(
                f"{name}: ends at a distance of {row.distance_ridge:.3g} from ridge, OOD loss {row.loss_ood:.3g}."
            )
            continue
        ends = {"dMMSE": row.distance_dmmse, "ridge": row.distance_ridge}
        near, far = sorted(ends, key=ends.__getitem__)
        sentence = (
            f"{name}: ends nearer to {near} (mean squared distance {ends[near]:.3g}) than to {far} ({ends[far]:.3g})"
        )
        if np.isnan(row.t_crit):
            said.append(f"{sentence}; not finished.")
            continue
        of_run = means.sel(num_tasks=row.M, seed=row.seed)
        zero, ridge = float(of_run.zero_loss_ood), float(of_run.ridge_loss_ood)
        jitter = _late_jitter(of_run.loss_ood.dropna("step").values)
        way = (zero - float(of_run.loss_ood.sel(step=int(row.t_crit)))) / (zero - ridge)
        rise = f"{row.rise_ood:.3f} ± {row.rise_ood_se:.3f}"
        if way < _CAME_SOME_WAY:
            said.append(
                f"{sentence}; never generalised: its OOD loss came at most {100 * max(0.0, way):.0f} % of the way from "
                "the zero predictor to ridge."
            )
        elif row.t_crit >= row.step:
            said.append(f"{sentence}; its OOD loss was still falling, {100 * way:.0f} % of the way from zero to ridge.")
        elif row.rise_ood > 2 * np.hypot(row.rise_ood_se, jitter):
            said.append(
                f"{sentence}; transient: at step {row.t_crit:,.0f} its OOD loss had come {100 * way:.0f} % of the way "
                f"from the zero predictor to ridge, and has risen by {rise} since."
            )
        else:
            said.append(
                f"{sentence}; its OOD loss came {100 * way:.0f} % of the way from the zero predictor to ridge, at step "
                f"{row.t_crit:,.0f}, and has not clearly risen since ({rise}; from one checkpoint to the next it "
                f"changes by about {jitter:.2g})."
            )
    return said


def _late_jitter(losses: np.ndarray) -> float:
    """How far two checkpoints of the second half of training differ by jitter alone: t_crit is the least of many."""
    late = losses[len(losses) // 2 :]
    return float(np.sqrt(2) * noise(late)) if len(late) >= _LEAST_FOR_JITTER else 0.0


def complexity(llc: xr.Dataset) -> list[str]:
    """How many estimates may be believed, and how λ̂ went."""
    verdicts = llc.verdict.fillna("").values
    verdicts = verdicts[verdicts != ""]  # those that diverged have no λ̂, but a verdict
    good = int((verdicts == "converged").sum())
    kinds = ", ".join(f"{int((verdicts == kind).sum())} {kind}" for kind in sorted(set(verdicts) - {"converged"}))
    said = [f"{good} of {len(verdicts)} estimates of λ̂ are converged" + (f" ({kinds})." if kinds else ".")]
    several = llc.sizes["seed"] > 1
    for m in llc.num_tasks.values:
        for seed in llc.seed.values:
            run = llc.sel(num_tasks=m, seed=seed)
            run = run.isel(step=np.flatnonzero(run.verdict.isin(COMPARABLE).values))
            if run.sizes["step"] < 2:
                continue
            top, end = run.isel(step=int(run.llc.values.argmax())), run.isel(step=-1)
            name = label(float(m), int(seed), several=several)
            value = f"{float(end.llc):.3g} ± {float(end.llc_se):.2g} at step {int(end.step):,}"
            gap = float(top.llc - end.llc)
            if int(top.step) != int(end.step) and gap > 2 * float(np.hypot(top.llc_se, end.llc_se)):
                said.append(
                    f"{name}: λ̂ was largest at step {int(top.step):,} ({float(top.llc):.3g} ± "
                    f"{float(top.llc_se):.2g}) and has fallen to {value}."
                )
            else:
                said.append(f"{name}: λ̂ is {value}, not clearly below its largest value.")
    return said


def trajectories(pca: xr.Dataset) -> list[str]:
    """Whether components explain more than random walks would."""
    share = 100 * float(pca.explained_variance_ratio[:2].sum())
    walks = 100 * pca.explained_variance_null[:, :2].sum("component")
    low, high = np.quantile(walks, [0.05, 0.95])
    verdict = "more than" if share > high else "no more than"
    said = [
        f"Two joint components explain {share:.0f} % of the variance of {features_of(pca)}, {verdict} random walks "
        f"with the same increments ({low:.0f} to {high:.0f} %)."
    ]
    if "distance_ridge_dmmse" in pca:
        finite = np.isfinite(pca.num_tasks.values)
        away = pca.distance_ridge_dmmse.values[finite]
        if len(away) > 1:
            plane = np.linalg.norm(pca.score_dmmse.values[finite][:, :2] - pca.score_ridge.values[:2], axis=1)
            said.append(
                f"Distances of dMMSE_M to ridge {_order(away)}: {_list(away)}. In the plane of the figure they "
                f"{_order(plane)}: {_list(plane)}."
            )
    return said


def _order(values: np.ndarray) -> str:
    return "fall with M" if np.all(np.diff(values) < 0) else "do not all fall with M"


def _list(values: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def tradeoff(found: xr.Dataset) -> list[str]:
    """What loss buys and complexity costs."""
    said = []
    several = found.sizes["seed"] > 1
    for m in found.num_tasks.values:
        for seed in found.seed.values:
            row = found.sel(num_tasks=m, seed=seed)
            if not np.isfinite(row.delta_llc):
                continue
            name = label(float(m), int(seed), several=several)
            interval = f"[{float(row.delta_llc_low):.3g}, {float(row.delta_llc_high):.3g}]"
            compared = (
                "more complex than"
                if row.delta_llc_low > 0
                else "simpler than"
                if row.delta_llc_high < 0
                else "within its errors as complex as"
            )
            said.append(
                f"{name}: dMMSE is {'better' if row.delta_loss < 0 else 'worse'} than ridge by "
                f"{abs(float(row.delta_loss)):.3g} nats a sequence. The model at the "
                f"end is {compared} that of M = ∞: Δλ = {float(row.delta_llc):.3g} {interval}"
                + ("." if row.ends_like.item() == "dmmse" else "; but it is not like dMMSE (yet).")
            )
    rank = found.attrs.get("rank_correlation", np.nan)
    if np.isfinite(rank):
        low, high = found.attrs["rank_correlation_low"], found.attrs["rank_correlation_high"]
        said.append(
            f"Rank correlation of the n at which preference turns with t_crit: {rank:.2f} [{low:.2f}, {high:.2f}]."
        )
    return said


def _rows(table: pd.DataFrame) -> Any:
    """Rows with an attribute a column, whose types no stub knows."""
    return table.itertuples()
