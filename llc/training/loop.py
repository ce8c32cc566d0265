"""The only optimiser loop: runs of one shape, from initialisation or from where they were stopped."""

import time
from collections.abc import Sequence
from pathlib import Path

from llc import devices, store
from llc.errors import Interrupted
from llc.heap import keep_freed_memory
from llc.parallel import Progress, check_interrupt, quiet
from llc.training.config import RunConfig
from llc.training.learner import Learner, learner
from llc.training.recorder import LOWER, Recorder, State, TrainingDiverged

# What has to be done again after a kill is at most this much work.
SAVE_EVERY_SECONDS = 15.0


def train_run(folder: Path, config: RunConfig, device: str = "cpu", progress: Progress = quiet) -> None:
    """Train one run in its folder, resuming where an earlier call stopped; a finished run is left as it is.

    Leaves checkpoints, `metrics.nc` and `resume.pt`. Batches are a function of the step and everything else that
    matters is in `resume.pt`, so a run that was killed and started again ends with the same bits as one that was not
    (on the CPU, with the same number of threads).

    Args:
        folder: of the run; made if need be.
        config: of the run.
        device: see `llc.devices.choose_device`.
        progress: told (unit, done, total, note).
    Raises:
        StoreError: the folder belongs to another config, or cannot be written.
        TrainingDiverged: the loss is not finite; names the run and step.
        Interrupted: a stop was asked for; the state has been saved.
    """
    for error in train_runs([Path(folder)], [config], device, progress):
        raise error


def train_runs(
    folders: Sequence[Path], configs: Sequence[RunConfig], device: str = "cpu", progress: Progress = quiet
) -> list[TrainingDiverged]:
    """Train several runs at once, each in its folder as `train_run` does; those that stand at one step share a graph.

    What each ends with is equal to training it alone within rounding, which training lets grow.

    Args:
        configs: of one kind, see `llc.training.learner.kind_of`.
        device: see `llc.devices.choose_device`.
    Returns:
        The errors of runs that diverged; the others are finished.
    Raises:
        StoreError, Interrupted: see `train_run`.
    """
    standing: dict[int, list[tuple[Recorder, State | None]]] = {}
    for folder, config in zip(folders, configs, strict=True):
        store.claim(folder, store.RUN_FILE, config.to_table())
        run, last = store.Run(folder), config.training.steps
        if run.finished:
            progress(run.name, last, last, "finished before")
            continue
        recorder = Recorder(folder, config)
        state = recorder.load()
        standing.setdefault(state.step if state else 0, []).append((recorder, state))
    diverged = []
    for step, members in sorted(standing.items()):
        recorders, states = [recorder for recorder, _ in members], [state for _, state in members]
        configs = [recorder.config for recorder in recorders]
        group = _Group(
            recorders, learner(configs, states, ensemble=len(folders) > 1, device=devices.choose_device(device))
        )
        _train(group, step, progress)
        diverged += group.diverged
    return diverged


def _train(group: "_Group", step: int, progress: Progress) -> None:
    """Train runs that stand at one step to their end."""
    keep_freed_memory()
    last = group.recorders[0].config.training.steps
    saved_at = time.monotonic()
    while True:
        group.record(step)
        if step == last or not group.recorders:
            break
        stop = check_interrupt()
        if stop or time.monotonic() - saved_at > SAVE_EVERY_SECONDS:
            group.save(step)
            saved_at = time.monotonic()
        if stop:
            names = ", ".join(recorder.run.name for recorder in group.recorders)
            raise Interrupted(f"{names} stopped at step {step}")
        if step % 20 == 0:
            for recorder in group.recorders:
                progress(recorder.run.name, step, last, recorder.note)
        group.update(step)
        step += 1
    for run, recorder in enumerate(group.recorders):
        recorder.finish(group.learner.model(run))
        progress(recorder.run.name, last, last, recorder.note)


class _Group:
    """Runs that are trained as one; those that diverge leave it, and the others go on."""

    def __init__(self, recorders: list[Recorder], learned: Learner) -> None:
        self.recorders, self.learner = recorders, learned
        self.diverged: list[TrainingDiverged] = []

    def record(self, step: int) -> None:
        errors = {}
        for run, recorder in enumerate(self.recorders):
            if step in recorder.steps:
                try:
                    recorder.record(self.learner.model(run), step)
                    recorder.keep_trained(self.learner.trained(run), step)
                except TrainingDiverged as error:
                    errors[run] = error
        self._leave(errors)

    def save(self, step: int) -> None:
        for run, recorder in enumerate(self.recorders):
            recorder.save(self.learner.state(run, step))

    def update(self, step: int) -> None:
        batches = []
        for recorder in self.recorders:
            config = recorder.config
            batches.append(config.task.sample(config.training.batch_size, step=step, stream=("train", config.seed)))
        finite = self.learner.update(batches, step).isfinite().tolist()
        self._leave(
            {
                run: TrainingDiverged(f"{self.recorders[run].run.name}: the loss is not finite {_when(step)}")
                for run, fine in enumerate(finite)
                if not fine
            }
        )

    def _leave(self, errors: dict[int, TrainingDiverged]) -> None:
        if errors:
            self.diverged += errors.values()
            kept = [run for run in range(len(self.recorders)) if run not in errors]
            self.recorders = [self.recorders[run] for run in kept]
            if kept:
                self.learner = self.learner.keep(kept)


def _when(step: int) -> str:
    """Of a loss that is not finite: when, and what to do."""
    if step:
        return f"at step {step}; {LOWER}"
    return "at step 0, before any update: look at the task's losses and at what the model says as it is initialised"
