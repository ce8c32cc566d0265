"""How the loss around w* answers to a change of the data, a part of the model at a time."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr
from torch import nn

from llc.errors import EstimateFailed, InvalidInput
from llc.estimate.estimate import estimate_llc
from llc.estimate.observed.per_sample import per_sample_llc
from llc.estimate.observed.pieces import Found, covariance
from llc.estimate.observed.reading import labelled, together
from llc.parallel import Progress, quiet
from llc.sampling import Data, Loss, Losses, Restriction

Convention = Literal["primer", "devinterp"]
# The mean loss of the data that are sampled, beside the datasets of the user's own.
WHOLE = "whole_loss"
_ROOT = ("llc", "llc_se", "llc_low", "llc_high", "verdict", "reason", "nbeta", "gamma")


def susceptibility(
    tree: xr.DataTree, dataset: str, *, whole: str = WHOLE, convention: Convention = "primer"
) -> xr.Dataset:
    """How the mean loss, under moves of what the estimate lets move, answers to more weight on each sample.

        χ_C(i) = −nβ Cov_w[φ_C, ℓ_i − L],   φ_C = L(w) − L(w*)

    Baker et al. (2025), arXiv 2504.18274: negative where more of a sample makes the part's loss fall, more than more of
    all of them does.

    Args:
        tree: of `estimate_llc(…, parameters=part, observables=[llc.Losses(dataset, …), llc.Losses(whole, mean=True)])`.
        dataset: whose samples. whole: the name of the losses of the sampled data, all of them or their mean.
        convention: `primer` as above, with nβ; `devinterp`, without it.
    Returns:
        `susceptibility`, `susceptibility_se`, `susceptibility_low`, `susceptibility_high` (90 %) by (sample[,
        position]), and `susceptibility_mean` with its own, of the dataset's mean loss; the verdict in the attrs.
    Raises:
        InvalidInput: the tree has no losses of a dataset, or has them at different draws; no such convention.
    """
    if convention not in {"primer", "devinterp"}:
        raise InvalidInput(f"convention = {convention!r} given, expected primer or devinterp")
    found, mean = together(tree, dataset, whole)
    phi = mean.difference.reshape(*mean.difference.shape[:2], -1).mean(2, keepdims=True, dtype=np.float64)
    factor = -found.nbeta if convention == "primer" else -1.0
    text = "-nbeta Cov(L, loss_i - L)" if convention == "primer" else "-Cov(L, loss_i - L)"
    units = "loss" if convention == "primer" else "loss^2"
    data: dict = {}
    for name, losses, dims, said in (
        ("susceptibility", found.flat, found.dims, f"susceptibility, {text}"),
        ("susceptibility_mean", found.flat.mean(2, keepdims=True), (), f"susceptibility of the mean loss, {text}"),
    ):
        answer = covariance(losses - phi, phi, found.cut).cooled(found.heat).scaled(factor)
        shape = [
            size for dim, size in zip(("sample", "position"), found.difference.shape[2:], strict=False) if dim in dims
        ]
        answer = Found(answer.value.reshape(shape), answer.se.reshape(shape))
        data |= labelled(answer, found.cut, name, dims, (said, units))
    return xr.Dataset(data, attrs=found.attrs(f"{convention}: {text}, each chain about its own mean"))


def susceptibilities(
    model: nn.Module,
    loss: Loss,
    data: Data,
    parts: Mapping[str, Restriction],
    datasets: Mapping[str, Data] | None = None,
    *,
    nbeta: float | None = None,
    gamma: float | None = None,
    convention: Convention = "primer",
    collate_fn: Callable[[list], Any] | None = None,
    progress: Progress = quiet,
    **settings: Any,
) -> xr.Dataset:
    """`susceptibility` of every part of a model, at one nβ and γ, with each one's refined λ̂.

    Args:
        model, loss, data: as for `estimate_llc`.
        parts: by name, which weights move, as `parameters` of `estimate_llc`; such as `llc.heads(model)`.
        datasets: whose samples are looked at, by name; None for the data that are sampled, as `own`.
        nbeta, gamma: what is not given is what `estimate_llc` chooses where all weights move.
        convention: see `susceptibility`. collate_fn: of data and datasets.
        progress: told ("parts", done, total, name).
        settings: of `estimate_llc` for each part, such as `draws` or `target_error`.
    Returns:
        `llc`, its error and interval, `verdict` and `reason` by `part`; `susceptibility` and `llc_sample`, λ̂ for a
        sample's own loss, each with error and interval, by (part, sample[, position]), the samples of all datasets one
        after another, `dataset_of_sample` says which; and `susceptibility_mean` by (part, dataset).
    Raises:
        InvalidInput: no parts, datasets of which some have positions, or an argument that does not fit.
        EstimateFailed: all chains of a part diverged.
    """
    if not isinstance(parts, Mapping) or not parts:
        raise InvalidInput(f"parts = {parts!r} given, expected which weights move by name, such as llc.heads(model)")
    if nbeta is None or gamma is None:
        progress("parts", 0, len(parts), "nbeta and gamma from all weights")
        asked = {name: value for name, value in settings.items() if name not in _OF_PARTS}
        whole = estimate_llc(model, loss, data, nbeta=nbeta, gamma=gamma, collate_fn=collate_fn, **asked)
        nbeta, gamma = float(whole["nbeta"]), float(whole["gamma"])
    given = {"own": None} if datasets is None else dict(datasets)
    looks = [Losses(name, values, collate_fn=collate_fn) for name, values in given.items()]
    answers = []
    for number, (name, part) in enumerate(parts.items()):
        progress("parts", number, len(parts), name)
        try:
            tree = estimate_llc(
                model,
                loss,
                data,
                nbeta=nbeta,
                gamma=gamma,
                parameters=part,
                observables=[*looks, Losses(WHOLE, mean=True)],
                collate_fn=collate_fn,
                **settings,
            )
        except (InvalidInput, EstimateFailed) as error:
            raise type(error)(f"part {name}: {error}") from error
        answers.append(_answer(tree, list(given), convention))
    progress("parts", len(parts), len(parts), "")
    place = xr.DataArray(list(parts), dims="part", attrs={"long_name": "part of the model that moves", "units": "1"})
    return xr.concat(answers, place, combine_attrs="drop_conflicts")


# Settings of the parts that make no sense where nβ and γ are still to be chosen.
_OF_PARTS = ("draws", "warmup", "step_size", "sampler")


def _answer(tree: xr.DataTree, datasets: list[str], convention: Convention) -> xr.Dataset:
    """What one part's estimate says of all datasets."""
    samples, means = [], []
    for name in datasets:
        found, own = susceptibility(tree, name, convention=convention), per_sample_llc(tree, name)
        renamed = {str(key): str(key).replace("llc", "llc_sample", 1) for key in own.data_vars}
        whole = xr.merge([found, own.rename(renamed)], combine_attrs="override")
        of_mean = [key for key in whole.data_vars if "_mean" in str(key)]
        means.append(whole[of_mean])
        samples.append(whole.drop_vars(of_mean))
    if len({one.sizes.get("position", 0) for one in samples}) > 1:
        raise InvalidInput(
            f"the losses of {', '.join(datasets)} have different positions; give datasets whose samples are as long"
        )
    which = [name for name, one in zip(datasets, samples, strict=True) for _ in range(one.sizes["sample"])]
    said = {"long_name": "the dataset that a sample is of", "units": "1"}
    place = xr.DataArray(datasets, dims="dataset", attrs={"long_name": "dataset", "units": "1"})
    found = xr.concat(samples, "sample", combine_attrs="drop_conflicts").assign_coords(
        dataset_of_sample=("sample", which, said)
    )
    attrs = {"convention": found.attrs["convention"]}
    found = found.merge(xr.concat(means, place, combine_attrs="override"), combine_attrs="override")
    verdict = {key: ((), samples[0].attrs[key], tree[key].attrs) for key in ("verdict", "reason")}
    root = tree.to_dataset()[[name for name in _ROOT if name not in verdict]]
    whole = found.merge(root, combine_attrs="override").assign(verdict)
    return whole.drop_attrs(deep=False).assign_attrs(attrs)
