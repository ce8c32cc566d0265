"""How the runs of a sweep are told apart in figures: a colour for each value of one axis, panels for another."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import seaborn as sns
import xarray as xr

from llc.estimate.verdict import COMPARABLE
from llc.figures.spec import Marks, Scale
from llc.store.labels import axes_in, each_run, run_label, symbol_of, value_label

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
    "none": "plus",
}

# Of the values of a second axis, where its runs share a panel.
_SHAPES = ("circle", "diamond", "triangle", "inverted", "star", "hexagon", "cross", "plus")

Place = Mapping[str, Any]


class Runs:
    """The runs of a result, each with its colour; `data` without what is not drawn."""

    def __init__(self, data: xr.Dataset) -> None:
        self.data = data
        axes = [dim for dim in axes_in(data) if dim != "seed"]
        axes = sorted((dim for dim in axes if data[dim].size > 1), key=lambda dim: -data[dim].size)
        self.axis = axes[0] if axes else "seed"
        self.facet = axes[1] if len(axes) > 1 else None
        self.colours = dict(zip(self.values, palette(self.values), strict=True))

    @property
    def values(self) -> list:
        """Of the axis that colours tell."""
        return self.data[self.axis].values.tolist() if self.axis in self.data.coords else [0]

    def __iter__(self) -> Iterator[tuple[Place, xr.Dataset]]:
        return each_run(self.data)

    def panels(self) -> Iterator[tuple[str, list[tuple[Place, xr.Dataset]]]]:
        """The runs of each panel, with its title."""
        if self.facet is None:
            yield "", list(self)
            return
        for value in self.data[self.facet].values.tolist():
            title = f"{symbol_of(self.data, self.facet)} = {value_label(value)}"
            yield title, [(place, run) for place, run in self if place[self.facet] == value]

    def colour(self, place: Place) -> str:
        """Of a run."""
        return self.colours[place[self.axis]]

    def shape(self, place: Place) -> str:
        """Of a run's points, by the second axis; with more values than there are shapes they begin anew."""
        if self.facet is None:
            return _SHAPES[0]
        return _SHAPES[self.data[self.facet].values.tolist().index(place[self.facet]) % len(_SHAPES)]

    @property
    def shape_key(self) -> list[tuple[str, str]]:
        """Legend entries of the second axis, where there is one."""
        if self.facet is None:
            return []
        symbol, values = symbol_of(self.data, self.facet), self.data[self.facet].values.tolist()
        return [(f"{symbol} = {value_label(value)}", self.shape({self.facet: value})) for value in values]

    def label(self, place: Place) -> str:
        """What a colour stands for."""
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
    """A colour for each value: on a logarithmic scale for numbers > 0, one of its own for infinity and for words."""
    numbers = [value for value in values if not isinstance(value, str)]
    finite = [float(value) for value in numbers if np.isfinite(value)]
    if len(numbers) < len(values) or len(set(finite)) < 2:
        words = sns.color_palette("colorblind", max(1, len(values))).as_hex()
        return [_INFINITY if not isinstance(v, str) and np.isinf(v) else str(words[i]) for i, v in enumerate(values)]
    scale = np.log if min(finite) > 0 else np.asarray
    low, high = float(scale(min(finite))), float(scale(max(finite)))
    colours = sns.color_palette("viridis", as_cmap=True)

    def colour(value: float) -> str:
        if np.isinf(value):
            return _INFINITY
        share = (float(scale(value)) - low) / (high - low)
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
        f"{name}<br>step {int(step):,}<br>λ̂ {value:.4g}<br>{verdict}<br>{_wrapped(reason)}"
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


def _wrapped(text: str, width: int = 44) -> str:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) >= width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "<br>".join([*lines, line])
