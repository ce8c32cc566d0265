"""Whether a loss is one of the copy that is sampled and of nothing else, and its gradient its own."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress

import torch
from torch import Tensor, nn

from llc.errors import InvalidInput, LLCError
from llc.sampling.copies import copied, made_of_weights
from llc.sampling.weights import Restriction, chosen_weights

# By so much of its size, or of 1, a weight is moved to see whether losses follow.
_MOVED = 0.1
# Differences are taken over these shares of a weight's usual size; where they agree to the first share, a gradient that
# is off by the second is not the loss's.
_STEPS, _AGREE, _OFF = (0.01, 0.003), 0.03, 0.15

Losses = Callable[[nn.Module], Tensor]
"""model -> the losses of a few samples."""


def check_apart(model: nn.Module, made: nn.Module, losses: Losses, restriction: Restriction | None = None) -> None:
    """Refuse a loss that weights of the copy do not move alone, or whose gradient is missing or another's.

    Args:
        model: the original.
        made: the copy that is sampled, in eval mode.
        losses: of a few samples.
        restriction: which weights move, see `llc.sampling.chosen_weights`.

    Raises:
        InvalidInput: modules of the original run, or its weights are used; something the model holds was computed from
            its weights before, and is used as it is; gradients cannot be taken, or are not those of the loss.
    """
    _check_modules(model, lambda: losses(made))
    with torch.inference_mode(False), torch.enable_grad():
        try:
            found = losses(made)
            if found.requires_grad:
                _check_leaves(model, found)
                torch.autograd.grad(found.sum(), [p for p in made.parameters() if p.requires_grad], allow_unused=True)
        except RuntimeError as error:
            hint = "; clone what the loss or model holds outside of inference_mode" if "nference" in str(error) else ""
            raise InvalidInput(f"the gradient of the loss cannot be taken ({_first(error)}){hint}") from error
    if not found.requires_grad and _follows(made, losses):
        raise InvalidInput(
            "the loss moves with the weights, but has no gradient: the model or the loss detaches, runs under "
            "torch.no_grad() or inference_mode(), or checkpoints with use_reentrant=True; let gradients through"
        )
    if found.requires_grad:
        _check_slope({name: one.parameter for name, one in chosen_weights(made, restriction).items()}, made, losses)
    _check_kept(model, found, losses)


def _check_modules(model: nn.Module, call: Callable[[], object]) -> None:
    """No module of the original runs."""
    called: list[str] = []
    hooks = []
    for name, module in model.named_modules():
        said = name or type(module).__name__
        with suppress(RuntimeError):  # scripted modules take none
            hooks.append(module.register_forward_pre_hook(lambda *_, said=said: called.append(said)))
    try:
        with torch.no_grad():
            call()
    finally:
        for hook in hooks:
            hook.remove()
    if called:
        raise InvalidInput(
            f"the loss, or a function that the model holds, calls {called[0]} of the model that was given, which stays "
            "as it is while a copy is sampled; use what it is given, loss(model, batch), and self in place of closures"
        )


def _check_leaves(model: nn.Module, found: Tensor) -> None:
    """No parameter of the original is in the losses' graph."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for leaf in _leaves(found):
        if id(leaf) in names:
            raise InvalidInput(
                f"the loss, or a function that the model holds, uses {names[id(leaf)]} of the model that was given, "
                "which stays as it is while a copy is sampled; take weights from what it is given, loss(model, batch)"
            )


def _leaves(found: Tensor) -> Iterator[Tensor]:
    """What gradients of a tensor would be added to."""
    seen, waiting = set(), [found.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting += [following for following, _ in node.next_functions]


@torch.no_grad()
def _follows(made: nn.Module, losses: Losses) -> bool:
    """Whether losses move with the copy's weights, which are put back."""
    before, moving = losses(made).clone(), [p for p in made.parameters() if p.requires_grad and p.is_floating_point()]
    kept = [parameter.clone() for parameter in moving]
    for parameter in moving:
        parameter.add_(_MOVED * parameter.abs().clamp(min=1.0))
    after = losses(made)
    for parameter, values in zip(moving, kept, strict=True):
        parameter.copy_(values)
    return not torch.equal(before, after)


def _check_slope(named: Mapping[str, nn.Parameter], made: nn.Module, losses: Losses) -> None:
    """The gradient along a random direction is the slope of the losses there, near w* but not at it.

    Where a part of the model is detached the chain would follow the gradient of something else. Differences over two
    steps tell the slope where they agree; where they do not, of rounding, kinks or noise, nothing is said.
    """
    rng, kept = torch.Generator().manual_seed(0), {name: p.detach().clone() for name, p in named.items()}
    sizes = {name: _MOVED * (float(p.detach().double().square().mean().sqrt()) or 1.0) for name, p in named.items()}
    away, along = (
        {name: (sizes[name] * torch.randn(p.shape, generator=rng)).to(p) for name, p in named.items()} for _ in range(2)
    )

    @torch.no_grad()
    def moved(share: float, names: Collection[str]) -> float:
        for name, parameter in named.items():
            parameter.copy_(kept[name] + away[name] + (share * along[name] if name in names else 0))
        return float(losses(made).double().mean())

    def slope(names: Collection[str]) -> float:
        """NaN where steps of two sizes do not agree."""
        one, other = ((moved(h, names) - moved(-h, names)) / (2 * h) for h in _STEPS)
        return one if abs(one - other) <= _AGREE * max(abs(one), abs(other)) else math.nan

    try:
        moved(0.0, ())
        with torch.inference_mode(False), torch.enable_grad():
            total = losses(made).double().mean()
            found = torch.autograd.grad(total, [*named.values()], allow_unused=True)
        parts = dict(zip(named, found, strict=True))
        dense = {name: part.to_dense() for name, part in parts.items() if part is not None}
        told = sum(float((part * along[name]).double().sum()) for name, part in dense.items())
        usual = math.hypot(*(sizes[name] * float(part.double().norm()) for name, part in dense.items()))
        true = slope(named.keys())
        silent = [name for name, part in parts.items() if part is None]
        if not abs(told - true) > _OFF * max(abs(told), abs(true), usual):
            return
        moving = [name for name in silent if abs(slope({name})) > 0]
    except (RuntimeError, LLCError):  # what cannot be computed so near to w* has been told, or is no concern of this
        return
    finally:
        with torch.no_grad():
            for name, parameter in named.items():
                parameter.copy_(kept[name])
    if moving:
        raise InvalidInput(
            f"the loss moves with {', '.join(moving[:4])}, but has no gradient there, so that chains would not know: "
            "let gradients through (no detach() and no torch.no_grad() on the way), or hold these weights with "
            "requires_grad_(False)"
        )
    raise InvalidInput(
        f"the gradient of the loss is not its slope: along a random direction near w* it is {told:.3g} where the loss "
        f"rises by {true:.3g}; something on the way is detached, or has a backward pass of its own, and chains would "
        "follow another loss's gradient"
    )


def _check_kept(model: nn.Module, found: Tensor, losses: Losses) -> None:
    """Nothing that was computed from weights before is used: it is only overwritten, as activations are."""
    held = [(name, tensor) for name, tensor in made_of_weights(model) if tensor.is_floating_point()]
    if not held or not _used(model, {id(tensor) for _, tensor in held}, found, losses):
        return
    name = next(name for name, tensor in held if _used(model, {id(tensor)}, found, losses) or tensor is held[-1][1])
    raise InvalidInput(
        f"the model's {name} was made of its weights before, and is used as it was, so that it would stay as it is "
        "while they move; make it in forward, of the parameter itself"
    )


@torch.no_grad()
def _used(model: nn.Module, unknown: set[int], found: Tensor, losses: Losses) -> bool:
    """Whether losses are NaN that were not, once some tensors are."""
    now = losses(copied(model, unknown).eval().to(found.device))
    return bool((now.isnan() & ~found.isnan()).any())


def _first(error: Exception) -> str:
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__
