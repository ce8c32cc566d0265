"""The code that an experiment's folder names: copies of it, and what of it is on the user's list of trusted code."""

import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

from llc import own_code, trusted
from llc.errors import StoreError
from llc.store.atomic import atomic_path
from llc.store.experiment import Experiment, open_folder
from llc.store.lock import file_lock
from llc.store.run import Run
from llc.store.tables import Table, write_table
from llc.trusted import Code, Trusted, TrustedFile


def keep_code(folder: Path, table: Table) -> None:
    """Copy the files that a config names into its experiment, so that it can be opened where they are not.

    What they import from beside them is not copied.

    Args:
        folder: the experiment's.
        table: its settings, such as its config.
    """
    for path in dict.fromkeys(own_code.files_in(table)):
        kept = folder / own_code.CODE / own_code.copy_name(path)
        if not path.is_file():
            continue
        if not os.path.lexists(kept):
            kept.parent.mkdir(exist_ok=True)
            with atomic_path(kept) as scratch:
                scratch.write_bytes(path.read_bytes())


def check_code_unchanged(folder: Path, table: Table) -> None:
    """Raise StoreError where a file that a config names is another than the one its experiment was begun with.

    Its runs would be of two studies, which nothing tells apart later.

    Args:
        folder: the experiment's.
        table: its settings, such as its config.
    """
    for path in dict.fromkeys(own_code.files_in(table)):
        kept = folder / own_code.CODE / own_code.copy_name(path)
        if path.is_file() and os.path.lexists(kept) and not own_code.same_file(kept, path):
            raise StoreError(
                f"{path} was edited since {folder} was begun with it, and what is trained now would be of another "
                f"study; train in a new folder, or go on with the file as it was then: --system {kept}:FUNCTION"
            )


def code_of(found: Experiment | Run) -> list[Code]:
    """The code that a folder names, each file and function once, files where they are; nothing of it is run.

    Args:
        found: an experiment, whose runs are looked at too, or one run.
    """
    tables = [found.config]
    if isinstance(found, Experiment):
        tables += [{"system": found.provenance.get("system")}, *(run.config for run in found.runs)]
    codes: dict[tuple, Code] = {}
    for code in (code for table in tables for code in trusted.code_in(table)):
        where = str(own_code.there(code.where)) if code.where.endswith(".py") else code.where
        codes.setdefault((where, code.name), Code(where, code.name, code.asked_by))
    return list(codes.values())


def trust(folder: str | Path) -> list[Code]:
    """Let the code that a folder names run from now on, in this process and in later ones; look at it first.

    Files are trusted as they are: once edited they have to be trusted anew.

    Args:
        folder: of an experiment or a run.
    Returns:
        What is trusted.
    Raises:
        StoreError: it is no such folder, or the list of trusted code cannot be written.
    """
    codes = code_of(open_folder(folder))
    _change(lambda known: _with(known, codes))
    return codes


def distrust(codes: Iterable[Code]) -> None:
    """Take functions, and files with whatever they held when they were trusted, off the list.

    Args:
        codes: as `code_of` gives them; copies of these files go too, by what they hold now.
    Raises:
        StoreError: the list of trusted code cannot be written.
    """
    codes = list(codes)
    functions, places = {str(code) for code in codes}, {str(code.file) for code in codes if code.file is not None}
    files = {trusted.digest(code.file.read_bytes()) for code in codes if code.file is not None and code.file.is_file()}
    _change(
        lambda known: Trusted(
            tuple(one for one in known.functions if one not in functions),
            tuple(one for one in known.files if one.sha256 not in files and one.path not in places),
        )
    )


def remember(codes: Iterable[Code]) -> None:
    """Put what the user has given on the list, for later processes; a list that cannot be written is warned of.

    Args:
        codes: as `code_of` gives them; nothing is written where there are none.
    """
    codes = list(codes)
    try:
        if codes:
            _change(lambda known: _with(known, codes))
    except StoreError as error:
        warnings.warn(f"{error}; other processes will not run the code that was given here before that", stacklevel=2)


def _with(known: Trusted, codes: Iterable[Code]) -> Trusted:
    functions, files = dict.fromkeys(known.functions), {(one.path, one.sha256): one for one in known.files}
    for code in codes:
        if code.file is None:
            functions[str(code)] = None
        elif code.file.is_file():
            place = str(code.file), trusted.digest(code.file.read_bytes())
            names = {code.name, *(files[place].names if place in files else ())}
            files[place] = TrustedFile(*place, tuple(sorted(names)))
    return Trusted(tuple(functions), tuple(files.values()))


def _change(changed: Callable[[Trusted], Trusted]) -> None:
    """Read the list, and write what becomes of it if that is another."""
    if changed(trusted.read()) == trusted.read():
        return
    path = trusted.place()
    try:
        with file_lock(path.with_name(f"{path.name}.lock")):
            new = changed(trusted.read())
            write_table(path, {"functions": list(new.functions), "files": [one._asdict() for one in new.files]})
    except StoreError as error:
        raise StoreError(f"the list of trusted code was not changed: {error}") from None
