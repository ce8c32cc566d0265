"""What figures share: colours, markers, axes, legends."""

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from llc.estimate.verdict import COMPARABLE

# Up to so many values of M get a legend entry each; more share a colour bar.
_LEGEND_ENTRIES = 10
_INFINITY_COLOUR = "black"
# How an estimate is drawn: filled where it may be believed, hollow or crossed where it may not.
_VERDICT_MARKERS = {
    "converged": "o",
    "drifting": "^",
    "off-minimum": "v",
    "scale-dependent": "d",
    "diverged": "x",
    "prior-dominated": "s",
    "delocalised": "D",
    "step-size-biased": "h",
    "none": "P",
}
# Checkpoints averaged to draw a trajectory; the data itself is never smoothed.
_SMOOTHING = 5


def diversity_colours(num_tasks: np.ndarray) -> dict[float, tuple | str]:
    """A colour for each M on one log scale, the same in every figure of an experiment; black for M = ∞."""
    finite = sorted(float(m) for m in num_tasks if np.isfinite(m))
    scale = sns.color_palette("viridis", as_cmap=True)
    top = max(1.0, np.log2(finite[-1])) if finite else 1.0
    colours: dict[float, tuple | str] = {m: scale(0.92 * np.log2(m) / top) for m in finite}
    return colours | {float(m): _INFINITY_COLOUR for m in num_tasks if np.isinf(m)}


def each_run(data: xr.Dataset | xr.DataArray) -> list:
    """The runs of a sweep one by one, those that were never made left out."""
    pairs = [(m, s) for m in range(data.sizes["num_tasks"]) for s in range(data.sizes["seed"])]
    return [data.isel(num_tasks=m, seed=s) for m, s in pairs]


def estimate_point(axes: Axes, x: float, point: xr.Dataset, colour) -> None:
    """λ̂ with its interval, in the marker of its verdict; nothing where there is none."""
    if not np.isfinite(point.llc):
        return
    low, high = float(point.llc - point.llc_low), float(point.llc_high - point.llc)
    believed = str(point.verdict.item()) in COMPARABLE
    axes.errorbar(
        x,
        float(point.llc),
        yerr=[[low], [high]],
        color=colour,
        marker=_VERDICT_MARKERS[str(point.verdict.item())],
        markerfacecolor=colour if believed else "white",
        markersize=6,
        capsize=2.5,
        linewidth=1,
    )


def step_axis(axes: Axes, steps: xr.DataArray) -> None:
    """A logarithmic axis of steps; where step 0 is shown, it stands one decade left of step 1."""
    first, last = int(steps.min()), int(steps.max())
    if first == 0:
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlim(0, max(1, last) * 1.25)
        axes.set_xlabel("training step (log scale from 1)")
    else:
        axes.set_xscale("log")
        axes.set_xlim(first / 1.15, last * 1.15)
        axes.set_xlabel("training step (log scale)")
        step_ticks(axes.xaxis, first, last)


def step_ticks(axis: Axis, first: int, last: int) -> None:
    """Ticks between the powers of ten too, where steps span too few of these."""
    if last < 100 * first:
        axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,.0f}"))
        axis.set_minor_locator(mpl.ticker.NullLocator())


def smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving average that keeps the ends where they are."""
    width = min(_SMOOTHING, len(values) // 2 * 2 - 1)
    if width < 3:
        return values
    padded = np.pad(values, width // 2, mode="reflect", reflect_type="odd")
    return np.convolve(padded, np.ones(width) / width, mode="valid")


def new_figure(
    panels: int, *, width: float, height: float, columns: int | None = None, widths: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, in rows of `columns` (all in one row by default), and their axes.

    `widths` of the columns are relative, alike by default.
    """
    columns = min(columns or panels, panels)
    rows = -(-panels // columns)
    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.85):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, width_ratios=widths).ravel()
    for panel in axes:
        sns.despine(ax=panel)
    for unused in axes[panels:]:
        unused.set_axis_off()
    return figure, list(axes[:panels])


def explain_diversity(figure: Figure, axes: Axes, colours: dict, extra: list) -> None:
    """What the colours mean: a legend for a few values of M, a colour bar for many."""
    finite = [m for m in colours if np.isfinite(m)]
    handles = []
    if len(colours) <= _LEGEND_ENTRIES:
        handles += [line(colours[m], f"M = {m:g}") for m in finite]
    elif finite:
        norm = mpl.colors.LogNorm(1, max(2, max(finite) ** (1 / 0.92)))
        scale = mpl.cm.ScalarMappable(norm, sns.color_palette("viridis", as_cmap=True))
        figure.colorbar(scale, ax=axes, label="task diversity M")
    if np.inf in colours:
        handles.append(line(_INFINITY_COLOUR, "M = ∞"))
    legend(figure, handles + [handle for handle in extra if handle is not None])


def legend(figure: Figure, handles: list) -> None:
    """One legend for the whole figure, outside its panels."""
    if handles:
        figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize="small")


def line(colour, label: str):
    """A legend entry of a colour."""
    return mpl.lines.Line2D([], [], color=colour, linewidth=2, label=label)


def marker(shape: str, face, label: str, *, size: float = 6, edge="black"):
    """A legend entry of a marker."""
    return mpl.lines.Line2D(
        [], [], color=edge, marker=shape, markerfacecolor=face, linestyle="", markersize=size, label=label
    )


def verdict_handle(verdict: str):
    """A legend entry of a verdict's marker."""
    face = "grey" if verdict in COMPARABLE else "white"
    return marker(_VERDICT_MARKERS[verdict], face, "no verdict" if verdict == "none" else verdict, edge="grey")


def handle_like(axes: Axes, label: str):
    """A legend entry like the first thing in `axes` of that label, in grey unless it is black."""
    looks = {
        "t_crit": marker("o", "grey", "t$_{crit}$: smallest OOD loss"),
        "ridge": mpl.lines.Line2D([], [], color="black", linestyle="--", linewidth=1, label="ridge"),
        "dMMSE$_M$": mpl.lines.Line2D([], [], color="grey", linestyle=":", linewidth=1.2, label="dMMSE$_M$"),
        "M = ∞": line(_INFINITY_COLOUR, "M = ∞"),
    }
    return looks[label] if label in axes.get_legend_handles_labels()[1] else None
