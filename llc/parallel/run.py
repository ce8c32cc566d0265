"""Units of work, wherever they are done."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llc.errors import check_whole
from llc.parallel.pools import run_here, run_in_pools
from llc.parallel.units import Outcome, Progress, quiet


def check_scheduler(address: str | None) -> None:
    """Raise InvalidInput unless a scheduler answers there and has workers that fit: before any work is prepared.

    Args:
        address: of a Dask scheduler; None for no scheduler, which fits.
    """
    if address is not None:
        from llc.parallel.cluster import check_workers

        check_workers(address)


def run_units(
    work: Callable[..., Any],
    units: Sequence[tuple],
    *,
    jobs: int,
    threads: int = 1,
    scheduler: str | None = None,
    progress: Progress = quiet,
) -> Iterator[Outcome]:
    """Call `work(*unit, progress)` for every unit; yields outcomes as they come, in any order.

    An exception in one unit is that unit's outcome and does not stop the others. `work` must be importable and its
    arguments picklable. Units have to be able to run again after a worker was lost half-way.

    Args:
        work: a function at the top of a module.
        units: arguments of `work`, a tuple for each unit.
        jobs: worker processes; 1 runs everything in this process.
        threads: torch threads for each.
        scheduler: address of a Dask scheduler whose workers share this file system; they do the work, not `jobs`.
        progress: told what units tell, and of workers that were lost.
    Raises:
        Interrupted: Ctrl-C; units have been told to stop and have done so.
        InvalidInput: jobs that are no whole number from 1; a scheduler that cannot be reached, or whose workers have
            several threads.
        WorkerLost: units whose workers are lost again and again.
    """
    jobs = check_whole("jobs", jobs, 1)
    if scheduler is not None and units:
        from llc.parallel.cluster import run_on_cluster

        yield from run_on_cluster(work, units, scheduler, threads, progress)
    elif jobs == 1:
        yield from run_here(work, units, threads, progress)
    elif units:
        yield from run_in_pools(work, units, jobs, threads, progress)
