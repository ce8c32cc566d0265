"""Structures of tuples, lists and dicts, such as batches are: their leaves, and the same structure with others."""

import copy
from collections.abc import Callable, Mapping
from typing import Any


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """The same structure with `function` of each of its leaves."""
    if isinstance(tree, Mapping | tuple | list):
        return with_children(lambda child: mapped(function, child), tree)
    return function(tree)


def with_children(function: Callable[[Any], Any], tree: Mapping | tuple | list) -> Any:
    """A mapping, tuple or list of the same type with `function` of each thing in it."""
    if isinstance(tree, Mapping):
        values = {key: function(value) for key, value in tree.items()}
        try:  # whatever else the mapping holds, such as the encodings of a tokeniser
            same = copy.copy(tree)
            same.update(values)  # type: ignore[attr-defined]
        except (AttributeError, TypeError):  # one that cannot be changed
            return values
        return same
    children = [function(value) for value in tree]
    return type(tree)(*children) if hasattr(tree, "_fields") else type(tree)(children)


def leaves_of(tree: Any) -> list:
    """Its leaves, in order.

    Args:
        tree: mappings, tuples and lists, nested, or a single leaf.
    """
    leaves: list = []
    mapped(leaves.append, tree)
    return leaves
