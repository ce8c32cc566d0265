"""What a figure shows, said once: panels of lines, points, levels and spans. Backends draw it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Scale = Literal["linear", "log", "step", "signed", "words"]
# Of what has no place in the sweep.
GREY = "#808080"
BLUE, RED, ORANGE, GREEN = "#4c78c8", "#d6545a", "#eb963c", "#50a064"
LINES = ("solid", "dash", "dot", "dashdot", "longdash")


@dataclass(frozen=True)
class Axis:
    """One direction of a panel.

    Attributes:
        scale: `step` is logarithmic with room for step 0, `signed` logarithmic on both sides of 0, `words` has one word
            at each of 0, 1, 2 ….
        words: those.
        ticks: places with what is written there, for what is not a number.
        limits: what is shown; None for all.
    """

    label: str
    scale: Scale = "linear"
    words: Sequence[str] = ()
    ticks: Mapping[float, str] = field(default_factory=dict)
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Marks:
    """Points that belong together, with a line through them or none.

    Attributes:
        x, y: (N,).
        colour: `#rrggbb`.
        label: in the legend, once for all of one label.
        line: one of `LINES`, or "".
        shape: of the points, one or one each; "" for none.
        size: of them.
        low, high: ends of intervals, (N,).
        hover: what each point says where a reader points at it.
        last: also mark the last point.
    """

    x: np.ndarray
    y: np.ndarray
    colour: str
    label: str = ""
    line: str = "solid"
    shape: str | Sequence[str] = ""
    size: float = 6
    width: float = 1.6
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    hover: Sequence[str] = ()
    last: bool = False


@dataclass(frozen=True)
class Level:
    """A horizontal line."""

    y: float
    colour: str
    label: str = ""
    line: str = "dash"


@dataclass(frozen=True)
class Span:
    """A stretch of the x axis, with a line at `edge_at` where that is given."""

    start: float
    end: float
    colour: str
    label: str = ""
    text: str = ""
    edge_at: float | None = None


@dataclass(frozen=True)
class Bars:
    """Bars from 0."""

    x: np.ndarray
    y: np.ndarray
    colour: str
    label: str = ""


@dataclass(frozen=True)
class Cells:
    """A matrix of coloured cells, blue below 0 and red above, the first row on top.

    Attributes:
        values: (rows, columns).
        label: of the scale of colours.
        limit: the value with the fullest colour.
        borders: lines are drawn before these rows and columns.
    """

    values: np.ndarray
    label: str
    limit: float
    borders: tuple[Sequence[int], Sequence[int]] = ((), ())


@dataclass(frozen=True)
class Panel:
    """One pair of axes with what is in it."""

    x: Axis
    y: Axis
    marks: Sequence[Marks | Level | Span | Bars | Cells]
    title: str = ""
    diagonal: str = ""  # a line of equal x and y, and what it says in the legend


@dataclass(frozen=True)
class Spec:
    """A figure.

    Attributes:
        name: of the file, and anchor in the page.
        title: what it shows.
        caption: how to read it.
        alt: what it says, for those who cannot see it.
        key: further legend entries, (label, shape), in grey.
        columns: of the grid, at most.
        row: panels that belong together: each so many begin a row of the grid; 0 where one follows another.
    """

    name: str
    title: str
    panels: Sequence[Panel]
    caption: str
    alt: str
    columns: int = 3
    size: tuple[float, float] = (5.2, 4.2)
    key: Sequence[tuple[str, str]] = ()
    row: int = 0

    @property
    def width(self) -> int:
        """Columns of the grid."""
        return min(self.columns, len(self.panels))

    @property
    def cells(self) -> list[int]:
        """Where each panel stands in the grid, counted row by row."""
        places = range(len(self.panels))
        if not self.row:
            return list(places)
        lines = -(-self.row // self.width)  # of the grid, for each row of panels
        return [place // self.row * lines * self.width + place % self.row for place in places]

    @property
    def further(self) -> list[tuple[str, str]]:
        """Legend entries beside those of marks: the key, and what a large last dot is."""
        ends = any(mark.last for panel in self.panels for mark in panel.marks if isinstance(mark, Marks))
        return [*self.key, *([("end of training", "circle")] if ends else [])]

    def colour_of(self, label: str) -> str:
        """Of a legend entry: grey where what has that label is of several colours."""
        every = {
            mark.colour
            for panel in self.panels
            for mark in panel.marks
            if not isinstance(mark, Cells) and mark.label == label
        }
        return every.pop() if len(every) == 1 else GREY

    def _repr_png_(self) -> bytes:
        """Drawn, where a notebook shows it."""
        import io

        from llc.figures.static import draw

        written = io.BytesIO()
        draw(self).savefig(written, format="png", dpi=100)
        return written.getvalue()
