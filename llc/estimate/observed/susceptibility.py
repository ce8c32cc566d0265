"""How the loss around w* answers to a change of the data, a component at a time."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr
from torch import nn

from llc.errors import EstimateFailed, InvalidInput
from llc.estimate.estimate import estimate_llc
from llc.estimate.observed.pieces import covariance
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

    Baker et al. (2025), arXiv 2504.18274: negative where more of a sample makes the component's loss fall, more than
    more of all of them does.

    Args:
        tree: of `estimate_llc(…, parameters=component, observables=[llc.Losses(dataset, …), llc.Losses(whole,
            mean=True)])`. whole: the name of the losses of the sampled data, all of them or their mean.
        convention: `primer` as above, with nβ; `devinterp`, without it.
    Returns:
        `susceptibility`, `susceptibility_se`, `susceptibility_low`, `susceptibility_high` (90 %) by (sample[,
        position]); the verdict in the attrs.
    Raises:
        InvalidInput: the tree has no losses of a dataset, or has them at different draws; no such convention.
    """
    if convention not in {"primer", "devinterp"}:
        raise InvalidInput(f"convention = {convention!r} given, expected primer or devinterp")
    found, mean = together(tree, dataset, whole)
    phi = mean.difference.reshape(*mean.difference.shape[:2], -1).mean(2, keepdims=True, dtype=np.float64)
    factor = -found.nbeta if convention == "primer" else -1.0
    answer = covariance(found.flat - phi, phi, found.cut).cooled(found.heat).scaled(factor)
    shape = found.difference.shape[2:]
    answer = type(answer)(answer.value.reshape(shape), answer.se.reshape(shape))
    text = "-nbeta Cov(L, loss_i - L)" if convention == "primer" else "-Cov(L, loss_i - L)"
    units = "loss" if convention == "primer" else "loss^2"
    data = labelled(answer, found.cut, "susceptibility", found.dims, (f"susceptibility, {text}", units))
    return xr.Dataset(data, attrs=found.attrs(f"{convention}: {text}, each chain about its own mean"))


def susceptibilities(
    model: nn.Module,
    loss: Loss,
    data: Data,
    components: Mapping[str, Restriction],
    datasets: Mapping[str, Data] | None = None,
    *,
    nbeta: float | None = None,
    gamma: float | None = None,
    convention: Convention = "primer",
    collate_fn: Callable[[list], Any] | None = None,
    progress: Progress = quiet,
    **settings: Any,
) -> xr.DataTree:
    """`susceptibility` of every component of a model, at one nβ and γ, with each one's refined λ̂.

    Args:
        model, loss, data: as for `estimate_llc`.
        components: by name, which weights move, as `parameters` of `estimate_llc`; such as `llc.heads(model)`.
        datasets: whose samples are looked at, by name; None for the data that are sampled, as `own`.
        nbeta, gamma: what is not given is what `estimate_llc` chooses where all weights move.
        convention: see `susceptibility`. collate_fn: of data and datasets.
        progress: told ("components", done, total, name).
        settings: of `estimate_llc` for each component, such as `draws` or `target_error`.
    Returns:
        A tree whose root has `llc`, `llc_se`, `llc_low`, `llc_high`, `verdict` and `reason` by `component`, and which
        has a group for each dataset, with `susceptibility` and its error and interval by (component, sample[,
        position]), and λ̂ for the samples' own losses, `llc_sample`, likewise.
    Raises:
        InvalidInput: no components, or an argument that does not fit.
        EstimateFailed: all chains of a component diverged.
    """
    if not isinstance(components, Mapping) or not components:
        raise InvalidInput(f"components = {components!r} given, expected which weights move by name, as heads(model)")
    if nbeta is None or gamma is None:
        progress("components", 0, len(components), "nbeta and gamma from all weights")
        whole = estimate_llc(model, loss, data, nbeta=nbeta, gamma=gamma, collate_fn=collate_fn, **_for_all(settings))
        nbeta, gamma = float(whole["nbeta"]), float(whole["gamma"])
    given = {"own": None} if datasets is None else dict(datasets)
    looks = [Losses(name, values, collate_fn=collate_fn) for name, values in given.items()]
    roots: list[xr.Dataset] = []
    answers: dict[str, list[xr.Dataset]] = {name: [] for name in given}
    for number, (name, component) in enumerate(components.items()):
        progress("components", number, len(components), name)
        try:
            tree = estimate_llc(
                model,
                loss,
                data,
                nbeta=nbeta,
                gamma=gamma,
                parameters=component,
                observables=[*looks, Losses(WHOLE, mean=True)],
                collate_fn=collate_fn,
                **settings,
            )
        except (InvalidInput, EstimateFailed) as error:
            raise type(error)(f"component {name}: {error}") from error
        roots.append(tree.to_dataset()[list(_ROOT)])
        for dataset in given:
            answers[dataset].append(_of_component(tree, dataset, convention))
    progress("components", len(components), len(components), "")
    place = xr.DataArray(list(components), dims="component", attrs={"long_name": "component", "units": "1"})
    found = {"/": xr.concat(roots, place)}
    found |= {name: xr.concat(parts, place, combine_attrs="drop_conflicts") for name, parts in answers.items()}
    return xr.DataTree.from_dict(found)


def _of_component(tree: xr.DataTree, dataset: str, convention: Convention) -> xr.Dataset:
    from llc.estimate.observed.per_sample import per_sample_llc

    found = susceptibility(tree, dataset, convention=convention)
    own = per_sample_llc(tree, dataset)
    names = {name: name.replace("llc", "llc_sample", 1) for name in map(str, own.data_vars)}
    said = {"long_name": "what the draws are worth", "units": "1"}
    verdict = xr.DataArray(found.attrs["verdict"], attrs=said)
    return found.merge(own.rename(names), combine_attrs="override").assign(verdict=verdict)


def _for_all(settings: dict[str, Any]) -> dict[str, Any]:
    """Those settings of the components that make sense where nβ and γ are still to be chosen."""
    return {name: value for name, value in settings.items() if name not in {"draws", "warmup", "step_size"}}
