"""The figure of `cost.py`: error and standard error of λ̂ by the gradients that were spent on it."""

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import xarray as xr
from cost_estimates import ERROR, SPREAD
from cost_report import SIDES, cheapest
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

COLOURS = dict(zip(SIDES, ("#0072b2", "#d55e00"), strict=True))
# What is drawn, what it is called, and its line.
SHOWN = {
    "kinetic, 4 chains": ("kinetic, 4 chains", "-"),
    "kinetic, 1 chain": ("kinetic, 1 chain", (0, (5, 1.5))),
    "devinterp SGLD, own, one call": ("devinterp, its own estimator, one call", (0, (1, 1))),
    "devinterp SGLD, own, mean of calls": ("devinterp, its own estimator, mean of many calls", None),
    "devinterp SGLD, init loss on all data": ("devinterp, loss at w* on all data instead", (0, (5, 1.5))),
    "devinterp SGLD, same, burn-in dropped": ("devinterp, the same, burn-in dropped", "-"),
}


def draw(result: xr.Dataset) -> Figure:
    """Over gradients, error and standard error, a dot where both are good enough for good; and those gradients."""
    figure = Figure(figsize=(13.5, 4.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 0.9))
    for axes in (left, middle):
        axes.set(xscale="log", xlim=(150, 1e5), xlabel="minibatch gradients, everything counted")
        axes.grid(alpha=0.3)
    left.axhspan(-100 * ERROR, 100 * ERROR, color="0.9", zorder=0)
    middle.axhspan(0.1, 100 * SPREAD, color="0.9", zorder=0)
    best = cheapest(result)
    for key, (_, style) in SHOWN.items():
        if style is not None:
            _curves((left, middle), best[key], style)
    left.set(ylim=(-60, 25), ylabel="error [%]", title="Mean of λ̂ against the reference")
    middle.set(ylim=(0.5, 30), yscale="log", ylabel="standard error [%]", title="Standard error of λ̂")
    middle.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    _bars(right, {name: (best[key], style) for key, (name, style) in SHOWN.items()})
    handles, labels = _legend()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(
        f"What it takes to know λ̂ within {100 * ERROR:g} % with a standard error of {100 * SPREAD:g} %: "
        f"{result.num_parameters:,} parameters, n = {result.num_samples:,}, batches of {result.batch_size}"
    )
    return figure


def _curves(panels: tuple[Axes, Axes], row: xr.Dataset, style: object) -> None:
    """One way's error and standard error, faint where they are extrapolated, with a dot where both are good enough."""
    cost, colour = float(row.cost), COLOURS[row.side.item()]
    made = row.gradients <= row.measured
    for axes, name in zip(panels, ("error", "spread"), strict=True):
        line = {"color": colour, "linestyle": style}
        axes.plot(row.gradients, 100 * row[name].where(made), **line, linewidth=2)
        axes.plot(row.gradients, 100 * row[name].where(~made), **line, linewidth=1.2, alpha=0.5)
        if np.isfinite(cost):
            known = row[name].dropna("gradients")
            height = 100 * float(np.interp(cost, known.gradients, known))
            axes.plot(cost, height, "o", color=colour, markersize=8, zorder=5)


def _bars(axes: Axes, rows: dict[str, tuple[xr.Dataset, object]]) -> None:
    """Gradients to an estimate that is good enough, each with its settings."""
    for place, (row, _) in enumerate(rows.values()):
        cost = float(row.cost)
        said = f" {cost:,.0f}  ({row.setting.item()})" if np.isfinite(cost) else "never"
        axes.barh(place, cost if np.isfinite(cost) else 0, color=COLOURS[row.side.item()])
        axes.text(max(110, cost) if np.isfinite(cost) else 110, place, said, va="center", fontsize=8)
    axes.set(xscale="log", xlim=(100, 3e6), xlabel="minibatch gradients", title="Gradients until good enough")
    axes.set_yticks(range(len(rows)), [name.replace(", ", ",\n", 1) for name in rows], fontsize=8)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)


def _legend() -> tuple[list[Artist], list[str]]:
    """One entry a curve, one for the dots, one for the bands."""
    entries: list[tuple[Artist, str]] = []
    for key, (name, style) in SHOWN.items():
        if style is not None:
            colour = next(colour for side, colour in COLOURS.items() if key.startswith(side))
            entries.append((Line2D([], [], color=colour, linestyle=style, linewidth=2), name))
    entries += [
        (
            Line2D([], [], color="0.3", marker="o", linestyle=""),
            "both good enough from here on, as far as these chains tell (faint: extrapolated)",
        ),
        (Patch(color="0.9"), "good enough"),
    ]
    handles, labels = zip(*entries, strict=True)
    return list(handles), list(labels)
