"""The only optimiser loop: one run, from initialisation or from where it was stopped."""

import time
from pathlib import Path

import torch
from torch import nn

from llc import behaviour, models, store
from llc.errors import Interrupted
from llc.parallel import Report, check_interrupt, quiet
from llc.training.config import RunConfig
from llc.training.recorder import LOWER, Recorder, State, TrainingDiverged
from llc.training.schedules import learning_rate

# What has to be done again after a kill is at most this much work.
SAVE_EVERY_SECONDS = 15.0


def train_run(folder: Path, config: RunConfig, report: Report = quiet) -> None:
    """Train one run in its folder, resuming where an earlier call stopped; a finished run is left as it is.

    Leaves checkpoints, `metrics.nc` and `resume.pt`. Batches are a function of the step and everything else that
    matters is in `resume.pt`, so a run that was killed and started again ends with the same bits as one that was not
    (on the CPU, with the same number of threads).

    Raises:
        StoreError: the folder belongs to another config, or cannot be written.
        TrainingDiverged: the loss is not finite; names the run and step.
        Interrupted: a stop was asked for; the state has been saved.
    """
    store.claim(Path(folder), store.RUN_FILE, config.to_table())
    run, last = store.Run(folder), config.training.steps
    if run.finished:
        report(run.name, last, last, "finished before")
        return

    model = models.build(config.model, config.task, config.seed)
    optimiser = adam(model, config)
    recorder = Recorder(Path(folder), config)
    step = 0
    state = recorder.load()
    if state:
        step = state.step
        model.load_state_dict(state.model)
        optimiser.load_state_dict(state.optimiser)
    saved_at = time.monotonic()

    while True:
        recorder.record(model, step)
        if step == last:
            break
        stop = check_interrupt()
        if stop or time.monotonic() - saved_at > SAVE_EVERY_SECONDS:
            recorder.save(State(step, model.state_dict(), optimiser.state_dict()))
            saved_at = time.monotonic()
        if stop:
            raise Interrupted(f"{run.name} stopped at step {step}")
        if step % 20 == 0:
            report(run.name, step, last, recorder.note)
        update(model, optimiser, config, step, run.name)
        step += 1

    recorder.finish(model)
    report(run.name, last, last, recorder.note)


def adam(model: nn.Module, config: RunConfig) -> torch.optim.Adam:
    """The optimiser of a run."""
    return torch.optim.Adam(model.parameters(), betas=(config.training.betas[0], config.training.betas[1]), fused=True)


def update(model: nn.Module, optimiser: torch.optim.Optimizer, config: RunConfig, step: int, name: str) -> None:
    """One Adam update on the batch of this step."""
    batch = config.task.sample(config.training.batch_size, step, stream=("train", config.seed))
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(config.training, step)
    optimiser.zero_grad()
    loss = behaviour.sequence_losses(model, batch).mean()
    if not torch.isfinite(loss):
        raise TrainingDiverged(f"{name}: the loss is not finite at step {step}; {LOWER}")
    loss.backward()
    optimiser.step()
