"""The gradient as one function that PyTorch compiles for the machine.

On a CPU it takes a third of the time off a small transformer's gradient, after half a minute of compiling: for long
studies. What was compiled serves every target of the same shapes in a process, and PyTorch keeps it on disk for others.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad

from llc.devices import Precision
from llc.errors import InvalidInput
from llc.objective import Objective
from llc.sampling.gradient import Gradient, LossesAndGradient, functional_losses
from llc.sampling.weights import Frozen

# Relative to their size, how far losses and gradients may be from those computed step by step, …
_SAME = {"float32": (1e-5, 1e-4), "tf32": (1e-3, 1e-2), "bf16": (1e-2, 1e-1)}
# … at so far from w*, relative to ‖w*‖: at w* itself losses may all be 0.
_AWAY = 0.01
# Functions that PyTorch keeps of one place in the code, which all of these share; its own 8 would soon be used up.
_KEPT = 256

# Of this process, by what it was compiled for.
_compiled: dict[tuple, Callable] = {}
_MOST = 8


def agreeing_function(
    gradient: Gradient, center: Tensor, frozen: Frozen, batch: Any, weight: float
) -> LossesAndGradient:
    """The compiled form of `gradient.plain`, once it has given the same a little away from w*.

    Models of one kind share what was compiled, though they may differ in what they do; hence the comparison.

    Args:
        center: w*, (P,).
        frozen, batch, weight: to compare with.
    Raises:
        InvalidInput: PyTorch cannot compile it, or what it compiles does something else.
    """
    rng = torch.Generator().manual_seed(0)
    direction = torch.randn(center.shape, generator=rng, dtype=center.dtype).to(center.device)
    away = center + direction * (_AWAY * float(center.norm().clamp(min=1e-3)) / float(direction.norm()))
    expected = gradient.plain(away, frozen, batch, weight)
    key = (gradient.weights.kind, _name_of(gradient.loss), gradient.precision, str(gradient.device))
    for _ in range(2):
        if key not in _compiled:
            if len(_compiled) == _MOST:
                _compiled.pop(next(iter(_compiled)))
            _compiled[key] = _compile(gradient)
        function = _callable(_compiled[key])
        if _same(function(away, frozen, batch, weight), expected, gradient.precision):
            return function
        _compiled.pop(key)  # it was compiled for another model of these shapes
    raise InvalidInput(
        "compile = True given, but the compiled gradient of this model and loss differs from the one that is computed "
        "step by step; leave it out"
    )


def _compile(gradient: Gradient) -> Callable:
    objective = Objective(copy.deepcopy(gradient.weights.model), gradient.loss)  # kept longer than the target
    losses_at = functional_losses(objective, gradient.weights, gradient.precision, gradient.device)

    def value(position: Tensor, frozen: Frozen, batch: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
        losses = losses_at(position, frozen, batch)
        return (losses.sum() * weight).to(position.dtype), losses

    # Every size of a batch has a function of its own: there are two or three.
    return torch.compile(grad(value, has_aux=True), dynamic=False)


def _callable(function: Callable) -> LossesAndGradient:
    """A compiled function as one of the forms; what PyTorch cannot compile is said in one sentence."""

    def losses_and_gradient(
        position: Tensor, frozen: Frozen, batch: Any, weight: Tensor | float
    ) -> tuple[Tensor, Tensor]:
        weight = torch.as_tensor(weight, dtype=position.dtype, device=position.device)
        try:
            with torch.inference_mode(False), torch.no_grad(), torch._dynamo.config.patch(recompile_limit=_KEPT):
                gradient, losses = function(position.clone(), frozen, batch, weight)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise InvalidInput(
                f"compile = True given, but PyTorch cannot compile this model and loss here ({said[:200]}); leave it "
                "out"
            ) from error
        return losses, gradient

    return losses_and_gradient


def _same(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], precision: Precision) -> bool:
    """Whether two (losses, gradient) agree, but for rounding."""
    return all(
        float((a.double() - b.double()).norm()) <= tolerance * float(b.double().norm())
        for a, b, tolerance in zip(ours, theirs, _SAME[precision], strict=True)
    )


def _name_of(loss: Any) -> int:
    """A loss as a part of a key: its hash, or its identity where it has none; what is compiled keeps it alive.

    Not itself: two that are alike would be compared, which tensors that they hold cannot be.
    """
    try:
        return hash(loss)
    except TypeError:  # such as one of a task with a list among its settings
        return id(loss)
