"""A checksum at the end of a file, which is looked at before anything else reads the file.

PyTorch and HDF5 read over it. Of damaged bytes HDF5 now and then makes other values, or never comes back.
"""

import zlib
from pathlib import Path
from typing import BinaryIO

# What ends a head, before its length and checksum, and the whole file, before eight hex digits.
_HEAD, _WHOLE = b"\nhead ", b"\ncrc32 "
_LENGTH, _HEAD_LENGTH = len(_WHOLE) + 8, len(_HEAD) + 16 + 1 + 8
_BLOCK = 2**20


class Damaged(ValueError):
    """A file that is not what was written."""


def add_seal(path: Path, head: bytes = b"") -> None:
    """End a file with its checksum.

    Args:
        head: what can be read, and is looked at, without the whole file.
    """
    with open(path, "rb+") as file:
        crc = _crc(file, path.stat().st_size)
        end = head + _HEAD + f"{len(head):016x} ".encode() + _hex(zlib.crc32(head)) if head else b""
        file.write(end + _WHOLE + _hex(zlib.crc32(end, crc)))


def check_seal(path: Path) -> bool:
    """Whether a file ends with a checksum, after a look at whether it is that of the file.

    Raises:
        Damaged: it is not.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size - _LENGTH
    with open(path, "rb") as file:
        if not _is_sealed(file, size):
            return False
        file.seek(0)
        crc = _crc(file, size)
        if file.read(_LENGTH) != _WHOLE + _hex(crc):
            raise Damaged("checksum differs")
    return True


def sealed_head(path: Path) -> bytes:
    """The head that a file was given; empty where there is none.

    Raises:
        Damaged: it is not what was written.
        OSError: the file cannot be read.
    """
    end = path.stat().st_size - _LENGTH - _HEAD_LENGTH
    with open(path, "rb") as file:
        if not _is_sealed(file, end + _HEAD_LENGTH) or end < 0:
            return b""
        file.seek(end)
        said = file.read(_HEAD_LENGTH)
        if not said.startswith(_HEAD):
            return b""
        try:
            length = int(said[len(_HEAD) : -9], 16)
        except ValueError:
            length = 0
        if not 0 < length <= end:
            raise Damaged("checksum differs")
        file.seek(end - length)
        head = file.read(length)
    if said[-8:] != _hex(zlib.crc32(head)):
        raise Damaged("checksum differs")
    return head


def _is_sealed(file: BinaryIO, size: int) -> bool:
    if size < 0:
        return False
    file.seek(size)
    return file.read(len(_WHOLE)) == _WHOLE


def _crc(file: BinaryIO, size: int) -> int:
    """Of the next bytes."""
    crc = 0
    for start in range(0, size, _BLOCK):
        crc = zlib.crc32(file.read(min(_BLOCK, size - start)), crc)
    return crc


def _hex(crc: int) -> bytes:
    return f"{crc:08x}".encode()
