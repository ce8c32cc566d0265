"""Figures of how a model's parts answer to data: susceptibilities, and their principal components."""

import numpy as np
import xarray as xr

from llc.errors import InvalidInput
from llc.figures.given import takes
from llc.figures.runs import palette
from llc.figures.spec import GREY, Axis, Level, Marks, Panel, Spec

_STEP = Axis("training step", "step")


@takes(found=("llc.susceptibilities", "susceptibility_mean", "part", "dataset"))
def susceptibilities(found: xr.Dataset) -> Spec:
    """The mean susceptibility of each part for each dataset, with 90 % intervals: over training, or side by side.

    Args:
        found: of `llc.susceptibilities` or `llc.susceptibilities_over_checkpoints`.
    """
    parts = found.part.values.tolist()
    colours = dict(zip(parts, palette(parts), strict=True))
    over_training = "step" in found.dims
    y = Axis("susceptibility χ of the mean loss")
    x = _STEP if over_training else Axis("part of the model", "words", words=[str(part) for part in parts])
    panels, said = [], []
    for dataset in found.dataset.values.tolist():
        here, marks = found.sel(dataset=dataset), []
        for place, part in enumerate(parts):
            one = here.sel(part=part)
            value, low, high = (np.atleast_1d(one[f"susceptibility_mean{end}"].values) for end in ("", "_low", "_high"))
            at = one.step.values if over_training else np.array([place])
            line = "solid" if over_training else ""
            marks.append(Marks(at, value, colours[part], str(part), line, "circle", low=low, high=high))
            said.append(f"{part} on {dataset} ends at {value[-1]:.2g}")
        panels.append(Panel(x, y, [*marks, Level(0.0, GREY, line="dot")], title=str(dataset)))
    return Spec(
        "susceptibilities",
        "How parts of the model answer to more of a dataset",
        panels,
        "χ is by how much the mean loss moves, while this part of the weights alone does, if the samples of a dataset "
        "weigh more than all others: below zero, the part gets better for everything from more of them. Bars are 90 % "
        f"intervals. {found.attrs.get('convention', '')}.",
        f"Susceptibilities: {'; '.join(said)}.",
        columns=2,
    )


@takes(found=("llc.response_components", "score", "component", "explained_variance_ratio"))
def responses(found: xr.Dataset) -> Spec:
    """Parts in the plane of the two leading principal components of their responses, over training if there is any.

    Args:
        found: of `llc.response_components`, with two components or more.
    """
    if found.sizes["component"] < 2:
        raise InvalidInput("no plane given, expected two components or more of llc.response_components")
    parts = found.part.values.tolist()
    shares = found.explained_variance_ratio.values
    x, y = (Axis(f"PC{number + 1} of the response, {shares[number]:.0%} of variance") for number in (0, 1))
    over_training, marks = "step" in found.dims, []
    for part, colour in zip(parts, palette(parts), strict=True):
        score = found.score.sel(part=part)
        first, second = (np.atleast_1d(score.isel(component=number).values) for number in (0, 1))
        hover = [f"{part}, step {step}" for step in found.step.values] if over_training else [str(part)]
        line = "solid" if over_training else ""
        marks.append(Marks(first, second, colour, str(part), line, "circle", size=4, hover=hover, last=over_training))
    return Spec(
        "responses",
        "Parts of the model by what they answer to",
        [Panel(x, y, marks)],
        "Each part of the model, at each step, is a point: its susceptibilities to all samples, projected on their two "
        f"leading principal components. {float(found.noise_share):.0%} of the variance is what errors alone give.",
        f"{len(parts)} parts in the plane of two components with {shares[0]:.0%} and {shares[1]:.0%} of the variance.",
        size=(6.4, 5.2),
    )
