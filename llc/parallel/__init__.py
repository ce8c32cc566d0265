"""Independent units of work on the cores of one machine, or of many, with progress and a clean stop.

Each worker is a single process with a fixed number of threads, so a unit's result does not depend on how many workers
there are. Workers stop when asked (Ctrl-C) and end by themselves when their parent is gone; the units of one that is
lost are run again.
"""

from llc.devices import torch_threads
from llc.parallel.run import check_scheduler, run_units
from llc.parallel.units import (
    Outcome,
    Progress,
    WorkerLost,
    available_cores,
    check_interrupt,
    check_progress,
    counted,
    default_jobs,
    default_threads,
    default_workers,
    quiet,
    raise_failures,
    stopping_with,
)

__all__ = [
    "Outcome",
    "Progress",
    "WorkerLost",
    "available_cores",
    "check_interrupt",
    "check_progress",
    "check_scheduler",
    "counted",
    "default_jobs",
    "default_threads",
    "default_workers",
    "quiet",
    "raise_failures",
    "run_units",
    "stopping_with",
    "torch_threads",
]
