"""A target's losses and gradient as one function that PyTorch compiles for the machine.

On a CPU it takes a third of the time off a small transformer's gradient, after half a minute of compiling: for long
studies. What was compiled serves every target of the same shapes in a process, and PyTorch keeps it on disk for others.
"""

import copy
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from llc.devices import Precision, autocast
from llc.errors import InvalidInput
from llc.objective import Objective

# Relative to their size, how far losses and gradients may be from those computed step by step.
_SAME = {"float32": (1e-5, 1e-4), "tf32": (1e-3, 1e-2), "bf16": (1e-2, 1e-1)}
# Functions that PyTorch keeps of one place in the code, which all of these share; its own 8 would soon be used up.
_KEPT = 256

Gradient = Callable[[Tensor, dict[str, Tensor], Any, Tensor], tuple[Tensor, Tensor]]
"""(position (P,), what does not move, batch, weight) -> ∇ of weight times the sum of losses, and the losses."""

# Of this process, by what it was compiled for.
_compiled: dict[tuple, Gradient] = {}
_MOST = 8


def compiled_gradient(
    model: nn.Module, loss: Any, moving: dict[str, nn.Parameter], precision: Precision, *, key: tuple
) -> Gradient:
    """The function for this model, or one that was compiled for another of the same `key` before.

    Models of one key may still differ in what they do, so the caller compares with `same` before it relies on it.
    """
    if key not in _compiled:
        if len(_compiled) == _MOST:
            _compiled.pop(next(iter(_compiled)))
        _compiled[key] = _compile(model, loss, moving, precision)
    return _compiled[key]


def forget(key: tuple) -> None:
    """Compile anew for this key the next time."""
    _compiled.pop(key, None)


def _compile(model: nn.Module, loss: Any, moving: dict[str, nn.Parameter], precision: Precision) -> Gradient:
    objective = Objective(copy.deepcopy(model), loss)
    shapes = {f"model.{name}": parameter.shape for name, parameter in moving.items()}
    sizes = [shape.numel() for shape in shapes.values()]
    device = next(iter(moving.values())).device

    def value(position: Tensor, still: dict[str, Tensor], batch: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
        parts = zip(shapes.items(), position.split(sizes), strict=True)
        weights = {name: part.view(shape) for (name, shape), part in parts}
        with autocast(precision, device):
            losses = functional_call(objective, {**still, **weights}, (batch,))
        return (losses.sum() * weight).to(position.dtype), losses

    # Every size of a batch has a function of its own: there are two or three.
    return torch.compile(grad(value, has_aux=True), dynamic=False)


def call(function: Gradient, *arguments: Any) -> tuple[Tensor, Tensor]:
    """∇ and losses; what PyTorch cannot compile is said in one sentence.

    Raises:
        InvalidInput: it cannot.
    """
    try:
        with torch.inference_mode(False), torch.no_grad(), torch._dynamo.config.patch(recompile_limit=_KEPT):
            return function(*arguments)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InvalidInput(
            f"compile = True given, but PyTorch cannot compile this model and loss here ({said[:200]}); leave it out"
        ) from error


def same(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], precision: Precision) -> bool:
    """Whether two (losses, gradient) agree, but for rounding."""
    return all(
        float((a - b).norm()) <= tolerance * float(b.norm())
        for a, b, tolerance in zip(ours, theirs, _SAME[precision], strict=True)
    )


def name_of(loss: Any) -> Any:
    """A loss as a part of a key: itself, or its identity where it cannot be hashed; what is compiled keeps it alive."""
    return loss if isinstance(loss, Hashable) else id(loss)
