"""One labelled dataset from many, each of some runs and steps of a sweep."""

import functools
import itertools
import json
from collections.abc import Iterable
from typing import Any, cast

import xarray as xr

from llc.errors import StoreError
from llc.store.labels import axes_in


def merge(parts: Iterable[xr.Dataset]) -> xr.Dataset:
    """One dataset over the axes of a sweep and steps from parts that each hold some of them; gaps become NaN.

    Args:
        parts: results of single runs or steps.
    Raises:
        StoreError: there are no parts.
    """
    parts = [part.drop_attrs(deep=False) for part in parts]
    if not parts:
        raise StoreError("there are no results to merge yet; run `llc train` first")
    words = {
        name: _words([part[name].attrs for part in parts if name in part.coords]) for name in ("test_set", "reference")
    }
    whole = _combined(_at_common_steps(_alike(parts)))
    for name, said in words.items():
        if said:
            whole[name].attrs.update(said)
    return whole


def _words(parts: list[dict]) -> dict[str, str]:
    """What names are, where parts have different ones: what any of them says."""
    found: dict[str, Any] = {"baselines": [], "symbols": {}, "long_name": []}
    for said in parts:
        found["baselines"] += [one for one in json.loads(said.get("baselines", "[]")) if one not in found["baselines"]]
        found["symbols"] |= json.loads(said.get("symbols", "{}"))
        found["long_name"] += [one for one in said.get("long_name", "").split("; ") if one not in found["long_name"]]
    if not parts:
        return {}
    kept = {"symbols": json.dumps(found["symbols"]), "long_name": "; ".join(found["long_name"])}
    return kept | ({"baselines": json.dumps(found["baselines"])} if found["baselines"] else {})


def _combined(parts: list[xr.Dataset]) -> xr.Dataset:
    whole = xr.combine_by_coords(
        parts,
        join="outer",
        combine_attrs="drop_conflicts",
        data_vars="all",
        coords="different",
        compat="no_conflicts",
    )
    return cast(xr.Dataset, whole)  # of datasets it makes a dataset


def _at_common_steps(parts: list[xr.Dataset]) -> list[xr.Dataset]:
    """Parts of several runs whose steps lie between one another's, one a run and all of them at the same steps."""
    by_place: dict[str, list[xr.Dataset]] = {}
    for part in parts:
        by_place.setdefault(str([part[dim].values.tolist() for dim in axes_in(part)]), []).append(part)
    spans = sorted((part.indexes["step"].min(), part.indexes["step"].max()) for part in parts if "step" in part.indexes)
    steps = {tuple(part.indexes["step"]) for part in parts if "step" in part.indexes}
    apart = all(before[1] < after[0] for before, after in itertools.pairwise(spans))
    if len(by_place) < 2 or len(steps) < 2 or apart:
        return parts
    every = sorted(set().union(*steps))
    runs = [_combined(of_place) if len(of_place) > 1 else of_place[0] for of_place in by_place.values()]
    return [run.reindex(step=every) if "step" in run.indexes else run for run in runs]


def _alike(parts: list[xr.Dataset]) -> list[xr.Dataset]:
    """Parts whose dims, but for the sweep's and the steps, have the same places: those of one are those of all."""
    own = {dim for part in parts for dim in (*axes_in(part), "step")}
    inner = {dim for part in parts for dim in part.indexes if dim not in own}
    places = {dim: [part.indexes[dim] for part in parts if dim in part.indexes] for dim in inner}
    differ = {
        dim: functools.reduce(lambda one, other: one.union(other, sort=False), of_dim)
        for dim, of_dim in places.items()
        if not all(of_dim[0].equals(other) for other in of_dim)
    }
    return [part.reindex({dim: every for dim, every in differ.items() if dim in part.indexes}) for part in parts]
