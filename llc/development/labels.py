"""Labels that results of this room share."""

from collections.abc import Mapping
from typing import Any

from llc import store
from llc.store import places

_INTERVALS = {"_low": "lower end of the 90 % interval of ", "_high": "upper end of the 90 % interval of "}


def about(said: Mapping[str, str], name: str) -> dict[str, str]:
    """`long_name` and `units` of a variable; of the ends of intervals only the variable itself has to be described."""
    for ending, end_of in _INTERVALS.items():
        if name not in said and name.endswith(ending):
            return {"long_name": end_of + name.removesuffix(ending), "units": "1"}
    return {"long_name": said[name], "units": "1"}


def run_place(run: store.Run) -> dict[str, tuple]:
    """The coords of what a run has one of, each of length one."""
    return places.coords_of(run.config["place"], run.task)


def lead(values: Any, place: Mapping[str, Any]) -> Any:
    """Values with a dimension of length one for each axis of a place in front."""
    return values.reshape((1,) * len(place) + values.shape)
