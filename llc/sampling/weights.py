"""Which weights of a model move, and the model as a function of them as one flat vector."""

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from llc.errors import InvalidInput, did_you_mean

Frozen = dict[str, Tensor]
"""Parameters and buffers that do not move, by their names in `llc.objective.Objective`."""

Restriction = Sequence[str] | Mapping[str, Any]
"""Patterns of names, with a slice if need be, or masks by name; see `chosen_weights`."""

# Among `Frozen`: all elements of the parameters of which only some move.
_WHOLE = "whole"
# `weight[0:16, :]`: a name and which of its elements.
_SLICE = re.compile(r"(.+)\[([-\d:,.\s]+)\]")


class Chosen(NamedTuple):
    """A parameter that moves.

    Attributes:
        places: which of its elements, as indices of it laid flat; None for all.
    """

    parameter: nn.Parameter
    places: Tensor | None

    @property
    def elements(self) -> Tensor:
        """Those that move, laid flat."""
        flat = self.parameter.detach().flatten()
        return flat if self.places is None else flat[self.places]


class Weights:
    """A model whose trainable parameters are views of one flat vector: giving it other weights is one copy.

    Args:
        model: changed in place.
        restriction: see `chosen_weights`; what it leaves out is held.

    Attributes:
        trainable: the parameters that move, by name.
        frozen: what does not.
        shapes: of the trainable ones, named as `frozen`.
        places: which elements of the trainable ones, laid end to end, move; None for all.

    Raises:
        InvalidInput: weights that are not finite, or that move and are not all float32 or all float64.
    """

    def __init__(self, model: nn.Module, restriction: Restriction | None = None) -> None:
        self.model = model
        chosen = chosen_weights(model, restriction)
        self.trainable = {name: one.parameter for name, one in chosen.items()}
        self._parameters = list(self.trainable.values())
        _check_weights(model, self._parameters)
        for fixed in set(model.parameters()) - set(self._parameters):
            fixed.requires_grad_(False)
        self._whole = torch.cat([parameter.detach().flatten() for parameter in self._parameters])
        self.places = _places(chosen.values())
        self.shapes = {f"model.{name}": parameter.shape for name, parameter in self.trainable.items()}
        parts = self._whole.split([parameter.numel() for parameter in self._parameters])
        for parameter, part in zip(self._parameters, parts, strict=True):
            parameter.data = part.view_as(parameter)
        named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self.frozen: Frozen = {
            f"model.{name}": value.detach() for name, value in named.items() if name not in self.trainable
        }
        if self.places is not None:
            self.frozen[_WHOLE] = self._whole.clone()

    @property
    def flat(self) -> Tensor:
        """Where the model is now, (P,)."""
        return self._whole if self.places is None else self._whole[self.places]

    def check_attached(self) -> None:
        """The model's weights are still those that `put` moves.

        Raises:
            InvalidInput: the model or the loss has put other tensors in their place.
        """
        there = dict(self.model.named_parameters())
        storage = self._whole.untyped_storage().data_ptr()
        for name, parameter in self.trainable.items():
            if there.get(name) is not parameter or parameter.untyped_storage().data_ptr() != storage:
                raise InvalidInput(
                    f"the model or the loss puts another tensor in the place of {name} when it is called, so that "
                    "chains would move what is not used; write into it (copy_), or compute from it what is used instead"
                )

    def put(self, position: Tensor) -> list[nn.Parameter]:
        """Move the model to a position, (P,); gives the parameters that have moved, in its order."""
        torch.clear_autocast_cache()  # in which an outer autocast keeps weights as they were before
        if self.places is None:
            self._whole.copy_(position.detach())
        else:
            self._whole[self.places] = position.detach()
        return self._parameters

    def moving(self, parts: Sequence[Tensor | None]) -> Tensor:
        """Of something for each parameter that `put` gives, such as a gradient, what belongs to a position, (P,)."""
        whole = torch.cat(
            [
                torch.zeros_like(parameter).flatten() if part is None else _dense(part).flatten()
                for part, parameter in zip(parts, self._parameters, strict=True)
            ]
        )
        return whole if self.places is None else whole[self.places]

    def parts(self, vector: Tensor) -> list[Tensor]:
        """The other way: a direction, (P,), as a part for each parameter, 0 where nothing moves."""
        if self.places is not None:
            vector = torch.zeros_like(self._whole).index_copy(0, self.places, vector)
        parts = vector.split([parameter.numel() for parameter in self._parameters])
        return [part.view_as(parameter) for part, parameter in zip(parts, self._parameters, strict=True)]

    def named(self, position: Tensor, frozen: Frozen) -> Frozen:
        """Parameters and buffers of the model at a position, (P,), by name, differentiably."""
        frozen = dict(frozen)
        if self.places is not None:
            position = frozen.pop(_WHOLE).scatter(0, self.places, position)
        parts = position.split([shape.numel() for shape in self.shapes.values()])
        moved = {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}
        return {**frozen, **moved}

    @property
    def kind(self) -> tuple:
        """Equal for models of one class with weights of the same names, shapes and types, of which the same move."""
        named = [*self.model.named_parameters(), *self.model.named_buffers()]
        shapes = tuple((name, tensor.shape, tensor.dtype) for name, tensor in named)
        places = None if self.places is None else self.places.cpu().numpy().tobytes()
        return type(self.model), shapes, tuple(self.trainable), places


def _places(chosen: Iterable[Chosen]) -> Tensor | None:
    """Indices of the elements that move among all of their parameters; None for all."""
    found, start, restricted = [], 0, False
    for parameter, places in chosen:
        every = torch.arange(parameter.numel(), device=parameter.device)
        found.append(start + (every if places is None else places))
        start, restricted = start + parameter.numel(), restricted or places is not None
    return torch.cat(found) if restricted else None


def chosen_weights(model: nn.Module, restriction: Restriction | None = None) -> dict[str, Chosen]:
    """Parameters that require a gradient, by name, and which of their elements move.

    A parameter that has several names, for it is used in several places, goes by the first; a pattern may match any.

    Args:
        model: any `nn.Module`; it is only looked at.
        restriction: shell-style patterns of names, `blocks.0.*`, of which each may end with a slice as NumPy has them,
            `blocks.0.attention.qkv.weight[0:16, :]`; or a mapping from patterns to masks, tensors of a parameter's
            shape that are true where it moves. What any of them names moves. None for everything.

    Raises:
        InvalidInput: there is no such parameter (the names there are are shown) or element, or one is complex.
    """
    chosen = _chosen(model, restriction)
    for name, one in chosen.items():
        if one.parameter.is_complex():
            raise InvalidInput(
                f"parameter {name} is {one.parameter.dtype}, expected real numbers, of which prior and steps are; hold "
                "it as two real parameters and join them in forward, by torch.complex or torch.view_as_complex"
            )
    return chosen


def _chosen(model: nn.Module, restriction: Restriction | None) -> dict[str, Chosen]:
    check_model(model)
    if restriction is not None and not len(restriction):
        raise InvalidInput(
            f"parameters = {restriction!r} given, expected patterns of names or masks by name; leave it out to move all"
        )
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not trainable:
        raise InvalidInput("the model has no parameters that require a gradient")
    if restriction is None:
        return {name: Chosen(parameter, None) for name, parameter in trainable.items()}
    aliases = {name: id(p) for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    first = {id(parameter): name for name, parameter in trainable.items()}
    masks: dict[str, Tensor] = {}
    for pattern, mask in _entries(restriction, aliases):
        names = {first[aliases[name]] for name in aliases if fnmatch.fnmatchcase(name, pattern)}
        held = [name for name, _ in model.named_parameters() if fnmatch.fnmatchcase(name, pattern)]
        if held and not names:
            raise InvalidInput(f"{', '.join(held[:3])} requires no gradient, and does not move; call requires_grad_()")
        if not names:
            raise InvalidInput(f"no parameter matches {pattern!r}; {did_you_mean(pattern, aliases)}")
        for name in names:
            parameter = trainable[name]
            masks.setdefault(name, torch.zeros(parameter.shape, dtype=torch.bool, device=parameter.device))
            moving = _mask(mask, parameter, name)
            if isinstance(mask, str) and parameter.numel() and not bool(moving.any()):
                raise InvalidInput(
                    f"{pattern}[{mask}] names no element of {name}, whose shape is {tuple(parameter.shape)}"
                )
            masks[name] |= moving
    found = {}
    for name, parameter in trainable.items():
        if name in masks and bool(masks[name].any()):
            whole = bool(masks[name].all())
            found[name] = Chosen(parameter, None if whole else masks[name].flatten().nonzero()[:, 0])
    if not found:
        raise InvalidInput(f"nothing of {', '.join(masks)} moves: the masks or slices given hold no element")
    return found


def _entries(restriction: Restriction, names: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Patterns with their masks, None for all elements."""
    if isinstance(restriction, Mapping):
        for name in restriction:
            if not isinstance(name, str):
                raise InvalidInput(
                    f"parameters by a {type(name).__name__} given, expected masks by name, such as {next(iter(names))}"
                )
        return list(restriction.items())
    if not isinstance(restriction, Sequence) or not all(isinstance(entry, str) for entry in restriction):
        raise InvalidInput(f"parameters of type {type(restriction).__name__} given, expected patterns of names or "
                           "masks by name")  # fmt: skip
    found: list[tuple[str, Any]] = []
    for entry in [restriction] if isinstance(restriction, str) else list(restriction):
        sliced = _SLICE.fullmatch(entry)
        if sliced and not fnmatch.filter(names, entry):  # which is no set of letters, as in `layer[12]`
            found.append((sliced[1], sliced[2]))
        else:
            found.append((entry, None))
    return found


def _mask(given: Any, parameter: nn.Parameter, name: str) -> Tensor:
    """Which elements of a parameter a mask or a slice names."""
    if given is None or given is True:
        return torch.ones(parameter.shape, dtype=torch.bool, device=parameter.device)
    if isinstance(given, str):
        mask = torch.zeros(parameter.shape, dtype=torch.bool, device=parameter.device)
        try:
            mask[tuple(_index(part) for part in given.split(","))] = True
        except (IndexError, ValueError) as error:
            raise InvalidInput(
                f"{name}[{given}] given, but {name} has the shape {tuple(parameter.shape)} ({error})"
            ) from None
        return mask
    try:
        mask = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise InvalidInput(
            f"a {type(given).__name__} given for {name}, expected a mask of its shape, {tuple(parameter.shape)}"
        ) from None
    if mask.shape != parameter.shape or not bool(((mask == 0) | (mask == 1)).all()):
        raise InvalidInput(
            f"a mask of shape {tuple(mask.shape)} and type {mask.dtype} given for {name}, expected one of true and "
            f"false of its shape, {tuple(parameter.shape)}"
        )
    return mask.to(parameter.device, torch.bool)


def _index(part: str) -> Any:
    """`3`, `:`, `2:8`, `::2` or `...`."""
    if part.strip() == "...":
        return ...
    if ":" not in part:
        return int(part)
    return slice(*(int(bound) if bound.strip() else None for bound in part.split(":")))


def check_model(model: object) -> None:
    """An `nn.Module` with parameters, or InvalidInput."""
    if not isinstance(model, nn.Module):
        raise InvalidInput(f"model is a {type(model).__name__}, expected a torch.nn.Module")
    if next(model.parameters(), None) is None:
        raise InvalidInput(f"{type(model).__name__} has no parameters, so that there is nothing to sample")


def _check_weights(model: nn.Module, trainable: list[nn.Parameter]) -> None:
    """Every weight finite, and those that move of one floating type that can be sampled."""
    ids = {id(parameter) for parameter in trainable}
    for name, parameter in model.named_parameters():
        if id(parameter) in ids and parameter.dtype not in {torch.float32, torch.float64}:
            raise InvalidInput(f"parameter {name} is {parameter.dtype}, expected float32; call model.float() first")
        if not bool(parameter.isfinite().all()):
            raise InvalidInput(f"parameter {name} has values that are not finite; choose an earlier checkpoint")
    if len({parameter.dtype for parameter in trainable}) > 1:
        raise InvalidInput("the model mixes float32 and float64 parameters; call model.float() or model.double() first")


def _dense(part: Tensor) -> Tensor:
    return part.to_dense() if part.is_sparse else part
