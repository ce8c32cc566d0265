"""Folders of files that are named by step, such as `000507.safetensors`; whatever else lies in them is not ours."""

import os
import re
from pathlib import Path

from llc.store.atomic import SCRATCH

# Those of a run: weights, predictions where weights were thinned out, and weights that others are averages of.
KEPT = ("checkpoints", "predictions", "trained")
# What `table_hash` makes.
_HASH = re.compile(r"[0-9a-f]{16}")


def numbered_path(folder: Path, step: int, suffix: str) -> Path:
    """Where the file of a step lies.

    Args:
        folder: where files are named by their steps.
        step: written with six digits or more.
        suffix: with its dot.
    """
    return folder / f"{step:06d}{suffix}"


def numbered_steps(folder: Path, suffix: str) -> list[int]:
    """The steps that a folder has files of, ascending.

    Args:
        folder: which may not be there.
        suffix: of the files that count, with its dot.
    """
    names = _files(folder)
    return sorted(step for name in names if (step := _step(name, suffix)) is not None)


def foreign(folder: Path, suffix: str) -> list[Path]:
    """What lies in such a folder and is not a file of a step, nor half of one that is being written."""
    if not folder.is_dir():
        return []
    files = _files(folder)
    ours = {name for name in files if _step(name, suffix) is not None or is_scratch(name)}
    return sorted(folder / name for name in set(os.listdir(folder)) - ours)


def settings_folders(folder: Path) -> list[Path]:
    """Subfolders named by a hash of settings, as a run has one for each choice of how to estimate, ascending.

    Args:
        folder: of a run's estimates, which may not be there.
    """
    if not folder.is_dir():
        return []
    return sorted(place for place in folder.iterdir() if _HASH.fullmatch(place.name) and place.is_dir())


def step_of(path: Path) -> int | None:
    """The step that a file's name says it is of; None for another kind of name."""
    return _step(path.name, path.suffix)


def is_scratch(name: str) -> bool:
    """Whether a file of this name is one that a killed process of ours left half-written."""
    return name.startswith(".") and name.endswith(SCRATCH)


def _files(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _step(name: str, suffix: str) -> int | None:
    digits = name.removesuffix(suffix)
    if not (digits.isascii() and digits.isdecimal()):
        return None
    step = int(digits)
    return step if name == numbered_path(Path(), step, suffix).name else None
