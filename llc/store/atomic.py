"""Files that are either whole or not there, and that take nobody else's place."""

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from safetensors import SafetensorError

from llc.errors import StoreError

# What names of half-written files end with, so that nobody else's are taken for ours.
SCRATCH = ".llc-part"
# A disk with fewer bytes free is full.
_FULL = 2**14


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A scratch path beside `path`, synced and renamed to it when the block ends well, removed when it does not.

    Args:
        path: of the file; folders are made if need be.
    Raises:
        StoreError: the folder cannot be written, the disk is full, or `path` is something else than a regular file.
    """
    check_regular(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=SCRATCH, dir=path.parent)
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
        check_regular(path)
        os.replace(scratch, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        # netCDF, torch and safetensors each have their own way to say that a disk is full, some of them misleading.
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        if shutil.disk_usage(path.parent).free < _FULL:
            reason = os.strerror(errno.ENOSPC)
        raise StoreError(f"cannot write {path}: {reason}") from error
    finally:
        scratch.unlink(missing_ok=True)


def check_regular(path: Path) -> None:
    """Raise StoreError unless `path` is a regular file or free: a rename would take the place of whatever is there.

    Links are refused too, those to regular files among them: neither the link nor its target is ours to replace.

    Args:
        path: where a file is to be written.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:  # nothing there, or nothing that can be seen; writing will tell
        return
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise StoreError(
            f"cannot write {path}: it is {kind}, expected a regular file or nothing; choose another name, or move it "
            "away"
        )


def check_readable(path: Path) -> None:
    """Raise StoreError where something is there that cannot be read as a file; that nothing is there, reading tells.

    Libraries say of a file without permission that it is not there or damaged, and opening a pipe waits for ever.

    Args:
        path: of a file that is to be read.
    Raises:
        StoreError: it is a folder, pipe, socket or device, a link that leads to nothing, or may not be read.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with open(path, "rb"):
                return
    except (OSError, ValueError) as error:
        if is_there(path):
            reason = getattr(error, "strerror", None) or str(error)
            if path.is_symlink() and not isinstance(error, PermissionError):
                reason = f"it is a symbolic link that leads to no file ({reason}); restore what it leads to"
            else:
                reason += "; make it readable for you"
            raise StoreError(f"cannot read {path}: {reason}, or move it away") from None
        return
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    raise StoreError(f"cannot read {path}: it is {kind}, expected a regular file; move it away")


def is_there(path: Path) -> bool:
    """Whether anything lies at `path`, be it a link to nothing or to itself: what cannot be used is not absent.

    Args:
        path: of a file or folder.
    Raises:
        StoreError: the folder that it would lie in may not be looked into.
    """
    try:
        path.lstat()
    except PermissionError as error:
        raise StoreError(
            f"cannot look at {path}: {error.strerror}; make {path.parent} readable for you, or name another folder"
        ) from None
    except (OSError, ValueError):
        return False
    return True


def own_folder(folder: Path) -> Path:
    """A folder inside an experiment's, which may not be there yet.

    Args:
        folder: where it is to be.
    Raises:
        StoreError: it is a link: files where it leads to are not ours to replace.
    """
    if folder.is_symlink():
        raise StoreError(
            f"cannot write into {folder}: it is a symbolic link, expected a folder or nothing; move it away"
        )
    return folder


_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@contextlib.contextmanager
def scratch_file(folder: Path) -> Iterator[BinaryIO]:
    """A nameless file in a folder, to be filled in the block and read after it; gone once closed, or once we are.

    Args:
        folder: on whose disk it lies.
    Raises:
        StoreError: the folder cannot be written, or the disk is full.
    """
    with contextlib.ExitStack() as failed:
        try:
            file = failed.enter_context(tempfile.TemporaryFile(prefix=".", suffix=SCRATCH, dir=folder))
            yield cast(BinaryIO, file)
        except OSError as error:
            reason = error.strerror or error
            raise StoreError(f"cannot write in {folder}: {reason}; room is needed for a while") from error
        failed.pop_all()


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically, with the same bytes on every system: checksums are of them.

    Args:
        path: of the file.
        text: written as UTF-8.
    """
    with atomic_path(path) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="\n")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
