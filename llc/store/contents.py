"""What a netCDF file says, as one number: that of another file with the same contents, however it was written."""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from llc.store.seal import Damaged

# The attribute that holds it, and what is no part of the contents.
CHECKSUM = "checksum"
_LEFT_OUT = {CHECKSUM, "created"}
_KIND = "sha256 "
# Values that are looked at together.
_AT_ONCE = 2**22


def add_checksum(path: Path) -> None:
    """Write the checksum of a file's contents into it."""
    with netCDF4.Dataset(path, "a") as file:
        file.setncattr(CHECKSUM, _checksum(file))


def check_contents(path: Path) -> bool:
    """Whether a file has such a checksum, after a look at whether it is that of its contents.

    Raises:
        Damaged: it is not.
    """
    with netCDF4.Dataset(path) as file:
        said = str(_attributes(file).get(CHECKSUM, ""))
        if not said.startswith(_KIND):
            return False
        if said != _checksum(file):
            raise Damaged("its contents are not those that were written")
    return True


def _checksum(file: netCDF4.Dataset) -> str:
    found = hashlib.sha256(_said({key: value for key, value in _attributes(file).items() if key not in _LEFT_OUT}))
    for name, variable in sorted(file.variables.items()):
        variable.set_auto_maskandscale(False)
        about = [name, variable.dimensions, variable.shape, str(variable.dtype), _attributes(variable)]
        found.update(_said(about))
        for block in _blocks(variable):
            values = np.ascontiguousarray(block)
            found.update(_said(values.tolist()) if values.dtype.kind in "OU" else values.tobytes())
    return _KIND + found.hexdigest()[:32]


def _attributes(of: netCDF4.Dataset | netCDF4.Variable) -> dict[str, Any]:
    return {name: np.asarray(of.getncattr(name)).tolist() for name in of.ncattrs()}


def _said(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _blocks(variable: netCDF4.Variable) -> Iterator[Any]:
    """The values of a variable in order, a few megabytes at a time."""
    lead = 0
    while math.prod(variable.shape[lead:]) > _AT_ONCE:
        lead += 1
    for place in np.ndindex(variable.shape[:lead]):
        yield variable[place or ...]
