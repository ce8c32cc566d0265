"""What the report's pictures share: colours, axes, hover texts. Plotly draws them, in the reader's browser."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import seaborn as sns
import xarray as xr

# Step 0 has no place on a logarithmic axis; it is drawn here.
_ZERO = 0.5
# Of M = ∞: seen on light and on dark pages.
_INFINITY = "rgb(214, 84, 90)"
# As in the other figures: filled where an estimate may be believed, open where it may not.
_SYMBOLS = {
    "converged": "circle",
    "drifting": "triangle-up-open",
    "off-minimum": "triangle-down-open",
    "scale-dependent": "diamond",
    "diverged": "x-thin-open",
    "prior-dominated": "square-open",
    "delocalised": "diamond-open",
    "step-size-biased": "hexagon-open",
    "none": "cross-thin-open",
}


@dataclass(frozen=True)
class Picture:
    """A figure of the report.

    Attributes:
        name: anchor in the page. title: what it shows. caption: how to read it. alt: what it says, for those who
            cannot see it.
    """

    name: str
    title: str
    figure: go.Figure
    caption: str
    alt: str


def colours(num_tasks: Sequence[float] | np.ndarray) -> dict[float, str]:
    """A colour for each M on one log scale, visible on light and dark pages."""
    finite = sorted(float(m) for m in num_tasks if np.isfinite(m))
    scale = sns.color_palette("viridis", as_cmap=True)
    top = max(1.0, np.log2(finite[-1])) if finite else 1.0
    found = {m: _css(scale(0.25 + 0.6 * np.log2(m) / top)) for m in finite}
    return found | {float(m): _INFINITY for m in num_tasks if np.isinf(m)}


def _css(colour: tuple) -> str:
    return f"rgb({', '.join(str(round(255 * part)) for part in colour[:3])})"


def label(num_tasks: float, seed: int | None = None, *, several: bool = False) -> str:
    """`M = 4`, and the seed where a sweep has several."""
    name = "M = ∞" if np.isinf(num_tasks) else f"M = {num_tasks:.0f}"
    return f"{name}, seed {seed}" if several else name


def each_run(data: xr.Dataset) -> list[tuple[float, int, xr.Dataset]]:
    """(M, seed, what it holds) of every run."""
    return [
        (float(m), int(seed), data.sel(num_tasks=m, seed=seed))
        for m in data.num_tasks.values
        for seed in data.seed.values
    ]


def figure(*, x: str, y: str, height: int = 420) -> go.Figure:
    """An empty figure whose page sets its colours."""
    made = go.Figure()
    made.update_layout(
        template="none",
        height=height,
        margin={"l": 58, "r": 14, "t": 14, "b": 96},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        hoverlabel={"namelength": -1},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        xaxis_title=x,
        yaxis_title=y,
    )
    made.update_xaxes(zeroline=False, automargin=True)
    made.update_yaxes(zeroline=False, automargin=True)
    return made


def step_axis(made: go.Figure, steps: np.ndarray) -> None:
    """A logarithmic axis of steps with room for step 0."""
    powers = [10**k for k in range(int(np.log10(max(1, steps.max()))) + 1)]
    if steps.min() == 0:
        ticks, texts = [_ZERO, *powers], ["0", *(f"{power:,}" for power in powers)]
    else:
        few = steps.max() < 100 * steps.min()
        ticks = [digit * power for power in powers for digit in ((1, 2, 5) if few else (1,))]
        texts = [f"{tick:,}" for tick in ticks]
    made.update_xaxes(type="log", tickvals=ticks, ticktext=texts, title="training step (log scale)")


def places(steps: np.ndarray) -> np.ndarray:
    """Where steps stand on such an axis."""
    return np.where(np.asarray(steps) == 0, _ZERO, np.asarray(steps, float))


def curve(made: go.Figure, steps: np.ndarray, values: np.ndarray, *, name: str, colour: str, said: str, **more) -> None:
    """A line over steps whose hover text says M, step and value."""
    made.add_scatter(
        x=places(steps),
        y=values,
        name=name,
        mode="lines",
        line={"color": colour, "width": 2},
        customdata=np.asarray(steps),
        hovertemplate=f"{name}<br>step %{{customdata:,}}<br>{said} %{{y:.4g}}<extra></extra>",
        **more,
    )


def estimates(
    made: go.Figure, x: np.ndarray, points: xr.Dataset, *, name: str, colour: str, line: bool = True, **more
) -> None:
    """λ̂ with 90 % intervals, in the symbol of each verdict; `points` has `llc`, `llc_low`, `llc_high`, `verdict`."""
    verdicts = [str(verdict) for verdict in points.verdict.values]
    reasons = [str(reason) for reason in points.reason.values] if "reason" in points else [""] * len(verdicts)
    made.add_scatter(
        x=x,
        y=points.llc.values,
        name=name,
        mode="lines+markers" if line else "markers",
        line={"color": colour, "width": 1.5},
        marker={"symbol": [_SYMBOLS[verdict] for verdict in verdicts], "size": 9, "color": colour},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": (points.llc_high - points.llc).values,
            "arrayminus": (points.llc - points.llc_low).values,
            "thickness": 1,
            "width": 3,
            "color": colour,
        },
        customdata=np.column_stack([points.step.values, verdicts, [_wrapped(reason) for reason in reasons]]),
        hovertemplate=f"{name}<br>step %{{customdata[0]}}<br>λ̂ %{{y:.4g}}<br>%{{customdata[1]}}"
        "<br>%{customdata[2]}<extra></extra>",
        **more,
    )


def _wrapped(text: str, width: int = 44) -> str:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) >= width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "<br>".join([*lines, line])


def verdict_key(made: go.Figure, verdicts: set[str]) -> None:
    """Legend entries of the symbols that are there."""
    for verdict in sorted(verdicts):
        made.add_scatter(
            x=[None],
            y=[None],
            name=verdict,
            mode="markers",
            marker={"symbol": _SYMBOLS[verdict], "size": 9, "color": "grey"},
        )


def level(made: go.Figure, height: float, name: str, colour: str, dash: str) -> None:
    """A horizontal reference line with a legend entry."""
    made.add_hline(y=height, line={"color": colour, "dash": dash, "width": 1.3})
    made.add_scatter(x=[None], y=[None], name=name, mode="lines", line={"color": colour, "dash": dash, "width": 1.3})
