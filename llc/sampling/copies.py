"""The copy of a model that is sampled: in eval mode, with one parameter where several share their memory."""

import copy
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from llc.errors import InvalidInput
from llc.sampling.weights import check_model


def sampled_copy(model: nn.Module, device: torch.device | None = None) -> nn.Module:
    """A copy in eval mode that shares nothing with the model and computes the same.

    Parameters on one piece of memory (`b.weight.data = a.weight.data`) are one parameter in it, as they are one weight
    in the model. Activations that a module has kept are copied without what they were computed from. Embeddings give
    dense gradients.

    Raises:
        InvalidInput: no module with parameters, one that has no weights yet or holds what cannot be copied, or
            parameters that share memory in part.
    """
    check_model(model)
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise InvalidInput(f"parameter {name} has no shape yet, for its module is lazy; call the model on a batch "
                               "first")  # fmt: skip
        if parameter.is_meta:
            raise InvalidInput(f"parameter {name} is on the meta device, which holds no numbers; load the weights "
                               "first, as by load_state_dict(state, assign=True)")  # fmt: skip
    groups = _shared_storage(model)
    same = _copied(model)
    for names in groups:
        first = same.get_parameter(names[0])
        for name in names[1:]:
            owner, _, leaf = name.rpartition(".")
            setattr(same.get_submodule(owner), leaf, first)
    for module in same.modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            module.sparse = False
    same.eval()
    if device is not None:
        same.to(device)
    return same


def check_no_other(model: nn.Module, call: Callable[[], object]) -> None:
    """Raise InvalidInput where what runs the copy also runs modules of the model it was copied from.

    Args:
        model: the original. call: computes losses of the copy.
    """
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


def _copied(model: nn.Module) -> nn.Module:
    kept = {id(tensor): tensor.detach().clone() for tensor in _computed_tensors(model)}
    try:
        made = copy.deepcopy(model, kept)
    except Exception as error:
        for path, module in model.named_modules():
            for name, value in vars(module).items():
                if name in {"_modules", "_parameters", "_buffers"}:
                    continue
                try:
                    copy.deepcopy(value, dict(kept))
                except Exception:
                    where = f"{path}.{name}" if path else name
                    raise InvalidInput(
                        f"the model's {where}, a {type(value).__name__}, cannot be copied ({error}); take it off the "
                        f"{type(module).__name__}, or give that a __deepcopy__"
                    ) from error
        raise InvalidInput(f"{type(model).__name__} cannot be copied ({type(error).__name__}: {error})") from error
    mine = dict(model.named_modules())
    theirs = {id(parameter) for parameter in model.parameters()}
    for path, module in made.named_modules():
        own = module.named_parameters(path, recurse=False)
        shared = next((name for name, parameter in own if id(parameter) in theirs), None)
        if shared:
            same = module is mine.get(path)
            what = f"module {path or type(model).__name__}" if same else f"parameter {shared}"
            raise InvalidInput(
                f"a copy of the model holds its very {what}, so that sampling would move yours; the __deepcopy__ of "
                f"{type(module).__name__} has to copy it"
            )
    return made


def _computed_tensors(model: nn.Module) -> Iterable[Tensor]:
    """Results of a computation that modules have kept: such tensors cannot be copied as they are."""
    seen: set[int] = set()
    for module in model.modules():
        for name, value in vars(module).items():
            if name not in {"_modules", "_parameters"}:
                yield from (leaf for leaf in _tensors_in(value, seen) if not leaf.is_leaf)


def _tensors_in(value: Any, seen: set[int]) -> Iterable[Tensor]:
    """Tensors in containers and in attributes of objects, each of these looked at once."""
    if isinstance(value, Tensor):
        yield value
        return
    if id(value) in seen or isinstance(value, type | ModuleType | FunctionType):
        return
    seen.add(id(value))
    if isinstance(value, dict):
        yield from _tensors_in_all(value.values(), seen)
    elif isinstance(value, list | tuple | set | frozenset | deque):
        yield from _tensors_in_all(value, seen)
    with suppress(TypeError):  # of an object without attributes
        yield from _tensors_in_all(vars(value).values(), seen)


def _tensors_in_all(values: Iterable[Any], seen: set[int]) -> Iterable[Tensor]:
    for one in list(values):
        yield from _tensors_in(one, seen)


def _shared_storage(model: nn.Module) -> list[list[str]]:
    """Names of different parameters that are one piece of memory.

    Raises:
        InvalidInput: two that share a part of it.
    """
    by_storage: dict[int, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in model.named_parameters():
        if parameter.numel():
            by_storage.setdefault(parameter.untyped_storage().data_ptr(), []).append((name, parameter))
    groups = []
    for members in by_storage.values():
        layouts: dict[tuple, list[str]] = {}
        for name, parameter in members:
            layout = parameter.dtype, parameter.storage_offset(), parameter.shape, parameter.stride()
            layouts.setdefault(layout, []).append(name)
        _check_apart([names[0] for names in layouts.values()], dict(members))
        groups += [names for names in layouts.values() if len(names) > 1]
    return groups


def _check_apart(names: list[str], parameters: dict[str, nn.Parameter]) -> None:
    """Parameters of one storage that share no element, or InvalidInput."""
    if len(names) < 2:
        return
    size = parameters[names[0]].element_size()
    owner = torch.full((parameters[names[0]].untyped_storage().nbytes() // size,), -1, dtype=torch.int32)
    for number, name in enumerate(names):
        parameter = parameters[name]
        if parameter.element_size() != size:
            continue
        its_own = owner.as_strided(parameter.shape, parameter.stride(), parameter.storage_offset())
        if int(its_own.max()) >= 0:
            raise InvalidInput(
                f"parameters {names[int(its_own.max())]} and {name} share memory but not shape, so that they cannot be "
                "moved apart; use one parameter, and transpose or slice it where it is used"
            )
        its_own.fill_(number)
