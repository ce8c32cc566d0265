"""Figures on paper: seaborn's style, drawn by matplotlib."""

import textwrap
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from llc.errors import InvalidInput
from llc.figures.spec import GREY, Axis, Bars, Cells, Level, Marks, Panel, Span, Spec

_LINES: dict[str, Any] = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (9, 3)), "": ""}
_SHAPES = {
    "circle": "o", "diamond": "d", "triangle": "^", "inverted": "v", "cross": "x", "square": "s", "hexagon": "h",
    "star": "*", "plus": "P", "dash": "_", "": "",
}  # fmt: skip
# Letters of a label that a panel's height holds.
_LABEL_WIDTH = 40
# Legend entries of runs, at most; of more, every so many are named.
_MOST_ENTRIES = 20


def draw(spec: Spec) -> Figure:
    """A matplotlib figure of it, with its legend beside the panels.

    Args:
        spec: of one of the figures, such as `llc.figures.losses`.
    Raises:
        InvalidInput: it is no specification of a figure.
    """
    if not isinstance(spec, Spec):
        raise InvalidInput(f"a {type(spec).__name__} given, expected what llc.figures.losses or another returns")
    columns, cells = spec.width, spec.cells
    rows = cells[-1] // columns + 1
    width, height = spec.size
    with sns.axes_style("ticks"), sns.plotting_context("notebook", font_scale=0.85):
        figure = Figure(figsize=(width * columns + 1.6, height * rows), layout="constrained")
        every = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for cell, panel in zip(cells, spec.panels, strict=True):
        sns.despine(ax=every[cell])
        _panel(every[cell], panel)
    for cell in set(range(len(every))) - set(cells):
        every[cell].set_axis_off()
    if len(spec.panels) > 1:
        figure.suptitle(spec.title)
    else:
        of_panel = spec.panels[0].title
        every[0].set_title(f"{spec.title}: {of_panel}" if of_panel else spec.title, fontsize="medium")
    _legend(figure, spec)
    return figure


def _panel(axes: Axes, panel: Panel) -> None:
    for mark in panel.marks:
        match mark:
            case Marks():
                _marks(axes, mark)
            case Level():
                axes.axhline(mark.y, color=mark.colour, linestyle=_LINES[mark.line], linewidth=1.1)
            case Span():
                axes.axvspan(mark.start, mark.end, color=mark.colour, alpha=0.14, linewidth=0)
                if mark.edge_at is not None:
                    axes.axvline(mark.edge_at, color="black", linewidth=0.8, linestyle=":")
            case Bars():
                axes.bar(mark.x, mark.y, color=mark.colour, alpha=0.5, width=0.6)
            case Cells():
                _cells(axes, mark)
    if panel.diagonal:
        axes.axline((1, 1), (2, 2), color=GREY, linestyle=":", linewidth=1)
    shown = [np.asarray(mark.x, float) for mark in panel.marks if isinstance(mark, Marks) and len(mark.x)]
    _axis(axes, "x", panel.x, np.concatenate(shown) if shown else np.array([0.0, 1.0]))
    heights = [np.asarray(mark.y, float) for mark in panel.marks if isinstance(mark, Marks) and len(mark.y)]
    _axis(axes, "y", panel.y, np.concatenate(heights) if heights else np.array([0.0, 1.0]))
    axes.set_title(panel.title, fontsize="medium")


def _cells(axes: Axes, mark: Cells) -> None:
    shown = axes.imshow(
        mark.values, cmap="RdBu_r", vmin=-mark.limit, vmax=mark.limit, aspect="auto", interpolation="nearest"
    )
    for draw_line, places in zip((axes.axhline, axes.axvline), mark.borders, strict=True):
        for place in places:
            draw_line(place - 0.5, color="black", linewidth=0.6)
    bar = axes.get_figure().colorbar(shown, ax=axes, shrink=0.8)  # type: ignore[union-attr]
    bar.set_label("\n".join(textwrap.wrap(mark.label, _LABEL_WIDTH)))


def _marks(axes: Axes, mark: Marks) -> None:
    if mark.line:
        axes.plot(mark.x, mark.y, color=mark.colour, linestyle=_LINES[mark.line], linewidth=mark.width)
    if mark.low is not None and mark.high is not None:
        reach = [np.maximum(0, mark.y - mark.low), np.maximum(0, mark.high - mark.y)]
        axes.errorbar(mark.x, mark.y, reach, fmt="none", ecolor=mark.colour, elinewidth=1, capsize=2.5)
    shapes = [mark.shape] * len(mark.x) if isinstance(mark.shape, str) else list(mark.shape)
    for shape in dict.fromkeys(shapes):
        chosen = np.array([one == shape for one in shapes], bool)
        if shape:
            at = np.asarray(mark.x)[chosen], np.asarray(mark.y)[chosen]
            _points(axes, at, shape, colour=mark.colour, size=mark.size)
    if mark.last and len(mark.x):
        _points(axes, (mark.x[-1:], mark.y[-1:]), "circle", colour=mark.colour, size=7.5)


def _points(axes: Axes, points: tuple[Any, Any], shape: str, *, colour: str, size: float) -> None:
    face = "none" if shape.startswith("open ") else colour
    marker = _SHAPES[shape.removeprefix("open ")]
    axes.plot(*points, linestyle="", marker=marker, markersize=size, color=colour, markerfacecolor=face, zorder=3)


def _axis(axes: Axes, which: str, axis: Axis, values: np.ndarray) -> None:
    side = getattr(axes, f"{which}axis")
    set_scale, set_limits = getattr(axes, f"set_{which}scale"), getattr(axes, f"set_{which}lim")
    label = axis.label
    if axis.scale == "step":
        first, last = int(np.nanmin(values)), int(np.nanmax(values))
        label += " (log scale)"
        if first == 0:
            set_scale("symlog", linthresh=1)
            set_limits(-0.25, max(1, last) * 1.25)  # so that what stands at 0 is whole
        else:
            set_scale("log")
            set_limits(first / 1.15, last * 1.15)
            if last < 100 * first:
                side.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
                side.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,.0f}"))
                side.set_minor_locator(mpl.ticker.NullLocator())
    elif axis.scale == "log":
        set_scale("log")
    elif axis.scale == "signed":
        set_scale("symlog")
    if axis.words:
        getattr(axes, f"set_{which}ticks")(range(len(axis.words)), axis.words, rotation=35, ha="right")
    if axis.ticks:
        getattr(axes, f"set_{which}ticks")(list(axis.ticks), list(axis.ticks.values()))
        side.set_minor_locator(mpl.ticker.NullLocator())
    if axis.limits is not None:
        set_limits(*axis.limits)
    getattr(axes, f"set_{which}label")(label)


def _legend(figure: Figure, spec: Spec) -> None:
    """One entry a label, runs before references and verdicts."""
    entries: dict[str, mpl.artist.Artist] = {}
    for panel in spec.panels:
        for mark in panel.marks:
            label = "" if isinstance(mark, Cells) else mark.label
            if not label or label in entries:
                continue
            shape = mark.shape if isinstance(mark, Marks) else ""
            shape = shape if isinstance(shape, str) else "circle"  # of points that each have their own
            line = mark.line if isinstance(mark, Marks | Level) else ""
            colour = spec.colour_of(label)
            if isinstance(mark, Span) and mark.edge_at is not None:
                entries[label] = mpl.lines.Line2D([], [], color="black", linewidth=0.8, linestyle=":", label=label)
            elif isinstance(mark, Span | Bars):
                entries[label] = mpl.patches.Patch(color=colour, alpha=0.3, label=label)
            elif line or not shape:
                entries[label] = mpl.lines.Line2D([], [], color=colour, linestyle=_LINES[line or "solid"], label=label)
            else:
                entries[label] = _handle(label, shape, colour)
        if panel.diagonal:
            entries[panel.diagonal] = mpl.lines.Line2D([], [], color=GREY, linestyle=":", label=panel.diagonal)
    handles = list(entries.values())
    if len(handles) > _MOST_ENTRIES:
        handles = [
            handles[place] for place in np.unique(np.linspace(0, len(handles) - 1, _MOST_ENTRIES).round().astype(int))
        ]
    handles += [_handle(label, shape, GREY) for label, shape in spec.further]
    if handles:
        figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize="small", handlelength=3.4)


def _handle(label: str, shape: str, colour: str) -> Line2D:
    face = "none" if shape.startswith("open ") else colour
    marker = _SHAPES[shape.removeprefix("open ")]
    return Line2D([], [], color=colour, marker=marker, markerfacecolor=face, linestyle="", label=label)
