"""Figures of trajectories."""

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llc.errors import StoreError
from llc.plots.style import diversity_colours, each_run, explain_diversity, legend, marker, new_figure, smooth


def trajectories(pca: xr.Dataset) -> Figure:
    """Joint principal components 1 and 2 of every run's trajectory, ridge and dMMSE_M projected.

    Beside them, the share of variance that each component explains, and what random walks reach.
    """
    if pca.sizes["component"] < 2:
        raise StoreError("pca.nc holds one component; make two for this figure: llc pca --components 2")
    figure, (axes, scree) = new_figure(2, width=11.0, height=5.2, widths=(2.6, 1.0))
    _scree(scree, pca)
    colours = diversity_colours(pca.num_tasks.values)
    share = 100 * pca.explained_variance_ratio
    first, second = pca.score.sel(component=1), pca.score.sel(component=2)
    for run_x, run_y in zip(each_run(first), each_run(second), strict=True):
        colour = colours[float(run_x.num_tasks)]
        known = np.isfinite(run_x.values)
        x, y = run_x.values[known], run_y.values[known]
        axes.scatter(x, y, color=colour, s=6, alpha=0.25, linewidths=0)
        axes.plot(smooth(x), smooth(y), color=colour, linewidth=1.5)
        axes.scatter(x[-1], y[-1], color=colour, s=45, edgecolors="white", zorder=4)
    references = "score_ridge" in pca  # of predictions only
    for m in pca.num_tasks.values[np.isfinite(pca.num_tasks.values)] if references else []:
        point = pca.score_dmmse.sel(num_tasks=m, component=[1, 2])
        axes.scatter(
            point[0], point[1], color=colours[float(m)], marker="D", s=60, edgecolors="black", linewidths=0.8, zorder=5
        )
    if references:
        x, y = pca.score_ridge.sel(component=[1, 2]).values
        axes.scatter(x, y, color="white", marker="*", s=220, edgecolors="black", zorder=5)
    axes.set(
        xlabel=f"PC 1 ({float(share[0]):.0f} % of variance)",
        ylabel=f"PC 2 ({float(share[1]):.0f} %)",
        title="Joint trajectories of all runs in prediction space",
    )
    extra = [
        mpl.lines.Line2D([], [], color="grey", marker="o", linestyle="-", markersize=6, label="run, dot at its end")
    ]
    if references:
        extra += [marker("*", "white", "ridge", size=13), marker("D", "grey", "dMMSE$_M$", size=7, edge="black")]
    explain_diversity(figure, scree, colours, extra=extra)
    return figure


def essential(found: xr.Dataset) -> Figure:
    """Smoothed trajectories with the osculating circles' centres (the evolute) and the forms, a panel a run."""
    runs = [run for run in each_run(found[["smoothed", "center", "curvature"]]) if run.curvature.notnull().any()]
    columns = min(3, len(runs))
    rows = -(-len(runs) // columns)
    figure, panels = new_figure(len(runs), width=3.8 * columns + 1.6, height=3.4 * rows + 0.4, columns=columns)
    colours = diversity_colours(found.num_tasks.values)
    first, second = (int(axis) for axis in found.axis.values)
    for axes, run in zip(panels, runs, strict=True):
        known = run.isel(step=np.flatnonzero(run.curvature.notnull().values)).transpose("step", "axis")
        colour = colours[float(run.num_tasks)]
        x, y = known.smoothed.values.T
        axes.plot(*known.center.values.T, ".", color="grey", markersize=4)
        axes.plot(x, y, color=colour, linewidth=1.8)
        here = (found.form_num_tasks == run.num_tasks) & (found.form_seed == run.seed)
        for kind, shape in _FORMS.items():
            at = found.form_position.values[np.flatnonzero((here & (found.form_kind == kind)).values)]
            axes.scatter(at[:, 0], at[:, 1], marker=shape, s=40, facecolors="none" if shape == "o" else colour,
                         edgecolors=colour if shape == "o" else None, zorder=4)  # fmt: skip
        # Centres of nearly straight pieces lie far away.
        for low, high, limits in ((x.min(), x.max(), axes.set_xlim), (y.min(), y.max(), axes.set_ylim)):
            margin = 0.15 * (high - low) + 1e-9
            limits(low - margin, high + margin)
        m = "∞" if np.isinf(run.num_tasks) else f"{float(run.num_tasks):g}"
        axes.set(xlabel=f"PC {first}", ylabel=f"PC {second}", title=f"M = {m}, seed {int(run.seed)}")
    evolute = marker(".", "grey", "evolute", edge="grey")
    legend(figure, [evolute, *(marker(shape, "none", kind) for kind, shape in _FORMS.items())])
    return figure


# Of forms by kind.
_FORMS = {"vertex": "o", "cusp": "x"}


def _scree(axes: Axes, pca: xr.Dataset) -> None:
    components = pca.component.values
    axes.bar(components, 100 * pca.explained_variance_ratio, color="lightgrey", edgecolor="grey", width=0.7)
    if "explained_variance_null" in pca:
        low, middle, high = 100 * np.quantile(pca.explained_variance_null, [0.05, 0.5, 0.95], axis=0)
        reach = [middle - low, high - middle]
        axes.errorbar(components, middle, yerr=reach, fmt="_", color="black", capsize=3, label="random walks (90 %)")
        axes.legend(frameon=False, fontsize="small")
    axes.set(xlabel="component", ylabel="variance explained (%)", title="Against random walks")
    axes.set_xticks(components)
