"""The only optimiser loop: one run, from initialisation or from where it was stopped."""

import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from llc import behaviour, models, store
from llc.errors import Interrupted, LLCError, StoreError
from llc.parallel import Report, check_interrupt, quiet
from llc.training.config import RunConfig, checkpoint_steps
from llc.training.schedules import learning_rate

# What has to be done again after a kill is at most this much work.
SAVE_EVERY_SECONDS = 15.0


class TrainingDiverged(LLCError):
    """The loss or the weights stopped being finite."""


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
    folder = Path(folder)
    store.claim(folder, store.RUN_FILE, config.to_table())
    run = store.Run(folder)
    last = config.training.steps
    if run.finished:
        report(run.name, last, last, "finished before")
        return

    task = config.task
    model = models.build(config.model, task, config.seed)
    optimiser = torch.optim.Adam(
        model.parameters(), betas=(config.training.betas[0], config.training.betas[1]), fused=True
    )
    sets = behaviour.test_sets(task, config.behaviour.sequences)
    metrics = _Metrics(run, config, behaviour.reference_losses(sets))
    wanted = set(checkpoint_steps(config))
    step = resumed = _load_state(run, model, optimiser, metrics, wanted)
    saved_at = time.monotonic()

    while True:
        if step in wanted and not (step in metrics.rows and store.checkpoint_path(run.checkpoints, step).exists()):
            if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
                raise TrainingDiverged(f"{run.name}: weights are not finite at step {step}; {_LOWER}")
            path = store.checkpoint_path(run.checkpoints, step)
            store.write_checkpoint(path, model.state_dict(), step=step, config_hash=run.config_hash)
            metrics.rows[step] = {
                **behaviour.evaluate(model, sets),
                "learning_rate": np.array(learning_rate(config.training, step)),
                "weight_norm": np.array(_norm(model)),
            }
        if step == last:
            break
        if step not in (0, resumed) and time.monotonic() - saved_at > SAVE_EVERY_SECONDS:
            _save_state(run, model, optimiser, metrics, step)
            saved_at = time.monotonic()
        if step % 20 == 0:
            report(run.name, step, last, _note(metrics))
        if check_interrupt():
            _save_state(run, model, optimiser, metrics, step)
            raise Interrupted(f"{run.name} stopped at step {step}")
        _update(model, optimiser, config, step, run.name)
        step += 1

    metrics.finish(model, sets["ood"])
    report(run.name, last, last, _note(metrics))


_LOWER = "lower training.learning_rate (--set training.learning_rate=…) and train in a new folder"


def _update(model: nn.Module, optimiser: torch.optim.Optimizer, config: RunConfig, step: int, name: str) -> None:
    """One Adam update on the batch of this step."""
    batch = config.task.sample(config.training.batch_size, step, stream=("train", config.seed))
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(config.training, step)
    optimiser.zero_grad()
    loss = behaviour.sequence_losses(model, batch).mean()
    if not torch.isfinite(loss):
        raise TrainingDiverged(f"{name}: the loss is not finite at step {step}; {_LOWER}")
    loss.backward()
    optimiser.step()


class _Metrics:
    """Rows of behaviour by step, on their way to the run's `metrics.nc`."""

    def __init__(self, run: store.Run, config: RunConfig, references: dict[str, np.ndarray]) -> None:
        self.run, self.config, self.references = run, config, references
        self.path = run.path / "metrics.nc"
        self.rows: dict[int, dict[str, np.ndarray]] = {}

    def load(self, up_to: int) -> None:
        """Take back the rows written so far that a run resumed at step `up_to` will not make again."""
        data = store.read_dataset(self.path).squeeze(["num_tasks", "seed"])
        for step in data.step.values[data.step.values <= up_to]:
            row = data.sel(step=step)
            self.rows[int(step)] = {str(name): row[name].values for name in data if "step" in data[name].dims}

    def dataset(self):
        return behaviour.metrics_dataset(
            self.rows, self.references, num_tasks=self.config.task.num_tasks, seed=self.config.seed
        )

    def write(self) -> None:
        store.write_dataset(self.path, self.dataset(), self.run.config)

    def finish(self, model: nn.Module, ood: behaviour.TestSet) -> None:
        """Write all rows with the step of the smallest OOD loss and how much was lost since."""
        dataset = self.dataset()
        critical = int(dataset.loss_ood.mean("position").idxmin("step").item())
        earlier = models.build(self.config.model, self.config.task)
        earlier.load_state_dict(self.run.weights(critical))
        rise, rise_se = behaviour.paired_rise(earlier, model, ood)
        said = {
            "step_critical": (critical, "step of the smallest OOD loss, t_crit", "1"),
            "rise_ood": (rise, "OOD loss at the last step minus at t_crit, on the same sequences", "y^2"),
            "rise_ood_se": (rise_se, "standard error of rise_ood, paired over sequences", "y^2"),
        }
        for name, (value, long_name, units) in said.items():
            dataset[name] = (("num_tasks", "seed"), [[value]], {"long_name": long_name, "units": units})
        store.write_dataset(self.path, dataset, self.run.config)


def _save_state(
    run: store.Run, model: nn.Module, optimiser: torch.optim.Optimizer, metrics: _Metrics, step: int
) -> None:
    """Metrics first: whatever `resume.pt` says has been done is then on disk."""
    metrics.write()
    state = {"step": step, "model": model.state_dict(), "optimiser": optimiser.state_dict()}
    with store.atomic_path(run.path / "resume.pt") as scratch:
        torch.save(state, scratch)


def _load_state(
    run: store.Run, model: nn.Module, optimiser: torch.optim.Optimizer, metrics: _Metrics, wanted: set[int]
) -> int:
    """The step to go on from: 0 if nothing was saved, or if a checkpoint or the metrics from before are gone.

    Training again from 0 gives the same bits, so a file that was lost or deleted is simply made anew.
    """
    path = run.path / "resume.pt"
    if not path.exists() or not metrics.path.exists():
        return 0
    try:
        state = torch.load(path, weights_only=True)
        step, weights, moments = state["step"], state["model"], state["optimiser"]
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = str(error).splitlines()[0]
        raise StoreError(f"{path} is damaged ({reason}); delete it to train this run again from step 0") from None
    if {before for before in wanted if before < step} - set(run.steps):
        return 0
    model.load_state_dict(weights)
    optimiser.load_state_dict(moments)
    metrics.load(up_to=step)
    return step


def _norm(model: nn.Module) -> float:
    return float(torch.linalg.vector_norm(torch.cat([p.detach().double().flatten() for p in model.parameters()])))


def _note(metrics: _Metrics) -> str:
    row = metrics.rows[max(metrics.rows)]
    return f"loss in distribution {row['loss_id'].mean():.3f}, out of it {row['loss_ood'].mean():.3f}"
