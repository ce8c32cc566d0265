"""Figures: from a labelled dataset to a matplotlib figure, each readable on its own."""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llc import store
from llc.errors import InvalidInput, StoreError, did_you_mean

# Up to so many values of M get a legend entry each; more share a colour bar.
_LEGEND_ENTRIES = 10
_INFINITY_COLOUR = "black"
# How an estimate is drawn: filled where it may be believed, hollow or crossed where it may not.
_VERDICT_MARKERS = {
    "converged": "o",
    "drifting": "^",
    "negative": "v",
    "diverged": "x",
    "prior-dominated": "s",
    "delocalised": "D",
    "step-size-biased": "h",
    "none": "P",
}
# What an estimate is drawn from.
_ESTIMATE = ("llc", "llc_low", "llc_high")
# Relative errors of a validation are shown up to so many per cent.
_ERROR_SHOWN = 30
# Checkpoints averaged to draw a trajectory; the data itself is never smoothed.
_SMOOTHING = 5


def losses(metrics: xr.Dataset) -> Figure:
    """In- and out-of-distribution loss over training by M, t_crit marked, reference losses as lines."""
    figure, (left, right) = _figure(2, width=10.5, height=4.4)
    colours = diversity_colours(metrics.num_tasks.values)
    _loss_panel(left, metrics, "id", colours)
    _loss_panel(right, metrics, "ood", colours)
    left.set(title="In distribution (tasks of q$_M$)", ylabel="mean squared error")
    right.set(title="Out of distribution (fresh tasks, q$_\\infty$)")
    _explain_diversity(
        figure, right, colours, extra=[_handle(right, "t_crit"), _handle(right, "ridge"), _handle(right, "dMMSE$_M$")]
    )
    return figure


def llc_over_training(llc: xr.Dataset) -> Figure:
    """λ̂ at each estimated checkpoint with its 90 % interval; hollow markers where the verdict is not `converged`."""
    figure, (axes,) = _figure(1, width=7.5, height=4.6)
    colours = diversity_colours(llc.num_tasks.values)
    seen: set[str] = set()
    for run in _runs(llc):
        colour = colours[float(run.num_tasks)]
        estimates = run.dropna("step", subset=["llc"])
        axes.plot(estimates.step, estimates.llc, color=colour, linewidth=1)
        for point in (estimates.isel(step=i) for i in range(estimates.sizes["step"])):
            seen.add(str(point.verdict.item()))
            _estimate_point(axes, float(point.step), point, colour)
    _step_axis(axes, llc.step)
    _limit_to_minima(axes, llc)
    axes.set(ylabel="estimated local learning coefficient λ̂", title="Complexity over training, with 90 % intervals")
    _explain_diversity(figure, axes, colours, extra=[_verdict_handle(axes, verdict) for verdict in sorted(seen)])
    return figure


def llc_by_diversity(llc: xr.Dataset) -> Figure:
    """λ̂ at the last estimated step against M, beside that of M = ∞ as a band."""
    figure, (axes,) = _figure(1, width=6.5, height=4.4)
    colours = diversity_colours(llc.num_tasks.values)
    last = llc.isel(step=-1)
    finite = [m for m in llc.num_tasks.values if np.isfinite(m)]
    seen: set[str] = set()
    for run in _runs(last):
        colour = colours[float(run.num_tasks)]
        if np.isfinite(run.num_tasks):
            seen.add(str(run.verdict.item()))
            _estimate_point(axes, float(run.num_tasks), run, colour)
        elif np.isfinite(run.llc):
            axes.axhline(float(run.llc), color=colour, linewidth=1.2, label="M = ∞")
            axes.axhspan(float(run.llc_low), float(run.llc_high), color=colour, alpha=0.1, linewidth=0)
            seen.add(str(run.verdict.item()))
    if finite:
        axes.set_xscale("log", base=2)
        axes.set_xticks(finite, [f"{m:g}" for m in finite])
        axes.minorticks_off()
    axes.set(
        xlabel="task diversity M",
        ylabel="estimated local learning coefficient λ̂",
        title=f"Complexity at step {int(last.step):,}, with 90 % intervals",
    )
    handles = [_handle(axes, "M = ∞")] + [_verdict_handle(axes, verdict) for verdict in sorted(seen)]
    _legend(figure, [handle for handle in handles if handle is not None])
    return figure


def trajectories(pca: xr.Dataset) -> Figure:
    """Joint principal components 1 and 2 of every run's trajectory, ridge and dMMSE_M projected."""
    if pca.sizes["component"] < 2:
        raise StoreError("pca.nc holds one component; make two for this figure: llc pca --components 2")
    figure, (axes,) = _figure(1, width=7.5, height=5.6)
    colours = diversity_colours(pca.num_tasks.values)
    share = 100 * pca.explained_variance_ratio
    first, second = pca.score.sel(component=1), pca.score.sel(component=2)
    for run_x, run_y in zip(_runs(first), _runs(second), strict=True):
        colour = colours[float(run_x.num_tasks)]
        known = np.isfinite(run_x.values)
        x, y = run_x.values[known], run_y.values[known]
        axes.scatter(x, y, color=colour, s=6, alpha=0.25, linewidths=0)
        axes.plot(_smooth(x), _smooth(y), color=colour, linewidth=1.5)
        axes.scatter(x[-1], y[-1], color=colour, s=45, edgecolors="white", zorder=4)
    for m in pca.num_tasks.values[np.isfinite(pca.num_tasks.values)]:
        point = pca.score_dmmse.sel(num_tasks=m, component=[1, 2])
        axes.scatter(
            point[0], point[1], color=colours[float(m)], marker="D", s=60, edgecolors="black", linewidths=0.8, zorder=5
        )
    x, y = pca.score_ridge.sel(component=[1, 2]).values
    axes.scatter(x, y, color="white", marker="*", s=220, edgecolors="black", zorder=5)
    axes.set(
        xlabel=f"PC 1 ({float(share[0]):.0f} % of variance)",
        ylabel=f"PC 2 ({float(share[1]):.0f} %)",
        title="Joint trajectories of all runs in prediction space",
    )
    extra = [
        mpl.lines.Line2D([], [], color="grey", marker="o", linestyle="-", markersize=6, label="run, dot at its end"),
        _marker("*", "white", "ridge", size=13),
        _marker("D", "grey", "dMMSE$_M$", size=7, edge="black"),
    ]
    _explain_diversity(figure, axes, colours, extra=extra)
    return figure


def validation(result: xr.Dataset) -> Figure:
    """Estimates against exact learning coefficients, and how far off they are, with 90 % intervals; a column a method.

    Coloured by kind of problem. In the lower row, what is off by more than its axis shows is left out.
    """
    methods = [str(method) for method in result.estimator.values]
    number = len(methods)
    figure, panels = _figure(2 * number, width=5.2 * number + 2, height=8.6, columns=number)
    kinds = sorted(set(result.kind.values.tolist()), key=lambda kind: (kind.startswith("deep"), kind))
    colours = dict(zip(kinds, sns.color_palette("colorblind", len(kinds)), strict=True))
    reach = [0.7 * float(result.exact.min()), 1.4 * float(result.exact.max())]
    shape = {"xscale": "log", "xlim": reach, "xlabel": "exact learning coefficient λ"}
    for absolute, relative, method in zip(panels[:number], panels[number:], methods, strict=True):
        absolute.plot(reach, reach, color="black", linewidth=0.8, linestyle="--")
        relative.axhline(0, color="black", linewidth=0.8, linestyle="--")
        of_method = result.sel(estimator=method)
        percent = of_method.assign({name: 100 * (of_method[name] / of_method.exact - 1) for name in _ESTIMATE})
        for i in range(result.sizes["case"]):
            for axes, cases in ((absolute, of_method), (relative, percent)):
                case = cases.isel(case=i)
                _estimate_point(axes, float(case.exact), case, colours[case.kind.item()])
        absolute.set(**shape, yscale="log", ylim=reach, ylabel="estimate λ̂", title=f"{method}, with 90 % intervals")
        relative.set(**shape, ylim=(-_ERROR_SHOWN, _ERROR_SHOWN), ylabel="λ̂/λ − 1 (%)")
    handles = [_line(colours[kind], kind) for kind in kinds]
    verdicts = sorted({str(verdict) for verdict in result.verdict.values.ravel()})
    _legend(figure, handles + [_verdict_handle(panels[0], verdict) for verdict in verdicts])
    return figure


def calibration_heat(calibration: xr.Dataset) -> Figure:
    """λ̂ over the grid of nβ and γ, a panel a checkpoint; grey where the verdict rejects the cell, framed the choice."""
    grid = calibration.isel(trial=np.flatnonzero(calibration.stage.values == "grid"))
    points = list(dict.fromkeys(grid.point.values.tolist()))
    nbetas, gammas = np.unique(grid.nbeta), np.unique(grid.gamma)
    figure, panels = _figure(
        len(points), width=len(points) * max(3.5, 1.3 * len(gammas) + 1), height=max(2.8, 0.85 * len(nbetas) + 1.4)
    )
    for axes, point in zip(panels, points, strict=True):
        cells = grid.isel(trial=np.flatnonzero(grid.point.values == point))
        value, said = np.full((len(nbetas), len(gammas)), np.nan), np.full((len(nbetas), len(gammas)), "", object)
        for i in range(cells.sizes["trial"]):
            cell = cells.isel(trial=i)
            place = (int(np.searchsorted(nbetas, cell.nbeta)), int(np.searchsorted(gammas, cell.gamma)))
            verdict = str(cell.verdict.item())
            value[place] = float(cell.llc) if verdict in {"converged", "drifting"} else np.nan
            said[place] = f"{float(cell.llc):.3g}\n{verdict}"
        sns.heatmap(
            pd.DataFrame(value, [f"{nbeta:.4g}" for nbeta in nbetas], [f"{gamma:.3g}" for gamma in gammas]),
            annot=said,
            fmt="",
            cmap="crest",
            ax=axes,
            cbar=False,
            linewidths=1,
            annot_kws={"fontsize": 8},
        )
        for row, column in np.argwhere(np.isnan(value)):  # seaborn leaves the words of empty cells out
            axes.text(column + 0.5, row + 0.5, said[row, column], ha="center", va="center", fontsize=8)
        axes.set_facecolor("0.85")
        corner = (
            int(np.abs(gammas - calibration.attrs["chosen_gamma"]).argmin()),
            int(np.abs(nbetas - calibration.attrs["chosen_nbeta"]).argmin()),
        )
        axes.add_patch(mpl.patches.Rectangle(corner, 1, 1, fill=False, edgecolor="black", linewidth=2.5))
        axes.set(xlabel="γ (tighter prior →)", ylabel="nβ", title=f"{point}: λ̂ and verdict")
    return figure


def calibration_traces(calibration: xr.Dataset) -> Figure:
    """Traces of every chain at the choice, and at half and twice the step size; a panel a checkpoint and setting."""
    stage = calibration.stage.values
    chosen = (stage == "grid") & np.isclose(calibration.nbeta, calibration.attrs["chosen_nbeta"])
    chosen &= np.isclose(calibration.gamma, calibration.attrs["chosen_gamma"])
    shown_stages = chosen | (stage == "step_size x 0.5") | (stage == "step_size x 2")
    trials = sorted(
        np.flatnonzero(shown_stages).tolist(),
        key=lambda trial: (str(calibration.point.values[trial]), str(stage[trial])),
    )
    figure, panels = _figure(len(trials), width=10.5, height=2.5 * -(-len(trials) // 3), columns=3)
    for axes, trial in zip(panels, trials, strict=True):
        shown = calibration.isel(trial=trial)
        for chain in shown.llc_trace:
            axes.plot(shown.draw, chain, linewidth=0.7)
        said = "chosen" if stage[trial] == "grid" else str(stage[trial]).replace("_", " ")
        axes.set(xlabel="draw", ylabel="nβ ΔL")
        axes.set_title(f"{shown.point.item()}\n{said}: {shown.verdict.item()}", fontsize=9)
    return figure


FIGURES: dict[str, tuple[str, Callable[[xr.Dataset], Figure]]] = {
    "losses": ("metrics", losses),
    "llc": ("llc", llc_over_training),
    "llc_by_diversity": ("llc", llc_by_diversity),
    "pca": ("pca", trajectories),
}
"""Every figure of `llc plot`, with the dataset of an experiment that it is drawn from."""


def save_figures(experiment: store.Experiment, names: list[str] | None = None) -> tuple[list[Path], dict[str, str]]:
    """Draw the figures whose data is there into `figures/`.

    Returns:
        The files written, and for each figure that could not be drawn, why.
    Raises:
        InvalidInput: there is no figure of that name.
    """
    written, missing = [], {}
    for name in names or []:
        if name not in FIGURES:
            raise InvalidInput(f"unknown figure {name}; {did_you_mean(name, FIGURES)}")
    for name in names or list(FIGURES):
        source, draw = FIGURES[name]
        try:
            figure = draw(getattr(experiment, source))
        except StoreError as error:
            missing[name] = str(error)
            continue
        written.append(save_figure(figure, experiment.path / "figures" / f"{name}.png"))
    return written, missing


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, atomically; returns where."""
    with store.atomic_path(path) as scratch:
        figure.savefig(scratch, dpi=150, format="png")
    return path


def diversity_colours(num_tasks: np.ndarray) -> dict[float, tuple | str]:
    """A colour for each M on one log scale, the same in every figure of an experiment; black for M = ∞."""
    finite = sorted(float(m) for m in num_tasks if np.isfinite(m))
    scale = sns.color_palette("viridis", as_cmap=True)
    top = max(1.0, np.log2(finite[-1])) if finite else 1.0
    colours: dict[float, tuple | str] = {m: scale(0.92 * np.log2(m) / top) for m in finite}
    return colours | {float(m): _INFINITY_COLOUR for m in num_tasks if np.isinf(m)}


def _loss_panel(axes: Axes, metrics: xr.Dataset, test_set: str, colours: dict) -> None:
    for run in _runs(metrics.mean("position")):
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
    _step_axis(axes, metrics.step)


def _runs(data: xr.Dataset | xr.DataArray) -> list:
    """The runs of a sweep one by one, those that were never made left out."""
    pairs = [(m, s) for m in range(data.sizes["num_tasks"]) for s in range(data.sizes["seed"])]
    return [data.isel(num_tasks=m, seed=s) for m, s in pairs]


def _limit_to_minima(axes: Axes, llc: xr.Dataset) -> None:
    """Leave what lies far below zero (points that are no minimum, early in training) out of the axis range."""
    shown = llc.llc.where(llc.verdict != "negative")
    if shown.notnull().any():
        low, high = min(0.0, float(llc.llc_low.where(shown.notnull()).min())), float(llc.llc_high.max())
        margin = 0.06 * (high - low)
        axes.set_ylim(low - margin, high + margin)


def _estimate_point(axes: Axes, x: float, point: xr.Dataset, colour) -> None:
    if not np.isfinite(point.llc):
        return
    low, high = float(point.llc - point.llc_low), float(point.llc_high - point.llc)
    believed = str(point.verdict.item()) == "converged"
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


def _step_axis(axes: Axes, steps: xr.DataArray) -> None:
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
        if last < 100 * first:  # too few powers of ten for ticks
            axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,.0f}"))
            axes.minorticks_off()


def _smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving average that keeps the ends where they are."""
    width = min(_SMOOTHING, len(values) // 2 * 2 - 1)
    if width < 3:
        return values
    padded = np.pad(values, width // 2, mode="reflect", reflect_type="odd")
    return np.convolve(padded, np.ones(width) / width, mode="valid")


def _figure(panels: int, *, width: float, height: float, columns: int | None = None) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, in rows of `columns` (all in one row by default), and their axes."""
    columns = min(columns or panels, panels)
    rows = -(-panels // columns)
    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.85):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in axes:
        sns.despine(ax=panel)
    for unused in axes[panels:]:
        unused.set_axis_off()
    return figure, list(axes[:panels])


def _explain_diversity(figure: Figure, axes: Axes, colours: dict, extra: list) -> None:
    """What the colours mean: a legend for a few values of M, a colour bar for many."""
    finite = [m for m in colours if np.isfinite(m)]
    handles = []
    if len(colours) <= _LEGEND_ENTRIES:
        handles += [_line(colours[m], f"M = {m:g}") for m in finite]
    elif finite:
        norm = mpl.colors.LogNorm(1, max(2, max(finite) ** (1 / 0.92)))
        scale = mpl.cm.ScalarMappable(norm, sns.color_palette("viridis", as_cmap=True))
        figure.colorbar(scale, ax=axes, label="task diversity M")
    if np.inf in colours:
        handles.append(_line(_INFINITY_COLOUR, "M = ∞"))
    _legend(figure, handles + [handle for handle in extra if handle is not None])


def _legend(figure: Figure, handles: list) -> None:
    if handles:
        figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize="small")


def _line(colour, label: str):
    return mpl.lines.Line2D([], [], color=colour, linewidth=2, label=label)


def _marker(marker: str, face, label: str, *, size: float = 6, edge="black"):
    return mpl.lines.Line2D(
        [], [], color=edge, marker=marker, markerfacecolor=face, linestyle="", markersize=size, label=label
    )


def _verdict_handle(axes: Axes, verdict: str):
    face = "grey" if verdict == "converged" else "white"
    return _marker(_VERDICT_MARKERS[verdict], face, "no verdict" if verdict == "none" else verdict, edge="grey")


def _handle(axes: Axes, label: str):
    """A legend entry like the first thing in `axes` of that label, in grey unless it is black."""
    looks = {
        "t_crit": _marker("o", "grey", "t$_{crit}$: smallest OOD loss"),
        "ridge": mpl.lines.Line2D([], [], color="black", linestyle="--", linewidth=1, label="ridge"),
        "dMMSE$_M$": mpl.lines.Line2D([], [], color="grey", linestyle=":", linewidth=1.2, label="dMMSE$_M$"),
        "M = ∞": _line(_INFINITY_COLOUR, "M = ∞"),
    }
    return looks[label] if label in axes.get_legend_handles_labels()[1] else None
