"""Figures of λ̂: over training, along the sweep, against the loss, by stages, and what it buys."""

import numpy as np
import xarray as xr

from llc.estimate.verdict import COMPARABLE
from llc.figures.runs import Runs, comparable, estimates, known, verdict_key
from llc.figures.spec import BLUE, GREEN, GREY, ORANGE, RED, Axis, Level, Marks, Panel, Span, Spec
from llc.store.labels import of_run

_LLC = "estimated LLC, λ̂"
_STEP = Axis("training step", "step")
_STAGES = {"A": RED, "B": BLUE, "flat": GREY, "loss flat": GREEN, "loss rises": ORANGE}


def _runs(llc: xr.Dataset) -> Runs:
    """Without the traces, which stay on disk."""
    names = ("llc", "llc_low", "llc_high", "loss_init", "verdict", "reason")
    return Runs(llc[[name for name in names if name in llc]])


def llc_over_training(llc: xr.Dataset) -> Spec:
    """λ̂ at each estimated checkpoint with its 90 % interval and verdict."""
    runs, panels, seen, said = _runs(llc), [], set(), []
    for facet, members in runs.panels():
        marks = []
        for place, run in members:
            here = known(run, "llc")
            if not here.sizes["step"]:
                continue
            name = runs.name(place)
            marks.append(estimates(here, here.step.values, runs.colour(place), runs.label(place), name))
            seen |= set(map(str, here.verdict.values))
            said.append(f"{name} ends at {float(here.llc[-1]):.3g}, {here.verdict.values[-1]}")
        panels.append(Panel(_STEP, Axis(_LLC, limits=_limits(llc)), marks, facet))
    return Spec(
        "llc",
        "Complexity over training",
        panels,
        "The local learning coefficient with 90 % intervals: how many directions, in effect, the loss holds tight "
        "around a checkpoint. Filled symbols may be compared with one another; open ones may not, and pointing at one "
        "says why. Open symbols have no part in any fit; those far off what may be compared are beyond the axis.",
        f"λ̂ over training: {'; '.join(said)}.",
        size=(7.5, 4.8),
        key=verdict_key(seen),
    )


def _limits(llc: xr.Dataset) -> tuple[float, float] | None:
    """Those of estimates that may be compared, and 0; of the others, what is within as much again of these.

    So points that are no minimum, early in training, which may lie thousands below zero, are left out.
    """
    found = llc.llc.notnull()
    trusted = found & llc.verdict.isin(COMPARABLE)
    trusted = trusted if trusted.any() else found & (llc.verdict != "off-minimum")
    if not trusted.any():
        return None
    low, high = min(0.0, float(llc.llc_low.where(trusted).min())), float(llc.llc_high.where(trusted).max())
    reach = high - low
    near = found & (llc.llc_low > low - reach) & (llc.llc_high < high + reach)
    low, high = min(low, float(llc.llc_low.where(near).min())), max(high, float(llc.llc_high.where(near).max()))
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def llc_by_axis(llc: xr.Dataset, tradeoff: xr.Dataset | None = None) -> Spec | None:
    """λ̂ at the last estimated step along the axis of the sweep; with a tradeoff, near t_crit too, as stars."""
    runs, seen, said, marks = _runs(llc), set(), [], []
    if runs.axis == "seed":
        return None
    places, ticks, scale = runs.positions
    for place, run in runs:
        here = known(run, "llc")
        if not here.sizes["step"]:
            continue
        end, at = here.isel(step=[-1]), places[runs.values.index(place[runs.axis])]
        name = runs.name(place)
        marks.append(estimates(end, np.array([at]), BLUE, "last estimated step", name, line=""))
        seen |= set(map(str, end.verdict.values))
        said.append(f"{name}: {float(end.llc[0]):.3g}")
        found = None if tradeoff is None else of_run(tradeoff, place)
        if found is not None and np.isfinite(found.llc_critical):
            value, reach = float(found.llc_critical), float(found.llc_critical_high - found.llc_critical)
            beside = np.array([at * 1.07 if scale == "log" else at + 0.1])
            text = [f"{name}<br>near t_crit = {float(found.step_critical):,.0f}<br>λ̂ {value:.4g}"]
            y, ends = np.array([value]), (np.array([value - reach]), np.array([value + reach]))
            marks.append(Marks(beside, y, ORANGE, "near t_crit", line="", shape="star", size=9, low=ends[0],
                               high=ends[1], hover=text))  # fmt: skip
            said.append(f"{name} near t_crit: {value:.3g}")
    return Spec(
        "llc_by_axis",
        "Complexity along the sweep",
        [Panel(Axis(runs.axis_name, scale, ticks=ticks), Axis(_LLC), marks)],
        "λ̂ at the last estimated step, and near t_crit where an estimate lies there that may be compared.",
        f"λ̂ along the sweep: {'; '.join(said)}.",
        size=(6.5, 4.6),
        key=verdict_key(seen),
    )


def loss_llc_plane(llc: xr.Dataset) -> Spec | None:
    """Loss against λ̂; along a line training goes on, to the large dot at its end."""
    runs, panels, left_out = _runs(llc), [], 0
    for facet, members in runs.panels():
        marks = []
        for place, run in members:
            here = known(run, "llc")
            believed = comparable(here)
            left_out += here.sizes["step"] - believed.sizes["step"]
            if not believed.sizes["step"]:
                continue
            name = runs.name(place)
            hover = [
                f"{name}<br>step {int(step):,}<br>loss {x:.4g}<br>λ̂ {y:.4g}"
                for step, x, y in zip(believed.step.values, believed.loss_init.values, believed.llc.values, strict=True)
            ]
            marks.append(
                Marks(believed.loss_init.values, believed.llc.values, runs.colour(place), runs.label(place),
                      shape="circle", size=4, hover=hover, last=True)
            )  # fmt: skip
        panels.append(Panel(Axis("loss on λ̂'s own dataset"), Axis(_LLC), marks, facet))
    if not any(panel.marks for panel in panels):
        return None
    return Spec(
        "loss_llc_plane",
        "Loss against complexity",
        panels,
        "Training moves along each line to its large dot. Up and to the left is better and more complex, down and to "
        "the right worse and simpler; where a line runs down at the same loss, a solution becomes simpler for nothing. "
        f"{left_out} estimates that may not be compared are left out.",
        "Loss against λ̂ over training.",
        size=(6.4, 4.8),
    )


def stages(llc: xr.Dataset, stages: xr.Dataset) -> Spec | None:
    """λ̂ over training, a panel a run, with the stages found: shaded by type, boundaries with their intervals."""
    runs, panels, seen, said = _runs(llc), [], set(), []
    for place, run in runs:
        here, found = known(run, "llc"), of_run(stages, place)
        if not here.sizes["step"] or found is None:
            continue
        rows = [found.isel(stage=i) for i in range(found.sizes.get("stage", 0))]
        rows = [row for row in rows if np.isfinite(row.start)]
        name = runs.name(place)
        marks: list = [
            Span(float(row.start), float(row.end), _STAGES[str(row.type.item())], f"stage: {row.type.item()}",
                 text=str(row.type.item()))
            for row in rows
        ]  # fmt: skip
        marks += [
            Span(float(row.end_low), float(row.end_high), GREY, edge_at=float(row.end))
            for row in rows
            if np.isfinite(row.end_low)
        ]
        marks.append(estimates(here, here.step.values, "#404040", "", name, line=""))
        seen |= set(map(str, here.verdict.values))
        panels.append(Panel(_STEP, Axis("λ̂", limits=_limits(here)), marks, name))
        said.append(f"{name} has {len(rows)} stages, of types {', '.join(str(row.type.item()) for row in rows)}")
    if not panels:
        return None
    return Spec(
        "stages",
        "Stages",
        panels,
        "A (red): loss falls while complexity rises. B (blue): both fall. Grey: complexity may not have changed. "
        "Green: only the loss may not have. Orange: the loss rises. Thin lines are boundaries with their 90 % "
        "intervals, from the errors of λ̂.",
        f"{'; '.join(said)}.",
        size=(4.4, 3.2),
        key=verdict_key(seen),
    )


def tradeoff(found: xr.Dataset) -> Spec | None:
    """Log-odds of the simple solution over the complex one against n; and the n at which they turn against t_crit."""
    simple, complex_ = found.attrs.get("simple", "simple"), found.attrs.get("complex", "complex")
    runs, odds, turns, said = Runs(found), [], [], []
    for place, run in runs:
        if not np.isfinite(run.delta_llc):
            continue
        name, colour, label = runs.name(place), runs.colour(place), runs.label(place)
        hover = [
            f"{name}<br>n = {n:,.0f}<br>log odds {y:.3g}"
            for n, y in zip(run.samples.values, run.log_odds.values, strict=True)
        ]
        odds.append(Marks(run.samples.values, run.log_odds.values, colour, label, hover=hover))
        said.append(f"{name} {'does not turn' if np.isnan(run.turn) else f'turns at n = {float(run.turn):.3g}'}")
        if np.isfinite(run.turn) and np.isfinite(run.step_critical) and run.turn > 0 and run.step_critical > 0:
            turn, low, high = float(run.turn), max(1.0, float(run.turn_low)), min(1e9, float(run.turn_high))
            text = [f"{name}<br>t_crit {float(run.step_critical):,.0f}<br>n {turn:.3g}"]
            turns.append(
                Marks(np.array([float(run.step_critical)]), np.array([turn]), colour, label, line="", shape="circle",
                      low=np.array([min(low, turn)]), high=np.array([max(high, turn)]), hover=text)
            )  # fmt: skip
    if not odds:
        return None
    panels = [
        Panel(
            Axis("number of sequences n", "log"),
            Axis(f"log p({simple}-like)/p({complex_}-like)", "signed"),
            [*odds, Level(0.0, GREY, line="solid")],
            "Simple solution preferred above 0",
        )
    ]
    if turns:
        axes = Axis("t_crit, step", "log"), Axis("n at which preference turns", "log")
        panels.append(Panel(*axes, turns, "Where preference turns, with 90 % intervals"))
    return Spec(
        "tradeoff",
        "Which solution is preferred",
        panels,
        f"n Δℓ + Δλ log n, the log of the posterior odds of the simple, less accurate solution (like {simple}) over "
        f"the accurate and possibly more complex one (like {complex_}). Where a curve goes below 0, data outweigh "
        "complexity. If complexity decides when training leaves the simple solution, the n at which preference turns "
        "rises with t_crit. Runs without estimates that may be compared are left out.",
        f"Log odds over n: {'; '.join(said)}.",
        size=(5.6, 4.4),
    )
