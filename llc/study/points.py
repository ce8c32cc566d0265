"""A study of λ̂ over training: its settings, the checkpoints it is made at, and what is sampled there."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from llc import store
from llc.behaviour import FlatLoss, TaskLoss, baselines
from llc.errors import InvalidInput, StoreError, check_whole, did_you_mean, shown, shown_name
from llc.estimate.measure import Point
from llc.estimate.settings import SamplingConfig
from llc.tasks import Batch, Task


class CurveConfig(SamplingConfig):
    """How λ̂ is estimated over training: `SamplingConfig` with the defaults of many checkpoints that are compared.

    Args:
        max_gradients: minibatch gradients at each checkpoint, of all chains, after which no new round is begun.
        headline: which llc is reported: basin, w* (at the weights) or auto, which may take the one at one checkpoint
            and the other at the next, and no curve should mix them.
    """

    max_gradients: int = Field(6000, ge=1)
    headline: Literal["auto", "w*", "basin"] = "basin"


class LLCConfig(CurveConfig):
    """How λ̂ is estimated in a study: `CurveConfig`, and what is sampled of its tasks.

    Args:
        num_samples: sequences of the task in the sampling dataset of each run, n.
        loss: which one: task, its own, averaged over positions; or nll, the negative log-likelihood of a sequence.
        positions: also tell llc apart by position in the sequence, from the same draws.
        test_set: sample on the data of this test set or shift in place of the task's own, for the data-refined llc.
    """

    num_samples: int = Field(4096, ge=2)
    loss: Literal["task", "nll"] = "task"
    positions: bool = False
    test_set: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.batch_size is not None and self.batch_size > self.num_samples:
            raise ValueError(f"batch_size = {self.batch_size} given, expected at most num_samples = {self.num_samples}")
        return self


def settings_from(path: Path) -> dict:
    """The fields of `LLCConfig` in a settings file, such as `calibration.toml` or an `llc.toml`.

    Args:
        path: of the file.
    Raises:
        StoreError: there is no such file, or it cannot be read.
        InvalidInput: a key or value that does not fit.
    """
    if not store.is_there(path):
        raise StoreError(f"no settings file {path}; llc calibrate makes one")
    return LLCConfig.from_table(store.read_table(path)).model_dump(exclude_unset=True)


def trained_runs(experiment: store.Experiment) -> list[store.Run]:
    """The runs that have checkpoints.

    Raises:
        StoreError: none has.
    """
    runs = [run for run in experiment.runs if run.steps]
    if not runs:
        raise StoreError(experiment.no_checkpoints)
    return runs


def choose_steps(steps: str | Sequence[int], run: store.Run) -> list[int]:
    """The checkpoints of a run that a choice of steps names.

    Args:
        steps: as of `estimate_llc_over_training`.
        run: one that has checkpoints.
    Raises:
        InvalidInput: a choice that cannot be read.
        StoreError: a step without a checkpoint; the nearest are named.
    """
    return chosen_steps(steps, run.steps, run.check_step)


def chosen_steps(steps: str | Sequence[int], available: list[int], check: Callable[[int], None]) -> list[int]:
    """The steps that a choice names, of those that are available.

    Args:
        check: raises an error for a step that is not.
    Raises:
        InvalidInput: a choice that cannot be read.
    """
    if isinstance(steps, str):
        kind, _, number = steps.partition(":")
        if steps == "all":
            return available
        if steps == "last":
            return available[-1:]
        if kind in {"log", "linear"} and number.isdecimal() and _whole(number) > 0:
            return _spaced(available, _whole(number), logarithmic=kind == "log")
        parts = [part.strip() for part in steps.split(",")]
        if not all(part.isdecimal() for part in parts):
            raise InvalidInput(
                f"steps = {steps!r} given, expected log:N, linear:N, all, last, or steps such as 500,1000"
            )
        if long := [part for part in parts if _whole(part) == _LAST]:
            raise InvalidInput(f"a step of {shown(long[0])} given, expected at most 18 digits")
        steps = [_whole(part) for part in parts]
    listed = listed_steps(steps)
    for step in listed:
        check(step)
    return listed


def listed_steps(steps: Any) -> list[int]:
    """Steps in any form but text, ascending, each once; or InvalidInput."""
    try:
        every = [one.item() if isinstance(one, Tensor | np.ndarray) else one for one in steps]
    except (TypeError, ValueError, RuntimeError):
        every = []
    if not every:
        raise InvalidInput(f"steps = {shown(steps)} given, expected log:N, linear:N, all, last, or a list of steps")
    return sorted({check_whole("a step", one, 0, _LAST) for one in every})


# What a file's label holds.
_LAST = 2**63 - 1


def _whole(digits: str) -> int:
    """A whole number; one beyond any step for more digits than Python reads."""
    return int(digits) if len(digits) < 19 else _LAST


# So many places for each step there is come to all of them.
_FINE = 100


def _spaced(available: list[int], number: int, *, logarithmic: bool) -> list[int]:
    """At most `number` of the available steps, nearest to an even spacing, the first and the last among them."""
    if number == 1:
        return available[-1:]
    if number > _FINE * len(available):  # finer than any of them lie apart
        return list(available)
    scale = np.log1p if logarithmic else np.asarray
    places = scale(np.array(available, dtype=float))
    wanted = np.linspace(places[0], places[-1], number)
    return sorted({available[int(np.abs(places - want).argmin())] for want in wanted})


def study_point(run: store.Run, step: int, config: LLCConfig) -> Point:
    """A checkpoint with the loss, data and know-nothing losses that the study estimates it with."""
    return study_points(run, [step], config)[0]


def study_points(run: store.Run, steps: Sequence[int], config: LLCConfig) -> list[Point]:
    """Checkpoints of a run, which share all of that."""
    loss = run_loss(run, config)
    batch = sampled_task(run, config).sample(config.num_samples, stream="llc")
    known = know_nothing_losses(run, loss, batch)
    flat = FlatLoss(loss)
    return [Point(f"{run.name} step {step}", run.model(step), flat, batch.flat, known) for step in steps]


def run_loss(run: store.Run, config: LLCConfig) -> TaskLoss:
    """The loss that a study asks for by name, per sequence or per sequence and position.

    Raises:
        InvalidInput: a negative log-likelihood of a task whose loss is none.
    """
    scale, task = 1.0, sampled_task(run, config)
    if config.loss == "nll":
        if task.nats is None:
            raise InvalidInput(f"loss = nll given, but losses of the task {task.kind} are no log-likelihoods")
        scale = task.nats
    return TaskLoss(task, by_position=config.positions, scale=scale)


def sampled_task(run: store.Run, config: LLCConfig) -> Task:
    """The task whose data are sampled: the run's own, or one of its test sets or shifts.

    Raises:
        InvalidInput: there is none of that name.
    """
    if config.test_set is None:
        return run.task
    known = {**run.task.test_tasks(), **run.task.shifts()}
    if config.test_set not in known:
        raise InvalidInput(f"unknown test_set {shown_name(config.test_set)}; {did_you_mean(config.test_set, known)}")
    return known[config.test_set]


@torch.no_grad()
def know_nothing_losses(run: store.Run, loss: TaskLoss, batch: Batch) -> dict[str, float]:
    """Mean losses of what knows nothing: the task's baselines, and the run's model before training."""

    def mean(model: Callable[..., Tensor]) -> float:
        return float(loss(_Called(model), batch).mean())

    known = {run.task.said(name): mean(predictor) for name, predictor in baselines(run.task).items()}
    return {**known, "the untrained model": mean(run.untrained())}


class _Called(nn.Module):
    """A predictor, where a model is wanted."""

    def __init__(self, call: Callable[..., Tensor]) -> None:
        super().__init__()
        self._call = call

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._call(*inputs)
