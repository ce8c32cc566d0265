"""Rows of what samplers carry: tensors, evaluations and states that hold one row a chain."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def choose(chosen: Tensor, one: Any, other: Any) -> Any:
    """`one` in the chosen rows, `other` elsewhere; nothing is copied where that is all of them or none.

    Args:
        chosen: (R,), or () for a single chain, on the CPU.
        one, other: tensors of R rows, numbers, or tuples of these; where either is None, so is the result.
    """
    if bool(chosen.all()):
        return one
    return _choose(chosen, one, other) if bool(chosen.any()) else other


def _choose(chosen: Tensor, one: Any, other: Any) -> Any:
    if one is None or other is None:
        return None
    if isinstance(one, tuple):
        parts = [_choose(chosen, *pair) for pair in zip(one, other, strict=True)]
        return type(one)(*parts) if hasattr(one, "_fields") else tuple(parts)
    one, other = torch.as_tensor(one), torch.as_tensor(other)
    by_row = chosen.reshape(chosen.shape + (1,) * (one.ndim - chosen.ndim))
    return torch.where(by_row.to(one.device), one, other)


def take(chosen: Tensor, rows: Any) -> Any:
    """Only the chosen rows, (R,), of a tensor or of a tuple of tensors."""
    if rows is None or bool(chosen.all()):
        return rows
    if isinstance(rows, tuple):
        parts = [take(chosen, part) for part in rows]
        return type(rows)(*parts) if hasattr(rows, "_fields") else tuple(parts)
    return rows[chosen.to(rows.device)]


def row_of(rows: Any, row: int) -> Any:
    """One row of a tensor or of a tuple of tensors, still with a first dim of one."""
    if rows is None:
        return None
    if isinstance(rows, tuple):
        parts = [row_of(part, row) for part in rows]
        return type(rows)(*parts) if hasattr(rows, "_fields") else tuple(parts)
    return rows[row : row + 1]


def joined(parts: Sequence[Any]) -> Any:
    """Rows of several tensors, or of tuples of tensors of one kind, after one another."""
    if any(part is None for part in parts):
        return None
    if isinstance(parts[0], tuple):
        whole = [joined(part) for part in zip(*parts, strict=True)]
        return type(parts[0])(*whole) if hasattr(parts[0], "_fields") else tuple(whole)
    return torch.cat(list(parts))
