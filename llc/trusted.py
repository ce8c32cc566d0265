"""Which code of other people's may run here: what this user gave, in this process, or trusted before.

A folder can name any function or file as its task, its model or its study, and may come from anybody. So nothing that
it names is imported unless it was given (on the command line, or in Python by making the config or training it), or is
in the user's list of trusted code: files by the SHA-256 of what is in them, functions of modules by name.
"""

import contextlib
import hashlib
import importlib
import inspect
import os
import sys
import tomllib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from llc.errors import StoreError, UntrustedCode

# Names the list of trusted code, in place of the user's.
VARIABLE = "LLC_TRUST"
# A module, the full path of a file or the SHA-256 of one; and a function of it, or nothing for the file alone.
Key = tuple[str, str]


class Code(NamedTuple):
    """A function, or a whole file, that a setting names.

    Attributes:
        where: a module, or a file whose name ends with `.py`.
        name: of the function; empty for a file that is imported.
        asked_by: the setting.
    """

    where: str
    name: str
    asked_by: str

    def __str__(self) -> str:
        return f"{self.where}:{self.name}" if self.name else self.where

    @property
    def file(self) -> Path | None:
        """Its file in full; None for that of a module."""
        return Path(self.where).resolve() if self.where.endswith(".py") else None

    @property
    def key(self) -> Key:
        """What it is given by."""
        return str(self.file or self.where), self.name


# What may run in this process: what was given to it, and what it found in the list.
_allowed: set[Key] = set()
# Whether a config is being made of a table, which may be a folder's, rather than by the user's own program.
_of_table: ContextVar[bool] = ContextVar("of_table", default=False)


@contextlib.contextmanager
def of_table() -> Iterator[None]:
    """Configs that are made meanwhile give nothing."""
    before = _of_table.set(True)
    try:
        yield
    finally:
        _of_table.reset(before)


def made_by_hand() -> bool:
    """Whether a config that is being made is made by the user's own program."""
    return not _of_table.get()


def code_of(place: str, asked_by: str) -> Code:
    """The code that `package.module:name` or `/path/to/file.py:name` stands for."""
    where, _, name = place.rpartition(":")
    return Code(where, name, asked_by)


def code_in(table: dict[str, Any], before: str = "") -> Iterator[Code]:
    """The code that a config's table names; the arguments of a function are its own affair."""
    for key, value in table.items():
        if isinstance(value, dict) and key != "arguments":
            yield from code_in(value, f"{before}{key}.")
        elif key == "defined_in":
            yield Code(str(value), "", before + key)
        elif key in ("function", "system") and isinstance(value, str) and ":" in value:
            yield code_of(value, before + key)


def give(codes: Iterable[Code]) -> None:
    """Let code run in this process, whatever its file holds: the user has just named it."""
    _allowed.update(code.key for code in codes)


def passed_on(codes: Iterable[Code] | None = None) -> frozenset[Key]:
    """What another process has to be told that it may run.

    Args:
        codes: no more than these; files whose classes are here have been run already.
    """
    if codes is None:
        return frozenset(_allowed)
    keys = {key for code in codes for key in _keys(code)}
    return frozenset(key for key in keys if key in _allowed or not key[1])


def take(keys: Iterable[Key]) -> None:
    """Let run here what may run in the process that passed it on."""
    _allowed.update(keys)


def check(code: Code, data: bytes | None = None) -> None:
    """Raise UntrustedCode unless code may run here.

    Args:
        data: what is in its file.
    Raises:
        StoreError: the list of trusted code cannot be read.
    """
    if is_allowed(code, data):
        return
    known = [] if code.file is None else [one for one in read().files if one.path == str(code.file)]
    raise UntrustedCode(str(code), code.asked_by, changed=bool(known))


def is_allowed(code: Code, data: bytes | None = None) -> bool:
    """Whether code may run here; nothing of it is run to find out. See `check`."""
    if code.file is None:
        if code.key in _allowed or _is_meant(code):
            return True
        if str(code) in read().functions:
            _allowed.add(code.key)
        return code.key in _allowed
    if _holds(str(code.file), code.name):
        return True
    content = digest(code.file.read_bytes() if data is None else data)
    found = [one for one in read().files if one.sha256 == content and (code.name in one.names or not code.name)]
    for one in found:  # by its path where that was trusted, so that it may import what is beside it
        _allowed.add((one.path if one.path == str(code.file) else content, code.name))
    return _holds(str(code.file), code.name) or _holds(content, code.name)


def imports_beside(path: Path) -> bool:
    """Whether a file may import what lies beside it: it was given or trusted where it is, not as a copy elsewhere."""
    return _holds(str(path), "")


def _holds(where: str, name: str) -> bool:
    """Whether that may run; a file may be imported if any function of it may run."""
    return (where, name) in _allowed or (not name and any(where == other for other, _ in _allowed))


def _is_meant(code: Code) -> bool:
    """Whether that is a model or a preset of this package, which the package is free to import and to call."""
    if code.where.partition(".")[0] != "llc":
        return False
    try:
        found = getattr(importlib.import_module(code.where), code.name, None)
    except ImportError:
        return False
    home = f"{getattr(found, '__module__', '')}."
    if inspect.isclass(found):
        return home.startswith("llc.models.") and issubclass(found, sys.modules["torch"].nn.Module)
    returned = getattr(found, "__annotations__", {}).get("return")
    of_presets = home.startswith(("llc.systems.", "llc.training.presets."))
    return of_presets and getattr(returned, "__name__", returned) == "ExperimentConfig"


class TrustedFile(NamedTuple):
    """A file that may be imported while it holds what it held: where it is, and functions that may be called."""

    path: str
    sha256: str
    names: tuple[str, ...]


class Trusted(NamedTuple):
    """The user's list: functions as `package.module:name`, and files."""

    functions: tuple[str, ...] = ()
    files: tuple[TrustedFile, ...] = ()


def place() -> Path:
    """The file that holds the list: where `LLC_TRUST` says, or in the folder of the user's settings.

    Raises:
        StoreError: no such folder is known.
    """
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE]).absolute()
    try:
        settings = os.environ.get("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME") or Path.home() / ".config"
    except RuntimeError:
        raise StoreError(
            f"this user has no home folder for a list of trusted code; name a file in {VARIABLE}"
        ) from None
    return Path(settings) / "llc" / "trusted.toml"


def read() -> Trusted:
    """The user's list; an empty one where there is none.

    Raises:
        StoreError: it cannot be read, or is none.
    """
    path = place()
    if not os.path.lexists(path):
        return Trusted()
    try:
        table = tomllib.loads(path.read_text("utf-8") if path.is_file() else "no regular file")
        files = tuple(
            TrustedFile(_text(one["path"]), _text(one["sha256"]), _texts(one["names"])) for one in table["files"]
        )
        return Trusted(_texts(table["functions"]), files)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise StoreError(
            f"the list of trusted code, {path}, cannot be read ({why}); restore it, or move it away and trust folders "
            "again with: llc trust FOLDER"
        ) from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{values!r} is no list")
    return tuple(_text(value) for value in values)


def digest(data: bytes) -> str:
    """What a file is known by."""
    return hashlib.sha256(data).hexdigest()


def _keys(code: Code) -> list[Key]:
    """What code may be allowed by."""
    there = code.file is not None and code.file.is_file()
    return [code.key, (digest(Path(code.where).read_bytes()), code.name)] if there else [code.key]
