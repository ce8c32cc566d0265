"""How results are opened: whole ones only, and no file stays open."""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr
from xarray.backends import NetCDF4DataStore
from xarray.core import indexing

from llc.errors import StoreError
from llc.store.atomic import check_readable, is_there
from llc.store.contents import CHECKSUM, check_contents
from llc.store.numbered import step_of
from llc.store.registry import again
from llc.store.seal import Damaged, check_seal, sealed_head


def large(dataset: xr.Dataset) -> list[str]:
    """Names of the variables that are too large to keep many of in memory: those with a `draw`.

    Args:
        dataset: a result.
    """
    return [str(name) for name, variable in dataset.data_vars.items() if "draw" in variable.dims]


def place_of(path: Path) -> str:
    """What a result says that it is, `pca`, or `SETTINGS/000507` of one that is named by its step."""
    return path.stem if step_of(path) is None else f"{path.absolute().parent.name}/{path.stem}"


def read_dataset(path: Path, *, lazy: bool = False) -> xr.Dataset:
    """A result, read into memory; with `lazy`, its large variables (see `large`) only once they are asked for.

    No file stays open. Files that xarray keeps open are closed whenever, in whichever thread, memory is cleaned up, and
    HDF5 crashes now and then when one file is opened and closed while it is also held open (xarray issue 8289).

    Args:
        path: of the file.
        lazy: whether large variables stay on disk until then.
    Raises:
        StoreError: it is not there, damaged, or another result; or, when a large variable is asked for, that is
            damaged, or the file has been replaced.
    """
    if not is_there(path):
        raise StoreError(f"{path} does not exist")
    with reading(path):
        path, identity = path.absolute() if lazy else path, _identity(path)
        with opened(path, lazy=lazy) as found:
            later = {
                name: found[name].variable._replace(data=_on_disk(path, identity, found[name]))
                for name in (large(found) if lazy else [])
            }
            # The encoding of one file (such as the length of its strings) must not shape what is written from it.
            whole = found.drop_vars(later).load().assign(later).drop_encoding()
    whole.attrs.pop(CHECKSUM, None)
    said = whole.attrs.get("result", place_of(path))
    if said != place_of(path):
        raise StoreError(f"{path} is in another's place (it holds {said}); {again(path)}")
    return whole


def read_numbered(path: Path) -> xr.Dataset:
    """The result of one step from a file that is named by it; large variables are read once they are asked for.

    Args:
        path: named by its step.
    Raises:
        StoreError: it cannot be read, or is of another step or of other settings than its place says.
    """
    found = read_dataset(path, lazy=True)
    held = found.step.values.tolist() if "step" in found.coords else []
    if held != [step_of(path)]:
        raise StoreError(f"{path} is damaged (it holds steps {held}, not {step_of(path)}); {again(path)}")
    return found


def attributes(path: Path) -> dict:
    """What a result says of itself."""
    with reading(path), opened(path, lazy=True) as found:
        return found.attrs


def has_checksum(path: Path) -> bool:
    """Whether a result can be told from a damaged one.

    Raises:
        StoreError: it is one.
    """
    with reading(path):
        return _is_checked(path)


@contextlib.contextmanager
def opened(path: Path, *, lazy: bool = False) -> Iterator[xr.Dataset]:
    """A file while the block lasts, after a look at its checksum: nothing else reads damaged bytes.

    Args:
        lazy: its large variables are not read; where they are most of the file, they are not looked at.
    """
    head = sealed_head(path) if lazy else b""
    if not head:
        _is_checked(path)
    kept = NetCDF4DataStore(netCDF4.Dataset(path.name, memory=head)) if head else path
    with xr.open_dataset(kept, engine=None if head else "netcdf4") as found:
        yield found


def _is_checked(path: Path) -> bool:
    return check_seal(path) or check_contents(path)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong in the block, said as what is wrong with the file."""
    check_readable(path)
    try:
        yield
    except Damaged as error:
        raise StoreError(f"{path} is damaged ({error}); {again(path)}") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise StoreError(f"{path} cannot be read ({error}); {again(path)}") from None


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
        if not is_there(self._path):
            raise StoreError(f"{self._path} is gone, and with it the traces that were not read yet")
        check_readable(self._path)
        if _identity(self._path) != self._identity:
            raise StoreError(f"{self._path} has been written again since it was opened; open it again for its traces")
        with reading(self._path):
            _check_once(self._path, self._identity)
            with xr.open_dataset(self._path, engine="netcdf4") as found:
                return found[self._name].variable[key].values


@functools.lru_cache(maxsize=1024)
def _check_once(path: Path, _identity: tuple) -> None:
    """Traces are asked for piece by piece: the whole of their file is looked at with the first."""
    _is_checked(path)


def _identity(path: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
