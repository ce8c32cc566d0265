"""λ̂ told apart by sample."""

import numpy as np
import xarray as xr

from llc.estimate.observed.pieces import Found, covariance, mean, variances
from llc.estimate.observed.reading import labelled, read


def per_sample_llc(tree: xr.DataTree, dataset: str) -> xr.Dataset:
    """How much each sample, and position, of a dataset has to do with the size of the well.

        λ̂_i = nβ (E ℓ_i(w) − ℓ_i(w*))

    Of the data that are sampled the mean over i is λ̂ at w*, `llc_at_w`; of others it is λ̂ for another loss, the
    data-refined LLC of Wang et al. (2024), arXiv 2410.02984. Single ones may be negative: what one sample loses another
    gains, where w* is no minimum for each.

    Args:
        tree: of `estimate_llc(…, observables=[llc.Losses(dataset, …)])`.
        dataset: name of the losses.
    Returns:
        `llc`, `llc_se`, `llc_low`, `llc_high` (90 %) by (sample[, position]); the verdict is in the attrs.
    Raises:
        InvalidInput: the tree has no losses of that dataset.
    """
    found = read(tree, dataset)
    here = mean(found.difference, found.cut).scaled(found.nbeta)
    # What is added on average is known of the loss that is sampled; a sample's part goes with its part in the mean's
    # spread, and may be half of that, or half as much again.
    known = here.value[np.isfinite(here.value)]
    total = found.excess if found.sampled else found.heat / (1 + found.heat) * max(0.0, float(known.mean()))
    if total:
        trace = found.trace[..., None]
        part = covariance(found.flat, trace, found.cut).value / variances(trace, found.cut)[0]
        added = total * part.reshape(here.value.shape)
        here = Found(here.value - added, np.hypot(here.se, added / 2))
    said = "nbeta (E loss - loss at w*) of a sample", "1"
    attrs = found.attrs("nbeta (E loss_i - loss_i(w*)), at w*")
    if str(tree["verdict"].item()) == "off-minimum":  # here w* does have a part
        attrs |= {"verdict": "off-minimum", "reason": str(tree["reason"].item())}
    return xr.Dataset(labelled(here, found.cut, "llc", found.dims, said), attrs=attrs)
