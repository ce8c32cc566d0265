"""One writer a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llc.errors import StoreError
from llc.store.atomic import check_regular

# A name that no other tool gives its locks: what is in it is overwritten.
LOCK_FILE = ".llc-lock"
# Where the holder's number begins in it: on Windows the byte before that is what is locked, and nobody else reads it.
_HOLDER = 1


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold `folder` for writing. The operating system frees the lock when the process ends, however it ends.

    Args:
        folder: made if need be.
    Raises:
        StoreError: another process holds it (named), the folder cannot be written, or its lock is no regular file.
    """
    path = folder / LOCK_FILE
    with file_lock(path, f"{folder} is in use by process {{holder}}; wait for it to end, or stop it"):
        with open(path, "r+b") as file:
            file.seek(_HOLDER)
            file.write(str(os.getpid()).encode())
            file.truncate()
        yield


@contextmanager
def file_lock(path: Path, in_use: str = "") -> Iterator[None]:
    """Hold a file that is nothing but a lock; it and the folders above it are made where they are not there.

    Args:
        path: of the lock.
        in_use: what to say where another process holds it, with `{holder}` for that one's number; without it, wait.
    Raises:
        StoreError: another process holds it, it cannot be written, or it is no regular file.
    """
    from filelock import FileLock, Timeout  # what saves nothing needs no locks

    check_regular(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(path).acquire(timeout=0 if in_use else -1)
    except Timeout:
        raise StoreError(in_use.format(holder=_holder(path))) from None
    except OSError as error:
        raise StoreError(f"cannot write {path.parent}: {error.strerror}; choose a folder you can write to") from error
    with held:
        yield


def _holder(path: Path) -> str:
    with open(path, "rb") as file:
        file.seek(_HOLDER)
        return file.read(20).decode("ascii", "replace") or "unknown"
