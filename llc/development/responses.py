"""The response matrix, parts of a model by samples, and its principal components over training."""

import itertools
from numbers import Integral
from typing import NamedTuple

import numpy as np
import xarray as xr

from llc.development import principal
from llc.errors import InvalidInput


def response_components(found: xr.Dataset, components: int = 3) -> xr.Dataset:
    """Joint principal components of the susceptibilities of every part, at every step if there are several.

    Each part, at each step, is a row, each sample (and position) a column; rows are centred at their mean. What the
    errors of the susceptibilities alone would give, Σ se² over Σ (χ − χ̄)², is told as `noise_share`: components that
    explain no more than a part of it are nothing to read.

    Baker et al. (2025), arXiv 2504.18274.

    Args:
        found: of `llc.susceptibilities` or `llc.susceptibilities_over_checkpoints`.
        components: how many.
    Returns:
        `score` by ([step, ]part, component), `loading` by (sample[, position], component),
        `explained_variance_ratio` by component, and `noise_share`.
    Raises:
        InvalidInput: no susceptibilities; more components than rows or columns; numbers that are not finite.
    """
    if not isinstance(found, xr.Dataset) or "susceptibility" not in found or "part" not in found.dims:
        raise InvalidInput("the dataset has no susceptibility by part; llc.susceptibilities makes one")
    chi = found.susceptibility
    places = [dim for dim in ("step", "part") if dim in chi.dims]
    rest = [dim for dim in ("sample", "position") if dim in chi.dims]
    values = chi.transpose(*places, *rest).values
    shape = values.shape[: len(places)]
    rows = values.reshape(int(np.prod(shape)), -1)
    if not np.isfinite(rows).all():
        raise InvalidInput("some susceptibilities are not finite; leave their parts or steps out")
    most = min(len(rows) - 1, rows.shape[1])
    if isinstance(components, bool) or not isinstance(components, Integral) or not 1 <= components <= most:
        of_steps = f" at {len(found.step)} steps" if "step" in places else ""
        raise InvalidInput(
            f"components = {components!r} given, expected 1 to {most} for {len(found.part)} parts{of_steps} and "
            f"{rows.shape[1]} numbers of each"
            if most
            else "one part at one step given, which has no components; give more parts, or more steps"
        )
    components = int(components)
    axes = principal.fit(lambda: [rows], rows.shape, components)
    errors = np.square(found.susceptibility_se.values).sum()
    noise = float(errors / np.square(rows - rows.mean(0)).sum())
    about = {"units": "1"}
    return xr.Dataset(
        {
            "score": (
                (*places, "component"),
                axes.scores(rows).reshape(*shape, components),
                {"long_name": "principal component of the response", "units": str(chi.attrs.get("units", "1"))},
            ),
            "loading": (
                (*rest, "component"),
                axes.axes.T.reshape(*values.shape[len(places) :], components),
                {"long_name": "loading of a sample", **about},
            ),
            "explained_variance_ratio": (
                "component",
                axes.explained_variance_ratio[:components],
                {"long_name": "share of variance explained", **about},
            ),
            "noise_share": ((), noise, {"long_name": "variance that errors alone would give over all of it", **about}),
        },
        {name: found.coords[name] for name in (*places, "dataset_of_sample") if name in found.coords},
        attrs={"convention": found.attrs.get("convention", "")},
    )


class Flip(NamedTuple):
    """A mean susceptibility that was beyond 0 on one side, with its 90 % interval, and then on the other.

    Attributes:
        part, dataset: whose.
        before, after: the last step on the one side, and the first on the other.
        rises: from below 0 to above.
    """

    part: str
    dataset: str
    before: int
    after: int
    rises: bool


def sign_flips(found: xr.Dataset) -> list[Flip]:
    """Where the answers of parts to datasets change sign over training, to be held beside the boundaries of stages.

    Steps whose interval holds 0 are on neither side. At 90 % one step in twenty is beyond 0 on a given side by chance
    where the susceptibility is 0: a flip that two steps on either side confirm is worth more than one of single steps.

    Args:
        found: of `llc.susceptibilities_over_checkpoints`.
    Raises:
        InvalidInput: no susceptibilities by step.
    """
    if (
        not isinstance(found, xr.Dataset)
        or "susceptibility_mean" not in found
        or "step" not in found.susceptibility_mean.dims
    ):
        raise InvalidInput("the dataset has no susceptibility by step; llc.susceptibilities_over_checkpoints makes one")
    flips = []
    steps = found.step.values.tolist()
    for part in found.part.values.tolist():
        for dataset in found.dataset.values.tolist():
            here = found.sel(part=part, dataset=dataset)
            above, below = here.susceptibility_mean_low.values > 0, here.susceptibility_mean_high.values < 0
            sides = above.astype(int) - below.astype(int)
            known = np.flatnonzero(sides)
            for one, other in itertools.pairwise(known.tolist()):
                if sides[one] != sides[other]:
                    flips.append(Flip(str(part), str(dataset), steps[one], steps[other], bool(sides[other] > 0)))
    return flips
