"""Figures of the strategy map: every run at every step between two references, as measured and as predicted."""

import numpy as np
import xarray as xr

from llc.figures.given import takes
from llc.figures.spec import Axis, Cells, Marks, Panel, Spec
from llc.store.labels import axes_in, symbol_of, value_label

_COLUMNS = 120


@takes(found=("experiment.strategies", "relative", "predicted", "account"))
def strategies(found: xr.Dataset) -> Spec | None:
    """The relative distance of runs over training as colours, beside what posteriors over the two references say.

    Of several seeds the mean. Where two references are one, there is no row.

    Args:
        found: `experiment.strategies`.
    """
    simple, complex_ = found.attrs.get("simple", "simple"), found.attrs.get("complex", "complex")
    axes = [dim for dim in axes_in(found.relative) if dim != "seed"]
    shown = found[["relative", "predicted"]].mean("seed").stack(run=axes) if axes else None
    if shown is None or not bool(shown.relative.notnull().any()):
        return None
    shown = shown.isel(run=np.flatnonzero(shown.relative.notnull().any("step").values)[::-1])
    steps = shown.step.values[shown.step.values > 0]
    wanted = np.geomspace(steps[0], steps[-1], _COLUMNS)
    names = [
        ", ".join(f"{symbol_of(found, dim)} = {value_label(value)}" for dim, value in zip(axes, place, strict=True))
        for place in shown.run.values.tolist()
    ]
    decades = [10**power for power in range(8) if steps[0] <= 10**power <= steps[-1]]
    x = Axis("training step", ticks={_column(step, wanted): f"{step:,}" for step in decades})
    y = Axis("", ticks={float(row): name for row, name in enumerate(names)})
    label = f"relative distance: 1 is {simple}, −1 is {complex_}"
    panels = [Panel(x, y, [_cells(shown.relative, wanted, label), *_threshold(found, shown, wanted)], "measured")]
    for account in found.account.values.tolist():
        of_account = shown.predicted.sel(account=account)
        if bool(of_account.notnull().any()):
            held_out = float(found.held_out_correlation.sel(account=account))
            said = f"posterior with {account}" + (f", r = {held_out:.2f} held out" if np.isfinite(held_out) else "")
            panels.append(Panel(x, y, [_cells(of_account, wanted, label)], said))
    ends = {name: float(row.dropna("step")[-1]) for name, row in zip(names, shown.relative.transpose("run", "step"),
                                                                      strict=True)}  # fmt: skip
    return Spec(
        "strategies",
        "Which strategy, when",
        panels,
        f"Red where a run says what {simple} does, blue where it says what {complex_} does, pale between them. A run "
        "that turns red and then blue again is transient. Beside it what a posterior over the two says that weighs "
        "loss against complexity, with three numbers fitted to all runs; r is its correlation with the map for runs "
        "that the fit did not see.",
        f"Relative distance at the end: {'; '.join(f'{name} {value:.2f}' for name, value in ends.items())}.",
        columns=2,
        size=(6.4, 0.32 * len(names) + 2.2),
    )


def _column(step: float, wanted: np.ndarray) -> float:
    return float(np.interp(np.log(step), np.log(wanted), np.arange(len(wanted))))


def _cells(values: xr.DataArray, wanted: np.ndarray, label: str) -> Cells:
    """(run, column): of each run the step that is nearest in log step, of those that it has."""
    rows = []
    for row in values.transpose("run", "step"):
        known = row.isel(step=np.flatnonzero((row.step.values > 0) & np.isfinite(row.values)))
        if not known.size:
            rows.append(np.full(len(wanted), np.nan))
            continue
        nearest = np.abs(np.log(known.step.values)[:, None] - np.log(wanted)).argmin(0)
        rows.append(known.values[nearest])
    return Cells(np.array(rows), label, 1.0)


def _threshold(found: xr.Dataset, shown: xr.Dataset, wanted: np.ndarray) -> list[Marks]:
    """The threshold of each seed, where rows are the values of one axis."""
    if "threshold" not in found or shown.run.values.dtype != object or len(found.threshold.dims) > 2:
        return []
    values = np.array([place[0] for place in shown.run.values.tolist()], float)
    finite = np.isfinite(values) & (values > 0)
    if finite.sum() < 2:
        return []
    order = np.argsort(values[finite])
    places, rows = np.log(values[finite])[order], np.flatnonzero(finite).astype(float)[order]
    marks = []
    for seed in found.threshold.transpose("seed", "step"):
        here = seed.dropna("step")
        here = here.isel(step=np.flatnonzero(here.step.values > 0))
        x = np.array([_column(step, wanted) for step in here.step.values])
        y = np.interp(np.log(here.values), places, rows) if here.size else np.empty(0)
        text = [f"step {int(step):,}<br>threshold {value:.3g}" for step, value in zip(here.step.values, here.values,
                                                                                      strict=True)]  # fmt: skip
        marks.append(Marks(x, y, "#202020", "threshold, a line a seed", hover=text, width=1.0))
    return marks
