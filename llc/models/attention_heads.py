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

    Knows the transformers of this library, `nn.MultiheadAttention`, and of Hugging Face those built as GPT-2, GPT-NeoX
    or Llama.

    Returns:
        By `layer.head`, both counted from 0 in the order of the modules.

    Raises:
        InvalidInput: a model without attention of such a kind.
    """
    found: dict[str, Masks] = {}
    layer = 0
    for path, module in model.named_modules():
        for matches, split in _KINDS:
            if matches(module):
                for number, masks in enumerate(split(module)):
                    found[f"{layer}.{number}"] = {f"{path}.{name}" if path else name: m for name, m in masks.items()}
                layer += 1
                break
    if not found:
        raise InvalidInput(
            f"{type(model).__name__} has no attention that is known here; give masks by name, such as "
            "{'attention.weight': mask}"
        )
    return found


def _has(*names: str) -> Callable[[nn.Module], bool]:
    return lambda module: all(isinstance(getattr(module, name, None), nn.Module) for name in names)


def _ours(module: Any) -> Iterator[Masks]:
    """`qkv` of all heads' q, then k, then v; `projection`."""
    return _three_blocks(module, module.heads, "qkv", "projection", rows=0)


def _gpt2(module: Any) -> Iterator[Masks]:
    """The same with maps whose weights are (inputs, outputs)."""
    return _three_blocks(module, module.num_heads, "c_attn", "c_proj", rows=1)


def _three_blocks(module: Any, number: int, asking: str, out: str, *, rows: int) -> Iterator[Masks]:
    width = getattr(module, asking).weight.shape[rows] // 3
    for head in range(number):
        at = slice(head * width // number, (head + 1) * width // number)
        masks: Masks = {}
        for part in range(3):
            of_part = slice(part * width + at.start, part * width + at.stop)
            _set(masks, module, f"{asking}.weight", rows, of_part)
            _set(masks, module, f"{asking}.bias", 0, of_part)
        _set(masks, module, f"{out}.weight", 1 - rows, at)
        yield masks


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
    size = module.head_size
    for head in range(module.query_key_value.weight.shape[0] // (3 * size)):
        masks: Masks = {}
        for name in ("query_key_value.weight", "query_key_value.bias"):
            _set(masks, module, name, 0, slice(3 * head * size, 3 * (head + 1) * size))
        _set(masks, module, "dense.weight", 1, slice(head * size, (head + 1) * size))
        yield masks


def _llama(module: Any) -> Iterator[Masks]:
    size = module.head_dim
    number, shared = (getattr(module, name).weight.shape[0] // size for name in ("q_proj", "k_proj"))
    for head in range(number):
        at, masks = slice(head * size, (head + 1) * size), dict[str, Tensor]()
        for name in ("q_proj", "k_proj", "v_proj") if shared == number else ("q_proj",):
            _set(masks, module, f"{name}.weight", 0, at)
            _set(masks, module, f"{name}.bias", 0, at)
        _set(masks, module, "o_proj.weight", 1, at)
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
    (_has("qkv", "projection"), _ours),
    (_has("c_attn", "c_proj"), _gpt2),
    (_has("query_key_value", "dense"), _neox),
    (_has("q_proj", "k_proj", "v_proj", "o_proj"), _llama),
    (lambda module: isinstance(module, nn.MultiheadAttention), _torch),
)
