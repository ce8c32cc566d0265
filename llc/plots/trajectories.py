"""Figures of trajectories."""

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llc.errors import StoreError
from llc.plots.style import diversity_colours, each_run, explain_diversity, marker, new_figure, smooth


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
