"""Where a run stands in its sweep: the values of the sweep's axes, as labels, as names of folders, as coordinates."""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from llc.errors import InvalidInput, shown
from llc.store.reserved import is_reserved
from llc.store.tables import Table

# By axis, such as {"num_tasks": "inf", "seed": 0}: the value as a table holds it.
Place = Mapping[str, Any]

_LONGEST = 40
# A sweep of more runs is a slip of the keyboard.
_MOST_RUNS = 10**4


class Words(Protocol):
    """What says what an axis is."""

    def said(self, name: str) -> str:
        """In words."""

    def symbol(self, name: str) -> str:
        """In a legend."""


def dims_of(axes: Mapping[str, Any]) -> dict[str, str]:
    """The dim of every axis: the last part of its key, with those before it where results or other axes need that name.

    Of `task.seed`, whose last part is that of the runs' seeds, it is `task_seed`.

    Raises:
        InvalidInput: an axis that cannot be told from what results hold, or from another one.
    """
    lasts = [key.rpartition(".")[2] for key in axes]
    found: dict[str, str] = {}
    for key in axes:
        parts = key.split(".")
        names = ["_".join(parts[start:]) for start in reversed(range(len(parts)))]
        if lasts.count(names[0]) > 1 or (names[0] == "seed" and key != "seed"):
            names = names[1:] or names
        dim = next((name for name in names if not is_reserved(name)), None)
        if dim is None or dim in found.values():
            other = "needed by results" if dim is None else f"that of {_key_of(found, dim)}"
            raise InvalidInput(f"sweep.axes has {key}, whose name {names[0]} is {other}; sweep something else")
        found[key] = dim
    return found


def check_values(key: str, values: list) -> None:
    """At least one value for an axis, none twice, numbers alone or words alone; or InvalidInput."""
    labels = [coordinate(one) for one in values]
    if not values or len(set(labels)) != len(labels):
        raise InvalidInput(f"expected at least one value for {key}, none twice; {shown(values)} given")
    if len({isinstance(one, str) for one in labels}) > 1:
        raise InvalidInput(f"expected numbers alone or words alone for {key}; {shown(values)} given")


def check_axes(axes: Mapping[str, list]) -> None:
    """Axes of names that results can have, and no more runs than anyone means; or InvalidInput."""
    dims_of(axes)
    runs = math.prod(len(values) for values in axes.values())
    if runs > _MOST_RUNS:
        raise InvalidInput(f"expected at most {_MOST_RUNS} runs in a sweep; its values make {runs}")


def _key_of(found: Mapping[str, str], dim: str) -> str:
    return next(key for key, other in found.items() if other == dim)


def places_of(axes: Mapping[str, list]) -> list[dict[str, Any]]:
    """Every place of a sweep, the last axis fastest."""
    dims = dims_of(axes).values()
    return [dict(zip(dims, values, strict=True)) for values in itertools.product(*axes.values())]


def run_name(place: Place) -> str:
    """The folder of a run: `num_tasks=16,seed=0`.

    Args:
        place: values by axis, the seed among them.
    """
    return ",".join(f"{dim}={_written(value)}" for dim, value in place.items())


def _written(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    plain = re.sub(r"[^A-Za-z0-9._+-]", "-", text)
    if plain == text and len(text) <= _LONGEST:
        return text
    return f"{plain[: _LONGEST // 2]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def coordinate(value: Any) -> float | int | str:
    """A value as it labels results: a number, with `inf` for the one that tables write so, or text.

    Raises:
        InvalidInput: it is none that a setting can have.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or (isinstance(value, str) and value == "inf"):
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        try:
            return json.dumps(value, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError):
            raise InvalidInput(
                f"{shown(value)} given for a value on an axis of the sweep, expected a number, text, True or False, or "
                "None for infinity"
            ) from None
    return value


def coordinates(place: Place) -> dict[str, float | int | str]:
    """A place as it labels results."""
    return {dim: coordinate(value) for dim, value in place.items()}


def coords_of(place: Place, words: Words) -> dict[str, tuple]:
    """The coords of what a run has one of, each of length one."""
    return {
        dim: (
            dim,
            [_as_array(dim, coordinate(value))],
            {"long_name": words.said(dim), "units": "1", "symbol": words.symbol(dim)},
        )
        for dim, value in place.items()
    }


def _as_array(dim: str, value: float | int | str) -> float | int | str:
    # Seeds are whole numbers; of other axes some value may be infinite, or a fraction.
    return float(value) if isinstance(value, int) and dim != "seed" else value


def order_of(value: Any) -> tuple:
    """What the values of an axis are sorted by: numbers first, infinity the last of them, then text."""
    label = coordinate(value)
    return (0, float(label), "") if not isinstance(label, str) else (1, 0.0, label)


def same(one: Any, other: Any) -> bool:
    """Whether two values are one place on an axis."""
    return coordinate(one) == coordinate(other)


def axes_of(sweep: Table) -> dict[str, list]:
    """The axes in the table of a sweep."""
    return dict(sweep.get("axes", {}))


def check_sweep(sweep: Table) -> None:
    """Axes of a table that can be those of a sweep, or InvalidInput."""
    axes = sweep.get("axes", {})
    if not isinstance(axes, dict) or not all(isinstance(values, list) for values in axes.values()):
        raise InvalidInput(f"expected sweep.axes to be lists by name; {shown(axes)} given")
    for key, values in axes.items():
        check_values(key, values)
    check_axes(axes)
