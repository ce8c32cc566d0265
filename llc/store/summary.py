"""One row a run: what a reader wants to know of a sweep at a glance."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from llc.errors import one_line
from llc.store.arguments import takes_experiment
from llc.store.atomic import is_there
from llc.store.experiment import Experiment
from llc.store.labels import axes_in, of_run, over_positions, references_of, symbol_of, value_label


@takes_experiment
def summary_table(experiment: Experiment, results: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """Where each run ended: losses, distances, t_crit, and λ̂ at the last step that was estimated.

    Args:
        experiment: from `llc.open` or `llc.train`.
        results: `metrics` and, unless it is None, `llc`; by default those of the experiment.
    Returns:
        A row for each run. What has not been computed yet is NaN or empty; columns: the axes of the sweep; `step`
        reached; `loss_…` of every test set; `distance_…` to every reference on the first of them; `t_crit`, `rise` and
        `rise_se` (headline loss at the end minus at t_crit, with its paired standard error) where the task has a
        headline; `llc`, `llc_se`, `llc_step` (where it was estimated), `verdict`.
    Raises:
        StoreError: there are no metrics yet.
    """
    if results is None:
        there = ["metrics", *(["llc"] if is_there(experiment.path / "llc.nc") else [])]
        results = {name: experiment.result(name) for name in there}
    metrics, llc = over_positions(results["metrics"]), results.get("llc")
    rows = []
    # Results may be there without their runs; where there are runs, a damaged one is named.
    for place in [run.place for run in experiment.runs] or experiment.places:
        of_metrics = of_run(metrics, place)
        known = None if of_metrics is None else of_metrics.dropna("step", subset=["loss"], how="all")
        if known is None or not known.sizes["step"]:  # it has not begun
            continue
        end = known.isel(step=-1)
        row: dict[str, Any] = {**place, "step": int(end.step)}
        row |= {f"loss_{name}": float(end.loss.sel(test_set=name)) for name in end.test_set.values}
        for name in references_of(end):
            row[f"distance_{name}"] = float(end.distance.sel(reference=name).isel(test_set=0))
        for name in ("step_critical", "rise", "rise_se"):
            if name in metrics:
                row["t_crit" if name == "step_critical" else name] = float(known[name])
        rows.append(row | _estimate_at_end(llc, place))
    return pd.DataFrame(rows)


_NO_ESTIMATE = {"llc": np.nan, "llc_se": np.nan, "llc_step": np.nan, "verdict": ""}


def _estimate_at_end(llc: xr.Dataset | None, place: Mapping[str, Any]) -> dict[str, Any]:
    estimates = None if llc is None else of_run(llc[["llc", "llc_se", "verdict"]], place)
    if estimates is None:
        return _NO_ESTIMATE
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


def axis_columns(table: pd.DataFrame, labels: xr.Dataset) -> dict[str, list[str]]:
    """The axes of a table's rows by symbol; those on which nothing varies are left out, unless none does."""
    axes = [dim for dim in axes_in(labels) if dim in table]
    varied = [dim for dim in axes if table[dim].nunique() > 1] or axes[-1:]
    return {symbol_of(labels, dim): [value_label(value) for value in table[dim]] for dim in varied}


def format_table(table: pd.DataFrame, metrics: xr.Dataset) -> str:
    """The summary as text, a line a run, with short headings and sensible digits.

    Args:
        table: of `summary_table`.
        metrics: that it is of, for what its axes are called.
    """
    shown: dict[str, Any] = axis_columns(table, metrics) | {"step": table["step"]}
    for column in table.columns:
        kind, _, name = column.partition("_")
        if kind in ("loss", "distance"):
            heading = f"{name} loss" if kind == "loss" else f"to {name}"
            shown[heading] = table[column].map("{:.3f}".format)
    if "t_crit" in table:
        shown["t_crit"] = table["t_crit"].map(lambda step: "-" if np.isnan(step) else f"{step:.0f}")
        shown["rise since"] = [
            "-" if np.isnan(rise) else f"{rise:.3f} ± {se:.3f}"
            for rise, se in zip(table["rise"], table["rise_se"], strict=True)
        ]
    shown["LLC"] = [
        "-" if np.isnan(value) else _with_error(value, se) + ("" if at == end else f" at {at:.0f}")
        for value, se, at, end in zip(table["llc"], table["llc_se"], table["llc_step"], table["step"], strict=True)
    ]
    shown["verdict"] = table["verdict"]
    # Names and verdicts are what a result says, which may come from anywhere.
    return pd.DataFrame({_plain(name): list(map(_plain, values)) for name, values in shown.items()}).to_string(
        index=False
    )


def _plain(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) else value


def _with_error(value: float, error: float) -> str:
    """As many places as tell the error, one or two."""
    places = 2 if error < 0.05 else 1
    return f"{value:.{places}f} ± {error:.{places}f}"
