"""What a unit of work is: its outcome, its reports, and how it is asked to stop."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llc import devices
from llc.errors import Interrupted, InvalidInput, LLCError, ended_by, shown

Progress = Callable[[str, int, int, str], None]
"""Told (unit, done, total, note) as a unit of work goes on."""


def quiet(unit: str, done: int, total: int, note: str) -> None:
    """Progress that nobody hears of.

    Args:
        unit: what is going on.
        done: of `total`.
        total: 0 for a note that is not about a unit.
        note: what to say of it.
    """


def check_progress(progress: object) -> None:
    """A function, or None; or InvalidInput.

    Args:
        progress: what a user has given.
    """
    if progress is not None and not callable(progress):
        expected = "a function of (unit, done, total, note), or None"
        raise InvalidInput(f"progress = {shown(progress)} given, expected {expected}")


class WorkerLost(LLCError):
    """Worker processes were killed, or could not start, again and again."""


@dataclass(frozen=True)
class Outcome:
    """How a unit ended: its result, or the error that stopped it."""

    index: int
    result: Any = None
    error: Exception | None = None


def counted(progress: Progress, total: int) -> Progress:
    """The reports of single units turned into one count of them: `estimates 3 of 12`.

    Args:
        progress: told ("estimates", done, total, note).
        total: how many reports of units there will be.
    """
    done = 0

    def count(unit: str, step: int, total_of_unit: int, note: str) -> None:
        nonlocal done
        if not total_of_unit:  # not about a unit
            progress(unit, step, total_of_unit, note)
            return
        done += 1
        progress("estimates", done, total, f"{unit} step {step}: {note}".lstrip())

    return count


def default_jobs(units: int) -> int:
    """One worker a core, and no more than there is work; 1 in a script that every worker would run again.

    Args:
        units: of work, how many there are.
    """
    return max(1, min(units, available_cores())) if _workers_can_start() else 1


def default_threads(units: int) -> int:
    """Torch threads for each of `default_jobs(units)` workers that train: cores each, OMP_NUM_THREADS at most.

    Sums are made in another order on another number of them.

    Args:
        units: of work, how many there are.
    """
    share = max(1, available_cores() // default_jobs(units))
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(share, int(asked)) if asked.isdecimal() and int(asked) > 0 else share


def _workers_can_start() -> bool:
    """Whether the script that runs, which every worker imports, keeps its work behind `if __name__ == "__main__":`."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    try:
        return path is None or "__main__" in Path(path).read_text("utf-8", errors="replace")
    except OSError:  # no file, as in a notebook
        return True


def default_workers(units: int, device: torch.device) -> int:
    """One worker a GPU, or one a core, and no more than there is work.

    Args:
        units: of work, how many there are.
        device: where they run.
    """
    return max(1, min(units, devices.count(device))) if device.type != "cpu" else default_jobs(units)


def available_cores() -> int:
    """Cores this process may use (a container or `taskset` may allow fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def raise_failures(failures: Sequence[Exception], what: str, kind: type[LLCError]) -> None:
    """Raise what the failures of many units add up to, each named; nothing if there were none.

    Args:
        failures: of all units; empty where all went well.
        what: what they add up to, in front of the reasons.
        kind: of the error.
    """
    for error in failures:
        if isinstance(error, Interrupted):
            raise Interrupted("stopped on request")
    for error in failures:
        if not isinstance(error, LLCError):
            raise error  # a mistake in the library: show it as it is
    if failures:
        raise kind(f"{what}: " + "; ".join(_by_reason(failures)))


def _by_reason(failures: Sequence[Exception]) -> list[str]:
    """`unit: reason` of each, one entry for all units with the same reason."""
    units: dict[str, list[str]] = {}
    for error in failures:
        unit, colon, reason = str(error).partition(": ")
        units.setdefault(colon + reason, []).append(unit)
    return [", ".join(dict.fromkeys(names)) + reason for reason, names in units.items()]


def check_interrupt() -> bool:
    """Whether this unit of work should stop at the next point where it can be resumed."""
    return _stop is not None and _stop.is_set()


def set_stop(stop: Any) -> None:
    """From now on, `check_interrupt` looks at `stop.is_set()`."""
    global _stop
    _stop = stop


@contextlib.contextmanager
def stopping_with(stop: Any) -> Iterator[None]:
    """`check_interrupt` looks at `stop.is_set()` meanwhile.

    Args:
        stop: anything with `is_set`, or None.
    """
    before = _stop
    set_stop(stop)
    try:
        yield
    finally:
        set_stop(before)


@contextlib.contextmanager
def interrupt_sets(stop: Any) -> Iterator[None]:
    """Ctrl-C asks for a stop at the next point where work can be resumed; a second one insists."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_signal: int, _frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def outcome_of(index: int, work: Callable[..., Any], unit: tuple, progress: Progress) -> Outcome:
    """Run one unit in this process, whatever comes of it."""
    if check_interrupt():
        return Outcome(index, error=Interrupted("stopped before it began"))
    try:
        return Outcome(index, work(*unit, progress))
    except Exception as error:  # one unit's failure is an outcome; the caller names it
        return Outcome(index, error=error)
    except SystemExit as error:  # of the user's code
        return Outcome(index, error=LLCError(ended_by(error)))


# What asks this process's unit to stop: anything with `is_set`.
_stop: Any = None
