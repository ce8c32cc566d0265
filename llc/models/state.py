"""Weights that somebody saved, put into a model: names that wrappers have changed, and tied weights."""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from llc.errors import InvalidInput, shown

# What wrappers put before every name, and what they put anywhere.
_BEFORE = ("module.", "model.")
# Buffers of older versions of libraries, which hold nothing that was learned.
_NO_WEIGHTS = re.compile(
    r"(?:attn|attention)\.(?:bias|masked_bias)$|inv_freq$|position_ids$|(?:^|\.)n_averaged$|_extra_state$"
)
_ANYWHERE = ("_forward_module.", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


def load_state(model: nn.Module, weights: Mapping[str, Tensor], of: str) -> None:
    """Give a model weights that were saved from it, or from it inside a wrapper.

    Before every name there may be `module.` (DataParallel), `_orig_mod.` (`torch.compile`), `model.` (Lightning) or a
    chain of them, or they may lack in front of the names. Of weights that are tied in the model one name is enough.

    Args:
        model: gets the weights in place.
        weights: a `state_dict`.
        of: where the weights come from, for errors.
    Raises:
        InvalidInput: they do not fit, or differ where the model has one weight.
    """
    wanted = model.state_dict()
    given = _renamed(weights, wanted)
    given = {name: value for name, value in given.items() if name in wanted or not _NO_WEIGHTS.search(name)}
    for name, value in wanted.items():
        if name.endswith("num_batches_tracked"):  # of which older files have none
            given.setdefault(name, value)
    for names in _tied(wanted):
        there = [name for name in names if name in given]
        for name in there[1:]:
            if given[name].shape == given[there[0]].shape and not torch.equal(given[name], given[there[0]]):
                raise InvalidInput(f"{of} has different weights for {there[0]} and {name}, which the model ties")
        given |= {name: given[there[0]] for name in names if there}
    shapes = {name: tuple(value.shape) for name, value in wanted.items()}
    found = {name: tuple(value.shape) for name, value in given.items()}
    if found != shapes:
        missing, extra = sorted(shapes.keys() - found.keys()), sorted(found.keys() - shapes.keys())
        other = [f"{name} {found[name]}, expected {shapes[name]}"
                 for name in sorted(shapes.keys() & found.keys()) if found[name] != shapes[name]]  # fmt: skip
        parts = {"missing": missing, "not known to it": extra, "of another shape": other}
        said = "; ".join(f"{what}: {', '.join(names[:4])}" for what, names in parts.items() if names)
        raise InvalidInput(f"{of} does not fit the model ({said})")
    for name, value in wanted.items():
        if value.is_floating_point() != given[name].is_floating_point():
            raise InvalidInput(f"{of} has {name} as {given[name].dtype}, expected {value.dtype}; undo its quantisation")
    model.load_state_dict(given)


def _renamed(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights by the names that are wanted, as far as wrappers are what makes them others."""
    if not all(isinstance(name, str) for name in weights):
        raise InvalidInput(f"a state by {', '.join(map(shown, list(weights)[:4]))} given, expected tensors by name")
    weights = _of_this_model(weights, wanted)
    theirs, ours = ({_without_wrappers(str(name)): name for name in names} for names in (weights, wanted))
    if len(theirs) < len(weights):
        return dict(weights)
    best = max(
        ((before, instead) for before in _prefixes(theirs) for instead in _prefixes(ours)),
        key=lambda pair: sum(pair[1] + name.removeprefix(pair[0]) in ours for name in theirs),
    )
    named = {best[1] + bare.removeprefix(best[0]): weights[name] for bare, name in theirs.items()}
    return {str(ours.get(name, name)): value for name, value in named.items()}


def _of_this_model(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Those under the only prefix that has every name: beside them a file may have a loss's weights, or metrics."""
    longest = max(wanted, key=len)
    prefixes = {name.removesuffix(longest) for name in weights if name.endswith(f".{longest}")}
    whole = [prefix for prefix in prefixes if all(prefix + name in weights for name in wanted)]
    if len(whole) != 1 or any(name in weights for name in wanted):
        return weights
    return {name: weights[whole[0] + name] for name in wanted}


def _prefixes(names: Iterable[str]) -> list[str]:
    """What all names begin with, of the chains that wrappers make: "" first."""
    names, found = list(names), [""]
    while more := next((p for p in _BEFORE if names and all(n.startswith(found[-1] + p) for n in names)), None):
        found.append(found[-1] + more)
    return found


def _without_wrappers(name: str) -> str:
    for part in _ANYWHERE:
        name = name.replace(part, "")
    return name


def _tied(wanted: Mapping[str, Tensor]) -> list[list[str]]:
    """Names of one weight."""
    by_place: dict[tuple, list[str]] = {}
    for name, value in wanted.items():
        if value.numel():
            by_place.setdefault((value.data_ptr(), value.shape, value.stride()), []).append(name)
    return [names for names in by_place.values() if len(names) > 1]
