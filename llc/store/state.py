"""The state that a run goes on from, on disk: PyTorch's format with a checksum behind it."""

import io
from pathlib import Path

import torch

from llc.errors import StoreError
from llc.store.atomic import atomic_path, check_readable
from llc.store.seal import Damaged, add_seal, check_seal


def write_state(path: Path, state: dict, *, config_hash: str) -> None:
    """Save a state atomically, with the hash of the config that it belongs to.

    Args:
        path: of the file.
        state: tensors and plain values by name.
        config_hash: of the run.
    """
    buffer = io.BytesIO()
    torch.save({**state, "config_hash": config_hash}, buffer)
    with atomic_path(path) as scratch:
        scratch.write_bytes(buffer.getbuffer())
        add_seal(scratch)


def read_state(path: Path, *, config_hash: str) -> dict:
    """What `write_state` was given; tensors on the CPU.

    Args:
        path: of the file.
        config_hash: of the run that it has to be of.
    Raises:
        StoreError: the file is damaged, or belongs to another config than `config_hash`.
    """
    again = "delete it to train this run again from step 0"
    check_readable(path)
    try:
        why = "" if check_seal(path) else "cut short, or written by an earlier version"
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}); {again}") from None
    except Damaged as error:
        why = str(error)
    if why:
        raise StoreError(f"{path} is damaged ({why}); {again}")
    state = torch.load(path, weights_only=True, map_location="cpu")
    if state.pop("config_hash", None) != config_hash:
        raise StoreError(f"{path} belongs to another run; {again}")
    return state
