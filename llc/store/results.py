"""Results on disk: labelled xarray datasets in netCDF, with units and provenance."""

import datetime
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import netCDF4
import xarray as xr

from llc.errors import StoreError
from llc.store.atomic import atomic_path, is_there
from llc.store.contents import CHECKSUM, add_checksum
from llc.store.reading import attributes, large, opened, place_of, reading
from llc.store.registry import RESULTS
from llc.store.seal import add_seal
from llc.store.tables import Table, differences, table_hash
from llc.version import library_version

# The order of dimensions: the sweep's axes come first, as a result gives them, and what is not named here comes last.
DIMS = ("step", "test_set", "reference", "chain", "draw", "position", "component")


def provenance(config: Table) -> dict[str, str]:
    """Attributes that every result carries: the config as JSON, the library's version, the time.

    Args:
        config: of the folder, with the settings of the result.
    """
    return {
        "config": json.dumps(config, sort_keys=True),
        "library": f"local-learning-coefficient {library_version()}",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "Conventions": "CF-1.10",
    }


def carries(path: Path, config: Table) -> bool:
    """Whether there is a result at `path` of this version of the library, and what it carries includes this config.

    Args:
        path: of the result.
        config: of the folder, with the settings of the result.
    """
    if not is_there(path):
        return False
    said = attributes(path)
    stored = json.loads(said.get("config", "{}"))
    same = table_hash({key: stored.get(key) for key in config}) == table_hash(config)  # as text: NaN is no NaN
    return same and said.get("library") == provenance(config)["library"]


def made(path: Path) -> str:
    """When a result was made, as text that sorts by time; empty where it does not say."""
    return str(attributes(path).get("created", ""))


def made_from(path: Path) -> Table:
    """The config that a result carries; empty where it has none."""
    return json.loads(attributes(path).get("config", "{}"))


def check_made_with(found: xr.Dataset, path: Path, config: Mapping[str, Any]) -> Table:
    """Raise StoreError if a result says that it was made from a folder with another config.

    Its sweep may have grown since, and what it does not say is no difference. Returns the config that it carries.

    Args:
        found: the result.
        path: where it lies, for errors.
        config: of the folder that it lies in.
    """
    stored = json.loads(found.attrs.get("config", "{}"))
    both = (config.keys() & stored.keys()) - {"sweep"}
    if {"sweep", "place"} & stored.keys():  # it says whether it is of a run or of a whole sweep
        both |= {"place"}
    there, now = ({key: table[key] for key in both & table.keys()} for table in (stored, config))
    others = differences(there, now)
    if others:
        raise StoreError(
            f"{path} was made from another folder ({'; '.join(others[:_SHOWN])}); move it away and run the command "
            "that made it again, or restore what was edited"
        )
    return stored


# Differences of two configs that an error tells.
_SHOWN = 3


def labelled(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with dims in the house's order, after checking that every variable says what it is.

    Args:
        dataset: left as it is.
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
                dataset = dataset.assign({name: dataset[name].transpose(*order, ...)})
    return dataset


def write_dataset(path: Path, dataset: xr.Dataset, config: Table) -> xr.Dataset:
    """Write a result atomically, with provenance and its place; returns what was written.

    Args:
        path: of the result.
        dataset: every variable with `long_name` and `units`.
        config: of the folder, with the settings of the result.
    """
    dataset = labelled(dataset).assign_attrs(provenance(config), result=place_of(path))
    write_as_it_is(path, dataset, _encoding(dataset))
    return dataset


def write_as_it_is(path: Path, dataset: xr.Dataset, encoding: Mapping[Any, Any]) -> None:
    """Write a dataset atomically, with checksums of its contents and of the file, and with nothing else.

    Args:
        path: of the file.
        dataset: attributes included.
        encoding: of its variables, as `Dataset.to_netcdf` takes it.
    """
    with atomic_path(path) as scratch:
        dataset.to_netcdf(scratch, engine="netcdf4", encoding=encoding)
        add_checksum(scratch)
        add_seal(scratch)


def _encoding(dataset: xr.Dataset) -> dict:
    return {
        name: {"zlib": True, "complevel": 1}
        for name, variable in dataset.data_vars.items()
        if variable.dtype.kind == "f" and variable.ndim
    }


def write_merged(path: Path, parts: Sequence[Path], whole: xr.Dataset, config: Table) -> None:
    """Write a result atomically of which the large variables, those with a `draw`, are taken from the parts one by one.

    Args:
        path: of the result.
        parts: files of datasets that each hold one step of one run, all with the same chains; where one has fewer draws
            than another, NaN follows them.
        whole: everything but the large variables, with all coordinates, `chain` and `draw` among them.
        config: of the folder, with the settings of the result.
    """
    whole = labelled(whole).assign_attrs(provenance(config), result=place_of(path))
    rooms: dict[str, tuple[dict, dict]] = {}
    with atomic_path(path) as scratch:
        whole.to_netcdf(scratch, engine="netcdf4", encoding=_encoding(whole))
        small = scratch.read_bytes()
        with netCDF4.Dataset(scratch, "a") as file:
            for part in parts:
                with reading(part), opened(part) as found:
                    for name in large(found):
                        lead = _lead(found[name])
                        place = [whole.get_index(dim).tolist().index(found[dim].item()) for dim in lead]
                        values = found[name].values[(0,) * len(lead)]
                        if name not in rooms:
                            chunks = [1] * len(lead) + list(values.shape)
                            rooms[name] = {"dimensions": found[name].dims, "chunksizes": chunks}, found[name].attrs
                            _make_room(file, name, *rooms[name])
                        file.variables[name][(*place, *map(slice, values.shape))] = values
        add_checksum(scratch)
        with netCDF4.Dataset(scratch) as file:
            checksum = file.getncattr(CHECKSUM)
        add_seal(scratch, _head(small, rooms, checksum))


def _head(small: bytes, rooms: Mapping[str, tuple], checksum: str) -> bytes:
    """A result without the values of its large variables, with the checksum of the whole."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.nc"
        path.write_bytes(small)
        with netCDF4.Dataset(path, "a") as file:
            for name, room in rooms.items():
                _make_room(file, name, *room)
            file.setncattr(CHECKSUM, checksum)
        return path.read_bytes()


def _make_room(file: netCDF4.Dataset, name: str, room: Mapping[str, Any], about: Mapping[Any, Any]) -> None:
    variable = file.createVariable(name, "f8", zlib=True, complevel=1, fill_value=math.nan, **room)
    variable.setncatts({str(key): value for key, value in about.items()})


def _lead(variable: xr.DataArray) -> tuple:
    """The dims of which a part has one place each."""
    return variable.dims[: variable.dims.index("step") + 1]


def settings_of(dataset: xr.Dataset, name: str) -> Table:
    """The settings that a result was made with, as they were recorded with it.

    Args:
        dataset: the result.
        name: of the result, or of a part of what it says of itself.
    """
    part = RESULTS[name].settings if name in RESULTS else name
    return json.loads(dataset.attrs.get("config", "{}")).get(part, {})
