"""Figures of a comparison with references: over training, at the end, and every test set by itself."""

from typing import Any

import numpy as np
import xarray as xr

from llc.figures.given import takes
from llc.figures.runs import Place, Runs, known, palette
from llc.figures.spec import GREY, LINES, Axis, Level, Marks, Panel, Spec
from llc.store.labels import references_of, symbol_in

_STEP = Axis("training step", "step")
# What loses so much less than the models has no place on their log axis.
_NOTHING = 1e-3
# Of references beside one another.
_MOST_REFERENCES = 5
# What is drawn of a comparison, a row each.
_COMPARED = {
    "excess": "loss above the reference's",
    "prediction_difference": "norm of the difference of predictions",
    "sensitivity_cosine": "cosine of sensitivities",
}


@takes(found=("experiment.compare", "test_set", "reference", "loss_se", "step"))
def compared(found: xr.Dataset) -> Spec:
    """The trained models against their references over training, a column a reference, on the first test set.

    In the last row, losses at the last step on every test set, and the reference's.

    Args:
        found: `experiment.compare`.
    """
    first = str(found.test_set.values[0])
    names, rows = references_of(found), [name for name in _COMPARED if name in found]
    several = found.sizes["test_set"] > 1
    wanted = [*rows, *(f"{name}_se" for name in rows), *(["loss", "loss_se", "reference_loss"] if several else [])]
    runs, panels = Runs(found[wanted]), []
    for row in rows:
        for reference in names:
            marks: list = [Level(1.0 if row == "sensitivity_cosine" else 0.0, GREY)]
            for place, run in runs:
                at = known(run, row).sel(reference=reference)
                at = at.sel(test_set=first) if "test_set" in at[row].dims else at
                reach, y = 1.645 * at[f"{row}_se"].values, at[row].values
                text = [f"step {step:,}<br>{value:.4g}" for step, value in zip(at.step.values, y, strict=True)]
                ends = {"low": y - reach, "high": y + reach}
                marks.append(runs.mark(place, at.step.values, y, text, **ends, shape=runs.shape(place), size=4.5))
            title = f"against {symbol_in(found, 'reference', reference)}"
            panels.append(Panel(_STEP, Axis(_COMPARED[row], limits=_of_values(marks)), marks, title))
    if several:
        panels += [_by_test_set(found, runs, reference) for reference in names]
    return Spec(
        "compare",
        "Against references",
        panels,
        f"Trained models beside what the task can be solved by, on {symbol_in(found, 'test_set', first)}, with 90 % "
        "intervals: how much more they lose, how far predictions lie apart, and whether they react to the question in "
        "the same direction.",
        f"{len(list(runs))} runs against {', '.join(names)}.",
        columns=-(-len(names) // -(-len(names) // _MOST_REFERENCES)),
        row=len(names),
        size=(4.4, 3.4),
        key=runs.shape_key,
    )


def _of_values(marks: list) -> tuple[float, float] | None:
    """Limits that hold all values, and of their intervals what is within as much again."""
    points = [mark for mark in marks if isinstance(mark, Marks)]

    def ends(values: list[np.ndarray | None]) -> tuple[float, float]:
        known = np.concatenate([[0.0], *(one for one in values if one is not None)])
        return float(np.nanmin(known)), float(np.nanmax(known))

    low, high = ends([mark.y for mark in points])
    reach = high - low
    if not reach:
        return None
    widest = ends([mark.low for mark in points] + [mark.high for mark in points])
    low, high = max(low - reach, min(low, widest[0])), min(high + reach, max(high, widest[1]))
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _by_test_set(found: xr.Dataset, runs: Runs, reference: str) -> Panel:
    words = [symbol_in(found, "test_set", str(name)) for name in found.test_set.values]
    at, marks = np.arange(len(words), dtype=float), []
    levels: dict[tuple, tuple[np.ndarray, list[Place]]] = {}  # of the reference, by its values: drawn, and whose
    for place, run in runs:
        here = known(run, "loss")
        if not here.sizes["step"]:
            continue
        end = here.isel(step=-1)
        level = end.reference_loss.sel(reference=reference).values
        key = tuple(level.round(6))
        level = np.where(level > _NOTHING * np.nanmin(end.loss.values), level, np.nan)
        levels.setdefault(key, (level, []))[1].append(place)
        text = [f"{word}<br>{y:.4g}" for word, y in zip(words, end.loss.values, strict=True)]
        marks.append(runs.mark(place, at, end.loss.values, text, shape=runs.shape(place)))
    look: dict[str, Any] = {"shape": "square", "size": 4}
    lines = []
    for number, (level, places) in enumerate(levels.values()):
        colours = {runs.colour(place) for place in places}
        if len(levels) == 1:
            lines.append(Marks(at, level, GREY, "the reference", line="dash", **look))
        elif len(colours) == 1:  # of the runs of that colour
            lines.append(Marks(at, level, colours.pop(), "the reference", line="dash", **look))
        else:  # of the runs of that shape, or of several colours
            whose = runs.beside(places[0]) or ", ".join(dict.fromkeys(map(runs.label, places)))
            label = f"the reference, {whose}"
            lines.append(Marks(at, level, GREY, label, line=LINES[1:][number % len(LINES[1:])], **look))
    title = f"against {symbol_in(found, 'reference', reference)}"
    return Panel(Axis("", "words", words=words), Axis("loss at the last step", "log"), [*lines, *marks], title)


@takes(found=("experiment.compare", "test_set", "loss", "loss_se", "step"))
def learned(found: xr.Dataset) -> Spec | None:
    """What every run loses on each test set over training, as shares of what it lost there at first.

    Args:
        found: `experiment.compare`.
    """
    if found.sizes["test_set"] < 2:
        return None
    runs, panels = Runs(found[["loss"]]), []
    names = [str(name) for name in found.test_set.values]
    colours = dict(zip(names, palette(names), strict=True))
    for place, run in runs:
        here = known(run, "loss")
        if not here.sizes["step"]:
            continue
        marks: list = []
        for name in names:
            share = (here.loss / here.loss.isel(step=0)).sel(test_set=name).values
            symbol = symbol_in(found, "test_set", name)
            text = [f"{symbol}<br>step {step:,}<br>{y:.3g}" for step, y in zip(here.step.values, share, strict=True)]
            marks.append(Marks(here.step.values, share, colours[name], symbol, hover=text))
        panels.append(Panel(_STEP, Axis("loss over that at first", "log"), marks, runs.name(place)))
    return Spec(
        "learned",
        "Each test set over training",
        panels,
        "What each run loses on every test set, as a share of what it lost there before it was trained: which part is "
        "learned first, and which not at all.",
        f"Losses of {len(panels)} runs on {len(names)} test sets.",
        columns=3,
        size=(4.8, 3.6),
    )
