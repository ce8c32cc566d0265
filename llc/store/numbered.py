"""Folders of files that are named by step, such as `000507.safetensors`; whatever else lies in them is not ours.

What carries such a name counts, whatever it is: a folder or a pipe in a file's place is for readers to refuse, and not
to be taken for a step that was never made.
"""

import os
import re
from pathlib import Path

from llc.errors import StoreError
from llc.store.atomic import SCRATCH, check_readable, is_there

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
    Raises:
        StoreError: the folder is no folder, or may not be looked into.
    """
    names = _names(folder)
    return sorted(step for name in names if (step := _step(name, suffix)) is not None)


def check_numbered(folder: Path, suffix: str) -> None:
    """Raise StoreError where a folder, a pipe or a link to nothing has the place of a file of some step.

    Before long work, or where nothing else reads them all; what is in the files is not looked at.

    Args:
        folder: which may not be there.
        suffix: of the files that count, with its dot.
    """
    for step in numbered_steps(folder, suffix):
        path = numbered_path(folder, step, suffix)
        if not path.is_file():
            check_readable(path)


def foreign(folder: Path, suffix: str) -> list[Path]:
    """What lies in such a folder and is not called as a file of a step is, nor half of one that is being written."""
    try:
        others = [folder / name for name in _names(folder) if _step(name, suffix) is None]
    except StoreError:  # who reads the files says it
        return []
    return sorted(path for path in others if not (is_scratch(path.name) and path.is_file()))


def settings_folders(folder: Path) -> list[Path]:
    """Subfolders named by a hash of settings, as a run has one for each choice of how to estimate, ascending.

    Args:
        folder: of a run's estimates, which may not be there.
    Raises:
        StoreError: it may not be looked into.
    """
    if not folder.is_dir():
        return []
    return sorted(folder / name for name in _names(folder) if _HASH.fullmatch(name) and (folder / name).is_dir())


def step_of(path: Path) -> int | None:
    """The step that a file's name says it is of; None for another kind of name."""
    return _step(path.name, path.suffix)


def is_scratch(name: str) -> bool:
    """Whether a file of this name is one that a killed process of ours left half-written."""
    return name.startswith(".") and name.endswith(SCRATCH)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        if not is_there(folder):
            return []
        raise StoreError(
            f"cannot look into {folder}: {error.strerror}; expected a folder that you may read, or nothing; restore "
            "it, or move it away"
        ) from None


def _step(name: str, suffix: str) -> int | None:
    digits = name.removesuffix(suffix)
    if not (digits.isascii() and digits.isdecimal()):
        return None
    step = int(digits)
    return step if name == numbered_path(Path(), step, suffix).name else None
