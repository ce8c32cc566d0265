"""Configs on disk: plain nested tables in TOML, their hash, and the difference between two."""

import datetime
import hashlib
import json
import tomllib
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from llc.errors import StoreError
from llc.store.atomic import check_readable, write_text

Table = dict[str, Any]

# The first line of a table of ours, before eight hex digits: of one that was cut short it is still there.
_CHECKSUM = "# crc32 "
# Those of a config that are tables.
_SECTIONS = {"task", "model", "training", "checkpoints", "behaviour", "sweep"}


def write_table(path: Path, table: Table, *, to_edit: bool = False) -> None:
    """Write a table as TOML with its checksum, atomically.

    Args:
        path: of the file.
        table: of what TOML can say, no None.
        to_edit: it is meant to be edited, and has none.
    """
    text = tomli_w.dumps(table)
    write_text(path, text if to_edit else f"{_first_line(text)}\n{text}")


def _first_line(text: str) -> str:
    return f"{_CHECKSUM}{zlib.crc32(text.encode()):08x}"


def read_table(path: Path, needs: Sequence[str] = ()) -> Table:
    """A table from a TOML file, or StoreError if it is not there, damaged, or lacks a key that it needs.

    Somebody's own has no checksum, nor need it have one.

    Args:
        path: of the file.
        needs: keys that it has to have.
    """
    check_readable(path)
    try:
        text = path.read_bytes().decode().replace("\r\n", "\n")  # as an editor may have made them, or git
        first, _, rest = text.partition("\n")
        cut = _CHECKSUM.startswith(text)
        if (first.startswith(_CHECKSUM) or cut) and first != _first_line(rest):
            raise StoreError(
                f"{path} is damaged, or was edited (checksum differs); restore it, or delete its first line if what it "
                "says is meant"
            )
        table = tomllib.loads(text)
    except FileNotFoundError:
        raise StoreError(f"{path} does not exist") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}); expected a text file that you may read") from None
    except (ValueError, RecursionError) as error:  # also of numbers of thousands of digits, and of nesting as deep
        raise StoreError(f"{path} is damaged ({error}); restore it or start in a new folder") from None
    if _is_of_version_0_1(table):
        raise StoreError(
            f"{path} is of version 0.1, whose folders this version cannot read; train it again into another folder"
        )
    missing = [key for key in needs if key not in table]
    if missing:
        raise StoreError(f"{path} is damaged (no {', '.join(missing)}); restore it or start in a new folder")
    for key in _SECTIONS & table.keys():
        if not isinstance(table[key], dict):
            raise StoreError(f"{path} is damaged ({key} is no table); restore it or start in a new folder")
    times = [key for key, value in leaves(table) if _holds_time(value)]
    if times:
        raise StoreError(
            f"{path} is damaged ({times[0]} is a time, which no setting is); restore it, or mend that line"
        )
    return table


def leaves(table: Table, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Whole keys, such as `training.steps`, and values of what is no table itself."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _holds_time(value: Any) -> bool:
    if isinstance(value, list | dict):
        return any(map(_holds_time, value.values() if isinstance(value, dict) else value))
    return isinstance(value, datetime.date | datetime.time)


def _is_of_version_0_1(table: Table) -> bool:
    """Whether a table is what that version wrote of a sweep or of a run: its axes had no names, nor runs a place."""
    sweep = table.get("sweep", {})
    of_sweep = isinstance(sweep, dict) and sweep.keys() == {"num_tasks", "seeds"}
    return of_sweep or ({"preset", "seed", "training"} <= table.keys() and not {"place", "sweep"} & table.keys())


def table_hash(table: Table) -> str:
    """Sixteen hex digits that two tables share only if they say the same.

    Args:
        table: of what JSON can say; the order of keys is of no account.
    """
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:16]


def differences(stored: Table, given: Table, prefix: str = "") -> list[str]:
    """What differs, a line each: `training.steps: 2000 there, 3000 now`.

    Args:
        stored: the table there.
        given: the table now.
        prefix: of every key, for tables within tables.
    """
    lines = []
    for key in sorted({*stored, *given}):
        there, now = stored.get(key), given.get(key)
        if isinstance(there, dict) and isinstance(now, dict):
            lines += differences(there, now, f"{prefix}{key}.")
        elif there != now and (there == there or now == now):  # two NaN are no difference  # noqa: PLR0124
            said = ["unset" if value is None else repr(value) for value in (there, now)]
            lines.append(f"{prefix}{key}: {said[0]} there, {said[1]} now")
    return lines


def flat(table: Table) -> list[str]:
    """A table as lines of `training.steps = 2000`."""
    return [f"{key} = {value}" for key, value in leaves(table)]
