"""The copy of a model that is sampled: in eval mode, with one parameter where several share their memory."""

import copy
from collections import deque
from collections.abc import Collection, Iterable
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

    Args:
        model: any `nn.Module` with parameters; it stays as it is.
        device: where the copy goes; None for where the model is.
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
    same = copied(model)
    for names in groups:
        moving = next((name for name in names if same.get_parameter(name).requires_grad), names[0])
        first = same.get_parameter(moving)
        for name in names:
            owner, _, leaf = name.rpartition(".")
            setattr(same.get_submodule(owner), leaf, first)
    for module in same.modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            module.sparse = False
    same.eval()
    if device is not None:
        same.to(device)
    return same


def copied(model: nn.Module, unknown: Collection[int] = ()) -> nn.Module:
    """A copy that shares no parameter with the model, as it is.

    Args:
        unknown: ids of tensors of `made_of_weights` that are NaN in the copy.

    Raises:
        InvalidInput: it cannot be copied, or is its own copy.
    """
    kept = {
        id(tensor): torch.full_like(tensor, torch.nan) if id(tensor) in unknown else tensor.detach().clone()
        for _, tensor in made_of_weights(model)
    }
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


def made_of_weights(model: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Tensors that modules hold beside their parameters, and that were computed from these or lie on their memory.

    Activations, for the most part; but also `weight.t()`, if that is kept. They cannot be copied as they are.

    Returns:
        Each with the name of the attribute that it is in.
    """
    parameters = {id(parameter) for parameter in model.parameters()}
    memory = {_memory(parameter) for parameter in model.parameters()} - {None}
    seen: set[int] = set()
    for path, module in model.named_modules():
        for name, value in [*vars(module).items(), *module._buffers.items()]:
            if name in {"_modules", "_parameters", "_buffers"}:
                continue
            for tensor in _tensors_in(value, seen):
                if id(tensor) not in parameters and (not tensor.is_leaf or _memory(tensor) in memory):
                    yield (f"{path}.{name}" if path else name), tensor


def _memory(tensor: Tensor) -> int | None:
    """Where a tensor's numbers begin; None for those that are not in memory of their own, such as sparse ones."""
    with suppress(RuntimeError, NotImplementedError):
        return tensor.untyped_storage().data_ptr() or None
    return None


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
