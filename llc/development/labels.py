"""Labels that results of this room share."""

from collections.abc import Mapping

import numpy as np

from llc import behaviour, store

_INTERVALS = {"_low": "lower end of the 90 % interval of ", "_high": "upper end of the 90 % interval of "}


def about(said: Mapping[str, str], name: str) -> dict[str, str]:
    """`long_name` and `units` of a variable; of the ends of intervals only the variable itself has to be described."""
    for ending, end_of in _INTERVALS.items():
        if name not in said and name.endswith(ending):
            return {"long_name": end_of + name.removesuffix(ending), "units": "1"}
    return {"long_name": said[name], "units": "1"}


def run_place(run: store.Run) -> dict[str, tuple]:
    """The coords of what a run has one of: `num_tasks` and `seed`, each of length one."""
    num_tasks = None if np.isinf(run.num_tasks) else int(run.num_tasks)
    coords = behaviour.run_coords([num_tasks], [run.seed], [])
    return {name: coords[name] for name in ("num_tasks", "seed")}
