"""How results over a sweep are read: by the axes they have, run by run, and what those are called."""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import xarray as xr


def over_positions(metrics: xr.Dataset) -> xr.Dataset:
    """Means over the positions of a sequence, where it has several."""
    return metrics.mean("position") if "position" in metrics.dims else metrics


def of_run(dataset: xr.Dataset, place: Mapping[str, Any]) -> xr.Dataset | None:
    """What a result holds of the run at a place; None where it knows nothing of it."""
    if any(value not in dataset[dim] for dim, value in place.items()):
        return None
    return dataset.sel(dict(place))


def axes_in(dataset: xr.Dataset | xr.DataArray) -> list[str]:
    """The axes of the sweep that a result is over; the seed is the last of them."""
    variables = dataset.data_vars.values() if isinstance(dataset, xr.Dataset) else [dataset]
    found = [list(one.dims[: one.dims.index("seed") + 1]) for one in variables if "seed" in one.dims]
    return [str(dim) for dim in max(found, key=len, default=[])]


def each_run(dataset: xr.Dataset) -> Iterator[tuple[dict[str, Any], xr.Dataset]]:
    """Every place of a result's sweep, the seed fastest, and what it holds there."""
    axes = axes_in(dataset)
    for values in itertools.product(*(dataset[dim].values.tolist() for dim in axes)):
        place = dict(zip(axes, values, strict=True))
        yield place, dataset.sel(place)


def run_label(dataset: xr.Dataset | xr.DataArray, place: Mapping[str, Any]) -> str:
    """`M = 4, seed 0`: the axes on which a sweep has several values; all of them where it is one run."""
    several = {dim: value for dim, value in place.items() if dataset[dim].size > 1} or place
    return ", ".join(
        f"seed {value}" if dim == "seed" else f"{symbol_of(dataset, dim)} = {value_label(value)}"
        for dim, value in several.items()
    )


def symbol_of(dataset: xr.Dataset | xr.DataArray, dim: str) -> str:
    """What an axis is called in a figure."""
    return str(dataset[dim].attrs.get("symbol", dim.replace("_", " ")))


# Whole numbers below it are not rounded where an axis holds floating-point numbers, as one with ∞ does.
_EXACT = 2**53


def value_label(value: Any) -> str:
    """A place on an axis, for a reader."""
    if isinstance(value, str):
        return value
    if value == float("inf"):
        return "∞"
    whole = float(value).is_integer() and abs(value) < _EXACT
    return str(int(value)) if whole else f"{value:g}"


def references_of(dataset: xr.Dataset) -> list[str]:
    """The references that a result knows of, but those that know nothing."""
    if "reference" not in dataset.coords:
        return []
    return [str(name) for name in dataset.reference.values if name not in baselines_of(dataset)]


def baselines_of(dataset: xr.Dataset) -> list[str]:
    """The references that know nothing."""
    return list(json.loads(dataset.reference.attrs.get("baselines", "[]")))


def symbol_in(dataset: xr.Dataset | xr.DataArray, dim: str, name: str) -> str:
    """What a test set or reference is called in a figure."""
    return json.loads(dataset[dim].attrs.get("symbols", "{}")).get(name, name)


def headline_of(dataset: xr.Dataset) -> str | None:
    """The test set whose smallest loss is t_crit; None where there is none."""
    return dataset.test_set.attrs.get("headline") if "test_set" in dataset.coords else None
