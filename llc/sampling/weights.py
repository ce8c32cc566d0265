"""Which parameters of a model move, and the model as a function of them as one flat vector."""

import fnmatch
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llc.errors import InvalidInput, did_you_mean

Frozen = dict[str, Tensor]
"""Parameters and buffers that do not move, by their names in `llc.objective.Objective`."""


class Weights:
    """A model whose trainable parameters are views of one flat vector: giving it other weights is one copy.

    Args:
        model: changed in place. patterns: see `trainable_parameters`; what they leave out is held.

    Attributes:
        trainable: the parameters that move, by name. frozen: what does not. shapes: of the trainable ones, named as
            `frozen`.
        flat: where the model is now, (P,).

    Raises:
        InvalidInput: weights that are not finite, or that move and are not all float32 or all float64.
    """

    def __init__(self, model: nn.Module, patterns: Sequence[str] | None = None) -> None:
        self.model = model
        self.trainable = trainable_parameters(model, patterns)
        self._parameters = list(self.trainable.values())
        _check_weights(model, self._parameters)
        for fixed in set(model.parameters()) - set(self._parameters):
            fixed.requires_grad_(False)
        self.flat = torch.cat([parameter.detach().flatten() for parameter in self._parameters])
        self.shapes = {f"model.{name}": parameter.shape for name, parameter in self.trainable.items()}
        parts = self.flat.split([parameter.numel() for parameter in self._parameters])
        for parameter, part in zip(self._parameters, parts, strict=True):
            parameter.data = part.view_as(parameter)
        named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self.frozen: Frozen = {
            f"model.{name}": value.detach() for name, value in named.items() if name not in self.trainable
        }

    def put(self, position: Tensor) -> list[nn.Parameter]:
        """Move the model to a position, (P,); gives the parameters that have moved, in its order."""
        self.flat.copy_(position.detach())
        return self._parameters

    @property
    def kind(self) -> tuple:
        """Equal for models of one class with parameters and buffers of the same names, shapes and types."""
        named = [*self.model.named_parameters(), *self.model.named_buffers()]
        shapes = tuple((name, tensor.shape, tensor.dtype) for name, tensor in named)
        return type(self.model), shapes, tuple(self.trainable)


def trainable_parameters(model: nn.Module, patterns: Sequence[str] | None = None) -> dict[str, nn.Parameter]:
    """Parameters that require a gradient and, where patterns are given, whose name matches one, by name.

    One that has several names, for it is used in several places, goes by the first, and a pattern may match any.

    Raises:
        InvalidInput: there are none, or a pattern matches none; the names there are are shown.
    """
    check_model(model)
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not trainable:
        raise InvalidInput("the model has no parameters that require a gradient")
    if patterns is None:
        return trainable
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    names = {name: id(p) for name, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    chosen = set()
    for pattern in patterns or [""]:
        matching = {names[name] for name in names if fnmatch.fnmatchcase(name, pattern)}
        if not matching:
            raise InvalidInput(f"no parameter matches {pattern!r}; {did_you_mean(pattern, names)}")
        chosen |= matching
    return {name: parameter for name, parameter in trainable.items() if id(parameter) in chosen}


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
