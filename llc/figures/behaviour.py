"""Figures of what models do: losses, distances to references, shifted inputs."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from llc.figures.given import takes
from llc.figures.runs import LOOKS, Place, Runs, known, once, reference_looks
from llc.figures.spec import BLUE, GREY, Axis, Level, Marks, Panel, Spec
from llc.store.labels import headline_of, over_positions, references_of, symbol_in

_STEP = Axis("training step", "step")
# Where losses of runs come from, and what they have.
_METRICS = ("experiment.metrics", "test_set", "loss", "step")
# Losses that are so many times those of the models, or so little, are beyond their axis.
_NEAR_MODELS = 30
# Of panels of one test set beside one another.
_MOST_COLUMNS = 5


@takes(metrics=_METRICS)
def losses(metrics: xr.Dataset) -> Spec:
    """Loss over training on every test set, t_crit marked, and what the references lose there.

    Args:
        metrics: `experiment.metrics`.
    """
    data, headline = over_positions(metrics), headline_of(metrics)
    runs = Runs(data[[name for name in ("loss", "reference_loss", "step_critical") if name in data]])
    panels, said = [], []
    for test_set in data.test_set.values.tolist():
        for facet, members in runs.panels():
            marks: list = []
            for place, run in members:
                loss = run.loss.sel(test_set=test_set).dropna("step")
                if not loss.size:
                    continue
                text = [f"step {step:,}<br>loss {y:.4g}" for step, y in _pairs(loss)]
                marks.append(runs.mark(place, loss.step.values, loss.values, text))
                said.append(f"{runs.name(place)} ends at {float(loss[-1]):.3g} on {test_set}")
                critical = float(run.step_critical) if "step_critical" in run and test_set == headline else np.nan
                if critical < float(loss.step[-1]):
                    at, y = np.array([critical]), loss.sel(step=[int(critical)]).values
                    dot = runs.mark(place, at, y, [f"t_crit = {critical:,.0f}<br>loss {y[0]:.4g}"], line="",
                                    shape="circle", size=8)  # fmt: skip
                    marks.append(replace(dot, label="t_crit"))
            if "reference_loss" in data:
                marks += runs.levels(members, partial(_reference_loss, test_set))
            title = symbol_in(data, "test_set", test_set) + (f", {facet}" if facet else "")
            panels.append(Panel(_STEP, Axis("loss"), marks, title))
    facets = len(panels) // data.sizes["test_set"]
    caption = "Loss over training on every test set."
    if headline:
        caption += (
            f" A dot marks the smallest loss on {headline}, t_crit. A curve that comes some way towards the best that "
            "can be done there and then clearly climbs is transient: the model found a solution that generalises, and "
            "left it."
        )
    columns = facets if 1 < facets <= _MOST_COLUMNS else 3
    return Spec("losses", "Losses", panels, caption, f"Losses: {'; '.join(said)}.", columns=columns)


def _reference_loss(test_set: str, run: xr.Dataset, name: str) -> float:
    return float(run.reference_loss.sel(test_set=test_set, reference=name))


@takes(metrics=_METRICS)
def reference_plane(metrics: xr.Dataset) -> Spec | None:
    """Every run's way between two references: distance to the one against distance to the other.

    Args:
        metrics: `experiment.metrics`.
    """
    data, names = over_positions(metrics), references_of(metrics)
    if len(names) < 2 or "distance" not in data:
        return None
    first, second = names[1], names[0]
    runs, said = Runs(data[["distance"]].isel(test_set=0, drop=True)), []

    def way(place: Place, run: xr.Dataset) -> list[Marks]:
        here = known(run, "distance")
        x, y = (here.distance.sel(reference=name).values for name in (first, second))
        if not len(x) or np.array_equal(x, y):  # both references are one
            return []
        said.append(f"{runs.name(place)} ends nearer to {first if x[-1] < y[-1] else second}")
        text = [
            f"step {step:,}<br>to {first} {a:.3g}<br>to {second} {b:.3g}"
            for step, a, b in zip(here.step.values, x, y, strict=True)
        ]
        return [runs.mark(place, x, y, text, shape="circle", size=3, last=True)]

    across, up = (
        Axis(f"mean squared distance to {symbol_in(data, 'reference', name)}", "log") for name in (first, second)
    )
    panels = [panel for panel in runs.faceted(way, across, up, diagonal="as near to both") if panel.marks]
    if not said:
        return None
    return Spec(
        "reference_plane",
        "Between two reference predictors",
        panels,
        f"Every run's way on the first test set; the large dot is its end. Above the dotted line a model is nearer to "
        f"{first}, below it to {second}.",
        f"Distances to the references: {'; '.join(said)}.",
        size=(6.4, 5.0),
    )


@takes(metrics=_METRICS)
def losses_by_axis(metrics: xr.Dataset) -> Spec | None:
    """Losses at the last step along the axis of the sweep, with those of the references.

    Args:
        metrics: `experiment.metrics`.
    """
    data = over_positions(metrics)
    runs = Runs(data[[name for name in ("loss", "reference_loss") if name in data]])
    if runs.axis == "seed":
        return None
    panels = []
    for test_set in data.test_set.values.tolist():
        marks: list = []
        lines: dict[tuple, str] = {}  # of references, one for all places on the other axes where it is the same
        for title, members in runs.panels():
            for place, run in members:
                loss = run.loss.sel(test_set=test_set).dropna("step")[-1:]
                at = np.full(len(loss), runs.at(place))
                text = [f"loss {value:.4g}" for value in loss.values]
                look = runs.mark(place, at, loss.values, text, line="", shape=runs.shape(place))
                marks.append(replace(look, colour=BLUE, label="" if title else "model"))
            for name in references_of(data):
                found = {runs.at(place): _reference_loss(test_set, run, name) for place, run in members}
                lines.setdefault((name, *sorted((at, round(loss, 9)) for at, loss in found.items())), title)
        drawn = [name for name, *_ in lines]
        looks = itertools.cycle(LOOKS) if len(drawn) > len(set(drawn)) else None  # each place has one of its own
        for (name, *points), title in lines.items():
            xs, ys = np.array(points).T
            symbol = symbol_in(data, "reference", name)
            colour, line = next(looks) if looks else reference_looks(data)[name]
            label = f"{symbol}, {title}" if drawn.count(name) > 1 else symbol
            marks.append(Marks(xs, ys, colour, label, line=line))
        panels.append(Panel(runs.axis_of_panel, Axis("loss"), marks, symbol_in(data, "test_set", test_set)))
    return Spec(
        "losses_by_axis",
        "Losses at the last step",
        panels,
        "Where runs ended, beside what the references lose.",
        f"Losses at the last step of {len(list(runs))} runs.",
        key=runs.shape_key,
    )


@takes(metrics=_METRICS)
def losses_by_position(metrics: xr.Dataset) -> Spec | None:
    """Losses at the last step position by position, with those of the references, as in training and on the headline.

    On a stream whose rule changes, how the error falls within each segment.

    Args:
        metrics: `experiment.metrics`.
    """
    if "position" not in metrics.loss.dims or metrics.sizes["position"] < 2:
        return None
    sets = dict.fromkeys([str(metrics.test_set.values[0]), headline_of(metrics) or str(metrics.test_set.values[0])])
    wanted = [name for name in ("loss", "reference_loss") if name in metrics]
    runs, panels = Runs(metrics[wanted].sel(test_set=list(sets))), []
    for test_set in sets:
        for facet, members in _alike(runs, test_set):
            marks = [mark for place, run in members for mark in _along_sequence(runs, place, run, test_set)]
            models = [mark.y for mark in marks if isinstance(mark, Marks) and mark.hover]
            if not models:
                continue
            reach = float(np.nanmin(models)) / _NEAR_MODELS, float(np.nanmax(models)) * _NEAR_MODELS
            drawn = np.concatenate([mark.y[(mark.y > reach[0]) & (mark.y < reach[1])] for mark in marks])
            ends = (float(drawn.min()) / 1.3, float(drawn.max()) * 1.3) if drawn.size else None
            title = symbol_in(metrics, "test_set", test_set) + (f", {facet}" if facet else "")
            y = Axis("loss at the last step", "log", limits=ends)
            panels.append(Panel(Axis("position in the sequence"), y, once(marks), title))
    return Spec(
        "losses_by_position",
        "Losses along the sequence",
        panels,
        "What is lost at each position at the end of training, beside what references lose there; what is "
        f"{_NEAR_MODELS} times as much as the models, or as little, is beyond the axis.",
        f"Losses at {metrics.sizes['position']} positions of {len(list(runs))} runs.",
        columns=2 if len(panels) < _MOST_COLUMNS else 3,
    )


def _alike(runs: Runs, test_set: str) -> list[tuple[str, list]]:
    """Panels of runs whose references are the same; where they differ, one for each value that a colour tells."""
    panels = list(runs.panels())
    if "reference_loss" not in runs.data or "position" not in runs.data.reference_loss.dims:
        return panels
    found = []
    for facet, members in panels:
        lines = [run.reference_loss.sel(test_set=test_set).values for _, run in members]
        if all(np.allclose(lines[0], one, equal_nan=True) for one in lines):
            found.append((facet, members))
            continue
        for place, run in members:
            name = runs.label(place) + (f", {facet}" if facet else "")
            if found and found[-1][0] == name:
                found[-1][1].append((place, run))
            else:
                found.append((name, [(place, run)]))
    return found


def _along_sequence(runs: Runs, place: Place, run: xr.Dataset, test_set: str) -> list[Marks]:
    """A run's losses at the end, position by position, and those of its references."""
    here = known(run, "loss").sel(test_set=test_set)
    if not here.sizes["step"]:
        return []
    y = here.loss.isel(step=-1)
    text = [f"position {at}<br>loss {value:.4g}" for at, value in zip(y.position.values, y.values, strict=True)]
    marks = [runs.mark(place, y.position.values, y.values, text)]
    if "reference_loss" in run and "position" in run.reference_loss.dims:
        for name, (colour, line) in reference_looks(runs.data).items():
            its = run.reference_loss.sel(test_set=test_set, reference=name).values
            its = np.where(its > 0, its, np.nan)  # nothing has no place on a log axis
            symbol = symbol_in(runs.data, "reference", name)
            marks.append(Marks(y.position.values, its, colour, symbol, line, width=1.1))
    return marks


@takes(found=("experiment.behaviour", "test_set", "loss", "step"))
def shifts(found: xr.Dataset) -> Spec:
    """Losses, and ICL scores where sequences have positions, on inputs that training did not show.

    Args:
        found: `experiment.behaviour`.
    """
    data = over_positions(found)
    runs = Runs(data[[name for name in ("loss", "icl_score", "icl_score_se") if name in data]])
    words = [str(name) for name in data.test_set.values]
    at = np.arange(len(words), dtype=float)
    loss_marks, score_marks = [], []
    for place, run in runs:
        here = known(run, "loss")
        if not here.sizes["step"]:
            continue
        end, name = here.isel(step=-1), runs.name(place)
        look = Marks(at, at, runs.colour(place), runs.label(place), line="dot", shape=runs.shape(place))
        hover = [f"{name}<br>{word}<br>loss {y:.4g}" for word, y in zip(words, end.loss.values, strict=True)]
        loss_marks.append(replace(look, y=end.loss.values, hover=hover))
        if "icl_score" in end:
            score, reach = end.icl_score.values, 1.645 * end.icl_score_se.values
            hover = [f"{name}<br>{word}<br>ICL score {y:.3g}" for word, y in zip(words, score, strict=True)]
            score_marks.append(replace(look, y=score, low=score - reach, high=score + reach, hover=hover))
    kinds = Axis("", "words", words=words)
    panels = [Panel(kinds, Axis("loss", "log"), loss_marks, "Loss at the last evaluated step")]
    if score_marks:
        level = Level(0.0, GREY, line="solid")
        panels.append(
            Panel(kinds, Axis("late minus early loss"), [*score_marks, level], "ICL score, with 90 % intervals")
        )
    return Spec(
        "shifts",
        "On inputs that training did not show",
        panels,
        "The last checkpoint of each run that was evaluated, on its own inputs and on shifted ones.",
        f"Losses on {len(words)} kinds of input.",
        size=(5.6, 4.8),
        key=runs.shape_key,
    )


def _pairs(values: xr.DataArray) -> Iterator[tuple[Any, Any]]:
    return zip(values.step.values, values.values, strict=True)
