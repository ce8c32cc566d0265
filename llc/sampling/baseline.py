"""Whether ℓ_i(w*) is a function of weights and sample, as every paired difference takes it to be.

A difference ℓ_i(w) − ℓ_i(w*) whose two sides are computed in two ways has a mean of its own, which nβ multiplies; and
noise in the one baseline moves every draw alike, so that no number of them shows it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from llc.errors import InvalidInput
from llc.sampling.data import Samples
from llc.sampling.data_forms import check_same_samples
from llc.sampling.gradient import check_positions, mean_over_positions

# Samples that are looked at more than once.
_CHECKED = 128
# Of them so many are looked at in other company, so many at a time: few, and no divisor of a usual batch.
_IN_COMPANY, _GROUP = 30, 3
# Two values of one loss may differ by so much relative to it, or to what nine tenths of samples do not exceed, for sums
# are taken in another order, …
_ROUNDING, _USUAL = 1e-3, 0.9
# … and by so much of a nat, which moves no estimate.
_NATS = 1e-2
# Where random numbers are drawn that seldom matter, losses are looked at so often.
_LOOKS_AT_CHANCE = 30

Losses = Callable[[Tensor], Tensor]
"""indices (B,) -> ℓ_i(w*), (B,) or (B, K)."""


def check_baseline(model: nn.Module, samples: Samples, nbeta: float, without: Losses, gradient: Losses) -> None:
    """ℓ_i(w*) of some samples is the same again, with and without gradients, and in other company; or InvalidInput.

    Args:
        model: the copy that is sampled, at w*.
        nbeta: what multiplies differences.
        without, gradient: the losses as full passes and as gradients compute them.

    Raises:
        InvalidInput: it is not, with the cause where that can be found.
    """
    few = _few(samples)
    first = without(few)

    def moved(again: Tensor, which: Tensor | slice = slice(None)) -> float:
        return _moved(again, first[which], nbeta, usual=_usual(first))

    with _RandomOperations([]) as drawn:
        off = moved(without(few))
    for _ in range(_LOOKS_AT_CHANCE if drawn.first else 0):
        off = off or moved(without(few))

    def changes(off: float) -> InvalidInput:
        check_same_samples(samples.batch(few), samples.batch(few), "data")
        return InvalidInput(
            f"the loss at w* changes from call to call, by up to {off:.3g} for one sample"
            f"{_source(model, few, without)}, and λ̂ is of a function of the weights; leave out what is random, or draw "
            "it once and make it a part of data"
        )

    if off:
        raise changes(off)
    if off := moved(gradient(few)):
        raise InvalidInput(
            f"the loss at w* is another when gradients are taken, by up to {off:.3g} for one sample; the model or loss "
            "must compute the same with and without (see torch.is_grad_enabled)"
        )
    order = torch.randperm(len(few), generator=torch.Generator().manual_seed(0))[:_IN_COMPANY]
    groups = order[: len(order) - len(order) % _GROUP].split(_GROUP) if len(order) >= _GROUP else ()
    for group in groups:
        again = without(few[group])
        check_positions(again, first.shape[1:])
        if off := moved(again, group):
            if later := moved(without(few)):  # it is not the company
                raise changes(later)
            raise InvalidInput(
                f"a sample's loss at w* depends on which others are in its batch, by up to {off:.3g}{_company(model)}; "
                "λ̂ is of a mean over samples, each with a loss of its own"
            )


def check_still(samples: Samples, nbeta: float, without: Losses, baseline: Tensor) -> None:
    """ℓ_i(w*) is after the draws what it was before, or InvalidInput.

    Args:
        without: as for `check_baseline`.
        baseline: ℓ_i(w*) of all samples, (n,), from before.
    """
    few = _few(samples)
    now = mean_over_positions(without(few))
    before = baseline[few.to(baseline.device)].to(now)
    if off := _moved(now, before, nbeta, usual=_usual(before)):
        raise InvalidInput(
            f"the loss at w* has changed while chains ran, by up to {off:.3g} for one sample: the loss or the model "
            "remembers how often it was called, or looks at something that changes; λ̂ is of a function of the weights"
        )


def _few(samples: Samples) -> Tensor:
    """Samples that are looked at more than once, spread over all."""
    return torch.unique(torch.linspace(0, len(samples) - 1, min(len(samples), _CHECKED)).long())


def _usual(losses: Tensor) -> float:
    """The size that nine tenths of them do not exceed."""
    return float(losses.abs().nan_to_num().flatten().double().quantile(_USUAL))


def _moved(again: Tensor, first: Tensor, nbeta: float, *, usual: float) -> float:
    """How far losses are from what they were, for one sample at most; 0 for what is rounding."""
    off = (again - first).abs().nan_to_num()
    beyond = (off > _ROUNDING * first.abs().nan_to_num().clamp(min=usual)) & (off * max(nbeta, 1.0) > _NATS)
    return float(off[beyond].max()) if bool(beyond.any()) else 0.0


def _company(model: nn.Module) -> str:
    """What makes samples of a batch meet, where that can be told."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is None:
            return (
                f", for {name or 'the model'} is a {type(module).__name__} without running averages "
                "(track_running_stats=False)"
            )
    return " (a loss that compares samples, or divides by the sum over a batch)"


def _source(model: nn.Module, few: Tensor, losses: Losses) -> str:
    """Which operation draws random numbers, and in which part of the model."""
    with _inside(model) as parts, _RandomOperations(parts) as seen:
        losses(few)
    return f": {seen.first} is called" if seen.first else ""


class _RandomOperations(TorchDispatchMode):
    """Notes the first operation that draws random numbers."""

    def __init__(self, parts: list[str]) -> None:
        super().__init__()
        self._parts, self.first = parts, ""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in operation.tags and not self.first:
            where = f"in {self._parts[-1]}" if self._parts else "in the loss"
            self.first = f"{operation.overloadpacket.__name__} {where}"
        return operation(*args, **(kwargs or {}))


@contextmanager
def _inside(model: nn.Module) -> Iterator[list[str]]:
    """Names of the modules whose forward is under way, innermost last."""
    parts: list[str] = []
    hooks = []
    for name, module in model.named_modules():
        said = f"{name} ({type(module).__name__})" if name else type(module).__name__
        with suppress(RuntimeError):  # scripted modules take none
            hooks.append(module.register_forward_pre_hook(lambda *_, said=said: parts.append(said)))
            hooks.append(module.register_forward_hook(lambda *_: parts.pop() and None))
    try:
        yield parts
    finally:
        for hook in hooks:
            hook.remove()
