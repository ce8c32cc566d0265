"""Results on disk: labelled xarray datasets in netCDF, with units and provenance."""

import contextlib
import datetime
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr
from xarray.core import indexing

from llc.errors import StoreError
from llc.store.atomic import atomic_path, check_readable
from llc.store.numbered import step_of
from llc.store.registry import RESULTS
from llc.store.tables import Table, differences
from llc.version import library_version

# The order of dimensions: the sweep's axes come first, as a result gives them, and what is not named here comes last.
DIMS = ("step", "test_set", "reference", "chain", "draw", "position", "component")


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
    return _attributes(path).get("config") == provenance(config)["config"]


def made(path: Path) -> str:
    """When a result was made, as text that sorts by time; empty where it does not say."""
    return str(_attributes(path).get("created", ""))


def made_from(path: Path) -> Table:
    """The config that a result carries; empty where it has none."""
    return json.loads(_attributes(path).get("config", "{}"))


def check_made_with(found: xr.Dataset, path: Path, config: Table) -> Table:
    """Raise StoreError if a result says that it was made from a folder with another config.

    Its sweep may have grown since, and what it does not say is no difference. Returns the config that it carries.
    """
    stored = json.loads(found.attrs.get("config", "{}"))
    both = (config.keys() & stored.keys()) - {"sweep"}
    others = differences({key: stored[key] for key in both}, {key: config[key] for key in both})
    if others:
        raise StoreError(
            f"{path} was made from another folder ({'; '.join(others[:_SHOWN])}); move it away and run the command "
            "that made it again"
        )
    return stored


# Differences of two configs that an error tells.
_SHOWN = 3


def _attributes(path: Path) -> dict:
    with _reading(path), xr.open_dataset(path, engine="netcdf4") as found:
        return found.attrs


def labelled(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with dims in the house's order, after checking that every variable says what it is.

    Raises:
        ValueError: a variable or coordinate lacks `long_name` or `units`: a mistake in this library.
    """
    for name, variable in dataset.variables.items():
        missing = {"long_name", "units"} - set(variable.attrs)
        if missing:
            raise ValueError(f"variable {name} has no {' and '.join(sorted(missing))}")
    for name in list(dataset.data_vars):
        dims = dataset[name].dims
        if "seed" in dims:  # a result over a sweep
            first = dims.index("seed") + 1
            order = [*dims[:first], *(dim for dim in DIMS if dim in dims[first:])]
            if [dim for dim in dims if dim in order] != order:
                dataset[name] = dataset[name].transpose(*order, ...)
    return dataset


def write_dataset(path: Path, dataset: xr.Dataset, config: Table) -> xr.Dataset:
    """Write a result atomically, with provenance; returns what was written."""
    dataset = labelled(dataset).assign_attrs(provenance(config))
    with atomic_path(path) as scratch:
        dataset.to_netcdf(scratch, engine="netcdf4", encoding=_encoding(dataset))
    return dataset


def _encoding(dataset: xr.Dataset) -> dict:
    return {
        name: {"zlib": True, "complevel": 1}
        for name, variable in dataset.data_vars.items()
        if variable.dtype.kind == "f" and variable.ndim
    }


def write_merged(path: Path, parts: Sequence[Path], whole: xr.Dataset, config: Table) -> None:
    """Write a result atomically of which the large variables, those with a `draw`, are taken from the parts one by one.

    Args:
        path: of the result. parts: files of datasets that each hold one step of one run, all with the same
            chains; where one has fewer draws than another, NaN follows them.
        whole: everything but the large variables, with all coordinates, `chain` and `draw` among them.
    """
    whole = labelled(whole).assign_attrs(provenance(config))
    with atomic_path(path) as scratch:
        whole.to_netcdf(scratch, engine="netcdf4", encoding=_encoding(whole))
        with netCDF4.Dataset(scratch, "a") as file:
            for part in parts:
                with _reading(part), xr.open_dataset(part, engine="netcdf4") as found:
                    for name in large(found):
                        dims = found[name].dims
                        lead = dims[: dims.index("step") + 1]
                        place = [whole.get_index(dim).tolist().index(found[dim].item()) for dim in lead]
                        if name not in file.variables:
                            chunks = [1] * len(lead) + [found.sizes[dim] for dim in dims[len(lead) :]]
                            variable = file.createVariable(
                                name,
                                "f8",
                                [str(dim) for dim in found[name].dims],
                                zlib=True,
                                complevel=1,
                                chunksizes=chunks,
                                fill_value=math.nan,
                            )
                            variable.setncatts({str(key): value for key, value in found[name].attrs.items()})
                        values = found[name].values[(0,) * len(lead)]
                        file.variables[name][(*place, *map(slice, values.shape))] = values


def large(dataset: xr.Dataset) -> list[str]:
    """Names of the variables that are too large to keep many of in memory: those with a `draw`."""
    return [str(name) for name, variable in dataset.data_vars.items() if "draw" in variable.dims]


def read_dataset(path: Path, *, lazy: bool = False) -> xr.Dataset:
    """A result, read into memory; with `lazy`, its large variables (see `large`) only once they are asked for.

    No file stays open. Files that xarray keeps open are closed whenever, in whichever thread, memory is cleaned up, and
    HDF5 crashes now and then when one file is opened and closed while it is also held open (xarray issue 8289).

    Raises:
        StoreError: it is not there or cannot be read; or, when a large variable is asked for, it has been replaced.
    """
    if not path.exists():
        raise StoreError(f"{path} does not exist")
    with _reading(path):
        # The encoding of one file (such as the length of its strings) must not shape what is written from it.
        if not lazy:
            return xr.load_dataset(path, engine="netcdf4").drop_encoding()
        path, identity = path.absolute(), _identity(path)
        with xr.open_dataset(path, engine="netcdf4") as found:
            later = {
                name: found[name].variable._replace(data=_on_disk(path, identity, found[name])) for name in large(found)
            }
            return found.drop_vars(later).load().assign(later).drop_encoding()


def read_numbered(path: Path) -> xr.Dataset:
    """The result of one step from a file that is named by it; large variables are read once they are asked for.

    Raises:
        StoreError: it cannot be read, or is of another step than its name says.
    """
    found = read_dataset(path, lazy=True)
    held = found.step.values.tolist() if "step" in found.coords else []
    if held != [step_of(path)]:
        raise StoreError(
            f"{path} is damaged (it holds steps {held}, not {step_of(path)}); delete it and run the command that made "
            "it again"
        )
    return found


def _on_disk(path: Path, identity: tuple, array: xr.DataArray) -> indexing.ExplicitlyIndexed:
    whole = _OnDisk(path, identity, str(array.name), array.shape, array.dtype)
    return indexing.CopyOnWriteArray(indexing.LazilyIndexedArray(whole))  # type: ignore[arg-type]


class _OnDisk(xr.backends.BackendArray):
    """A variable of a file that is opened for each look at it, as xarray's own lazy arrays keep theirs open."""

    def __init__(self, path: Path, identity: tuple, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._path, self._identity, self._name = path, identity, name
        self.shape, self.dtype = shape, dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple) -> np.ndarray:
        if not self._path.exists():
            raise StoreError(f"{self._path} is gone, and with it the traces that were not read yet")
        if _identity(self._path) != self._identity:
            raise StoreError(f"{self._path} has been written again since it was opened; open it again for its traces")
        with _reading(self._path), xr.open_dataset(self._path, engine="netcdf4") as found:
            return found[self._name].variable[key].values


def _identity(path: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    check_readable(path)
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        raise StoreError(f"{path} cannot be read ({error}); delete it and run the command that made it again") from None


def settings_of(dataset: xr.Dataset, name: str) -> Table:
    """The settings that a result was made with, as they were recorded with it.

    Args:
        name: of the result, or of a part of what it says of itself.
    """
    part = RESULTS[name].settings if name in RESULTS else name
    return json.loads(dataset.attrs.get("config", "{}")).get(part, {})
