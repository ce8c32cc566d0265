"""Units of work on the workers of a Dask cluster, which share the run folders with this machine.

Dask notices lost workers and runs their units elsewhere; here are progress, a clean stop, and what keeps results the
same for any number of workers: one unit at a time in a process, with a fixed number of torch threads.
"""

import contextlib
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llc import trusted
from llc.devices import torch_threads
from llc.errors import Interrupted, InvalidInput, shown
from llc.extras import needed_by
from llc.parallel.units import Outcome, Progress, WorkerLost, interrupt_sets, outcome_of, stopping_with

# How long a scheduler may take to answer.
_PATIENCE_SECONDS = 10
# A host and a port; or a scheduler in this process.
_ADDRESS = re.compile(r"(\w+://)?[^\s/]+:\d+|inproc://\S+")
# A worker asks the scheduler this often whether to stop.
_ASK_EVERY_SECONDS = 2.0


def run_on_cluster(
    work: Callable[..., Any], units: Sequence[tuple], address: str, threads: int, progress: Progress
) -> Iterator[Outcome]:
    """`llc.parallel.run_units` on the workers of a scheduler; says at the end how many units ran again."""
    with needed_by("a scheduler"):
        from distributed import KilledWorker, as_completed
    client = _client(address)
    study = f"llc-{uuid.uuid4().hex}"
    with client:
        _check_workers(client)
        starts = [0] * len(units)
        client.subscribe_topic(study, lambda event: _hear(event[1], starts, progress))
        with _stop_for_all(client, study) as stop:
            code = trusted.passed_on()
            futures = [
                client.submit(
                    _run_unit, study, index, work, unit, threads, code=code, key=f"{study}-{index}", pure=False
                )
                for index, unit in enumerate(units)
            ]
            places = {future.key: index for index, future in enumerate(futures)}
            for future in as_completed(futures, loop=client.loop):
                index, failed = places[future.key], future.exception()
                if isinstance(failed, KilledWorker):
                    failed = WorkerLost(f"unit {index + 1} of {len(units)} lost its worker again and again")
                yield Outcome(index, error=failed) if failed else future.result()
        again = sum(max(0, started - 1) for started in starts)
        if again:
            progress("", 0, 0, f"{again} units ran again after their workers were lost")
        if stop.is_set():
            raise Interrupted("stopped on request")


def check_workers(address: str) -> None:
    """Raise InvalidInput unless a scheduler answers there and has workers that fit."""
    with _client(address) as client:
        _check_workers(client)


def _client(address: str) -> Any:
    with needed_by("a scheduler"):
        from distributed import Client
    if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
        raise InvalidInput(f"scheduler = {shown(address)} given, expected its address, such as tcp://localhost:8786")
    try:
        return Client(address, timeout=_PATIENCE_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"scheduler = {address} given, but none answers there ({' '.join(str(error).split())}); start one with: "
            "dask scheduler"
        ) from None


def _run_unit(
    study: str, index: int, work: Callable[..., Any], unit: tuple, threads: int, *, code: frozenset[trusted.Key]
) -> Outcome:
    """On a worker."""
    from distributed import Event, get_worker

    worker = get_worker()
    trusted.take(code)

    def send(*message: Any) -> None:
        worker.log_event(study, (index, *message))

    worker.log_event(study, (index,))
    with stopping_with(_Asking(Event(study))), torch_threads(threads):
        return outcome_of(index, work, unit, send)


class _Asking:
    """A distributed event that is looked at now and then: a look is a message to the scheduler and back."""

    def __init__(self, event: Any) -> None:
        self._event, self._asked, self._said = event, -_ASK_EVERY_SECONDS, False

    def is_set(self) -> bool:
        now = time.monotonic()
        if not self._said and now - self._asked > _ASK_EVERY_SECONDS:
            self._asked, self._said = now, self._event.is_set()
        return self._said


def _hear(message: tuple, starts: list[int], progress: Progress) -> None:
    index, *said = message
    if said:
        progress(*said)
    else:
        starts[index] += 1


@contextlib.contextmanager
def _stop_for_all(client: Any, study: str) -> Iterator[threading.Event]:
    """Ctrl-C here asks every worker to stop.

    A signal's handler must not talk to the scheduler itself: it may have interrupted just that.
    """
    from distributed import Event

    stop, over = threading.Event(), threading.Event()
    sign = Event(study, client=client)

    def pass_on() -> None:
        stop.wait()
        if not over.is_set():
            sign.set()

    messenger = threading.Thread(target=pass_on, daemon=True)
    messenger.start()
    asked = False
    try:
        with interrupt_sets(stop):
            yield stop
    finally:
        asked = stop.is_set()
        over.set()
        stop.set()
        messenger.join(timeout=5)
        if not asked:
            stop.clear()


def _check_workers(client: Any) -> None:
    """Raise InvalidInput if there are no workers, or some that would run several units in one process."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise InvalidInput(
            f"the scheduler at {client.scheduler.address} has no workers; start some with: dask worker "
            f"{client.scheduler.address} --nthreads 1"
        )
    several = sum(worker["nthreads"] > 1 for worker in workers.values())
    if several:
        raise InvalidInput(
            f"{several} of the {len(workers)} workers run several threads, expected one each; start them with: "
            "dask worker --nthreads 1"
        )
    together = sum(address.startswith("inproc://") for address in workers)
    if together > 1:
        raise InvalidInput(
            f"{together} workers are threads of one process, expected a process each; let LocalCluster have "
            "processes=True"
        )
