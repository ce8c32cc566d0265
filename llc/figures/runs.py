"""How the runs of a sweep are told apart in figures: a colour for each value of one axis, panels for all others."""

import itertools
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import seaborn as sns
import xarray as xr

from llc.estimate.verdict import COMPARABLE
from llc.figures.spec import GREY, LINES, Axis, Level, Marks, Panel, Scale
from llc.store.labels import axes_in, each_run, references_of, run_label, symbol_in, symbol_of, value_label

# Colours of seaborn's palette for everybody's eyes; of more words, hues.
_COLOURBLIND = 10
# Of infinity, on an axis of numbers.
_INFINITY = "#d6545a"
# Part of the colour map that is seen on light and on dark pages.
_FROM, _TO = 0.2, 0.86
# Filled where an estimate may be compared, open where it may not.
VERDICT_SHAPES = {
    "converged": "circle",
    "scale-dependent": "diamond",
    "drifting": "open triangle",
    "off-minimum": "open inverted",
    "diverged": "cross",
    "prior-dominated": "open square",
    "delocalised": "open diamond",
    "step-size-biased": "open hexagon",
    "unchecked": "plus",
    "none": "plus",
}

# Of the places on the other axes, where their runs share a panel.
_SHAPES = ("circle", "diamond", "triangle", "inverted", "star", "hexagon", "cross", "plus")

# Of references: the models' own line last, and when these are used up again in a lighter grey.
_LIGHT = "#b4b4b4"
LOOKS = [(colour, line) for colour in (GREY, _LIGHT) for line in (*LINES[1:], LINES[0])]

Place = Mapping[str, Any]


def reference_looks(data: xr.Dataset) -> dict[str, tuple[str, str]]:
    """Colour and line of every reference of a result."""
    return dict(zip(references_of(data), itertools.cycle(LOOKS), strict=False))


def once(marks: list[Marks]) -> list[Marks]:
    """Lines of references that are the same for several runs drawn once, behind those of the runs."""
    lines = {(mark.label, mark.colour, *mark.y.round(9).tolist()): mark for mark in marks}
    return sorted(lines.values(), key=lambda mark: bool(mark.hover))


class Runs:
    """The runs of a result, each with its colour; `data` without what is not drawn."""

    def __init__(self, data: xr.Dataset) -> None:
        self.data = data
        axes = [dim for dim in axes_in(data) if dim != "seed"]
        axes = sorted((dim for dim in axes if data[dim].size > 1), key=lambda dim: -data[dim].size)
        self.axis = axes[0] if axes else "seed"
        self.others = axes[1:]
        self.colours = dict(zip(self.values, palette(self.values), strict=True))

    @property
    def values(self) -> list:
        """Of the axis that colours tell."""
        return self.data[self.axis].values.tolist() if self.axis in self.data.coords else [0]

    @property
    def axis_of_panel(self) -> Axis:
        """The axis of the sweep as that of a panel."""
        _, ticks, scale = self.positions
        return Axis(self.axis_name, scale, ticks=ticks)

    def at(self, place: Place) -> float:
        """Where a run stands along it."""
        return float(self.positions[0][self.values.index(self._value(place))])

    def __iter__(self) -> Iterator[tuple[Place, xr.Dataset]]:
        return each_run(self.data)

    def panels(self) -> Iterator[tuple[str, list[tuple[Place, xr.Dataset]]]]:
        """The runs of each place on the other axes, with what it is called."""
        found: dict[str, list[tuple[Place, xr.Dataset]]] = {}
        for place, run in self:
            found.setdefault(self.beside(place), []).append((place, run))
        yield from found.items()

    def faceted(self, draw: Callable[[Place, xr.Dataset], list], x: Axis, y: Axis, **panel: Any) -> list[Panel]:
        """A panel for each place on the other axes, of what `draw` makes of its runs."""
        return [
            Panel(x, y, [mark for place, run in members for mark in draw(place, run)], title, **panel)
            for title, members in self.panels()
        ]

    def beside(self, place: Place) -> str:
        """Where a run stands on the other axes, `width = 8, rate = 0.1`; "" where there are none."""
        return ", ".join(f"{symbol_of(self.data, dim)} = {value_label(place[dim])}" for dim in self.others)

    def colour(self, place: Place) -> str:
        """Of a run."""
        return self.colours[self._value(place)]

    def shape(self, place: Place) -> str:
        """Of a run's points, by its place on the other axes; with more of these than shapes they begin anew."""
        return _SHAPES[[title for title, _ in self.panels()].index(self.beside(place)) % len(_SHAPES)]

    @property
    def shape_key(self) -> list[tuple[str, str]]:
        """Legend entries of the other axes, where there are any."""
        return [(title, self.shape(members[0][0])) for title, members in self.panels() if title]

    def mark(self, place: Place, x: np.ndarray, y: np.ndarray, said: Iterable[str], **look: Any) -> Marks:
        """A run's points, which say its name and what is `said` of each."""
        hover = [f"{self.name(place)}<br>{text}" for text in said]
        return Marks(x, y, self.colour(place), self.label(place), hover=hover, **look)

    def levels(
        self, members: list[tuple[Place, xr.Dataset]], values: Callable[[xr.Dataset, str], float]
    ) -> list[Level]:
        """What references come to: a level where it is the same for all runs, else one a run in its colour."""
        found = []
        for name, (colour, line) in reference_looks(self.data).items():
            symbol, of_runs = symbol_in(self.data, "reference", name), [(values(run, name), p) for p, run in members]
            known = [(value, place) for value, place in of_runs if np.isfinite(value)]
            if known and np.ptp([value for value, _ in known]) <= 1e-6 * abs(known[0][0]):
                found.append(Level(known[0][0], colour, symbol, line))
                continue
            once = {round(value, 9): place for value, place in known}
            found += [Level(value, self.colour(place), symbol, line) for value, place in once.items()]
        return found

    def _value(self, place: Place) -> Any:
        """Where a run stands on the axis that colours tell."""
        return place.get(self.axis, self.values[0])

    def label(self, place: Place) -> str:
        """What a colour stands for."""
        if not place:  # no sweep: one run, which needs no name
            return ""
        value = place[self.axis]
        return f"seed {value}" if self.axis == "seed" else f"{symbol_of(self.data, self.axis)} = {value_label(value)}"

    def name(self, place: Place) -> str:
        """Of a run, in full."""
        return run_label(self.data, place)

    @property
    def positions(self) -> tuple[np.ndarray, dict[float, str], Scale]:
        """Where the values of the axis stand along an axis of a panel, what is written there, and its scale.

        Numbers > 0 stand on a logarithmic scale, infinity to the right of them; other values one after another.
        """
        numbers = [value for value in self.values if not isinstance(value, str)]
        finite = [value for value in numbers if np.isfinite(value)]
        if len(numbers) < len(self.values) or not finite or min(finite) <= 0:
            places = np.arange(len(self.values), dtype=float)
            scale: Scale = "linear"
        else:
            places = np.array([value if np.isfinite(value) else 2.5 * max(finite) for value in numbers], float)
            scale = "log"
        return places, {at: value_label(value) for at, value in zip(places, self.values, strict=True)}, scale

    @property
    def axis_name(self) -> str:
        """What the axis is."""
        about = self.data[self.axis].attrs if self.axis in self.data.coords else {}
        return str(about.get("long_name", self.axis))


def palette(values: list) -> list[str]:
    """A colour for each value: numbers one after another along a scale, so that neighbours can be told apart however
    close they are; infinity and words have each one of their own.
    """
    numbers = [value for value in values if not isinstance(value, str)]
    finite = [float(value) for value in numbers if np.isfinite(value)]
    if len(numbers) < len(values) or len(set(finite)) < 2:
        kind = "colorblind" if len(values) <= _COLOURBLIND else "husl"
        words = sns.color_palette(kind, max(1, len(values))).as_hex()
        return [_INFINITY if not isinstance(v, str) and np.isinf(v) else str(words[i]) for i, v in enumerate(values)]
    ranks = {value: rank for rank, value in enumerate(sorted(set(finite)))}
    colours = sns.color_palette("viridis", as_cmap=True)

    def colour(value: float) -> str:
        if np.isinf(value):
            return _INFINITY
        share = ranks[float(value)] / (len(ranks) - 1)
        return "#" + "".join(f"{round(255 * part):02x}" for part in colours(_FROM + (_TO - _FROM) * share)[:3])

    return [colour(value) for value in numbers]


def known(run: xr.Dataset, name: str) -> xr.Dataset:
    """A run at the steps at which it has something."""
    rest = [dim for dim in run[name].dims if dim != "step"]
    return run.isel(step=np.flatnonzero(run[name].notnull().any(rest).values))


def estimates(points: xr.Dataset, x: np.ndarray, colour: str, label: str, name: str, *, line: str = "solid") -> Marks:
    """λ̂ with 90 % intervals, in the shape of each verdict."""
    verdicts = [str(verdict) for verdict in points.verdict.values]
    reasons = [str(reason) for reason in points.reason.values] if "reason" in points else [""] * len(verdicts)
    hover = [
        f"{name}<br>step {int(step):,}<br>λ̂ {value:.4g}<br>{verdict}<br>{'<br>'.join(textwrap.wrap(reason, 44))}"
        for step, value, verdict, reason in zip(points.step.values, points.llc.values, verdicts, reasons, strict=True)
    ]
    return Marks(
        x,
        points.llc.values,
        colour,
        label,
        line=line,
        shape=[VERDICT_SHAPES[verdict] for verdict in verdicts],
        width=1.0,
        low=points.llc_low.values,
        high=points.llc_high.values,
        hover=hover,
    )


def verdict_key(seen: set[str]) -> list[tuple[str, str]]:
    """Legend entries of the verdicts that are there."""
    ordered = [verdict for verdict in VERDICT_SHAPES if verdict in seen]
    return [("no verdict" if verdict == "none" else verdict, VERDICT_SHAPES[verdict]) for verdict in ordered]


def comparable(points: xr.Dataset) -> xr.Dataset:
    """Those estimates that may be compared."""
    return points.isel(step=np.flatnonzero(points.verdict.isin(COMPARABLE).values))
