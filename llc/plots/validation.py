"""Figures that say how far to trust λ̂: validation and calibration."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from llc.plots.style import estimate_point, legend, line, new_figure, verdict_handle

# What an estimate is drawn from.
_ESTIMATE = ("llc", "llc_low", "llc_high")
# Relative errors of a validation are shown up to so many per cent.
_ERROR_SHOWN = 30
# Kinds of problem that seaborn's colours for the colour-blind tell apart.
_COLOURBLIND = 10


def validation(result: xr.Dataset) -> Figure:
    """Estimates against exact learning coefficients, and how far off they are, with 90 % intervals; a column a method.

    Coloured by kind of problem. In the lower row, what is off by more than its axis shows is left out.
    """
    methods = [str(method) for method in result.estimator.values]
    number = len(methods)
    figure, panels = new_figure(2 * number, width=5.2 * number + 2, height=8.6, columns=number)
    kinds = sorted(set(result.kind.values.tolist()), key=lambda kind: (kind.startswith("deep"), kind))
    palette = "colorblind" if len(kinds) <= _COLOURBLIND else "tab20"  # the first has ten colours, then repeats them
    colours = dict(zip(kinds, sns.color_palette(palette, len(kinds)), strict=True))
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
                estimate_point(axes, float(case.exact), case, colours[case.kind.item()])
        absolute.set(**shape, yscale="log", ylim=reach, ylabel="estimate λ̂", title=f"{method}, with 90 % intervals")
        relative.set(**shape, ylim=(-_ERROR_SHOWN, _ERROR_SHOWN), ylabel="λ̂/λ − 1 (%)")
    handles = [line(colours[kind], kind) for kind in kinds]
    verdicts = sorted({str(verdict) for verdict in result.verdict.values.ravel()})
    legend(figure, handles + [verdict_handle(verdict) for verdict in verdicts])
    return figure


def calibration_heat(calibration: xr.Dataset) -> Figure:
    """λ̂ over the grid of nβ and γ, a panel a checkpoint; grey where the verdict rejects the cell, framed the choice."""
    grid = calibration.isel(trial=np.flatnonzero(calibration.stage.values == "grid"))
    points = list(dict.fromkeys(grid.point.values.tolist()))
    nbetas, gammas = np.unique(grid.nbeta), np.unique(grid.gamma)
    figure, panels = new_figure(
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
    figure, panels = new_figure(len(trials), width=10.5, height=2.5 * -(-len(trials) // 3), columns=3)
    for axes, trial in zip(panels, trials, strict=True):
        shown = calibration.isel(trial=trial)
        for chain in shown.llc_trace:
            axes.plot(shown.draw, chain, linewidth=0.7)
        said = "chosen" if stage[trial] == "grid" else str(stage[trial]).replace("_", " ")
        axes.set(xlabel="draw", ylabel="nβ ΔL")
        axes.set_title(f"{shown.point.item()}\n{said}: {shown.verdict.item()}", fontsize=9)
    return figure
