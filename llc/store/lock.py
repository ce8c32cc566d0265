"""One writer a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from llc.errors import StoreError
from llc.store.atomic import check_regular

# A name that no other tool gives its locks: what is in it is overwritten.
LOCK_FILE = ".llc-lock"
# Windows locks bytes, which nobody else can read then: one far behind the number of the process.
_LOCKED_BYTE = 2**30


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold `folder` for writing. The operating system frees the lock when the process ends, however it ends.

    Raises:
        StoreError: another process holds it (named), the folder cannot be written, or its lock is no regular file.
    """
    path = folder / LOCK_FILE
    check_regular(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A link that came after the check is not followed either, where the system can be told.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}; choose a folder you can write to") from error
    try:
        if not _locked(handle):
            holder = os.read(handle, 100).decode() or "unknown"
            raise StoreError(f"{folder} is in use by process {holder}; wait for it to end, or stop it")
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    """Lock an open file until it is closed; False where another process has done so."""
    try:
        import fcntl
    except ImportError:
        return _byte_locked(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _byte_locked(handle: int) -> bool:
    """The same on Windows."""
    msvcrt = import_module("msvcrt")
    os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    except PermissionError:
        return False
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
    return True
