"""Figures of what models do: losses, distances to references, shifted inputs."""

from dataclasses import replace

import numpy as np
import xarray as xr

from llc.figures.runs import Runs, known
from llc.figures.spec import GREY, Axis, Level, Marks, Panel, Spec
from llc.store.labels import headline_of, over_positions, references_of, symbol_in

_LINES = ("dash", "dot", "solid")


def losses(metrics: xr.Dataset) -> Spec:
    """Loss over training on every test set, t_crit marked, and what the references lose there."""
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
                name, colour = runs.name(place), runs.colour(place)
                hover = [f"{name}<br>step {step:,}<br>loss {y:.4g}" for step, y in _pairs(loss)]
                marks.append(Marks(loss.step.values, loss.values, colour, runs.label(place), hover=hover))
                said.append(f"{name} ends at {float(loss[-1]):.3g} on {test_set}")
                critical = float(run.step_critical) if "step_critical" in run and test_set == headline else np.nan
                if critical < float(loss.step[-1]):
                    at, y = np.array([critical]), loss.sel(step=[int(critical)]).values
                    text = [f"{name}<br>t_crit = {critical:,.0f}<br>loss {y[0]:.4g}"]
                    marks.append(Marks(at, y, colour, line="", shape="circle", size=8, hover=text))
            marks += _reference_levels(runs, members, test_set)
            title = symbol_in(data, "test_set", test_set) + (f", {facet}" if facet else "")
            panels.append(Panel(Axis("training step", "step"), Axis("loss"), marks, title))
    caption = "Loss over training on every test set."
    if headline:
        caption += (
            f" A dot marks the smallest loss on {headline}, t_crit. A curve that comes some way towards the best that "
            "can be done there and then clearly climbs is transient: the model found a solution that generalises, and "
            "left it."
        )
    return Spec("losses", "Losses", panels, caption, f"Losses: {'; '.join(said)}.")


def _reference_levels(runs: Runs, members: list, test_set: str) -> list[Level]:
    """What references lose: one level where it is the same for all runs, else one a run in its colour."""
    if "reference_loss" not in runs.data:
        return []
    found = []
    for line, name in zip(_LINES, references_of(runs.data), strict=False):
        symbol = symbol_in(runs.data, "reference", name)
        values = [(place, float(run.reference_loss.sel(test_set=test_set, reference=name))) for place, run in members]
        if np.ptp([value for _, value in values]) < 1e-6 * max(1e-12, abs(values[0][1])):
            found.append(Level(values[0][1], GREY, symbol, line))
            continue
        once = {round(value, 9): place for place, value in values}
        found += [Level(value, runs.colour(place), symbol, line) for value, place in once.items()]
    return found


def reference_plane(metrics: xr.Dataset) -> Spec | None:
    """Every run's way between two references: distance to the one against distance to the other."""
    data, names = over_positions(metrics), references_of(metrics)
    if len(names) < 2 or "distance" not in data:
        return None
    first, second = names[1], names[0]
    runs = Runs(data[["distance"]].isel(test_set=0, drop=True))
    panels, said = [], []
    for facet, members in runs.panels():
        marks: list = []
        for place, run in members:
            here = known(run, "distance")
            x, y = (here.distance.sel(reference=name).values for name in (first, second))
            if not len(x) or np.array_equal(x, y):  # both references are one
                continue
            name = runs.name(place)
            hover = [
                f"{name}<br>step {step:,}<br>to {first} {a:.3g}<br>to {second} {b:.3g}"
                for step, a, b in zip(here.step.values, x, y, strict=True)
            ]
            marks.append(
                Marks(x, y, runs.colour(place), runs.label(place), shape="circle", size=3, hover=hover, last=True)
            )
            said.append(f"{name} ends nearer to {first if x[-1] < y[-1] else second}")
        across, up = (
            Axis(f"mean squared distance to {symbol_in(data, 'reference', name)}", "log") for name in (first, second)
        )
        if marks:
            panels.append(Panel(across, up, marks, facet, diagonal="as near to both"))
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


def losses_by_axis(metrics: xr.Dataset) -> Spec | None:
    """Losses at the last step along the axis of the sweep, with those of the references."""
    data = over_positions(metrics)
    runs = Runs(data[[name for name in ("loss", "reference_loss") if name in data]])
    if runs.axis == "seed":
        return None
    places, ticks, scale = runs.positions
    panels = []
    for test_set in data.test_set.values.tolist():
        ends: dict[float, list[tuple[float, str]]] = {at: [] for at in places}
        levels: dict[str, list[tuple[float, float]]] = {name: [] for name in references_of(data)}
        for place, run in runs:
            at = places[runs.values.index(place[runs.axis])]
            loss = run.loss.sel(test_set=test_set).dropna("step")
            if loss.size:
                ends[at].append((float(loss[-1]), runs.name(place)))
            for name, found in levels.items():
                found.append((at, float(run.reference_loss.sel(test_set=test_set, reference=name))))
        x = np.array([at for at, values in ends.items() for _ in values])
        y = np.array([value for values in ends.values() for value, _ in values])
        hover = [f"{name}<br>loss {value:.4g}" for values in ends.values() for value, name in values]
        marks: list = [Marks(x, y, "#4c78c8", "model", line="", shape="circle", hover=hover)]
        for line, (name, found) in zip(_LINES, levels.items(), strict=False):
            xs, ys = np.array(sorted(set(found))).T
            marks.append(Marks(xs, ys, GREY, symbol_in(data, "reference", name), line=line))
        panels.append(
            Panel(Axis(runs.axis_name, scale, ticks=ticks), Axis("loss"), marks, symbol_in(data, "test_set", test_set))
        )
    return Spec(
        "losses_by_axis",
        "Losses at the last step",
        panels,
        "Where runs ended, beside what the references lose.",
        f"Losses at the last step of {len(list(runs))} runs.",
    )


def shifts(found: xr.Dataset) -> Spec:
    """Losses, and ICL scores where sequences have positions, on inputs that training did not show."""
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
        look = Marks(at, at, runs.colour(place), runs.label(place), line="dot", shape="circle")
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
    )


# What is drawn of a comparison, a row each.
_COMPARED = {
    "excess": "loss above the reference's",
    "prediction_difference": "norm of the difference of predictions",
    "sensitivity_cosine": "cosine of sensitivities",
}


def compared(found: xr.Dataset) -> Spec:
    """The trained models against their references over training, a column a reference, on the first test set.

    In the last row, losses at the last step on every test set, and the reference's.
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
                hover = [f"{runs.name(place)}<br>step {step:,}<br>{value:.4g}" for step, value in _pairs(at[row])]
                marks.append(
                    Marks(at.step.values, y, runs.colour(place), runs.label(place), low=y - reach, high=y + reach,
                          shape=runs.shape(place), size=3, hover=hover)
                )  # fmt: skip
            title = f"against {symbol_in(found, 'reference', reference)}"
            panels.append(Panel(Axis("training step", "step"), Axis(_COMPARED[row]), marks, title))
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
        columns=len(names),
        size=(4.4, 3.4),
        key=runs.shape_key,
    )


def _by_test_set(found: xr.Dataset, runs: Runs, reference: str) -> Panel:
    words = [symbol_in(found, "test_set", str(name)) for name in found.test_set.values]
    at, marks, seen = np.arange(len(words), dtype=float), [], set()
    for place, run in runs:
        here = known(run, "loss")
        if not here.sizes["step"]:
            continue
        end = here.isel(step=-1)
        levels = end.reference_loss.sel(reference=reference).values
        if tuple(levels.round(6)) not in seen:
            seen.add(tuple(levels.round(6)))
            symbol = symbol_in(found, "reference", reference)
            marks.append(Marks(at, levels, GREY, symbol, line="dash", shape="square", size=4))
        hover = [f"{runs.name(place)}<br>{word}<br>{y:.4g}" for word, y in zip(words, end.loss.values, strict=True)]
        marks.append(
            Marks(at, end.loss.values, runs.colour(place), runs.label(place), shape=runs.shape(place), hover=hover)
        )
    return Panel(Axis("", "words", words=words), Axis("loss at the last step", "log"), marks)


def _pairs(values: xr.DataArray):
    return zip(values.step.values, values.values, strict=True)
