"""Labels that results of this room share."""

from collections.abc import Iterable, Mapping
from typing import Any

import xarray as xr

from llc import store
from llc.errors import InvalidInput, shown
from llc.store import places

_INTERVALS = {"_low": "lower end of the 90 % interval of ", "_high": "upper end of the 90 % interval of "}


def about(said: Mapping[str, str], name: str) -> dict[str, str]:
    """`long_name` and `units` of a variable; of the ends of intervals only the variable itself has to be described."""
    for ending, end_of in _INTERVALS.items():
        if name not in said and name.endswith(ending):
            return {"long_name": end_of + name.removesuffix(ending), "units": "1"}
    return {"long_name": said[name], "units": "1"}


def check_result(found: object, needs: Iterable[str], maker: str) -> None:
    """A dataset that has all of this among its variables and attrs, or InvalidInput."""
    if not isinstance(found, xr.Dataset):
        raise InvalidInput(f"{shown(found)} given, expected a dataset from {maker}")
    lacking = [name for name in needs if name not in found.variables and name not in found.attrs]
    if lacking:
        raise InvalidInput(f"a dataset without {', '.join(lacking)} given, expected one from {maker}")


def run_place(run: store.Run) -> dict[str, tuple]:
    """The coords of what a run has one of, each of length one."""
    return places.coords_of(run.config["place"], run.task)


def lead(values: Any, place: Mapping[str, Any]) -> Any:
    """Values with a dimension of length one for each axis of a place in front."""
    return values.reshape((1,) * len(place) + values.shape)
