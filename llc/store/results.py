"""Results on disk: labelled xarray datasets in netCDF, with units and provenance."""

import contextlib
import datetime
import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import xarray as xr

from llc.errors import StoreError
from llc.store.atomic import atomic_path
from llc.store.tables import Table

# The leading dimensions, in their order everywhere; those of one result (such as `position`) follow as it gives them.
DIMS = ("num_tasks", "seed", "step", "chain", "draw")


def library_version() -> str:
    """The installed version of this library."""
    try:
        return metadata.version("local-learning-coefficient")
    except metadata.PackageNotFoundError:
        return "unknown"


def provenance(config: Table) -> dict[str, str]:
    """Attributes that every result carries: the config as JSON, the library's version, the time."""
    return {
        "config": json.dumps(config, sort_keys=True),
        "library": f"local-learning-coefficient {library_version()}",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "Conventions": "CF-1.10",
    }


def made_with(path: Path, config: Table) -> bool:
    """Whether there is a result at `path` and it carries just this config."""
    if not path.exists():
        return False
    with _reading(path), xr.open_dataset(path, engine="netcdf4") as found:
        return found.attrs.get("config") == provenance(config)["config"]


def labelled(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with dims in the house's order, after checking that every variable says what it is.

    Raises:
        ValueError: a variable or coordinate lacks `long_name` or `units`: a mistake in this library.
    """
    for name, variable in dataset.variables.items():
        missing = {"long_name", "units"} - set(variable.attrs)
        if missing:
            raise ValueError(f"variable {name} has no {' and '.join(sorted(missing))}")
    order = [dim for dim in DIMS if dim in dataset.dims]
    return dataset.transpose(*order, ..., missing_dims="ignore")


def write_dataset(path: Path, dataset: xr.Dataset, config: Table) -> xr.Dataset:
    """Write a result atomically, with provenance; returns what was written."""
    dataset = labelled(dataset).assign_attrs(provenance(config))
    encoding = {
        name: {"zlib": True, "complevel": 1}
        for name, variable in dataset.data_vars.items()
        if variable.dtype.kind == "f" and variable.ndim
    }
    with atomic_path(path) as scratch:
        dataset.to_netcdf(scratch, engine="netcdf4", encoding=encoding)
    return dataset


def read_dataset(path: Path) -> xr.Dataset:
    """A result, read whole into memory so that the file can be replaced afterwards.

    Raises:
        StoreError: it is not there or cannot be read.
    """
    if not path.exists():
        raise StoreError(f"{path} does not exist")
    with _reading(path):
        # The encoding of one file (such as the length of its strings) must not shape what is written from it.
        return xr.load_dataset(path, engine="netcdf4").drop_encoding()


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        raise StoreError(f"{path} cannot be read ({error}); delete it and run the command that made it again") from None
