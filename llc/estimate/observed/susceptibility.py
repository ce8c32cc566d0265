"""How the loss around w* answers to a change of the data, a part of the model at a time."""

import inspect
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
# The mean loss of the data that are sampled, beside the datasets of the user's own, none of which is called so.
WHOLE = "_whole"
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
        dataset: whose samples.
        whole: the name of the losses of the sampled data, all of them or their mean.
        convention: `primer` as above, with nβ; `devinterp`, without it.
    Returns:
        `susceptibility`, `susceptibility_se`, `susceptibility_low`, `susceptibility_high` (90 %) by (sample[,
        position]), and `susceptibility_mean` with its own, of the dataset's mean loss; the verdict in the attrs.
    Raises:
        InvalidInput: the tree has no losses of a dataset, or has them at different draws; no such convention.
    """
    check_convention(convention)
    found, mean = together(tree, dataset, whole)
    if not mean.sampled and whole != WHOLE:
        raise InvalidInput(f"{whole} are not all samples that are sampled; expected llc.Losses({whole!r}) of those")
    phi = mean.difference.reshape(*mean.difference.shape[:2], -1).mean(2, keepdims=True, dtype=np.float64)
    factor = -found.nbeta if convention == "primer" else -1.0
    text = "-nbeta Cov(L, loss_i - L)" if convention == "primer" else "-Cov(L, loss_i - L)"
    units = "loss" if convention == "primer" else "loss^2"
    data: dict[str, Any] = {}
    means = found.trace[..., None]
    for name, losses, dims, said in (
        ("susceptibility", found.flat, found.dims, f"susceptibility, {text}"),
        ("susceptibility_mean", means, (), f"susceptibility of the mean loss, {text}"),
    ):
        # The mean loss has no slope where the draws are about, and its moments go with the square of their spread.
        answer = covariance(losses, phi, found.cut, minus=phi).cooled(found.heat).cooled(found.heat).scaled(factor)
        shape = [
            size for dim, size in zip(("sample", "position"), found.difference.shape[2:], strict=False) if dim in dims
        ]
        answer = Found(answer.value.reshape(shape), answer.se.reshape(shape))
        data |= labelled(answer, found.cut, name, dims, (said, units))
    return xr.Dataset(data, attrs=found.attrs(f"{convention}: {text}, each chain about its own mean"))


def check_convention(convention: str) -> None:
    """One there is, or InvalidInput."""
    if convention not in ("primer", "devinterp"):
        raise InvalidInput(f"convention = {convention!r} given, expected primer or devinterp")


def looks_at(datasets: Mapping[str, Data] | None, collate_fn: Callable[[list[Any]], Any] | None) -> list[Losses]:
    """The losses of every dataset, of the sampled data where none is given.

    Raises:
        InvalidInput: no dataset, or a name that is none.
    """
    given = {"own": None} if datasets is None else datasets
    if not isinstance(given, Mapping) or not given or WHOLE in given:
        raise InvalidInput(f"datasets = {datasets!r} given, expected data by name, such as {{'test': test_data}}")
    return [Losses(name, values, collate_fn=collate_fn) for name, values in given.items()]


def check_settings(settings: Mapping[str, Any]) -> None:
    """Settings of `estimate_llc` that may be given for every part, or InvalidInput."""
    known = inspect.signature(estimate_llc).parameters.keys() - {"radius", "observables", "parameters", "progress"}
    if unknown := sorted(settings.keys() - known):
        raise InvalidInput(
            f"{', '.join(unknown)} given, expected settings of estimate_llc; gamma in place of radius, parts in place "
            "of parameters, and datasets in place of observables"
        )


def check_parts(parts: object) -> None:
    """Which weights move, by name, or InvalidInput."""
    if not isinstance(parts, Mapping) or not parts or not all(isinstance(name, str) for name in parts):
        raise InvalidInput(f"parts = {parts!r} given, expected which weights move by name, such as llc.heads(model)")


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
    collate_fn: Callable[[list[Any]], Any] | None = None,
    progress: Progress = quiet,
    **settings: Any,
) -> xr.Dataset:
    """`susceptibility` of every part of a model, at one nβ and γ, with each one's refined λ̂.

    Args:
        model: as for `estimate_llc`.
        loss: as for `estimate_llc`.
        data: as for `estimate_llc`.
        parts: by name, which weights move, as `parameters` of `estimate_llc`; such as `llc.heads(model)`.
        datasets: whose samples are looked at, by name; None for the data that are sampled, as `own`.
        nbeta: nβ, the same for all parts; by default what `estimate_llc` chooses where all weights move.
        gamma: γ, likewise.
        convention: see `susceptibility`.
        collate_fn: of data and datasets.
        progress: told ("parts", done, total, name).
        settings: of `estimate_llc` for each part, such as `draws` or `target_error`.
    Returns:
        `llc`, its error and interval, `verdict` and `reason` by `part`; `susceptibility_verdict` and
        `susceptibility_reason`, of the draws, by (part, dataset); `susceptibility` and `llc_sample`, λ̂ for a
        sample's own loss, each with error and interval, by (part, sample[, position]), the samples of all datasets one
        after another, `dataset_of_sample` says which; and `susceptibility_mean` by (part, dataset).
    Raises:
        InvalidInput: no parts, datasets of which some have positions, or an argument that does not fit.
        EstimateFailed: all chains of a part diverged.
    """
    check_parts(parts)
    check_convention(convention)
    looks = looks_at(datasets, collate_fn)
    check_settings(settings)
    # All losses of the sampled data, where they are looked at anyway, have the mean.
    whole = next((look.name for look in looks if look.data is None), WHOLE)
    looks += [Losses(WHOLE, mean=True)] if whole == WHOLE else []
    if nbeta is None or gamma is None:
        progress("parts", 0, len(parts), "nbeta and gamma from all weights")
        asked = {name: value for name, value in settings.items() if name not in SETTINGS_OF_PARTS}
        chosen = estimate_llc(
            model, loss, data, nbeta=nbeta, gamma=gamma, collate_fn=collate_fn, progress=quiet, **asked
        )
        nbeta, gamma = float(chosen["nbeta"]), float(chosen["gamma"])
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
                observables=looks,
                collate_fn=collate_fn,
                progress=quiet,
                **settings,
            )
        except EstimateFailed as error:
            raise EstimateFailed(f"part {name}: {error}") from error
        except InvalidInput as error:
            raise InvalidInput(f"part {name}: {error}") from error
        answers.append(_answer(tree, [look.name for look in looks if look.name != WHOLE], whole, convention))
    progress("parts", len(parts), len(parts), "")
    place = xr.DataArray(list(parts), dims="part", attrs={"long_name": "part of the model that moves", "units": "1"})
    return xr.concat(answers, place, combine_attrs="drop_conflicts")


# Settings of the parts that make no sense where nβ and γ are still to be chosen.
SETTINGS_OF_PARTS = ("draws", "warmup", "step_size", "sampler")


def _answer(tree: xr.DataTree, datasets: list[str], whole: str, convention: Convention) -> xr.Dataset:
    """What one part's estimate says of all datasets."""
    samples, means, verdicts = [], [], []
    for name in datasets:
        found = susceptibility(tree, name, whole=whole, convention=convention)
        own = per_sample_llc(tree, name)
        verdicts.append((found.attrs["verdict"], found.attrs["reason"]))
        renamed = {str(key): str(key).replace("llc", "llc_sample", 1) for key in own.data_vars}
        own = own.rename(renamed)
        for variable in own.data_vars.values():
            variable.attrs["long_name"] = str(variable.attrs["long_name"]).replace(" llc", " llc_sample")
        both = xr.merge([found, own], combine_attrs="override")
        of_mean = [key for key in both.data_vars if "_mean" in str(key)]
        means.append(both[of_mean])
        samples.append(both.drop_vars(of_mean))
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
    root = tree.to_dataset()[list(_ROOT)]
    for place_of, (name, about) in enumerate({"verdict": "what the draws are worth", "reason": "why"}.items()):
        values = [each[place_of] for each in verdicts]
        root[f"susceptibility_{name}"] = ("dataset", np.array(values, object), {"long_name": about, "units": "1"})
    return found.merge(root, combine_attrs="override").drop_attrs(deep=False).assign_attrs(attrs)
