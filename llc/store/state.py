"""The state that a run goes on from, on disk: PyTorch's format with a checksum behind it."""

import io
import zlib
from pathlib import Path

import torch

from llc.errors import StoreError
from llc.store.atomic import atomic_path, check_readable

# Ends the file, before eight hex digits. PyTorch, which checks nothing itself, reads over it.
_MARK = b"\ncrc32 "
_LENGTH = len(_MARK) + 8


def write_state(path: Path, state: dict, *, config_hash: str) -> None:
    """Save a state atomically, with the hash of the config that it belongs to."""
    buffer = io.BytesIO()
    torch.save({**state, "config_hash": config_hash}, buffer)
    with atomic_path(path) as scratch, open(scratch, "wb") as file:
        file.write(buffer.getbuffer())
        file.write(_MARK + _checksum(buffer.getbuffer()))


def read_state(path: Path, *, config_hash: str) -> dict:
    """What `write_state` was given; tensors on the CPU.

    Raises:
        StoreError: the file is damaged, or belongs to another config than `config_hash`.
    """
    again = "delete it to train this run again from step 0"
    check_readable(path)
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}); {again}") from None
    whole, end = data[:-_LENGTH], bytes(data[-_LENGTH:])
    if end != _MARK + _checksum(whole):
        why = "checksum differs" if end.startswith(_MARK) else "cut short, or written by an earlier version"
        raise StoreError(f"{path} is damaged ({why}); {again}")
    state = torch.load(io.BytesIO(whole), weights_only=True, map_location="cpu")
    if state.pop("config_hash", None) != config_hash:
        raise StoreError(f"{path} belongs to another run; {again}")
    return state


def _checksum(data: memoryview) -> bytes:
    return f"{zlib.crc32(data):08x}".encode()
