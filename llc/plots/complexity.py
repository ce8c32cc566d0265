"""Figures of λ̂."""

import matplotlib as mpl
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llc.plots.style import (
    diversity_colours,
    each_run,
    estimate_point,
    explain_diversity,
    handle_like,
    legend,
    marker,
    new_figure,
    step_axis,
    step_ticks,
    verdict_handle,
)


def llc_over_training(llc: xr.Dataset) -> Figure:
    """λ̂ at each estimated checkpoint with its 90 % interval; hollow markers where the verdict is not `converged`."""
    figure, (axes,) = new_figure(1, width=7.5, height=4.6)
    colours = diversity_colours(llc.num_tasks.values)
    seen: set[str] = set()
    for run in each_run(llc):
        colour = colours[float(run.num_tasks)]
        estimates = run.dropna("step", subset=["llc"])
        axes.plot(estimates.step, estimates.llc, color=colour, linewidth=1)
        for point in (estimates.isel(step=i) for i in range(estimates.sizes["step"])):
            seen.add(str(point.verdict.item()))
            estimate_point(axes, float(point.step), point, colour)
    step_axis(axes, llc.step)
    _limit_to_minima(axes, llc)
    axes.set(ylabel="estimated local learning coefficient λ̂", title="Complexity over training, with 90 % intervals")
    explain_diversity(figure, axes, colours, extra=[verdict_handle(verdict) for verdict in sorted(seen)])
    return figure


def llc_by_diversity(llc: xr.Dataset, tradeoff: xr.Dataset | None = None) -> Figure:
    """λ̂ at the last estimated step against M, beside that of M = ∞ as a band.

    With a `tradeoff`, that near t_crit too, as stars, where an estimate there is `converged`.
    """
    figure, (axes,) = new_figure(1, width=6.5, height=4.4)
    colours = diversity_colours(llc.num_tasks.values)
    last = llc.isel(step=-1)
    finite = [m for m in llc.num_tasks.values if np.isfinite(m)]
    seen: set[str] = set()
    for run in each_run(last):
        colour = colours[float(run.num_tasks)]
        if np.isfinite(run.num_tasks):
            seen.add(str(run.verdict.item()))
            estimate_point(axes, float(run.num_tasks), run, colour)
        elif np.isfinite(run.llc):
            axes.axhline(float(run.llc), color=colour, linewidth=1.2, label="M = ∞")
            axes.axhspan(float(run.llc_low), float(run.llc_high), color=colour, alpha=0.1, linewidth=0)
            seen.add(str(run.verdict.item()))
    stars = None if tradeoff is None else _near_critical_steps(axes, tradeoff, colours)
    if finite:
        axes.set_xscale("log", base=2)
        axes.set_xticks(finite, [f"{m:g}" for m in finite])
        axes.minorticks_off()
    axes.set(
        xlabel="task diversity M",
        ylabel="estimated local learning coefficient λ̂",
        title=f"Complexity at step {int(last.step):,}, with 90 % intervals",
    )
    handles = [handle_like(axes, "M = ∞"), stars, *(verdict_handle(verdict) for verdict in sorted(seen))]
    legend(figure, [handle for handle in handles if handle is not None])
    return figure


def _near_critical_steps(axes: Axes, tradeoff: xr.Dataset, colours: dict):
    """Stars a little right of M, so that they do not hide what stands there; returns their legend entry."""
    for run in each_run(tradeoff):
        if np.isfinite(run.llc_critical):
            m, reach = float(run.num_tasks), float(run.llc_critical_high - run.llc_critical)
            axes.errorbar(
                1.12 * m, float(run.llc_critical), yerr=reach, color=colours[m], marker="*", markersize=10, capsize=2.5
            )
    return marker("*", "grey", "near t$_{crit}$", size=10, edge="grey")


def _limit_to_minima(axes: Axes, llc: xr.Dataset) -> None:
    """Leave what lies far below zero (points that are no minimum, early in training) out of the axis range."""
    shown = llc.llc.where(llc.verdict != "off-minimum")
    if shown.notnull().any():
        low, high = min(0.0, float(llc.llc_low.where(shown.notnull()).min())), float(llc.llc_high.max())
        margin = 0.06 * (high - low)
        axes.set_ylim(low - margin, high + margin)


def loss_llc_plane(llc: xr.Dataset) -> Figure:
    """Loss against λ̂, a panel a run, with training time as colour; hollow where the verdict is not `converged`."""
    runs = [run for run in each_run(llc) if run.llc.notnull().any()]
    columns = min(3, len(runs))
    rows = -(-len(runs) // columns)
    figure, panels = new_figure(len(runs), width=3.6 * columns + 1.6, height=3.0 * rows + 0.4, columns=columns)
    first, last = int(llc.step.min()), int(llc.step.max())
    norm = mpl.colors.LogNorm(max(1, first), max(2, last))
    scale = mpl.cm.ScalarMappable(norm, sns.color_palette("flare", as_cmap=True))
    seen: set[str] = set()
    for axes, run in zip(panels, runs, strict=True):
        known = run.isel(step=np.flatnonzero((run.llc.notnull() & (run.verdict != "off-minimum")).values))
        axes.plot(known.loss_init, known.llc, color="lightgrey", linewidth=1, zorder=0)
        for point in (known.isel(step=i) for i in range(known.sizes["step"])):
            seen.add(str(point.verdict.item()))
            estimate_point(axes, float(point.loss_init), point, scale.to_rgba(np.array(max(1.0, float(point.step)))))
        axes.set(xlabel="loss", ylabel="λ̂", title=f"M = {_number(run.num_tasks)}, seed {int(run.seed)}")
    bar = figure.colorbar(scale, ax=list(panels), label="training step")
    step_ticks(bar.ax.yaxis, max(1, first), max(2, last))
    legend(figure, [verdict_handle(verdict) for verdict in sorted(seen)])
    return figure


def stages(llc: xr.Dataset, stages: xr.Dataset) -> Figure:
    """λ̂ over training, a panel a run, with the stages found: shaded by type, boundaries with their 90 % intervals."""
    runs = [run for run in each_run(llc) if run.llc.notnull().any()]
    columns = min(3, len(runs))
    rows = -(-len(runs) // columns)
    figure, panels = new_figure(len(runs), width=4.2 * columns + 1.4, height=3.0 * rows + 0.4, columns=columns)
    seen: set[str] = set()
    types: set[str] = set()
    for axes, run in zip(panels, runs, strict=True):
        known = run.isel(step=np.flatnonzero(run.llc.notnull().values))
        for point in (known.isel(step=i) for i in range(known.sizes["step"])):
            seen.add(str(point.verdict.item()))
            estimate_point(axes, float(point.step), point, "black")
        step_axis(axes, llc.step)
        _limit_to_minima(axes, known)
        if run.num_tasks.item() in stages.num_tasks and run.seed.item() in stages.seed:
            types |= _shade_stages(axes, stages.sel(num_tasks=run.num_tasks, seed=run.seed))
        axes.set(ylabel="λ̂", title=f"M = {_number(run.num_tasks)}, seed {int(run.seed)}")
    handles = [
        mpl.patches.Patch(color=_STAGE_COLOURS[kind], alpha=0.25, label=f"stage: {kind}") for kind in sorted(types)
    ]
    legend(figure, handles + [verdict_handle(verdict) for verdict in sorted(seen)])
    return figure


def tradeoff(found: xr.Dataset) -> Figure:
    """Log-odds of the simple solution over the complex one against n; and the n at which they turn against t_crit."""
    figure, (left, right) = new_figure(2, width=10.5, height=4.4)
    colours = diversity_colours(found.num_tasks.values)
    for run in each_run(found):
        colour = colours[float(run.num_tasks)]
        if not np.isfinite(run.delta_llc):
            continue
        left.plot(run.samples, run.log_odds, color=colour, linewidth=1.5)
        if np.isfinite(run.turn) and np.isfinite(run.step_critical) and run.turn > 0:
            low, high = max(1.0, float(run.turn_low)), float(run.turn_high)
            reach = [[float(run.turn) - low], [max(0.0, min(high, 1e9) - float(run.turn))]]
            right.errorbar(float(run.step_critical), float(run.turn), yerr=reach, color=colour, marker="o", capsize=2.5)
    left.axhline(0, color="black", linewidth=0.8)
    left.set(
        xscale="log",
        yscale="symlog",
        xlabel="n, number of sequences",
        ylabel="log p(ridge-like)/p(dMMSE-like)",
        title="Simple solution preferred above 0",
    )
    right.set(
        xscale="log",
        yscale="log",
        xlabel="t$_{crit}$, step",
        ylabel="n at which preference turns",
        title="Where preference turns, with 90 % intervals",
    )
    explain_diversity(figure, right, colours, extra=[])
    return figure


# Of stages by type.
_STAGE_COLOURS = {
    "A": "tab:red",
    "B": "tab:blue",
    "flat": "tab:grey",
    "loss flat": "tab:green",
    "loss rises": "tab:orange",
}


def _shade_stages(axes: Axes, run: xr.Dataset) -> set[str]:
    """Shade a run's stages and draw their ends; says which types there are."""
    types = set()
    for stage in (run.isel(stage=i) for i in range(run.sizes["stage"])):
        if not np.isfinite(stage.start):
            continue
        kind = str(stage.type.item())
        types.add(kind)
        axes.axvspan(float(stage.start), float(stage.end), color=_STAGE_COLOURS[kind], alpha=0.12, linewidth=0)
        if np.isfinite(stage.end_low):
            axes.axvline(float(stage.end), color="black", linewidth=0.8)
            axes.axvspan(float(stage.end_low), float(stage.end_high), color="black", alpha=0.12, linewidth=0)
    return types


def _number(num_tasks) -> str:
    return "∞" if np.isinf(num_tasks) else f"{float(num_tasks):g}"
