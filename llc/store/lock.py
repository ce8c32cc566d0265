"""One writer a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llc.errors import StoreError
from llc.store.atomic import check_regular

# A name that no other tool gives its locks: what is in it is overwritten.
LOCK_FILE = ".llc-lock"


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
        # A link that came after the check is not followed either.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror}; choose a folder you can write to") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 100).decode() or "unknown"
            raise StoreError(f"{folder} is in use by process {holder}; wait for it to end, or stop it") from None
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        os.close(handle)
