"""Code of other people's: a function or class by where it is, a module or a file. Only what is trusted is imported."""

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from llc import trusted
from llc.errors import InvalidInput, LLCError, StoreError, UntrustedCode, did_you_mean, shown_name
from llc.trusted import Code

# An experiment's folder keeps copies of the files that its config names in a folder of this name.
CODE = "code"
# What the modules that such files become are called.
_PREFIX = "llc_own_"
# Folders of copies, of the experiments that this process has opened.
_copies: list[Path] = []


def named(place: str, *, asked_by: str) -> Any:
    """What `package.module:name` or `/path/to/file.py:name` stands for.

    Args:
        asked_by: the setting or option that says so, for the error.
    Raises:
        InvalidInput: there is no such function, or its file cannot be imported.
        UntrustedCode: a folder named it, and this user did not.
    """
    where, _, name = place.rpartition(":")
    if not where:
        raise InvalidInput(
            f"{asked_by} = {shown_name(place)} given, expected package.module:name or /path/to/file.py:name"
        )
    try:
        module = load_file(where, name, asked_by=asked_by) if where.endswith(".py") else _module(where, name, asked_by)
    except (UntrustedCode, StoreError, KeyboardInterrupt):
        raise
    except BaseException as error:  # whatever is wrong with other people's files, `sys.exit()` too
        raise InvalidInput(
            f"{asked_by} = {place} given, but {where} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        there = did_you_mean(name, [one for one, value in vars(module).items() if _defined_in(module, value)])
        if hasattr(module, name):
            there = f"{name} is a value of type {type(found).__name__}"
        raise InvalidInput(f"{asked_by} = {place} given, but there is no such function in {where}; {there}")
    return found


def _module(where: str, name: str, asked_by: str) -> ModuleType:
    trusted.check(Code(where, name, asked_by))  # first: importing is running
    return importlib.import_module(where)


def check(code: Code) -> None:
    """Raise UntrustedCode unless code may run; code that is not there at all is another matter."""
    if code.file is None:
        trusted.check(code)
    elif (path := there(code.where)).is_file():
        trusted.check(Code(str(path), code.name, code.asked_by), path.read_bytes())


def _defined_in(module: ModuleType, value: Any) -> bool:
    """Whether a module's own function or class."""
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def called(place: str, arguments: dict[str, Any], *, asked_by: str) -> Any:
    """What the function there returns.

    Args:
        arguments: of it, by name.
        asked_by: see `named`.
    Raises:
        InvalidInput: there is none, or it fails with these.
    """
    function = named(place, asked_by=asked_by)
    try:
        return function(**arguments)
    except (LLCError, KeyboardInterrupt):
        raise
    except BaseException as error:  # one that ends the process too
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise InvalidInput(
            f"{asked_by} = {place}: {place.rpartition(':')[2]}({given}) failed: {type(error).__name__}: {error}"
        ) from error


def absolute(place: str) -> str:
    """The same with a file's path in full: other processes may have another working directory."""
    where, colon, name = place.rpartition(":")
    return f"{Path(where).absolute()}{colon}{name}" if where.endswith(".py") else place


@contextlib.contextmanager
def named_in(folder: Path) -> Iterator[None]:
    """Code that may not run in the block is said to be named by a folder."""
    try:
        yield
    except UntrustedCode as error:
        raise error.of(folder) from None


def load_file(path: str | Path, name: str = "", *, asked_by: str = "defined_in") -> ModuleType:
    """A file as a module, imported once under a name of its own; where it is gone, the copy of it that was kept.

    Args:
        name: of the function that is asked for; by default none.
        asked_by: see `named`.
    Raises:
        ImportError, OSError: it cannot be.
        UntrustedCode: a folder named it, and this user did not.
    """
    path = there(path)
    loaded = [module for module in list(sys.modules.values()) if getattr(module, "__file__", None) == str(path)]
    if loaded and not name:  # what it runs has been run; its functions are another matter
        return loaded[0]
    if not path.is_file():
        raise ImportError(f"there is no such file as {path}")
    data = path.read_bytes()
    trusted.check(Code(str(path), name, asked_by), data)
    if loaded:  # the same file under another name would define its classes twice
        return loaded[0]
    module_name = f"{_PREFIX}{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    # As for a script, what lies beside it can be imported; not beside a copy, where anything may lie.
    beside = [str(path.parent)] if trusted.imports_beside(path) and path.parent not in _copies else []
    sys.path[:0] = beside
    try:
        # Of these bytes: Python's own loader would take a file from `__pycache__`, which nobody has looked at.
        exec(compile(data, str(path), "exec", dont_inherit=True), vars(module))
    except BaseException:
        del sys.modules[module_name]
        raise
    finally:
        for folder in beside:
            sys.path.remove(folder)
    return module


def there(path: str | Path) -> Path:
    """Where a file is, in full; where it is gone, a copy of it that was kept, best one that may run."""
    path = Path(path).absolute()
    if not path.exists():
        copies = [folder / copy_name(path) for folder in _copies if (folder / copy_name(path)).is_file()]
        path = next((copy for copy in copies if trusted.is_allowed(Code(str(copy), "", ""))), [*copies, path][0])
    return path.resolve()


def loaded_files() -> list[str]:
    """The files that `load_file` has made modules of; another process loads them before it can know what is theirs."""
    files = [str(module.__file__) for name, module in list(sys.modules.items()) if name.startswith(_PREFIX)]
    return [file for file in files if Path(file).exists()]


def is_ours(kind: type) -> bool:
    """Whether a class is this package's own."""
    return kind.__module__.split(".")[0] == "llc"


def file_of(kind: type) -> str | None:
    """The file that a class of other people's is defined in; None for this package's own, and where there is none."""
    if is_ours(kind):
        return None
    try:
        path = inspect.getsourcefile(kind)
    except (OSError, TypeError):  # of a notebook, or typed in
        return None
    return None if path is None or not Path(path).is_file() else str(Path(path).resolve())


def copy_name(path: str | Path) -> str:
    """What the copy of a file is called: `study-1a2b3c4d.py`, for two of one name may lie in different places."""
    path = Path(path)
    return f"{path.stem}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}{path.suffix}"


def use_copies(folder: Path) -> None:
    """From now on, look for files that are gone among the copies of an experiment."""
    copies = folder / CODE
    if copies.is_dir() and copies.resolve() not in _copies:
        _copies.append(copies.resolve())


def same_file(one: str | Path, other: str | Path) -> bool:
    """Whether two files have one name and one content: a file that was moved or copied, or a copy that was kept.

    What they import, or read, is not compared.
    """
    found = [Path(path) for path in (one, other)]
    names = [re.sub(r"-[0-9a-f]{8}(?=\.py$)", "", path.name) for path in found]
    return (
        names[0] == names[1]
        and all(path.is_file() for path in found)
        and found[0].read_bytes() == found[1].read_bytes()
    )


def as_before(given: dict[str, Any], stored: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A config's table with files that were only moved called as they were.

    Args:
        stored: the config of the experiment in `folder`, which keeps copies of its files.
    """
    table = dict(given)
    for key, value in given.items():
        before = stored.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            table[key] = as_before(value, before, folder)
        elif key in ("defined_in", "function") and isinstance(before, str) and before != value:
            (now, here), (then, there) = _split(key, str(value)), _split(key, before)
            kept = folder / CODE / copy_name(then)
            if here == there and now.endswith(".py") and same_file(then if Path(then).exists() else kept, now):
                table[key] = before
    return table


def _split(key: str, value: str) -> tuple[str, str]:
    """File and function; a `defined_in` is a file alone."""
    return (value, "") if key == "defined_in" else (value.rpartition(":")[0], value.rpartition(":")[2])


def files_in(table: dict[str, Any]) -> Iterator[Path]:
    """The files of other people's code that a config's table names."""
    for code in trusted.code_in(table):
        if code.where.endswith(".py"):
            yield Path(code.where)
