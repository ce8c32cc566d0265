"""Files that are either whole or not there."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError

from llc.errors import StoreError

# A disk with fewer bytes free is full.
_FULL = 2**14


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A scratch path beside `path`, synced and renamed to it when the block ends well, removed when it does not.

    Raises:
        StoreError: the folder cannot be written, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}; choose a folder you can write to") from error
    scratch = Path(name)
    try:
        yield scratch
        # mkstemp makes private files; results are as readable as any other file of the user's.
        scratch.chmod(0o666 & ~_umask())
        with open(scratch, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        # netCDF, torch and safetensors each have their own way to say that a disk is full, some of them misleading.
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        if shutil.disk_usage(path.parent).free < _FULL:
            reason = os.strerror(errno.ENOSPC)
        raise StoreError(f"cannot write {path}: {reason}") from error
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def scratch_file(path: Path) -> Iterator[BinaryIO]:
    """A file for numbers that are needed for a while; its user deletes it. Named `.….part`, a lost one goes likewise.

    Raises:
        StoreError: the folder cannot be written, or the disk is full.
    """
    try:
        with open(path, "wb") as file:
            yield file
    except OSError as error:
        path.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror or error}; it needs room for a while") from error


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically."""
    with atomic_path(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def remove_scratch(folder: Path) -> None:
    """Delete scratch files that a killed process left. Only for a caller that holds the folder's lock."""
    for scratch in folder.rglob(".*.part"):
        scratch.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
