"""Figures of behaviour."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llc.plots.style import diversity_colours, each_run, explain_diversity, handle_like, legend, new_figure, step_axis


def losses(metrics: xr.Dataset) -> Figure:
    """In- and out-of-distribution loss over training by M, t_crit marked, reference losses as lines."""
    figure, (left, right) = new_figure(2, width=10.5, height=4.4)
    colours = diversity_colours(metrics.num_tasks.values)
    _loss_panel(left, metrics, "id", colours)
    _loss_panel(right, metrics, "ood", colours)
    left.set(title="In distribution (tasks of q$_M$)", ylabel="mean squared error")
    right.set(title="Out of distribution (fresh tasks, q$_\\infty$)")
    explain_diversity(
        figure,
        right,
        colours,
        extra=[handle_like(right, "t_crit"), handle_like(right, "ridge"), handle_like(right, "dMMSE$_M$")],
    )
    return figure


def _loss_panel(axes: Axes, metrics: xr.Dataset, test_set: str, colours: dict) -> None:
    for run in each_run(metrics.mean("position")):
        colour = colours[float(run.num_tasks)]
        loss = run[f"loss_{test_set}"].dropna("step")
        if not loss.size:
            continue
        axes.plot(loss.step, loss, color=colour, linewidth=1.5)
        known = "step_critical" in run and np.isfinite(run.step_critical)  # not before a run is finished
        if test_set == "ood" and known and int(run.step_critical) < int(loss.step[-1]):
            critical = loss.sel(step=int(run.step_critical))
            axes.scatter(
                critical.step, critical, color=colour, marker="o", s=45, edgecolors="black", zorder=4, label="t_crit"
            )
        if np.isfinite(run.num_tasks):
            axes.axhline(
                float(run[f"dmmse_loss_{test_set}"]), color=colour, linestyle=":", linewidth=1.2, label="dMMSE$_M$"
            )
    if test_set == "ood":
        ridge = float(metrics.ridge_loss_ood.mean())
        axes.axhline(ridge, color="black", linestyle="--", linewidth=1, label="ridge")
    step_axis(axes, metrics.step)


def delta_plane(metrics: xr.Dataset) -> Figure:
    """Every run's way between the two reference predictors: distance to dMMSE_M against distance to ridge."""
    figure, (axes,) = new_figure(1, width=6.5, height=5.0)
    colours = diversity_colours(metrics.num_tasks.values)
    for run in each_run(metrics[["distance_dmmse_id", "distance_ridge_id"]].mean("position")):
        known = run.dropna("step")
        if not known.sizes["step"] or np.isinf(run.num_tasks):  # dMMSE_∞ is ridge
            continue
        colour = colours[float(run.num_tasks)]
        axes.plot(known.distance_dmmse_id, known.distance_ridge_id, color=colour, linewidth=1, marker=".", markersize=3)
        end = known.isel(step=-1)
        axes.scatter(end.distance_dmmse_id, end.distance_ridge_id, color=colour, s=45, edgecolors="white", zorder=4)
    axes.axline((0, 0), slope=1, color="grey", linestyle=":", linewidth=1)
    axes.set(
        xlabel="mean squared distance to dMMSE$_M$, in distribution",
        ylabel="mean squared distance to ridge",
        title="Nearer to dMMSE above the dotted line, to ridge below",
    )
    explain_diversity(figure, axes, {m: c for m, c in colours.items() if np.isfinite(m)}, extra=[])
    return figure


def losses_by_diversity(metrics: xr.Dataset) -> Figure:
    """Losses at the last step against M, with those of the reference predictors."""
    figure, (left, right) = new_figure(2, width=10.5, height=4.2)
    finite = metrics.sel(num_tasks=[m for m in metrics.num_tasks.values if np.isfinite(m)]).mean("position")
    last = finite.isel(step=-1)
    for axes, test_set, title in ((left, "id", "In distribution"), (right, "ood", "Out of distribution")):
        for seed in last.seed.values:
            axes.plot(last.num_tasks, last[f"loss_{test_set}"].sel(seed=seed), "o-", color="black", label="model")
        for name, said, style in (("ridge", "ridge", "--"), ("dmmse", "dMMSE$_M$", ":")):
            reference = finite[f"{name}_loss_{test_set}"].mean("seed")
            axes.plot(finite.num_tasks, reference, style, color="grey", label=said)
        axes.set_xscale("log", base=2)
        axes.set_xticks(finite.num_tasks.values, [f"{m:g}" for m in finite.num_tasks.values])
        axes.minorticks_off()
        axes.set(xlabel="task diversity M", ylabel="mean squared error", title=title)
    handles, labels = right.get_legend_handles_labels()
    legend(figure, list(dict(zip(labels, handles, strict=True)).values()))
    return figure


def shifted_losses(found: xr.Dataset) -> Figure:
    """Losses and ICL scores on inputs that training did not show, of each run's last checkpoint that was evaluated."""
    figure, (left, right) = new_figure(2, width=11.5, height=4.6)
    colours = diversity_colours(found.num_tasks.values)
    places = np.arange(found.sizes["shift"])
    for run in each_run(found[["loss", "icl_score", "icl_score_se"]]):
        known = run.dropna("step", subset=["icl_score"])
        if not known.sizes["step"]:
            continue
        end, colour = known.isel(step=-1), colours[float(run.num_tasks)]
        left.plot(places, end.loss.mean("position"), "o:", color=colour)
        right.errorbar(places, end.icl_score, yerr=1.645 * end.icl_score_se, fmt="o:", color=colour, capsize=2.5)
    right.axhline(0, color="black", linewidth=0.8)
    left.set(yscale="log", ylabel="mean squared error", title="Loss at the last evaluated step")
    right.set(ylabel="late minus early loss", title="ICL score, with 90 % intervals")
    for axes in (left, right):
        axes.set_xticks(places, [str(shift) for shift in found["shift"].values], rotation=35, ha="right")
    explain_diversity(figure, right, colours, extra=[])
    return figure
