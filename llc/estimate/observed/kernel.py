"""How losses of samples move together along the draws: the loss kernel, and Bayesian influence."""

from typing import Literal

import numpy as np
import xarray as xr

from llc.errors import InvalidInput, check_flag
from llc.estimate.observed.pieces import Found, covariance
from llc.estimate.observed.reading import Reading, labelled, together

# Bytes of a kernel with its error and interval.
_MOST_BYTES = 2**32
Convention = Literal["llc", "devinterp"]


def loss_kernel(
    tree: xr.DataTree, dataset: str, other: str | None = None, *, normalised: bool = False, by_position: bool = False
) -> xr.Dataset:
    """Which samples the model treats alike: K_ij = Cov_w(ℓ_i, ℓ_j), over draws of the localised posterior.

    Adam et al. (2025), arXiv 2509.26537. Draws are taken about the mean of their own chain.

    Args:
        tree: of `estimate_llc(…, observables=[llc.Losses(dataset, …)])`.
        dataset: name of the losses for i.
        other: for j; None for the same dataset.
        normalised: correlations in place of covariances.
        by_position: of single positions, numbered through; otherwise losses are averaged over positions.
    Returns:
        `kernel`, `kernel_se`, `kernel_low`, `kernel_high` (90 %) by (sample, other_sample); the verdict in the attrs.
    Raises:
        InvalidInput: the tree has no losses of a dataset, or has them at different draws.
    """
    one, two = _pair(tree, dataset, other)
    found = _covariance(one, two, by_position, normalised=normalised)
    kind = "Pearson correlation" if normalised else "Cov"
    convention = f"{kind}(loss_i, loss_j), each chain about its own mean; nbeta is not multiplied in"
    said = f"{kind} of the losses of two samples", "1" if normalised else "loss^2"
    return _labelled(found, one, two, "kernel", said=said, convention=convention)


def influence(
    tree: xr.DataTree,
    on: str,
    of: str | None = None,
    *,
    convention: Convention = "llc",
    by_position: bool = False,
) -> xr.Dataset:
    """How the loss of a sample would move if another weighed more: the Bayesian influence function.

        BIF(i, j) = −Cov_w(ℓ_i, ℓ_j) = d E ℓ_j / d(nβ times the weight of sample i)

    Kreer et al. (2025), arXiv 2509.26544. Negative where sample i helps sample j.

    Args:
        tree: of `estimate_llc`, with losses of both datasets.
        on: the dataset of j, which is looked at.
        of: the dataset of i, which gets the weight; None for `on`.
        convention: `llc` as above, chains about their own means; `devinterp`, that tool's default: +Pearson's
            correlation, all chains about one mean.
        by_position: of single positions; otherwise losses are averaged over positions.
    Returns:
        `influence`, `influence_se`, `influence_low`, `influence_high` (90 %) by (sample, other_sample).
    Raises:
        InvalidInput: the tree has no losses of a dataset, or has them at different draws; no such convention.
    """
    if convention not in ("llc", "devinterp"):
        raise InvalidInput(f"convention = {convention!r} given, expected llc or devinterp")
    one, two = _pair(tree, of or on, on)
    if convention == "devinterp":
        found = _covariance(one, two, by_position, normalised=True, pooled=True)
        text, said = "+Pearson correlation, chains pooled, as devinterp has it", ("influence of i on j", "1")
    else:
        found = _covariance(one, two, by_position).scaled(-1)
        text, said = "-Cov(loss_i, loss_j), each chain about its own mean", ("influence of i on j", "loss^2")
    return _labelled(found, one, two, "influence", said=said, convention=text)


def _pair(tree: xr.DataTree, dataset: str, other: str | None) -> tuple[Reading, Reading]:
    one, *rest = together(tree, *dict.fromkeys([dataset, other or dataset]))
    for reading in (one, *rest):
        if not reading.dims:
            raise InvalidInput(f"of {reading.name} the mean alone was kept; expected llc.Losses with mean=False")
    return one, rest[0] if rest else one


def _covariance(
    one: Reading, two: Reading, by_position: bool, *, normalised: bool = False, pooled: bool = False
) -> Found:
    check_flag("normalised", normalised)
    check_flag("by_position", by_position)
    number = [len(r.baseline) * (r.baseline[0].size if by_position else 1) for r in (one, two)]
    if (size := 5 * 8 * number[0] * number[1]) > _MOST_BYTES:
        raise InvalidInput(
            f"{number[0]:,} by {number[1]:,} losses asked for, which take {size / 2**30:.0f} GiB; expected at most "
            f"{_MOST_BYTES / 2**30:.0f}: llc.Losses of fewer samples"
        )
    left, right = (reading.flat if by_position else reading.by_sample for reading in (one, two))
    found = covariance(left, right, one.cut, normalised=normalised, pooled=pooled)
    return found if normalised else found.cooled(one.heat)


def _labelled(
    found: Found, one: Reading, two: Reading, name: str, *, said: tuple[str, str], convention: str
) -> xr.Dataset:
    data = labelled(found, one.cut, name, ("sample", "other_sample"), said)
    places = {
        "sample": ("sample", np.arange(len(found.value)), {"long_name": f"sample i, of {one.name}", "units": "1"}),
        "other_sample": (
            "other_sample",
            np.arange(found.value.shape[1]),
            {"long_name": f"sample j, of {two.name}", "units": "1"},
        ),
    }
    return xr.Dataset(data, places, attrs=one.attrs(convention) | {"other_dataset": two.name})
