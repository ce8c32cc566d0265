"""What is kept of one run while it trains: checkpoints, behaviour, and the state to go on from."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from llc import behaviour, models, store
from llc.errors import LLCError
from llc.objective import evaluating
from llc.training.config import RunConfig, checkpoint_steps, weight_steps
from llc.training.schedules import learning_rate

LOWER = "lower training.learning_rate (--set training.learning_rate=…) and train in a new folder"


# The behaviour at a step, by name: a number, or nested lists of them.
Row = dict[str, float | list]


class TrainingDiverged(LLCError):
    """The loss or the weights stopped being finite."""


class State(NamedTuple):
    """Where a run that was stopped goes on: the next step, and the states of model, optimiser and average."""

    step: int
    model: dict[str, Tensor]
    optimiser: dict
    average: dict[str, Tensor] | None = None


class Recorder:
    """Writes one run's folder while something else trains it.

    At every step of `checkpoint_steps` it keeps the weights, or predictions on the probe where weights are thinned out,
    and a row of behaviour. `resume.pt` is saved now and then, after the rows that belong to it.

    Args:
        steps: of weights that were trained elsewhere, to be recorded instead of the config's.

    Attributes:
        run, config: of the folder.
        steps: those to record.

    Raises:
        StoreError: the folder belongs to another config, cannot be written, or has something else than a file where one
            of its files is or would be.
    """

    def __init__(self, folder: Path, config: RunConfig, steps: Sequence[int] | None = None) -> None:
        store.claim(folder, store.RUN_FILE, config.to_table())
        self.run, self.config = store.Run(folder), config
        self._averaging = steps is None and config.training.average_steps > 0
        for inside in (self.run.checkpoints, self.run.predicted, *([self.run.trained] if self._averaging else [])):
            store.own_folder(inside)
        self.run.check_files()
        for path in (self.run.state, self._metrics_path):  # before training, not when the first of them is saved
            store.check_regular(path)
        self.steps = set(checkpoint_steps(config) if steps is None else steps)
        self._weights = set(weight_steps(config) if steps is None else steps)
        self._trained_here = steps is None
        self._sets = behaviour.eval_sets(config.task, config.behaviour.sequences)
        self._names = list(self._sets)
        self._headline = config.task.headline
        self._probe = config.task.probe()
        self._rows: dict[int, Row] = {}

    @property
    def note(self) -> str:
        """The latest losses, for a progress line."""
        losses = self._rows[max(self._rows)]["loss"]
        parts = [f"{name} {np.mean(of_set):.3f}" for name, of_set in zip(self._names, losses, strict=True)]  # type: ignore[arg-type]
        return "loss " + ", ".join(parts)

    def record(self, model: nn.Module, step: int) -> None:
        """Keep what belongs to a step, unless it is there already.

        The weights of the best step so far are kept whatever the grid says.

        Raises:
            TrainingDiverged: weights are not finite.
            StoreError: the disk is full, or not to be written.
        """
        if step not in self.steps or (step in self._rows and self._path(step).exists()):
            return
        if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
            raise TrainingDiverged(f"{self.run.name}: weights are not finite at step {step}; {LOWER}")
        with evaluating(model):
            measured = behaviour.evaluate(model, self._sets)
        self._rows[step] = {
            **_plain(measured),
            behaviour.RATE: learning_rate(self.config.training, step) if self._trained_here else math.nan,
            "weight_norm": _norm(model),
        }
        if step not in self._weights:
            with evaluating(model):
                predictions = behaviour.predict(model, self._probe)
            self._write(self._path(step), {store.PREDICTIONS: predictions}, step)
        if step in self._weights or self._critical() == step:
            self._write(store.checkpoint_path(self.run.checkpoints, step), model.state_dict(), step)

    def keep_trained(self, model: nn.Module | None, step: int) -> None:
        """Keep the weights that are trained, where those that `record` was given are averages."""
        path = self._trained_path(step)
        if model is not None and step in self._weights and not path.exists():
            self._write(path, model.state_dict(), step)

    def save(self, state: State) -> None:
        """Save the state to go on from. Metrics first: whatever `resume.pt` says has been done is then on disk."""
        store.write_dataset(self._metrics_path, self._dataset(), self.run.config)
        store.write_state(self.run.state, state._asdict(), config_hash=self.run.config_hash)
        self._thin_out()

    def load(self) -> State | None:
        """The state to go on from; None if nothing was saved, or if something recorded before it is gone.

        Training again from 0 gives the same bits, so a file that was lost or deleted is simply made anew.

        Raises:
            StoreError: the state is damaged, or another run's.
        """
        if not self.run.state.exists() or not self._metrics_path.exists():
            return None
        state = State(**store.read_state(self.run.state, config_hash=self.run.config_hash))
        wanted = [self._path(before) for before in self.steps if before < state.step]
        if self._averaging:
            wanted += [self._trained_path(before) for before in self._weights if before < state.step]
        if not all(path.exists() for path in wanted):
            return None
        self.read_rows(state.step)
        critical = self._critical()
        if critical is not None and critical not in self.run.steps:
            self._rows.clear()
            return None
        return state

    def read_rows(self, last: float = math.inf) -> list[int]:
        """Take up the behaviour that was recorded before, up to a step; the steps it is of."""
        data = self.run.metrics.squeeze(list(self.config.place))
        steps = [int(step) for step in data.step.values if step <= last]
        for step in steps:
            row = data.sel(step=step)
            self._rows[step] = _plain(behaviour.row_of(row[[name for name in data if "step" in data[name].dims]]))
        return steps

    def finish(self, model: nn.Module) -> None:
        """Write all rows, the step that the run ended with, and t_crit with how much was lost since."""
        dataset = self._dataset()
        last = (max(self._rows), "last step of the run, which is finished", "1")
        said: dict[str, tuple[float, str, str]] = {"step_last": last}
        critical = self._critical()
        if critical is not None:
            earlier = models.build(self.config.model, self.config.task)
            earlier.load_state_dict(self.run.weights(critical))
            with evaluating(model):
                rise, rise_se = behaviour.paired_rise(earlier.eval(), model, self._sets[str(self._headline)])
            where = f"the loss on {self._headline}"
            said |= {
                "step_critical": (critical, f"step at which {where} is smallest, t_crit", "1"),
                "rise": (rise, f"{where} at the last step minus at t_crit, on the same sequences", "1"),
                "rise_se": (rise_se, "standard error of rise, paired over sequences", "1"),
            }
        place = tuple(self.config.place)
        for name, (value, long_name, units) in said.items():
            dataset[name] = (place, np.reshape(value, (1,) * len(place)), {"long_name": long_name, "units": units})
        store.write_dataset(self._metrics_path, dataset, self.run.config)
        self._thin_out()

    def _critical(self) -> int | None:
        """t_crit so far: the step of the smallest loss on the headline's test set, the first if there are several."""
        if self._headline is None:
            return None
        place = self._names.index(self._headline)
        means = {step: np.mean(self._rows[step]["loss"][place]) for step in sorted(self._rows)}  # type: ignore[index]
        return min(means, key=lambda step: np.nan_to_num(means[step], nan=np.inf))

    def _thin_out(self) -> None:
        """Delete weights that were the best for a while. Only once a state that knows of better ones is saved."""
        for step in set(self.run.steps) & (self.steps - self._weights - {self._critical()}):
            path = store.checkpoint_path(self.run.checkpoints, step)
            store.remove_checkpoint(path, config_hash=self.run.config_hash)

    def _dataset(self) -> xr.Dataset:
        return behaviour.metrics_dataset(self._rows, self._sets, self.config.place, self.config.task)

    def _path(self, step: int) -> Path:
        return store.checkpoint_path(self.run.checkpoints if step in self._weights else self.run.predicted, step)

    def _trained_path(self, step: int) -> Path:
        return store.checkpoint_path(self.run.trained, step)

    def _write(self, path: Path, tensors: dict[str, Tensor], step: int) -> None:
        store.write_checkpoint(path, tensors, step=step, config_hash=self.run.config_hash)

    @property
    def _metrics_path(self) -> Path:
        return self.run.path / "metrics.nc"


def _plain(row: dict[str, np.ndarray]) -> Row:
    """Numbers that Python holds itself. Small arrays that stay, between large ones that come and go, would keep the C
    library from using memory again: megabytes more at every checkpoint.
    """
    return {name: value.tolist() for name, value in row.items()}


def _norm(model: nn.Module) -> float:
    return float(torch.linalg.vector_norm(torch.cat([p.detach().cpu().double().flatten() for p in model.parameters()])))
