"""Figures to zoom into, drawn by plotly in the reader's browser: panels one below the other."""

from typing import Any

import numpy as np

from llc.extras import needed_by
from llc.figures.spec import GREY, Axis, Bars, Cells, Level, Marks, Panel, Span, Spec

with needed_by("llc.figures.interactive"):
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

_SHAPES = {
    "circle": "circle", "diamond": "diamond", "triangle": "triangle-up", "inverted": "triangle-down",
    "cross": "x-thin-open", "square": "square", "hexagon": "hexagon", "star": "star", "plus": "cross-thin-open",
    "dash": "line-ew-open",
}  # fmt: skip
# Step 0 has no place on a logarithmic axis; it is drawn here.
_ZERO = 0.5
# Of a panel, in pixels; and of what is around all of them.
_HEIGHT, _AROUND = 330, 150
_SIGNED_TICKS = [-(10**k) for k in (8, 6, 4, 2, 1)] + [0] + [10**k for k in (1, 2, 4, 6, 8)]


def draw(spec: Spec) -> go.Figure:
    """A plotly figure of it, whose page sets its colours."""
    rows = len(spec.panels)
    height = _AROUND + rows * _HEIGHT
    titles = [panel.title for panel in spec.panels]
    made = make_subplots(rows, 1, subplot_titles=titles, vertical_spacing=min(0.5, 110 / height) if rows > 1 else 0)
    made.update_layout(
        template="none",
        height=height,
        margin={"l": 58, "r": 14, "t": 30, "b": 96},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        hoverlabel={"namelength": -1},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    made.update_xaxes(zeroline=False, automargin=True)
    made.update_yaxes(zeroline=False, automargin=True)
    seen: set[str] = set()
    for row, panel in enumerate(spec.panels, start=1):
        _panel(made, panel, row, seen)
    for label, shape in spec.further:
        made.add_scatter(x=[None], y=[None], name=label, mode="markers", marker=_marker(shape, GREY, 9))
    return made


def _panel(made: go.Figure, panel: Panel, row: int, seen: set[str]) -> None:
    where = {"row": row, "col": 1}
    for mark in panel.marks:
        match mark:
            case Marks():
                _marks(made, mark, panel, where, seen)
            case Level():
                line = {"color": mark.colour, "dash": mark.line, "width": 1.3}
                made.add_hline(y=float(_at(panel.y, mark.y)), line=line, **where)
                _entry(made, mark.label, seen, mode="lines", line=line)
            case Span():
                _span(made, mark, panel, where)
                patch = {"mode": "markers", "marker": _marker("square", mark.colour, 10)}
                edge = {"mode": "lines", "line": {"color": GREY, "dash": "dot", "width": 1}}
                _entry(made, mark.label, seen, **(patch if mark.edge_at is None else edge))
            case Bars():
                bar = {"x": mark.x, "y": mark.y, "name": mark.label, "marker": {"color": mark.colour}, "width": 0.6}
                made.add_bar(**bar, hovertemplate="%{x}<br>%{y:.1f}<extra></extra>", **where)
            case Cells():
                _cells(made, mark, where)
    if panel.diagonal and any(isinstance(mark, Marks) for mark in panel.marks):
        every = np.concatenate([mark.y for mark in panel.marks if isinstance(mark, Marks)])
        ends = np.array([np.nanmin(every), np.nanmax(every)])
        _marks(made, Marks(ends, ends, GREY, panel.diagonal, line="dot"), panel, where, seen)
    steps = [mark.x for mark in panel.marks if isinstance(mark, Marks) and len(mark.x)]
    values = np.concatenate(steps) if steps else np.array([0.0, 1.0])
    made.update_xaxes(**_axis(panel.x, values), **where)
    made.update_yaxes(**_axis(panel.y, np.array([0.0, 1.0])), **where)


def _marks(made: go.Figure, mark: Marks, panel: Panel, where: dict, seen: set[str]) -> None:
    many = not isinstance(mark.shape, str)
    shapes = [mark.shape] * len(mark.x) if isinstance(mark.shape, str) else list(mark.shape)
    pointed = any(shapes) or mark.last
    mode = "+".join([*(["lines"] if mark.line else []), *(["markers"] if pointed else [])])
    more: dict[str, Any] = {}
    if mark.low is not None and mark.high is not None:
        more["error_y"] = {
            "type": "data", "symmetric": False, "array": mark.high - mark.y, "arrayminus": mark.y - mark.low,
            "thickness": 1, "width": 3, "color": mark.colour,
        }  # fmt: skip
    if pointed:
        sizes: Any = 1.4 * mark.size
        if mark.last:
            sizes = [1.4 * mark.size if any(shapes) else 0] * (len(mark.x) - 1) + [10]
        symbols = [_symbol(shape or "circle") for shape in shapes]
        more["marker"] = {
            "symbol": symbols if many else symbols[:1] * bool(symbols),
            "size": sizes,
            "color": mark.colour,
        }
        if not many and symbols:
            more["marker"]["symbol"] = symbols[0]
    if mark.hover:
        more |= {"customdata": list(mark.hover), "hovertemplate": "%{customdata}<extra></extra>"}
    else:
        more["hoverinfo"] = "skip"
    made.add_scatter(
        x=_at(panel.x, mark.x),
        y=_at(panel.y, mark.y),
        name=mark.label,
        legendgroup=mark.label or None,
        showlegend=bool(mark.label) and mark.label not in seen and not many,
        mode=mode or "lines",
        line={"color": mark.colour, "width": mark.width, "dash": mark.line or "solid"},
        **more,
        **where,
    )
    if many:  # an entry of its own: that of the points would have the shape of the first
        dots = {"mode": "markers", "marker": _marker("circle", mark.colour, 9)}
        look = {"mode": "lines", "line": {"color": mark.colour}} if mark.line else dots
        _entry(made, mark.label, seen, legendgroup=mark.label, **look)
    seen.add(mark.label)


def _cells(made: go.Figure, mark: Cells, where: dict) -> None:
    made.add_heatmap(
        z=mark.values, zmin=-mark.limit, zmax=mark.limit, colorscale="RdBu", reversescale=True,
        colorbar={"title": mark.label}, hovertemplate="row %{y}, column %{x}: %{z:.3g}<extra></extra>", **where,
    )  # fmt: skip
    rows, columns = mark.borders
    for place in rows:
        made.add_hline(y=place - 0.5, line={"width": 1}, **where)
    for place in columns:
        made.add_vline(x=place - 0.5, line={"width": 1}, **where)
    made.update_yaxes(autorange="reversed", **where)


def _span(made: go.Figure, mark: Span, panel: Panel, where: dict) -> None:
    start, end = (float(_at(panel.x, value)) for value in (mark.start, mark.end))
    made.add_vrect(x0=start, x1=end, fillcolor=mark.colour, opacity=0.16, line_width=0, **where)
    if mark.edge_at is not None:
        line = {"width": 1, "color": GREY, "dash": "dot"}
        made.add_vline(x=float(_at(panel.x, mark.edge_at)), line=line, **where)
    if mark.text:
        middle = float(np.log10([start, end]).mean()) if panel.x.scale in ("log", "step") else (start + end) / 2
        made.add_annotation(
            x=middle, y=1, yref="y domain", yanchor="top", text=f"<b>{mark.text}</b>", showarrow=False, **where
        )


def _entry(made: go.Figure, label: str, seen: set[str], **look: Any) -> None:
    """A legend entry for what plotly gives none."""
    if label and label not in seen:
        made.add_scatter(x=[None], y=[None], name=label, **look)
        seen.add(label)


def _marker(shape: str, colour: str, size: float) -> dict:
    return {"symbol": _symbol(shape), "size": size, "color": colour}


def _symbol(shape: str) -> str:
    return f"{_SHAPES[shape[5:]]}-open" if shape.startswith("open ") else _SHAPES[shape]


def _at(axis: Axis, values: Any) -> np.ndarray:
    """Where values stand on an axis."""
    values = np.asarray(values, float)
    if axis.scale == "step":
        return np.where(values == 0, _ZERO, values)
    return np.sign(values) * np.log10(1 + np.abs(values)) if axis.scale == "signed" else values


def _axis(axis: Axis, values: np.ndarray) -> dict[str, Any]:
    made: dict[str, Any] = {"title": axis.label}
    if axis.scale == "step":
        first, last = float(np.nanmin(values)), float(np.nanmax(values))
        powers = [10**k for k in range(int(np.log10(max(1, last))) + 1)]
        few = first > 0 and last < 100 * first
        ticks = [digit * power for power in powers for digit in ((1, 2, 5) if few else (1,))]
        texts = [f"{tick:,}" for tick in ticks]
        made |= {"type": "log", "title": f"{axis.label} (log scale)"}
        made |= {
            "tickvals": [_ZERO, *ticks] if first == 0 else ticks,
            "ticktext": ["0", *texts] if first == 0 else texts,
        }
    elif axis.scale == "log":
        made |= {"type": "log"}
    elif axis.scale == "signed":
        made |= {
            "tickvals": [float(_at(axis, tick)) for tick in _SIGNED_TICKS],
            "ticktext": [f"{t:,}" for t in _SIGNED_TICKS],
        }
    if axis.words:
        made |= {"tickvals": list(range(len(axis.words))), "ticktext": list(axis.words)}
    if axis.ticks:
        made |= {"tickvals": list(axis.ticks), "ticktext": list(axis.ticks.values()), "dtick": None}
    if axis.limits is not None:
        logarithmic = axis.scale in ("log", "step")
        made["range"] = [float(np.log10(limit)) for limit in axis.limits] if logarithmic else list(axis.limits)
    return made
