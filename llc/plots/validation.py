"""Figures that say how far to trust λ̂: validation and calibration."""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from llc.plots.style import estimate_point, legend, line, new_figure, verdict_handle

# What an estimate is drawn from.
_ESTIMATE = ("llc", "llc_low", "llc_high")
# Relative errors of a validation are shown up to so many per cent.
_ERROR_SHOWN = 30
# What a calibration varies.
_VARIED = ("choice", "nbeta", "gamma", "step_size")
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


def calibration_scale(calibration: xr.Dataset) -> Figure:
    """λ̂ against the resolution ρ = γ/nβ, finer to the right, a panel a checkpoint.

    What the checkpoint's own pilot tried is joined by a line; the choice and its halves and doubles stand beside it,
    with intervals of one standard error.
    """
    points = list(dict.fromkeys(calibration.point.values.tolist()))
    figure, panels = new_figure(len(points), width=4.2 * len(points) + 1.6, height=3.6)
    chosen = calibration.attrs["chosen_gamma"] / calibration.attrs["chosen_nbeta"]
    colours = dict(zip(_VARIED, sns.color_palette("colorblind", len(_VARIED)), strict=True))
    for axes, point in zip(panels, points, strict=True):
        of_point = calibration.isel(trial=np.flatnonzero(calibration.point.values == point))
        for i in range(of_point.sizes["trial"]):
            trial = of_point.isel(trial=i)
            stage = str(trial.stage.item())
            if stage == "pilot":
                rungs = trial.rung_gamma / trial.rung_nbeta
                axes.errorbar(
                    rungs, trial.rung_llc, trial.rung_llc_se, color="grey", marker=".", linewidth=1, capsize=2
                )
            else:
                colour = colours[stage.partition(" x ")[0]]
                estimate_point(axes, float(trial.gamma / trial.nbeta), _one_error(trial), colour)
        axes.axvline(chosen, color="black", linestyle=":", linewidth=1)
        axes.set(xscale="log", xlabel="ρ = γ/nβ (finer →)", ylabel="λ̂", title=point)
        axes.invert_xaxis()
    verdicts = sorted(set(calibration.verdict.values.tolist()))
    named = [
        line(colour, f"{name.replace('_', ' ')} × ½, 2" if name != "choice" else name)
        for name, colour in colours.items()
    ]
    legend(figure, [line("grey", "pilot"), *named, *(verdict_handle(verdict) for verdict in verdicts)])
    return figure


def _one_error(trial: xr.Dataset) -> xr.Dataset:
    return trial.assign(llc_low=trial.llc - trial.llc_se, llc_high=trial.llc + trial.llc_se)


def calibration_traces(calibration: xr.Dataset) -> Figure:
    """Traces of every chain at the choice, and at half and twice the step size; a panel a checkpoint and setting."""
    stage = calibration.stage.values
    shown_stages = np.isin(stage, ("choice", "step_size x 0.5", "step_size x 2"))
    trials = sorted(
        np.flatnonzero(shown_stages).tolist(),
        key=lambda trial: (str(calibration.point.values[trial]), str(stage[trial])),
    )
    figure, panels = new_figure(len(trials), width=10.5, height=2.5 * -(-len(trials) // 3), columns=3)
    for axes, trial in zip(panels, trials, strict=True):
        shown = calibration.isel(trial=trial)
        for chain in shown.llc_trace:
            axes.plot(shown.draw, chain, linewidth=0.7)
        said = str(stage[trial]).replace("_", " ")
        axes.set(xlabel="draw", ylabel="nβ ΔL")
        axes.set_title(f"{shown.point.item()}\n{said}: {shown.verdict.item()}", fontsize=9)
    return figure
