"""What this machine and its Python offer: versions, devices, speed, disks; what is slow or missing and what to do.

Nothing but Python itself is needed to import it, so that it can say that everything else is missing.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llc.doctor import packages
from llc.doctor.finding import Finding, Status
from llc.errors import InvalidInput


def examine(folder: Path | str = ".", *, seconds: float = 1.0) -> list[Finding]:
    """Everything that was found, topic by topic.

    Args:
        folder: where runs are to be kept.
        seconds: of measuring each rate.
    Raises:
        InvalidInput: there is no such folder.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise InvalidInput(f"folder = {folder} given, which is none; give one that is there")
    with warnings.catch_warnings(action="ignore"):  # such as of a driver; findings say it
        found = packages.packages()
        broken = {one.name for one in found if one.status == "unusable"}
        if "torch" not in broken:
            found += _machine(seconds)
        found += _seen("compiler", _compiler)
        found += _seen("disk", lambda: _disks(folder, not broken))
    return found


def _machine(seconds: float) -> list[Finding]:
    from llc.doctor import machine

    return [
        *_seen("processor", machine.cores),
        *_seen("speed", lambda: machine.cpu_speed(seconds)),
        *_seen("GPU", lambda: machine.gpus(seconds)),
    ]


def _compiler() -> list[Finding]:
    from llc.doctor.compiler import compiler

    return compiler()


def _disks(folder: Path, whole: bool) -> list[Finding]:
    from llc.doctor import disk

    return [*disk.disks(folder), *(disk.results(folder) if whole else [])]


def _seen(topic: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """What a look finds; what stops it is a finding too, so that the others are told all the same."""
    try:
        return look()
    except (ImportError, OSError, RuntimeError) as error:
        said = f"could not be looked at ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        return [Finding(topic, topic, said, "missing", "please report this line; the other lines hold without it")]


def usable(found: Sequence[Finding]) -> bool:
    """Whether llc can work here, be it slowly.

    Args:
        found: of `examine`.
    """
    return all(one.status != "unusable" for one in found)


def as_table(found: Sequence[Finding]) -> dict[str, Any]:
    """The findings as plain values, for JSON.

    Args:
        found: of `examine`.
    """
    return {"usable": usable(found), "findings": [vars(one) for one in found]}


__all__ = ["Finding", "Status", "as_table", "examine", "usable"]
