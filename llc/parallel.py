"""Independent units of work on the cores of one machine, with progress and a clean stop.

Each worker is a single process with a fixed number of threads, so a unit's result does not depend on how many workers
there are. Workers stop when asked (Ctrl-C) and end by themselves when their parent is gone.
"""

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import torch

from llc import devices
from llc.errors import Interrupted, InvalidInput, LLCError

Report = Callable[[str, int, int, str], None]
"""Told (unit, done, total, note) as a unit of work goes on."""


def quiet(unit: str, done: int, total: int, note: str) -> None:
    """The report that says nothing."""


def check_interrupt() -> bool:
    """Whether this unit of work should stop at the next point where it can be resumed."""
    return _stop is not None and _stop.is_set()


@dataclass(frozen=True)
class Outcome:
    """How a unit ended: its result, or the error that stopped it."""

    index: int
    result: Any = None
    error: Exception | None = None


def default_jobs(units: int) -> int:
    """One worker a core, and no more than there is work."""
    return max(1, min(units, available_cores()))


def default_workers(units: int, device: torch.device) -> int:
    """One worker a GPU, or one a core, and no more than there is work."""
    return max(1, min(units, devices.count(device))) if device.type != "cpu" else default_jobs(units)


def available_cores() -> int:
    """Cores this process may use (a container or `taskset` may allow fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Run with so many torch threads, then restore."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def raise_failures(failures: Sequence[Exception], what: str, kind: type[LLCError]) -> None:
    """Raise what the failures of many units add up to, each named; nothing if there were none."""
    for error in failures:
        if isinstance(error, Interrupted):
            raise Interrupted("stopped on request")
    for error in failures:
        if not isinstance(error, LLCError):
            raise error  # a mistake in the library: show it as it is
    if failures:
        raise kind(f"{what}: " + "; ".join(str(error) for error in failures))


def run_units(
    work: Callable[..., Any],
    units: Sequence[tuple],
    *,
    jobs: int,
    threads: int = 1,
    report: Report = quiet,
) -> Iterator[Outcome]:
    """Call `work(*unit, report)` for every unit; yields outcomes as they come, in any order.

    An exception in one unit is that unit's outcome and does not stop the others. `work` must be importable and its
    arguments picklable.

    Args:
        jobs: worker processes; 1 runs everything in this process.
        threads: torch threads for each.
    Raises:
        Interrupted: Ctrl-C; units have been told to stop and have done so.
        InvalidInput: jobs < 1.
    """
    if jobs < 1:
        raise InvalidInput(f"jobs = {jobs} given, expected at least 1")
    if jobs == 1:
        yield from _run_here(work, units, threads, report)
    elif units:
        yield from _run_in_pool(work, units, jobs, threads, report)


def _run_here(work, units, threads, report) -> Iterator[Outcome]:
    global _stop
    _stop = threading.Event()
    try:
        with torch_threads(threads), _interrupt_sets(_stop):
            for index, unit in enumerate(units):
                yield _outcome(index, work, unit, report)
                if _stop.is_set():
                    raise Interrupted("stopped on request")
    finally:
        _stop = None


def _run_in_pool(work, units, jobs, threads, report) -> Iterator[Outcome]:
    spawn = multiprocessing.get_context("spawn")
    stop, messages = spawn.Event(), spawn.Queue()
    pool = ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_start_worker, initargs=(threads, stop, messages))
    listener = threading.Thread(target=_listen, args=(messages, report), daemon=True)
    listener.start()
    try:
        with _interrupt_sets(stop):
            with _children_ignore_interrupts():
                futures = [pool.submit(_outcome, index, work, unit, _send) for index, unit in enumerate(units)]
            for future in as_completed(futures):
                yield future.result()
            if stop.is_set():
                raise Interrupted("stopped on request")
    except BrokenProcessPool:
        raise WorkerLost(
            "a worker process ended unexpectedly: killed, perhaps for memory (fewer --jobs need less), or started from "
            'a script without `if __name__ == "__main__":`; what was finished is kept, and the same call goes on'
        ) from None
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        messages.put(None)
        listener.join(timeout=5)


class WorkerLost(LLCError):
    """A worker process was killed or could not start."""


@contextlib.contextmanager
def _children_ignore_interrupts() -> Iterator[None]:
    """Processes started meanwhile never hear Ctrl-C themselves, not even while they import; the parent tells them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _outcome(index: int, work, unit: tuple, report: Report) -> Outcome:
    if check_interrupt():
        return Outcome(index, error=Interrupted("stopped before it began"))
    try:
        return Outcome(index, work(*unit, report))
    except Exception as error:  # one unit's failure is an outcome; the caller names it
        return Outcome(index, error=error)


@contextlib.contextmanager
def _interrupt_sets(stop) -> Iterator[None]:
    """Ctrl-C asks for a stop at the next point where work can be resumed; a second one insists."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_signal, _frame) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# What a worker knows of its surroundings.
_stop: Any = None
_messages: Any = None


def _start_worker(threads: int, stop, messages) -> None:
    global _stop, _messages
    _stop, _messages = stop, messages
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End at once when the parent is gone, however it went: its lock on the folder is free from then on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _send(unit: str, done: int, total: int, note: str) -> None:
    _messages.put((unit, done, total, note))


def _listen(messages, report: Report) -> None:
    while True:
        with contextlib.suppress(queue.Empty):
            message = messages.get(timeout=1)
            if message is None:
                return
            report(*message)
