"""Workers on this machine: this process, or a pool of others."""

import contextlib
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import Any

import torch

from llc import trusted
from llc.devices import torch_threads
from llc.errors import Interrupted
from llc.parallel import units as units_of
from llc.parallel.shared import Flag, Line, listening
from llc.parallel.units import Outcome, Progress, WorkerLost, interrupt_sets, outcome_of, stopping_with

# So many pools in a row may lose a worker without a single unit done.
_MOST_IDLE_LOSSES = 3


def run_here(work: Callable[..., Any], units: Sequence[tuple], threads: int, progress: Progress) -> Iterator[Outcome]:
    """One unit after another in this process."""
    stop = threading.Event()
    with torch_threads(threads), interrupt_sets(stop), stopping_with(stop):
        for index, unit in enumerate(units):
            yield outcome_of(index, work, unit, progress)
            if stop.is_set():
                raise Interrupted("stopped on request")


def run_in_pools(
    work: Callable[..., Any], units: Sequence[tuple], jobs: int, threads: int, progress: Progress
) -> Iterator[Outcome]:
    """One pool after another, each with what the one before it, which lost a worker, left to do."""
    left = dict(enumerate(units))
    idle = losses = 0
    while left:
        before = len(left)
        try:
            for outcome in _run_in_pool(work, left, jobs, threads, progress):
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
            progress(
                "", 0, 0, f"a worker process was lost ({losses} so far); {len(left)} units run again or still have to"
            )


def _run_in_pool(
    work: Callable[..., Any], units: dict[int, tuple], jobs: int, threads: int, progress: Progress
) -> Iterator[Outcome]:
    processes = _processes(work.__module__)
    stop = Flag(processes)
    with listening(processes, progress) as line:
        pool = ProcessPoolExecutor(
            jobs, mp_context=processes, initializer=_start_worker, initargs=(threads, stop, line, trusted.passed_on())
        )
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


def _processes(module: str) -> BaseContext:
    """How workers are started: on Linux by a server that has imported torch once, for them all; elsewhere anew.

    The server computes nothing, so that a fork of it is safe, as one of this process would not be: what other threads
    it has are OpenBLAS's and jemalloc's (of Arrow), which mind forks. It is Python's own way on Linux from 3.14 on.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([name for name in (__name__, module) if name.startswith("llc.")])
    return server


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


# Where a worker's reports go.
_line: Line


def _start_worker(threads: int, stop: Flag, line: Line, code: frozenset[trusted.Key]) -> None:
    global _line
    _line = line
    trusted.take(code)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # also where somebody else has started the server of processes
    units_of.set_stop(stop)
    torch.set_num_threads(threads)
    if torch.cuda.device_count() > 1:  # "cuda" is another GPU for each worker: processes are numbered as they start
        number = int(re.split("[-:]", multiprocessing.current_process().name)[-1])
        torch.cuda.set_device(number % torch.cuda.device_count())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End at once when the parent is gone, however it went: its lock on the folder is free from then on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _send(unit: str, done: int, total: int, note: str) -> None:
    _line.send(unit, done, total, note)
