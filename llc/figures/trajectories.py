"""Figures of trajectories, and of what models say of themselves over training."""

import itertools

import numpy as np
import xarray as xr

from llc.figures.given import takes
from llc.figures.runs import Runs, known
from llc.figures.spec import BLUE, GREY, ORANGE, Axis, Bars, Marks, Panel, Spec
from llc.store.labels import references_of, symbol_in

_REFERENCE_SHAPES = ("star", "diamond", "square", "hexagon", "triangle", "inverted", "plus")
_STEP = Axis("training step", "step")


@takes(pca=("experiment.pca", "component", "score", "explained_variance_ratio"))
def trajectories(pca: xr.Dataset) -> Spec | None:
    """Joint principal components 1 and 2 of every run's trajectory, its references projected; and explained variance.

    Beside them, the share of variance that each component explains, and what random walks reach.

    Args:
        pca: `experiment.pca`.
    """
    if pca.sizes["component"] < 2:
        return None
    share = 100 * pca.explained_variance_ratio.values
    runs, panels = Runs(pca[[name for name in ("score", "score_reference") if name in pca]]), []
    for facet, members in runs.panels():
        marks: list = []
        for place, run in members:
            score = known(run, "score").score.transpose("step", "component").values
            if not len(score):
                continue
            steps = known(run, "score").step.values
            text = [f"step {step:,}<br>({x:.3g}, {y:.3g})" for step, (x, y, *_) in zip(steps, score, strict=True)]
            marks.append(
                runs.mark(place, score[:, 0], score[:, 1], text, shape="circle", size=2.5, width=1.3, last=True)
            )
        axes = Axis(f"PC 1 ({share[0]:.0f} % of variance)"), Axis(f"PC 2 ({share[1]:.0f} %)")
        panels.append(Panel(*axes, [*marks, *_references(runs, members)], facet))
    panels.append(_scree(pca))
    return Spec(
        "pca",
        "Joint trajectories",
        panels,
        "Every checkpoint of every run in the plane of the two directions in which they vary most together; large "
        "dots are ends. References are projected into that plane and had no part in finding it. Curves over time look "
        "smooth and low-dimensional in their own principal components even when they go nowhere: random walks give "
        "cosines (Antognini & Sohl-Dickstein 2018; Shinn 2023). Shares within the walks' bars say nothing about where "
        "runs go; positions of references, which are not time series, still do.",
        f"Trajectories in the plane of two principal components that explain {share[:2].sum():.0f} % of the variance.",
        size=(6.2, 5.0),
        columns=2,
    )


def _references(runs: Runs, members: list) -> list[Marks]:
    """One point where a reference is the same for all runs, else one a run in its colour."""
    found = []
    for name, shape in zip(references_of(runs.data), itertools.cycle(_REFERENCE_SHAPES), strict=False):
        symbol = symbol_in(runs.data, "reference", name)
        points = {tuple(run.score_reference.sel(reference=name).values[:2].round(6)): place for place, run in members}
        for (x, y), place in points.items():
            colour = GREY if len(points) == 1 else runs.colour(place)
            text = [symbol if len(points) == 1 else f"{symbol}, {runs.name(place)}"]
            at = np.array([x]), np.array([y])
            found.append(
                Marks(*at, colour, symbol, line="", shape=shape, size=12 if shape == "star" else 8, hover=text)
            )
    return found


def _scree(pca: xr.Dataset) -> Panel:
    components = pca.component.values.astype(float)
    marks: list = [Bars(components, 100 * pca.explained_variance_ratio.values, BLUE, "runs")]
    if "explained_variance_null" in pca:
        low, middle, high = 100 * np.quantile(pca.explained_variance_null, [0.05, 0.5, 0.95], axis=0)
        marks.append(
            Marks(components, middle, ORANGE, "random walks, 90 %", line="", shape="dash", size=9, low=low, high=high)
        )
    ticks = {float(number): f"{number:.0f}" for number in components}
    return Panel(Axis("component", ticks=ticks), Axis("variance explained (%)"), marks, "Against random walks")


@takes(found=("experiment.essential", "smoothed", "center", "curvature", "form_kind"))
def essential(found: xr.Dataset) -> Spec | None:
    """Smoothed trajectories with the osculating circles' centres (the evolute) and the forms, a panel a run.

    Args:
        found: `experiment.essential`.
    """
    runs, panels = Runs(found[["smoothed", "center", "curvature"]]), []
    first, second = (int(axis) for axis in found.axis.values)
    for place, run in runs:
        here = known(run, "curvature")
        if not here.sizes["step"]:
            continue
        points, centers = (here[name].transpose("step", "axis").values for name in ("smoothed", "center"))
        name, colour = runs.name(place), runs.colour(place)
        hover = [f"{name}<br>step {step:,}" for step in here.step.values]
        marks = [
            Marks(centers[:, 0], centers[:, 1], GREY, "evolute", line="", shape="circle", size=2.5),
            Marks(points[:, 0], points[:, 1], colour, "trajectory", hover=hover),
        ]
        ours = np.logical_and.reduce([found[f"form_{dim}"].values == value for dim, value in place.items()])
        for kind, shape in (("vertex", "open circle"), ("cusp", "cross")):
            chosen = np.flatnonzero(ours & (found.form_kind.values == kind))
            if len(chosen):
                text = [f"{kind}<br>{name}<br>step {step:,}" for step in found.form_step.values[chosen]]
                at = found.form_position.values[chosen]
                marks.append(Marks(at[:, 0], at[:, 1], colour, kind, line="", shape=shape, size=8, hover=text))
        # Centres of nearly straight pieces lie far away.
        limits = [
            (low - 0.15 * (high - low) - 1e-9, high + 0.15 * (high - low) + 1e-9)
            for low, high in zip(points.min(0), points.max(0), strict=True)
        ]
        axes = [Axis(f"PC {axis}", limits=of_axis) for axis, of_axis in zip((first, second), limits, strict=True)]
        panels.append(Panel(axes[0], axes[1], marks, name))
    if not panels:
        return None
    return Spec(
        "essential",
        "Forms of the trajectories",
        panels,
        "Trajectories smoothed with a kernel that widens over training, and the centres of their osculating circles. "
        "Circles are vertices, where a run turns sharpest and its evolute has a cusp; crosses are cusps of the run "
        "itself (Hoogland et al. 2024). They are where development changes its direction.",
        f"{found.sizes['form']} forms on the trajectories of {len(panels)} runs.",
        size=(4.0, 3.5),
    )


@takes(found=("experiment.readouts", "step"))
def readouts(found: xr.Dataset) -> Spec | None:
    """What models say of themselves over training: means over their dims, a panel each."""
    numbers = {str(name): of for name, of in found.data_vars.items() if of.dtype.kind in "fiu" and "step" in of.dims}
    names = [name for name in numbers if not name.endswith("_se")]
    panels, key = [], []
    for name in names:
        runs, marks = Runs(found[[name]]), []
        for place, run in runs:
            here = known(run, name)
            rest = [dim for dim in here[name].dims if dim != "step"]
            values = here[name].mean(rest).values
            if len(values):
                text = [f"step {step:,}<br>{y:.4g}" for step, y in zip(here.step.values, values, strict=True)]
                look = {"shape": runs.shape(place), "size": 4} if runs.others else {}
                marks.append(runs.mark(place, here.step.values, values, text, **look))
                key = runs.shape_key
        positive = all((mark.y > 0).all() for mark in marks)
        wide = positive and marks and max(mark.y.max() for mark in marks) > 30 * min(mark.y.min() for mark in marks)
        panels.append(
            Panel(_STEP, Axis("", "log" if wide else "linear"), marks, str(found[name].attrs.get("long_name", name)))
        )
    if not panels:
        return None
    return Spec(
        "readouts",
        "Read-outs",
        panels,
        "What weights, attention and the curvature of the loss do over training, to set beside λ̂; means over blocks, "
        "heads and the like. The Hessian's trace sees the steepest directions, λ̂ how many are held at all.",
        f"{len(panels)} read-outs over training.",
        size=(4.6, 3.4),
        key=key,
    )
