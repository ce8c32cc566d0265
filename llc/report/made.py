"""How a result was made, from what it says of itself."""

import json
from typing import Any

import xarray as xr


def settings_of(dataset: xr.Dataset, part: str) -> dict[str, Any]:
    """The settings of a result (`llc`, `pca`, …), as they were recorded with it."""
    return json.loads(dataset.attrs.get("config", "{}")).get(part, {})


def features_of(pca: xr.Dataset) -> str:
    """What the rows of a `pca.nc` are made of: predictions, outputs or weights."""
    return str(settings_of(pca, "pca").get("features", "predictions"))


def fitted_of(pca: xr.Dataset) -> list[str] | None:
    """The M whose runs had a part in the fit, where those were not all."""
    fitted = list(dict.fromkeys(map(str, settings_of(pca, "pca").get("fit_num_tasks", []))))
    return fitted if fitted and len(fitted) < len(pca.num_tasks) else None
