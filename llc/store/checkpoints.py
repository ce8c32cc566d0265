"""Weights on disk: one safetensors file a step, whose header says what it is and guards against damage."""

import zlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from llc.errors import StoreError
from llc.store.atomic import atomic_path, check_readable, check_regular
from llc.store.numbered import numbered_path, numbered_steps, step_of
from llc.store.removal import remove_file

# What such a file is called, and its one tensor where it stands in for weights.
CHECKPOINT = ".safetensors"
PREDICTIONS = "predictions"
AGAIN = "delete it and run the same `llc train` or `llc import` command again"

Weights = dict[str, torch.Tensor]


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies.

    Args:
        folder: of a run's checkpoints.
        step: the number of updates.
    """
    return numbered_path(folder, step, CHECKPOINT)


def checkpoint_steps(folder: Path) -> list[int]:
    """The steps that a folder has checkpoints of, ascending. Files of other names are passed over."""
    return numbered_steps(folder, CHECKPOINT)


def write_checkpoint(path: Path, weights: Weights, *, step: int, config_hash: str) -> None:
    """Save weights as they are (their dtype is kept); the header carries step, config hash, folder and a checksum.

    Args:
        path: of the file.
        weights: tensors by name, on any device.
        step: the number of updates.
        config_hash: of the run.
    Raises:
        StoreError: it cannot be written, or would take the place of a checkpoint of another config.
    """
    check_regular(path)
    there = _config_hash(path)
    if there not in (None, config_hash):
        raise StoreError(f"{path} belongs to another config ({there}, expected {config_hash}); move it away")
    weights = apart(weights)
    header = {
        "step": str(step),
        "config_hash": config_hash,
        "folder": path.absolute().parent.name,
        "crc32": _checksum(weights),
    }
    with atomic_path(path) as scratch:
        save_file(weights, scratch, metadata=header)


def apart(weights: Weights) -> Weights:
    """The weights on the CPU, each on memory of its own, as the format has it: tied ones are there by every name.

    Args:
        weights: tensors by name; they stay as they are.
    """
    found: Weights = {}
    seen: set[int] = set()
    for name, tensor in weights.items():
        value = tensor.detach().cpu().contiguous()
        place = value.untyped_storage().data_ptr()
        found[name] = value.clone() if place in seen else value
        seen.add(place)
    return found


def remove_checkpoint(path: Path, *, config_hash: str) -> None:
    """Delete a checkpoint, if there is one of this config.

    Args:
        path: of the file, which may not be there.
        config_hash: of the run; a checkpoint of another stays.
    """
    if _config_hash(path) == config_hash:
        remove_file(path)


def read_checkpoint(path: Path, *, config_hash: str | None = None) -> Weights:
    """The weights in a checkpoint file.

    Args:
        path: of the file.
        config_hash: of the run that it has to be of; None for any.
    Raises:
        StoreError: it is not there, cut short, damaged, of another step than its name says, or of another config than
            `config_hash`; or, where that is given, from another folder of a run.
    """
    check_readable(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise StoreError(f"{path} does not exist") from None
    except (SafetensorError, OSError) as error:
        raise StoreError(f"{path} is damaged or cut short ({error}); {AGAIN}") from None
    if header.get("crc32") != _checksum(weights):
        raise StoreError(f"{path} is damaged (checksum differs); {AGAIN}")
    if config_hash is not None and header.get("config_hash") != config_hash:
        raise StoreError(
            f"{path} belongs to another config ({header.get('config_hash')}, expected {config_hash}); move it away, or "
            "restore the config if that was edited"
        )
    named = step_of(path)
    if named is not None and header.get("step") != str(named):
        raise StoreError(f"{path} is damaged (it holds step {header.get('step')}, not {named}); {AGAIN}")
    held, here = header.get("folder"), path.absolute().parent.name
    if config_hash is not None and held not in (None, here):
        raise StoreError(f"{path} is damaged (it is one of {held}, not of {here}); {AGAIN}")
    return weights


def _config_hash(path: Path) -> str | None:
    """The config that a checkpoint's header names; None if there is no file, or none that says."""
    check_readable(path)
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("config_hash")
    except (SafetensorError, OSError):
        return None


def _checksum(weights: Weights) -> str:
    crc = 0
    for name in sorted(weights):
        # .view(uint8) instead of .numpy(): it takes bfloat16 too
        data = weights[name].contiguous().reshape(-1).view(torch.uint8).numpy()
        crc = zlib.crc32(data.data, zlib.crc32(name.encode(), crc))
    return f"{crc:08x}"
