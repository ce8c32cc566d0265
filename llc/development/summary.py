"""One row a run: what a reader wants to know of a sweep at a glance."""

import numpy as np
import pandas as pd

from llc import store


def summary_table(experiment: store.Experiment) -> pd.DataFrame:
    """Where each run ended: losses, distances, t_crit, and λ̂ at the last step that was estimated.

    Returns:
        A row for each (M, seed). What has not been computed yet is NaN or empty; columns:
        `step` reached, `loss_ood`, `distance_ridge`, `distance_dmmse` (in distribution), `t_crit`, `rise_ood` and
        `rise_ood_se` (OOD loss at the end minus at t_crit, with its paired standard error), `llc`, `llc_se`,
        `llc_step` (where it was estimated), `verdict`.
    Raises:
        StoreError: there are no metrics yet.
    """
    metrics = experiment.metrics.mean("position")
    llc = experiment.llc if (experiment.path / "llc.nc").exists() else None
    rows = []
    for run in experiment.runs:
        place = {"num_tasks": run.num_tasks, "seed": run.seed}
        if run.num_tasks not in metrics.num_tasks or run.seed not in metrics.seed:
            continue
        of_run = metrics.sel(place).dropna("step", subset=["loss_id"])
        if not of_run.sizes["step"]:  # it has not begun
            continue
        end = of_run.isel(step=-1)
        row = {
            "M": run.num_tasks,
            "seed": run.seed,
            "step": int(end.step),
            "loss_ood": float(end.loss_ood),
            "distance_ridge": float(end.distance_ridge_id),
            "distance_dmmse": float(end.distance_dmmse_id),
        }
        for name in ("step_critical", "rise_ood", "rise_ood_se"):
            row["t_crit" if name == "step_critical" else name] = float(of_run[name]) if name in of_run else np.nan
        rows.append(row | _estimate_at_end(llc, place))
    return pd.DataFrame(rows)


_NO_ESTIMATE = {"llc": np.nan, "llc_se": np.nan, "llc_step": np.nan, "verdict": ""}


def _estimate_at_end(llc, place: dict) -> dict:
    if llc is None or place["num_tasks"] not in llc.num_tasks or place["seed"] not in llc.seed:
        return _NO_ESTIMATE
    estimates = llc[["llc", "llc_se", "verdict"]].sel(place)
    known = np.flatnonzero([bool(verdict) for verdict in estimates.verdict.fillna("").values])
    if not len(known):
        return _NO_ESTIMATE
    last = estimates.isel(step=known[-1])
    return {
        "llc": float(last.llc),
        "llc_se": float(last.llc_se),
        "llc_step": int(last.step),
        "verdict": str(last.verdict.item()),
    }


def format_table(table: pd.DataFrame) -> str:
    """The summary as text, a line a run, with short headings and sensible digits."""
    shown = pd.DataFrame(
        {
            "M": table["M"].map(lambda m: "inf" if np.isinf(m) else f"{m:g}"),
            "seed": table["seed"],
            "step": table["step"],
            "OOD loss": table["loss_ood"].map("{:.3f}".format),
            "to ridge": table["distance_ridge"].map("{:.3f}".format),
            "to dMMSE": table["distance_dmmse"].map("{:.3f}".format),
            "t_crit": table["t_crit"].map(lambda step: "-" if np.isnan(step) else f"{step:.0f}"),
            "rise since": [
                "-" if np.isnan(rise) else f"{rise:.3f} ± {se:.3f}"
                for rise, se in zip(table["rise_ood"], table["rise_ood_se"], strict=True)
            ],
            "LLC": [
                "-" if np.isnan(value) else f"{value:.1f} ± {se:.1f}" + ("" if at == end else f" at {at:.0f}")
                for value, se, at, end in zip(
                    table["llc"], table["llc_se"], table["llc_step"], table["step"], strict=True
                )
            ],
            "verdict": table["verdict"],
        }
    )
    return shown.to_string(index=False)
