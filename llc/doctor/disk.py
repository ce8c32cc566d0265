"""Room and speed of disks, and whether results can be written, locked and read on them."""

import os
import shutil
import tempfile
import time
from pathlib import Path

from llc.doctor.finding import Finding, Status

_LITTLE_ROOM = 5e9  # bytes; `llc train --plan` says what a sweep takes
_SLOW_DISK = 20e6  # bytes a second
_WRITTEN = 16 * 2**20


def write_rate(folder: Path) -> float:
    """Bytes a second of one file of 16 MiB, until it is on the disk."""
    block = os.urandom(_WRITTEN)
    with tempfile.TemporaryFile(dir=folder) as file:
        started = time.perf_counter()
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return _WRITTEN / (time.perf_counter() - started)


def disk(name: str, folder: Path, cannot: Status, other: str) -> Finding:
    """Free room of a folder's disk and how fast it is.

    Args:
        cannot: what it is where nothing can be written there.
        other: how to choose another.
    """
    try:
        free = shutil.disk_usage(folder).free
        rate = write_rate(folder)
    except OSError as error:
        return Finding("disk", name, f"{folder}: {error.strerror or error}", cannot, f"cannot be written; {other}")
    said = f"{folder}: {free / 1e9:,.1f} GB free, writes {rate / 1e6:,.0f} MB/s"
    numbers = {"free_bytes": free, "write_bytes_per_s": rate}
    if free < _LITTLE_ROOM:
        return Finding("disk", name, said, "missing", f"make room for checkpoints and draws, or {other}", numbers)
    if rate < _SLOW_DISK:
        return Finding("disk", name, said, "slow", f"a local disk is quicker: {other}", numbers)
    return Finding("disk", name, said, numbers=numbers)


def disks(folder: Path) -> list[Finding]:
    """The working folder's and that of temporary files."""
    found = [disk("working folder", folder, "missing", "work in another folder (--out)")]
    other = "set TMPDIR to another folder"
    try:
        return [*found, disk("temporary files", Path(tempfile.gettempdir()), "unusable", other)]
    except FileNotFoundError as error:  # none of the usual places can be written
        return [*found, Finding("disk", "temporary files", str(error.strerror), "unusable", other)]


def results(folder: Path) -> list[Finding]:
    """Whether a result can be written in a folder, opened twice and read again, and the folder be locked."""
    import numpy as np
    import xarray as xr

    from llc import store
    from llc.errors import StoreError

    locking = os.environ.get("HDF5_USE_FILE_LOCKING")
    name = "results in netCDF" + (f", HDF5_USE_FILE_LOCKING={locking}" if locking else "")
    advice = "set HDF5_USE_FILE_LOCKING=FALSE, or work in a folder on a local disk"
    if not os.access(folder, os.W_OK):
        return []  # which `disks` says
    written = xr.Dataset({"number": ("place", np.arange(1000.0))})
    try:
        with tempfile.TemporaryDirectory(prefix=".llc-doctor-", dir=folder) as inside:
            path = Path(inside) / "check.nc"
            with store.folder_lock(path.parent):
                written.to_netcdf(path, engine="netcdf4")
                with xr.open_dataset(path, engine="netcdf4"), xr.open_dataset(path, engine="netcdf4") as read:
                    same = written.equals(read.load())
    except (OSError, RuntimeError, StoreError) as error:
        return [Finding("disk", name, f"{folder}: {error}", "unusable", advice)]
    if not same:
        return [Finding("disk", name, f"{folder}: other numbers are read than written", "unusable", advice)]
    return [Finding("disk", name, "written, locked and read again")]
