"""Figures of λ̂: over training, along the sweep, against the loss, by stages, and what it buys."""

import warnings

import numpy as np
import xarray as xr

from llc.estimate.verdict import COMPARABLE
from llc.figures.given import takes
from llc.figures.runs import Place, Runs, comparable, estimates, known, verdict_key
from llc.figures.spec import BLUE, GREEN, GREY, ORANGE, RED, Axis, Level, Marks, Panel, Span, Spec
from llc.store.labels import of_run

_LLC = "estimated LLC, λ̂"
_STEP = Axis("training step", "step")
# Where what is drawn comes from, and what it has.
_ESTIMATES = ("llc.estimate_llc_over_checkpoints or experiment.llc", "step", "llc", "verdict", "loss_init")
_TRADEOFF = ("experiment.tradeoff", "delta_llc", "delta_loss", "turn", "step_critical", "llc_critical")
# Verdicts under which λ̂ may lie anywhere.
_OF_NOTHING = ("off-minimum", "prior-dominated", "delocalised", "diverged")
_STAGES = {"A": RED, "B": BLUE, "flat": GREY, "loss flat": GREEN, "loss rises": ORANGE}


def _runs(llc: xr.Dataset) -> Runs:
    """Without the traces, which stay on disk. Estimates that may not be compared with one another are warned of."""
    for name, symbol in (("nbeta", "nβ"), ("gamma", "γ"), ("num_samples", "n")):
        values = np.unique(llc[name].dropna("step", how="all").values) if name in llc else np.empty(0)
        values = values[np.isfinite(values)]
        if len(values) > 1:
            warnings.warn(
                f"estimates with {symbol} from {values[0]:.4g} to {values[-1]:.4g} side by side: λ̂ depends on it, and "
                "only those with the same nβ, γ and n may be compared",
                stacklevel=3,
            )
    names = ("llc", "llc_low", "llc_high", "loss_init", "verdict", "reason")
    shown = llc[[name for name in names if name in llc]]
    others = [str(dim) for dim in llc.llc.dims if dim != "step"]
    if others and "seed" not in others:  # a curve for each place along dims of somebody's own
        shown = shown.assign_coords({dim: np.arange(llc.sizes[dim]) for dim in others if dim not in llc.coords})
        shown = shown.expand_dims("seed").transpose(*others, "seed", "step")
    return Runs(shown)


@takes(llc=_ESTIMATES)
def llc_over_training(llc: xr.Dataset) -> Spec:
    """λ̂ at each estimated checkpoint with its 90 % interval and verdict.

    Args:
        llc: `experiment.llc`, or of `estimate_llc_over_checkpoints`.
    Raises:
        InvalidInput: no estimates by `step`.
    """
    runs, seen, said = _runs(llc), set[str](), []
    limits = _limits(llc)

    def curve(place: Place, run: xr.Dataset) -> list[Marks]:
        here = known(run, "llc")
        if not here.sizes["step"]:
            return []
        name = runs.name(place)
        seen.update(map(str, here.verdict.values))
        said.append(f"{name} ends at {float(here.llc[-1]):.3g}, {here.verdict.values[-1]}".lstrip())
        shown = estimates(here, here.step.values, runs.colour(place), runs.label(place), name)
        return [shown, *_beyond(shown, limits)]

    panels = runs.faceted(curve, _STEP, Axis(_LLC, limits=limits))
    return Spec(
        "llc",
        "Complexity over training",
        panels,
        "The local learning coefficient with 90 % intervals: how many directions, in effect, the loss holds tight "
        "around a checkpoint. Filled symbols may be compared with one another; open ones may not, and pointing at one "
        "says why. Open symbols have no part in any fit; those far off what may be compared are beyond the axis, where "
        "stars stand at its end.",
        f"λ̂ over training: {'; '.join(said)}.",
        size=(7.5, 4.8),
        key=verdict_key(seen),
    )


# A share of all estimates that can say where their axis ends, though none may be compared.
_MANY = 0.2


def _limits(llc: xr.Dataset) -> tuple[float, float] | None:
    """Those of estimates that may be compared, and 0; of the others, what is within as much again of these.

    So points that are no minimum, early in training, which may lie thousands below zero, are left out.
    """
    found = llc.llc.notnull()
    trusted = found & llc.verdict.isin(COMPARABLE)
    if not trusted.any():  # then those whose number is at least about w*, if these are no exception
        trusted = found & ~llc.verdict.isin(_OF_NOTHING)
        if int(trusted.sum()) < _MANY * int(found.sum()):
            return None
    if not trusted.any():
        return None
    low, high = min(0.0, float(llc.llc_low.where(trusted).min())), float(llc.llc_high.where(trusted).max())
    reach = high - low
    near = found & (llc.llc_low > low - reach) & (llc.llc_high < high + reach)
    low, high = min(low, float(llc.llc_low.where(near).min())), max(high, float(llc.llc_high.where(near).max()))
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def _beyond(shown: Marks, limits: tuple[float, float] | None) -> list[Marks]:
    """Stars at the end of the axis for the estimates that lie beyond it."""
    if limits is None:
        return []
    low, high = limits
    inside = 0.02 * (high - low)
    outside = (shown.y < low) | (shown.y > high)
    if not outside.any():
        return []
    y = np.where(shown.y > high, high - inside, low + inside)[outside]
    hover = [text for text, is_out in zip(shown.hover, outside, strict=True) if is_out]
    return [Marks(shown.x[outside], y, shown.colour, "beyond the axis", line="", shape="star", size=8, hover=hover)]


@takes(llc=_ESTIMATES, tradeoff=_TRADEOFF)
def llc_by_axis(llc: xr.Dataset, tradeoff: xr.Dataset | None = None) -> Spec | None:
    """λ̂ at the last estimated step along the axis of the sweep; with a tradeoff, near t_crit too, as stars.

    Args:
        llc: `experiment.llc`.
        tradeoff: `experiment.tradeoff`; None for no stars.
    """
    runs, seen, said = _runs(llc), set[str](), []
    if runs.axis == "seed":
        return None
    logarithmic = runs.axis_of_panel.scale == "log"

    def ends(place: Place, run: xr.Dataset) -> list[Marks]:
        here = known(run, "llc")
        if not here.sizes["step"]:
            return []
        end, at, name = here.isel(step=[-1]), runs.at(place), runs.name(place)
        marks = [estimates(end, np.array([at]), BLUE, "last estimated step", name, line="")]
        seen.update(map(str, end.verdict.values))
        said.append(f"{name}: {float(end.llc[0]):.3g}")
        found = None if tradeoff is None else of_run(tradeoff, place)
        if found is not None and np.isfinite(found.llc_critical):
            value, reach = float(found.llc_critical), float(found.llc_critical_high - found.llc_critical)
            beside, y = np.array([at * 1.07 if logarithmic else at + 0.1]), np.array([value])
            text = [f"{name}<br>near t_crit = {float(found.step_critical):,.0f}<br>λ̂ {value:.4g}"]
            marks.append(
                Marks(beside, y, ORANGE, "near t_crit", line="", shape="star", size=9, low=y - reach, high=y + reach,
                      hover=text)
            )  # fmt: skip
            said.append(f"{name} near t_crit: {value:.3g}")
        return marks

    panels = runs.faceted(ends, runs.axis_of_panel, Axis(_LLC))
    return Spec(
        "llc_by_axis",
        "Complexity along the sweep",
        panels,
        "λ̂ at the last estimated step, and near t_crit where an estimate lies there that may be compared.",
        f"λ̂ along the sweep: {'; '.join(said)}.",
        size=(6.5, 4.6),
        key=verdict_key(seen),
    )


@takes(llc=_ESTIMATES)
def loss_llc_plane(llc: xr.Dataset) -> Spec | None:
    """Loss against λ̂; along a line training goes on, to a large dot where its last estimate may be compared."""
    runs = _runs(llc)

    def way(place: Place, run: xr.Dataset) -> list[Marks]:
        every = known(run, "llc")
        here = comparable(every)
        x, y = here.loss_init.values, here.llc.values
        text = [
            f"step {int(step):,}<br>loss {loss:.4g}<br>λ̂ {value:.4g}"
            for step, loss, value in zip(here.step.values, x, y, strict=True)
        ]
        if not len(x):
            return []
        ends = int(here.step[-1]) == int(every.step[-1])
        return [runs.mark(place, x, y, text, shape="circle", size=4, last=ends)]

    panels = runs.faceted(way, Axis("loss on λ̂'s own dataset"), Axis(_LLC))
    if not any(panel.marks for panel in panels):
        return None
    left_out = int((llc.llc.notnull() & ~llc.verdict.isin(COMPARABLE)).sum())
    return Spec(
        "loss_llc_plane",
        "Loss against complexity",
        panels,
        "Training moves along each line, to a large dot where its last estimate may be compared. Up and to the left "
        "is better and more complex, down and to "
        "the right worse and simpler; where a line runs down at the same loss, a solution becomes simpler for nothing. "
        f"{left_out} estimates that may not be compared are left out.",
        "Loss against λ̂ over training.",
        size=(6.4, 4.8),
    )


@takes(llc=_ESTIMATES, stages=("experiment.stages", "start", "end", "type", "stage"))
def stages(llc: xr.Dataset, stages: xr.Dataset) -> Spec | None:
    """λ̂ over training, a panel a run, with the stages found: shaded by type, boundaries with their intervals.

    Args:
        llc: `experiment.llc`.
        stages: `experiment.stages`.
    """
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
            Span(float(row.end_low), float(row.end_high), GREY, "boundary", edge_at=float(row.end))
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


_IF_IT_DECIDES = (
    "If complexity decides when training leaves the simple solution, the n at which preference turns rises with t_crit."
)


def decided_at_once(found: xr.Dataset) -> str:
    """What a tradeoff says where the complex solution is preferred from the first sequence on; otherwise ""."""
    turns = found.turn.where(np.isfinite(found.turn))
    if not bool(turns.notnull().any()) or float(turns.max()) > 1:
        return ""
    gaps = -found.delta_loss.where(turns.notnull())
    low, high = float(gaps.min()), float(gaps.max())
    nats = f"{low:.3g}{f' to {high:.3g}' if high > low else ''} nats"
    return (
        f"Here {found.attrs['complex']} is better by {nats} a sequence, which outweighs complexity from the first "
        f"sequence on: this tradeoff cannot say when training leaves {found.attrs['simple']}."
    )


@takes(found=_TRADEOFF)
def tradeoff(found: xr.Dataset) -> Spec | None:
    """Log-odds of the simple solution over the complex one against n; and the n at which they turn against t_crit.

    Args:
        found: `experiment.tradeoff`.
    """
    simple, complex_ = found.attrs.get("simple", "simple"), found.attrs.get("complex", "complex")
    runs, odds, turns, said = Runs(found), [], [], []
    for place, run in runs:
        if not np.isfinite(run.delta_llc):
            continue
        samples, y = run.samples.values, run.log_odds.values
        text = [f"n = {n:,.0f}<br>log odds {value:.3g}" for n, value in zip(samples, y, strict=True)]
        odds.append(runs.mark(place, samples, y, text))
        said.append(
            f"{runs.name(place)} {'does not turn' if np.isnan(run.turn) else f'turns at n = {float(run.turn):.3g}'}"
        )
        if np.isfinite(run.turn) and np.isfinite(run.step_critical) and run.turn > 0 and run.step_critical > 0:
            turn, low, high = float(run.turn), max(1.0, float(run.turn_low)), min(1e9, float(run.turn_high))
            text = [f"t_crit {float(run.step_critical):,.0f}<br>n {turn:.3g}"]
            reach = {"low": np.array([min(low, turn)]), "high": np.array([max(high, turn)])}
            at = np.array([float(run.step_critical)]), np.array([turn])
            turns.append(runs.mark(place, *at, text, line="", shape="circle", **reach))
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
        f"complexity. {decided_at_once(found) or _IF_IT_DECIDES} Runs without estimates that may be compared are left "
        "out.",
        f"Log odds over n: {'; '.join(said)}.",
        size=(5.6, 4.4),
    )
