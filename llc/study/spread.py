"""Work at checkpoints, spread over processes where model, loss and data can be sent to them."""

import pickle
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Protocol, Self

import cloudpickle
import torch

from llc import own_code
from llc.errors import InvalidInput, check_whole
from llc.parallel import Outcome, Progress, counted, default_workers, run_units
from llc.sampling import sent_samplers, take_samplers
from llc.study.checkpoints import CheckpointStudy


class Work(Protocol):
    """What is done at every checkpoint, and everything that it needs."""

    @property
    def study(self) -> CheckpointStudy:
        """What is the same at every step."""
        ...

    @property
    def device(self) -> torch.device | None:
        """Where to sample; None for where the models are."""
        ...

    def with_study(self, study: CheckpointStudy) -> Self:
        """The same of another study."""
        ...

    def make(self, step: int, progress: Progress) -> None:
        """Do it at one checkpoint, and save the result."""
        ...


# Of this process, by the file in which it is for others.
_here: dict[str, Work] = {}


def at_every_step(
    work: Work, steps: list[int], *, jobs: int | None, stack: ExitStack, progress: Progress
) -> Iterator[Outcome]:
    """The outcome of every step; in this process where model, loss or data cannot be sent to others.

    Args:
        jobs: worker processes; by default one a core, or one a GPU.
        stack: holds what has to outlive the outcomes.
    Raises:
        InvalidInput: jobs are asked for, and what they need cannot be sent.
    """
    if not steps:
        return iter(())
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    shared = str(scratch / "work.pkl")
    usual = default_workers(len(steps), work.device or torch.device("cpu"))
    workers = usual if jobs is None else check_whole("jobs", jobs, 1)
    if workers > 1:
        try:
            study = work.study.with_source(work.study.source.sent(steps, scratch))
            before = pickle.dumps((own_code.loaded_files(), sent_samplers()))  # to be loaded before what is theirs
            Path(shared).write_bytes(before + cloudpickle.dumps(work.with_study(study)))
        except Exception as error:  # whatever pickling raises
            if jobs is not None:
                raise InvalidInput(
                    f"jobs = {jobs} given, but model, loss or data cannot be sent to other processes "
                    f"({type(error).__name__}: {error}); leave it out"
                ) from error
            workers = 1
    if workers == 1:
        _here[shared] = work
        stack.callback(_here.pop, shared)
    units = [(shared, step) for step in steps]
    return run_units(_unit, units, jobs=workers, progress=counted(progress, len(steps)))


@lru_cache(maxsize=1)
def _sent(path: str) -> Work:
    with open(path, "rb") as file:
        files, samplers = pickle.load(file)
        for code in files:
            own_code.load_file(code)
        take_samplers(samplers)
        return pickle.load(file)


def _unit(shared: str, step: int, progress: Progress) -> None:
    (_here.get(shared) or _sent(shared)).make(step, progress)
