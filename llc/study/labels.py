"""One estimate of a study as a labelled dataset, and many of them joined."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from llc import store
from llc.behaviour import step_coord
from llc.estimate.conclusion import Estimate
from llc.estimate.labels import SCALARS, TRACES, along, described, scalar_values, trace_values
from llc.sampling import sampler_named

# A labelled dataset of one estimate takes far more memory than its numbers do.
_FILES_AT_ONCE = 50


def label(estimate: Estimate, axes: Sequence[str], axis_coords: dict, step: int) -> xr.Dataset:
    """One estimate with the dims of a sweep and `step`, each of length one, and its traces with the warm-up first.

    Args:
        axes: of the sweep, with their coords; none outside of one.
    """
    place = (*axes, "step")
    ones = (1,) * len(place)
    chains, draws = estimate.chains.difference.shape
    coords = (
        axis_coords
        | step_coord([step])
        | {
            "chain": ("chain", np.arange(chains), {"long_name": "chain", "units": "1"}),
            "draw": ("draw", np.arange(draws), {"long_name": "draw; those below `warmup` are warm-up", "units": "1"}),
        }
    )
    data: dict = {
        name: (place, np.reshape(value, ones), described(SCALARS, name))
        for name, value in scalar_values(estimate).items()
    }
    for name in sorted({*sampler_named(str(estimate.settings["sampler"])).hyperparameters, "curvature"}):
        about = {"long_name": f"{name.replace('_', ' ')} at this checkpoint, the median of its chains", "units": "1"}
        data[name] = (place, np.full(ones, float(estimate.settings[name])), about)
    own, own_coords = along(estimate)
    for name, (dim, values, about) in own.items():
        data[name] = ((*place, dim), values.reshape(*ones, *values.shape), about)
    coords |= own_coords
    for name, trace in trace_values(estimate).items():
        data[f"{name}_trace"] = ((*place, "chain", "draw"), trace.reshape(*ones, *trace.shape), described(TRACES, name))
    return xr.Dataset(data, coords)


def joined(files: Sequence[Path], config: Mapping[str, Any] | None = None) -> xr.Dataset | None:
    """The estimates of one run along `step`, without what only a look at their chains needs; None of none.

    Args:
        config: of the run, where it is one of ours.
    """
    groups = [files[start : start + _FILES_AT_ONCE] for start in range(0, len(files), _FILES_AT_ONCE)]
    parts = [_concat([_without_traces(path, config) for path in group]) for group in groups]
    return _concat(parts) if parts else None


def _concat(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    return xr.concat(parts, "step", join="outer", combine_attrs="override")


def _without_traces(path: Path, config: Mapping[str, Any] | None) -> xr.Dataset:
    """One estimate without its large variables: thousands of them fit in memory."""
    found = store.read_numbered(path)
    if config is not None:
        store.check_made_with(found, path, config)
    return found.drop_vars(store.large(found))
