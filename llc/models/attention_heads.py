"""Which weights make up each attention head of a transformer, ours or other libraries'."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from llc.errors import InvalidInput

Masks = dict[str, Tensor]
"""By a parameter's name, where it belongs to a head."""


def heads(model: nn.Module) -> dict[str, Masks]:
    """The weights of every attention head as masks: what `estimate_llc(…, parameters=heads(model)["0.1"])` moves.

    A head is its queries', keys' and values' rows of the maps and biases, and its columns of the output map, whose bias
    belongs to none. Where several heads share keys and values, those belong to none either.

    Knows the transformers of this library, `nn.MultiheadAttention`, of Hugging Face those built as GPT-2, GPT-NeoX or
    Llama, and TransformerLens's `HookedTransformer`, whose weights have a dim of heads.

    Args:
        model: a transformer; it is only looked at.
    Returns:
        By `layer.head`, both counted from 0 in the order of the modules.

    Raises:
        InvalidInput: a model without attention of such a kind, or with attention of another.
    """
    if not isinstance(model, nn.Module):
        raise InvalidInput(f"model is a {type(model).__name__}, expected a torch.nn.Module")
    found: dict[str, Masks] = {}
    known: list[str] = []
    layer = 0
    for path, module in model.named_modules():
        for matches, split in _KINDS:
            if matches(module):
                for number, masks in enumerate(_split(module, split)):
                    found[f"{layer}.{number}"] = {f"{path}.{name}" if path else name: m for name, m in masks.items()}
                layer += 1
                known.append(path)
                break
    for path, module in model.named_modules():
        inside = any(f"{path}.".startswith(f"{one}.") or f"{one}.".startswith(f"{path}.") or not path for one in known)
        if found and not inside and type(module).__name__.endswith("Attention"):
            raise InvalidInput(
                f"{path} is a {type(module).__name__}, which is not known here; give masks of its heads by name, and "
                "heads(…) of the parts that are"
            )
    if not found:
        raise InvalidInput(
            f"{type(model).__name__} has no attention that is known here; give masks by name, such as "
            "{'attention.weight': mask}"
        )
    return found


# Keys and values, which belong to no head where several share them.
_SHARED = ("k_proj", "v_proj", "W_K", "W_V", "b_K", "b_V")


def _split(module: nn.Module, split: Callable[[Any], Iterator[Masks]]) -> list[Masks]:
    """Masks of a module's heads, which have all rows and columns of every map between them; or InvalidInput."""
    try:
        found = list(split(module))
    except (AttributeError, IndexError, RuntimeError, TypeError, ZeroDivisionError):
        found = []
    maps = {name for masks in found for name, mask in masks.items() if mask.ndim > 1}
    inside = {id(module.get_parameter(name)) for name in maps}
    left_out = [name for name, one in module.named_parameters() if one.ndim > 1 and id(one) not in inside]
    for name in maps:
        whole = torch.stack([masks[name] for masks in found if name in masks]).any(0)
        if not whole.all():
            left_out.append(name)
    if not found or any(not name.lstrip("_").startswith(_SHARED) for name in left_out):
        raise _unknown(module)
    return found


def _has(*names: str) -> Callable[[nn.Module], bool]:
    return lambda module: all(isinstance(getattr(module, name, None), nn.Module) for name in names)


def _number(module: Any, *names: str) -> int:
    """How many heads there are, under the first of these names that is a number."""
    found = [getattr(module, name, None) for name in names]
    found += [getattr(getattr(module, "config", None), name, None) for name in ("num_attention_heads", "n_head")]
    return next((number for number in found if isinstance(number, int) and not isinstance(number, bool)), 0)


def _three_blocks(asking: str, out: str) -> Callable[[Any], Iterator[Masks]]:
    """A map to all heads' q, then k, then v; its weight is (outputs, inputs), or the other way in GPT-2's `Conv1D`."""

    def split(module: Any) -> Iterator[Masks]:
        number, weight = _number(module, "heads", "num_heads", "n_head"), getattr(module, asking).weight
        rows = 1 if type(getattr(module, asking)).__name__ == "Conv1D" else 0
        width = weight.shape[rows] // 3
        if not number or weight.shape[rows] != 3 * width or width % number or width != weight.shape[1 - rows]:
            raise _unknown(module)
        for head in range(number):
            at = slice(head * width // number, (head + 1) * width // number)
            masks: Masks = {}
            for part in range(3):
                of_part = slice(part * width + at.start, part * width + at.stop)
                _set(masks, module, f"{asking}.weight", rows, of_part)
                _set(masks, module, f"{asking}.bias", 0, of_part)
            _set(masks, module, f"{out}.weight", 1 - rows, at)
            yield masks

    return split


def _unknown(module: nn.Module) -> InvalidInput:
    return InvalidInput(
        f"the heads of {type(module).__name__} lie in its weights in a way that is not known here; give masks by name, "
        "such as {'attention.weight': mask}"
    )


def _torch(module: Any) -> Iterator[Masks]:
    number, width = module.num_heads, module.embed_dim
    for head in range(number):
        at = slice(head * width // number, (head + 1) * width // number)
        masks: Masks = {}
        for part, name in enumerate(("q_proj_weight", "k_proj_weight", "v_proj_weight")):
            of_part = slice(part * width + at.start, part * width + at.stop)
            _set(masks, module, "in_proj_weight", 0, of_part)
            _set(masks, module, name, 0, at)
            _set(masks, module, "in_proj_bias", 0, of_part)
        _set(masks, module, "out_proj.weight", 1, at)
        yield masks


def _neox(module: Any) -> Iterator[Masks]:
    """`query_key_value` of each head's q, k and v one after another."""
    size = getattr(module, "head_size", 0)
    number, rows = _number(module), module.query_key_value.weight.shape[0]
    if not size or rows != 3 * size * (number or rows // (3 * size)):
        raise _unknown(module)
    for head in range(rows // (3 * size)):
        masks: Masks = {}
        for name in ("query_key_value.weight", "query_key_value.bias"):
            _set(masks, module, name, 0, slice(3 * head * size, 3 * (head + 1) * size))
        _set(masks, module, "dense.weight", 1, slice(head * size, (head + 1) * size))
        yield masks


def _llama(module: Any) -> Iterator[Masks]:
    size = getattr(module, "head_dim", 0)
    if not size:
        raise _unknown(module)
    number, shared = (getattr(module, name).weight.shape[0] // size for name in ("q_proj", "k_proj"))
    for head in range(number):
        at, masks = slice(head * size, (head + 1) * size), dict[str, Tensor]()
        for name in ("q_proj", "k_proj", "v_proj") if shared == number else ("q_proj",):
            _set(masks, module, f"{name}.weight", 0, at)
            _set(masks, module, f"{name}.bias", 0, at)
        _set(masks, module, "o_proj.weight", 1, at)
        yield masks


def _lens(module: Any) -> Iterator[Masks]:
    """TransformerLens: `W_Q`, `W_K`, `W_V` (head, width, size), `W_O` (head, size, width), and `b_Q`, `b_K`, `b_V`.

    Where keys and values are shared, they have fewer heads, and other names (`_W_K`), than what the queries have.
    """
    number = module.W_Q.shape[0]
    if any(getattr(module, name).ndim != 3 for name in ("W_Q", "W_O")) or module.W_O.shape[0] != number:
        raise _unknown(module)
    for head in range(number):
        masks: Masks = {}
        for name in ("W_Q", "b_Q", "W_K", "b_K", "W_V", "b_V", "sinks", "W_O"):
            if getattr(getattr(module, name, None), "shape", (0,))[0] == number:
                _set(masks, module, name, 0, slice(head, head + 1))
        yield masks


def _set(masks: Masks, module: nn.Module, name: str, dim: int, at: slice) -> None:
    """Mark a stretch of a parameter along a dim, if the module has it."""
    parameter: Any = module
    for part in name.split("."):
        parameter = getattr(parameter, part, None)
    if isinstance(parameter, nn.Parameter):
        mask = masks.setdefault(name, torch.zeros(parameter.shape, dtype=torch.bool, device=parameter.device))
        mask.narrow(dim, at.start, at.stop - at.start).fill_(True)


_KINDS: tuple[tuple[Callable[[nn.Module], bool], Callable[[Any], Iterator[Masks]]], ...] = (
    (_has("qkv", "projection"), _three_blocks("qkv", "projection")),
    (_has("c_attn", "c_proj"), _three_blocks("c_attn", "c_proj")),
    (_has("query_key_value", "dense"), _neox),
    (_has("q_proj", "k_proj", "v_proj", "o_proj"), _llama),
    (lambda module: isinstance(module, nn.MultiheadAttention), _torch),
    (lambda module: all(isinstance(getattr(module, name, None), nn.Parameter) for name in ("W_Q", "W_O")), _lens),
)
