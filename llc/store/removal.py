"""All that is ever removed: files that carry a name of ours, in folders of ours. Links are not followed."""

import contextlib
import re
from collections.abc import Iterable
from pathlib import Path

from llc.own_code import CODE
from llc.store.lock import LOCK_FILE
from llc.store.numbered import KEPT, is_scratch, settings_folders


def own_folders(folder: Path, runs: Iterable[str]) -> list[Path]:
    """The folders that an experiment writes into, as far as they are there; links to folders are left out.

    Args:
        folder: of the experiment.
        runs: names of its runs.
    """
    found = [folder]
    for place in [folder / "figures", folder / CODE, *(folder / run for run in runs)]:
        if not _is_folder(place):
            continue
        found.append(place)
        inside = [place / name for name in KEPT]
        inside += settings_folders(place / "llc") if _is_folder(place / "llc") else []
        found += [folder for folder in inside if _is_folder(folder)]
    return found


def remove_if_empty(folder: Path) -> None:
    """Delete a folder that holds nothing, or no more than our lock, which nobody holds: what was to go there failed.

    Args:
        folder: which may not be there.
    """
    with contextlib.suppress(OSError):
        if [path.name for path in folder.iterdir()] in ([], [LOCK_FILE]):
            (folder / LOCK_FILE).unlink(missing_ok=True)
            folder.rmdir()


def remove_scratch(folders: Iterable[Path]) -> None:
    """Delete what a killed process left half-written. Only for a caller that holds the experiment's lock.

    Args:
        folders: that are there; those in them are not looked into.
    """
    for folder in folders:
        for path in folder.iterdir():
            if is_scratch(path.name) and _is_file(path):
                path.unlink(missing_ok=True)


def remove_folder(folder: Path, names: str) -> None:
    """Delete a folder's files of certain names, and the folder unless something else is in it.

    Args:
        folder: which may not be there, and stays where it is a link.
        names: a regular expression, of the whole name.
    """
    if not _is_folder(folder):
        return
    for path in folder.iterdir():
        if (re.fullmatch(names, path.name) or is_scratch(path.name)) and _is_file(path):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # somebody else's files are in it
        folder.rmdir()


def remove_file(path: Path) -> None:
    """Delete a file, if it is there and no link or anything else.

    Args:
        path: of the file, which may not be there.
    """
    if _is_file(path):
        path.unlink(missing_ok=True)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
