"""Independent units of work on the cores of one machine, or of many, with progress and a clean stop.

Each worker is a single process with a fixed number of threads, so a unit's result does not depend on how many workers
there are. Workers stop when asked (Ctrl-C) and end by themselves when their parent is gone; the units of one that is
lost are run again.
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
    scheduler: str | None = None,
    report: Report = quiet,
) -> Iterator[Outcome]:
    """Call `work(*unit, report)` for every unit; yields outcomes as they come, in any order.

    An exception in one unit is that unit's outcome and does not stop the others. `work` must be importable and its
    arguments picklable. Units have to be able to run again after a worker was lost half-way.

    Args:
        jobs: worker processes; 1 runs everything in this process.
        threads: torch threads for each.
        scheduler: address of a Dask scheduler whose workers share this file system; they do the work, not `jobs`.
    Raises:
        Interrupted: Ctrl-C; units have been told to stop and have done so.
        InvalidInput: jobs < 1, or a scheduler that cannot be reached or has workers of several threads.
        WorkerLost: units whose workers are lost again and again.
    """
    if jobs < 1:
        raise InvalidInput(f"jobs = {jobs} given, expected at least 1")
    if scheduler is not None and units:
        from llc.cluster import run_on_cluster

        yield from run_on_cluster(work, units, scheduler, threads, report)
    elif jobs == 1:
        yield from _run_here(work, units, threads, report)
    elif units:
        yield from _run_in_pools(work, units, jobs, threads, report)


def _run_here(work, units, threads, report) -> Iterator[Outcome]:
    stop = threading.Event()
    with torch_threads(threads), interrupt_sets(stop), stopping_with(stop):
        for index, unit in enumerate(units):
            yield outcome_of(index, work, unit, report)
            if stop.is_set():
                raise Interrupted("stopped on request")


def _run_in_pools(work, units, jobs, threads, report) -> Iterator[Outcome]:
    """One pool after another, each with what the one before it, which lost a worker, left to do."""
    left = dict(enumerate(units))
    idle = losses = 0
    while left:
        before = len(left)
        try:
            for outcome in _run_in_pool(work, left, jobs, threads, report):
                del left[outcome.index]
                yield outcome
        except BrokenProcessPool:
            losses += 1
            idle = 0 if len(left) < before else idle + 1
            if idle == _MOST_IDLE_LOSSES:
                raise WorkerLost(
                    f"{idle} worker processes in a row ended unexpectedly before any unit of work was done: killed, "
                    "perhaps for memory (fewer --jobs need less), or started from a script without "
                    '`if __name__ == "__main__":`; what was finished is kept, and the same call goes on'
                ) from None
            report(
                "", 0, 0, f"a worker process was lost ({losses} so far); {len(left)} units run again or still have to"
            )


def _run_in_pool(work, units: dict[int, tuple], jobs, threads, report) -> Iterator[Outcome]:
    spawn = multiprocessing.get_context("spawn")
    stop, messages, started = spawn.Event(), spawn.Queue(), spawn.Value("i", 0)
    arguments = (threads, stop, messages, started)
    pool = ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_start_worker, initargs=arguments)
    listener = threading.Thread(target=_listen, args=(messages, report), daemon=True)
    listener.start()
    try:
        with interrupt_sets(stop):
            with _children_ignore_interrupts():
                futures = [pool.submit(outcome_of, index, work, unit, _send) for index, unit in units.items()]
            for future in as_completed(futures):
                yield future.result()
            if stop.is_set():
                raise Interrupted("stopped on request")
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        messages.put(None)
        listener.join(timeout=5)


class WorkerLost(LLCError):
    """Worker processes were killed, or could not start, again and again."""


# So many pools in a row may lose a worker without a single unit done.
_MOST_IDLE_LOSSES = 3


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


def outcome_of(index: int, work: Callable[..., Any], unit: tuple, report: Report) -> Outcome:
    """Run one unit in this process, whatever comes of it."""
    if check_interrupt():
        return Outcome(index, error=Interrupted("stopped before it began"))
    try:
        return Outcome(index, work(*unit, report))
    except Exception as error:  # one unit's failure is an outcome; the caller names it
        return Outcome(index, error=error)


@contextlib.contextmanager
def stopping_with(stop) -> Iterator[None]:
    """`check_interrupt` looks at `stop.is_set()` meanwhile."""
    global _stop
    before, _stop = _stop, stop
    try:
        yield
    finally:
        _stop = before


@contextlib.contextmanager
def interrupt_sets(stop) -> Iterator[None]:
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


def _start_worker(threads: int, stop, messages, started) -> None:
    global _stop, _messages
    _stop, _messages = stop, messages
    torch.set_num_threads(threads)
    with started.get_lock():
        number = started.value
        started.value += 1
    if torch.cuda.device_count() > 1:  # "cuda" is another GPU for each worker
        torch.cuda.set_device(number % torch.cuda.device_count())
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
