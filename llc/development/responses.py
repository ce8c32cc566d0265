"""The response matrix, parts of a model by samples, and its principal components over training."""

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
        found: of `llc.susceptibilities` or `llc.susceptibilities_over_checkpoints`. components: how many.
    Returns:
        `score` by ([step, ]part, component), `loading` by (component, sample[, position]),
        `explained_variance_ratio` by component, and `noise_share`.
    Raises:
        InvalidInput: no susceptibilities; more components than rows or columns; numbers that are not finite.
    """
    if "susceptibility" not in found or "part" not in found.dims:
        raise InvalidInput("the dataset has no susceptibility by part; llc.susceptibilities makes one")
    chi = found.susceptibility
    places = [dim for dim in ("step", "part") if dim in chi.dims]
    rest = [dim for dim in ("sample", "position") if dim in chi.dims]
    values = chi.transpose(*places, *rest).values
    shape = values.shape[: len(places)]
    rows = values.reshape(int(np.prod(shape)), -1)
    if not np.isfinite(rows).all():
        raise InvalidInput("some susceptibilities are not finite; leave their parts or steps out")
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
                ("component", *rest),
                axes.axes.reshape(components, *values.shape[len(places) :]),
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
