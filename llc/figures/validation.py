"""Figures that say how far to trust λ̂: validation and calibration."""

import numpy as np
import seaborn as sns
import xarray as xr

from llc.figures.given import takes
from llc.figures.runs import VERDICT_SHAPES, verdict_key
from llc.figures.spec import GREY, Axis, Level, Marks, Panel, Span, Spec

# Relative errors of a validation are shown up to so many per cent.
_ERROR_SHOWN = 30.0
# What a calibration varies.
_VARIED = ("choice", "nbeta", "gamma", "step_size")
# Kinds of problem that seaborn's colours for the colour-blind tell apart.
_COLOURBLIND = 10
# Where it comes from, and what it has.
_CALIBRATION = ("llc.study.calibrate_experiment", "point", "stage", "trial", "llc_trace")


@takes(result=("llc.validate", "estimator", "case", "exact", "llc", "verdict"))
def validation(result: xr.Dataset) -> Spec:
    """Estimates against exact learning coefficients, and how far off they are, with 90 % intervals; a column a method.

    Coloured by kind of problem. In the lower row, what is off by more than its axis shows is left out.

    Args:
        result: of `llc.validate`.
    """
    methods = [str(method) for method in result.estimator.values]
    kinds = sorted(set(result.kind.values.tolist()), key=lambda kind: (kind.startswith("deep"), kind))
    palette = "colorblind" if len(kinds) <= _COLOURBLIND else "tab20"  # the first has ten colours, then repeats them
    colours = dict(zip(kinds, sns.color_palette(palette, len(kinds)).as_hex(), strict=True))
    reach = (0.7 * float(result.exact.min()), 1.4 * float(result.exact.max()))
    exact = Axis("exact learning coefficient λ", "log", limits=reach)
    above: list[Panel] = []
    below: list[Panel] = []
    for method in methods:
        of_method = result.sel(estimator=method)
        found = {name: of_method[name].values.astype(float) for name in ("llc", "llc_low", "llc_high")}
        percent = {name: 100 * (values / of_method.exact.values - 1) for name, values in found.items()}
        for numbers, panels in ((found, above), (percent, below)):
            marks: list = [] if panels is above else [Level(0.0, GREY)]
            for kind in kinds:
                ours = (of_method.kind.values == kind) & np.isfinite(numbers["llc"])
                shapes = [VERDICT_SHAPES[str(verdict)] for verdict in of_method.verdict.values[ours]]
                said = of_method.case.values[ours].astype(str).tolist()
                y, low, high = (numbers[name][ours] for name in ("llc", "llc_low", "llc_high"))
                at = of_method.exact.values[ours]
                marks.append(
                    Marks(at, y, str(colours[kind]), kind, line="", shape=shapes, low=low, high=high, hover=said)
                )
            if panels is above:
                axis, title = Axis("estimate λ̂", "log", limits=reach), f"{method}, with 90 % intervals"
                panels.append(Panel(exact, axis, marks, title, diagonal="exact"))
            else:
                panels.append(Panel(exact, Axis("λ̂/λ − 1 (%)", limits=(-_ERROR_SHOWN, _ERROR_SHOWN)), marks))
    verdicts = {str(verdict) for verdict in result.verdict.values.ravel()}
    return Spec(
        "validation",
        "Estimates against exact values",
        [*above, *below],
        "Estimates of problems whose learning coefficients are known, and their errors.",
        f"{result.sizes['case']} problems, {len(methods)} methods.",
        columns=len(methods),
        size=(5.6, 4.3),
        key=verdict_key(verdicts),
    )


@takes(calibration=_CALIBRATION)
def calibration_scale(calibration: xr.Dataset) -> Spec:
    """λ̂ against the resolution ρ = γ/nβ, a panel a checkpoint.

    What the checkpoint's own pilot tried is joined by a line; the choice and its halves and doubles stand beside it,
    with intervals of one standard error.

    Args:
        calibration: of `calibrate_experiment`, what it wrote to `calibration.nc`.
    """
    points = list(dict.fromkeys(calibration.point.values.tolist()))
    chosen = calibration.attrs["chosen_gamma"] / calibration.attrs["chosen_nbeta"]
    colours = dict(zip(_VARIED, sns.color_palette("colorblind", len(_VARIED)).as_hex(), strict=True))
    panels, seen = [], set()
    for point in points:
        of_point = calibration.isel(trial=np.flatnonzero(calibration.point.values == point))
        marks: list = []
        for trial in (of_point.isel(trial=i) for i in range(of_point.sizes["trial"])):
            stage = str(trial.stage.item())
            if stage == "pilot":
                rungs, llc, error = (trial[name].values for name in ("rung_gamma", "rung_llc", "rung_llc_se"))
                here = np.isfinite(llc)
                at, llc, error = (rungs / trial.rung_nbeta.values)[here], llc[here], error[here]
                marks.append(Marks(at, llc, GREY, "pilot", shape="circle", size=3, low=llc - error, high=llc + error))
                continue
            name, verdict = stage.partition(" x ")[0], str(trial.verdict.item())
            seen.add(verdict)
            at, y, error = (np.array([float(value)]) for value in (trial.gamma / trial.nbeta, trial.llc, trial.llc_se))
            said = name if name == "choice" else f"{name.replace('_', ' ')} × ½, 2"
            marks.append(
                Marks(at, y, str(colours[name]), said, line="", shape=VERDICT_SHAPES[verdict], low=y - error,
                      high=y + error, hover=[f"{stage}<br>λ̂ {y[0]:.4g}"])
            )  # fmt: skip
        marks.append(Span(chosen, chosen, GREY, edge_at=chosen))
        panels.append(Panel(Axis("ρ = γ/nβ (finer to the left)", "log"), Axis("λ̂"), marks, str(point)))
    return Spec(
        "calibration_scale",
        "λ̂ by resolution",
        panels,
        "λ̂ at the localisations that were tried; the dotted line is the choice.",
        f"λ̂ by resolution at {len(points)} checkpoints.",
        key=verdict_key(seen),
    )


@takes(calibration=_CALIBRATION)
def calibration_traces(calibration: xr.Dataset) -> Spec:
    """Traces of every chain at the choice, and at half and twice the step size; a panel a checkpoint and setting.

    Args:
        calibration: of `calibrate_experiment`, what it wrote to `calibration.nc`.
    """
    stage = calibration.stage.values
    shown_stages = np.isin(stage, ("choice", "step_size x 0.5", "step_size x 2"))
    trials = sorted(
        np.flatnonzero(shown_stages).tolist(),
        key=lambda trial: (str(calibration.point.values[trial]), str(stage[trial])),
    )
    panels = []
    for trial in trials:
        shown = calibration.isel(trial=trial)
        colours = sns.color_palette("colorblind", shown.sizes["chain"]).as_hex()
        marks = [
            Marks(shown.draw.values, chain.values, str(colour), width=0.7)
            for chain, colour in zip(shown.llc_trace, colours, strict=True)
        ]
        said = f"{shown.point.item()}, {str(stage[trial]).replace('_', ' ')}: {shown.verdict.item()}"
        panels.append(Panel(Axis("draw"), Axis("nβ ΔL"), marks, said))
    return Spec(
        "calibration_traces",
        "Traces",
        panels,
        "Draws of every chain at the choice, and at half and twice the step size.",
        f"{len(panels)} trials.",
        size=(4.2, 2.6),
    )
