"""What a model does: its losses and its distances to the reference predictors on fixed test sets.

Training calls this at every checkpoint; development reads what it left.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from llc.errors import InvalidInput
from llc.predictors import is_baseline
from llc.store.places import Place, coords_of
from llc.tasks import Batch, Task

# Sequences evaluated at once: enough to be fast, little enough to stay in cache and memory.
_CHUNK = 1024
# The learning rate in metrics, and its name where an axis of the sweep has that one.
RATE, _RATE_BESIDE_AXIS = "learning_rate", "next_learning_rate"


def outputs_of(model: nn.Module, batch: Batch) -> Tensor:
    """A model's outputs on a batch.

    Raises:
        InvalidInput: they have another shape than the targets.
    """
    outputs = model(*batch.inputs)
    if not isinstance(outputs, Tensor) or outputs.shape != batch.targets.shape:
        given = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InvalidInput(
            f"the outputs of {type(model).__name__} are {given}, expected {tuple(batch.targets.shape)}, the shape of "
            "the targets"
        )
    return outputs


@dataclass(frozen=True)
class TaskLoss:
    """`loss(model, batch)`, a task's own losses: (B,), averaged over positions unless `by_position`.

    Attributes:
        scale: factor of all of them.
    """

    task: Task
    by_position: bool = False
    scale: float = 1.0

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses of a batch."""
        losses = checked_losses(self.task, outputs_of(model, batch), batch)
        losses = losses if self.scale == 1 else losses * self.scale
        return losses if self.by_position or losses.ndim == 1 else losses.mean(-1)


@dataclass(frozen=True)
class FlatLoss:
    """A loss of batches as one of a tuple of tensors, the targets last: what chains draw minibatches of."""

    loss: TaskLoss

    def __call__(self, model: nn.Module, data: tuple[Tensor, ...]) -> Tensor:
        """Losses of the inputs and targets."""
        *inputs, targets = data
        return self.loss(model, Batch(tuple(inputs), targets))


def flat_loss(task: Task) -> FlatLoss:
    """A task's loss, averaged over positions, of `batch.flat`: what `estimate_llc` takes."""
    return FlatLoss(TaskLoss(task))


def checked_losses(task: Task, outputs: Tensor, batch: Batch) -> Tensor:
    """`task.losses`, or InvalidInput where their shape is none that losses may have."""
    losses = task.losses(outputs, batch)
    if losses.ndim not in (1, 2) or losses.shape != batch.targets.shape[: losses.ndim]:
        raise InvalidInput(
            f"losses of {type(task).__name__} are {tuple(losses.shape)} for targets {tuple(batch.targets.shape)}, "
            "expected one a sequence, (B,), or one a position, (B, K)"
        )
    return losses


@dataclass(frozen=True)
class EvalSet:
    """Fixed sequences with what the reference predictors say of them.

    Attributes:
        task: that they come from.
        references: outputs by name of reference, in the shape of the targets.
    """

    task: Task
    batch: Batch
    references: dict[str, Tensor]


def eval_sets(
    task: Task, sequences: int, sources: Mapping[str, Task] | None = None, beside: Iterable[EvalSet] = ()
) -> dict[str, EvalSet]:
    """A task's test sets, and what its own references say of each.

    Args:
        sources: other tasks to take sequences from, by name.
        beside: sets of the same task that are there already.
    """
    found: dict[str, EvalSet] = {}
    for name, source in (task.test_tasks() if sources is None else sources).items():
        batch = source.sample(sequences, stream="test")
        # Test sets that look at parts of the same sequences share them, and what is said of them.
        same = next((known for known in (*beside, *found.values()) if _equal(known.batch, batch)), None)
        found[name] = (
            EvalSet(source, batch, reference_outputs(task, batch)) if same is None else replace(same, task=source)
        )
    return found


def _equal(one: Batch, other: Batch) -> bool:
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(one.flat, other.flat, strict=True))


def reference_outputs(task: Task, batch: Batch) -> dict[str, Tensor]:
    """What each of a task's references says of a batch.

    Raises:
        InvalidInput: one of them gives another shape than the targets'.
    """
    found = {name: predictor(*batch.inputs) for name, predictor in task.predictors().items()}
    for name, outputs in found.items():
        if outputs.shape != batch.targets.shape:
            raise InvalidInput(
                f"predictor {name} gives {tuple(outputs.shape)}, expected {tuple(batch.targets.shape)}, the shape of "
                "the targets"
            )
    return found


def baselines(task: Task) -> dict[str, Callable[..., Tensor]]:
    """The references that know nothing."""
    return {name: predictor for name, predictor in task.predictors().items() if is_baseline(predictor)}


@torch.no_grad()
def predict(model: nn.Module, batch: Batch, call: Callable[..., Tensor] | None = None) -> Tensor:
    """Outputs in chunks, on whatever device the model is.

    Args:
        call: what to call in place of the model.
    """
    device = next(model.parameters()).device
    chunks = (batch.take(slice(start, start + _CHUNK)) for start in range(0, batch.size, _CHUNK))
    run = (lambda chunk: outputs_of(model, chunk)) if call is None else (lambda chunk: call(*chunk.inputs))
    return torch.cat([run(chunk.to(device)).cpu() for chunk in chunks])


def said_of(model: nn.Module, sets: Mapping[str, EvalSet]) -> Iterator[tuple[EvalSet, Tensor]]:
    """Every test set with a model's outputs on it, float64; of sets that share a batch the model is asked once."""
    known: dict[int, Tensor] = {}
    for of_set in sets.values():
        if id(of_set.batch) not in known:
            known[id(of_set.batch)] = predict(model, of_set.batch).double()
        yield of_set, known[id(of_set.batch)]


def token_outputs(model: nn.Module, batch: Batch) -> Tensor:
    """The read-out at every token, (B, T, d_out), of a model that has a method `outputs(*inputs)` for that.

    Raises:
        InvalidInput: it has none.
    """
    call = getattr(model, "outputs", None)
    if call is None:
        raise InvalidInput(
            f"features = outputs asks for a model with a method outputs(*inputs); {type(model).__name__} has none"
        )
    return predict(model, batch, call)


def evaluate(model: nn.Module, sets: Mapping[str, EvalSet]) -> dict[str, np.ndarray]:
    """Means over each test set, float64; with positions, each has them as its last dimension.

        loss = mean_i ℓ_i,   distance = mean_i |f_i − reference_i|²

    Returns:
        `loss` (test_set, …) and, where there are references, `distance` (test_set, reference, …).
    """
    losses, distances = [], []
    for of_set, outputs in said_of(model, sets):
        losses.append(_losses(of_set, outputs).mean(0).numpy())
        distances.append([mean_square(outputs, reference) for reference in of_set.references.values()])
    row = {"loss": np.stack(losses)}
    if distances[0]:
        row["distance"] = np.array(distances)
    return row


def reference_losses(sets: Mapping[str, EvalSet]) -> dict[str, np.ndarray]:
    """`reference_loss` (test_set, reference, …): what the references lose on each test set; {} where there are none."""
    found = [
        [_losses(of_set, outputs.double()).mean(0).numpy() for outputs in of_set.references.values()]
        for of_set in sets.values()
    ]
    return {"reference_loss": np.array(found)} if found[0] else {}


def mean_square(outputs: Tensor, reference: Tensor) -> np.ndarray:
    """mean_i |f_i − reference_i|², over the coordinates of vectors; by position where there are any."""
    squares = (outputs.double() - reference.double()).square()
    return (squares if squares.ndim < 3 else squares.flatten(2).sum(-1)).mean(0).numpy()


def every_loss(model: nn.Module, test: EvalSet) -> Tensor:
    """The loss of each prediction, float64, (B,) or (B, K)."""
    return _losses(test, predict(model, test.batch).double())


def losses_by_sequence(model: nn.Module, test: EvalSet) -> Tensor:
    """The loss of each sequence, averaged over positions, float64, (B,)."""
    return losses_of(test, predict(model, test.batch).double())


def losses_of(test: EvalSet, outputs: Tensor) -> Tensor:
    """The same, from a model's outputs."""
    return over_positions(_losses(test, outputs))


def reference_losses_by_sequence(test: EvalSet, name: str) -> Tensor:
    """The same of a reference."""
    return over_positions(_losses(test, test.references[name].double()))


def over_positions(losses: Tensor) -> Tensor:
    """(B,) or (B, K) -> (B,)."""
    return losses if losses.ndim == 1 else losses.mean(-1)


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """Of one number a sequence, (B,): the mean, and its standard error sd/√B."""
    values = values.double()
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


def _losses(of_set: EvalSet, outputs: Tensor) -> Tensor:
    return checked_losses(of_set.task, outputs, of_set.batch.double())


def paired_rise(earlier: nn.Module, later: nn.Module, test: EvalSet) -> tuple[float, float]:
    """By how much the mean loss rose from one model to another, and the standard error of that difference.

    Both are evaluated on the same sequences and the difference is taken sequence by sequence, so that the (much
    larger) spread between sequences cancels: se = sd(ℓ_i(later) − ℓ_i(earlier)) / √B.
    """
    change = losses_by_sequence(later, test) - losses_by_sequence(earlier, test)
    return float(change.mean()), float(change.std() / len(change) ** 0.5)


def metrics_dataset(
    rows: Mapping[int, Mapping[str, np.ndarray | float | list]],
    sets: Mapping[str, EvalSet],
    place: Place,
    task: Task,
) -> xr.Dataset:
    """Rows of `evaluate` (with `learning_rate` and `weight_norm`) by step, labelled, for one run."""
    steps = sorted(rows)
    known = reference_losses(sets)
    lead = tuple(place)
    coords = coords_of(place, task) | eval_coords(sets, task) | step_coord(steps)
    dims = {"loss": ("test_set",), "distance": ("test_set", "reference"), "reference_loss": ("test_set", "reference")}
    about = {
        "loss": "mean loss",
        "distance": "mean squared distance of outputs to a reference's",
        "reference_loss": "mean loss of a reference",
        RATE: "learning rate of the next update",
        "weight_norm": "Euclidean norm of all parameters",
    }
    ones = (1,) * len(lead)
    dataset = xr.Dataset(coords=coords)
    for name in rows[steps[0]] if steps else []:
        values = np.stack([np.asarray(rows[step][name]) for step in steps])
        own = ("step", *dims.get(name, ()), "position")[: values.ndim]
        described = {"long_name": about[name], "units": "1"}
        if name == "distance" and "dim" in task.shapes:
            described["per_dimension"] = 1 / task.shapes["dim"]  # some papers divide by D
        label = _RATE_BESIDE_AXIS if name == RATE and name in place else name
        dataset[label] = ((*lead, *own), values.reshape(*ones, *values.shape), described)
    for name, value in known.items():
        own = (*dims[name], "position")[: value.ndim]
        dataset[name] = ((*lead, *own), value.reshape(*ones, *value.shape), {"long_name": about[name], "units": "1"})
    return dataset


def row_of(metrics: xr.Dataset) -> dict[str, np.ndarray]:
    """One step of `metrics_dataset` as the row that it was made of."""
    return {RATE if name == _RATE_BESIDE_AXIS else str(name): metrics[name].values for name in metrics}


def reference_coord(names: list[str], task: Task) -> tuple:
    """Of references by name; `baselines` among its attributes says which know nothing."""
    known = [name for name in names if name in baselines(task)]
    return ("reference", names, {**_about(names, task), "baselines": json.dumps(known)})


def eval_coords(sets: Mapping[str, EvalSet], task: Task) -> dict[str, tuple]:
    """`test_set`, `reference` where there are any, and `position` where losses have one."""
    first = next(iter(sets.values()))
    headline = {"headline": task.headline} if task.headline in sets else {}
    coords = {
        "test_set": ("test_set", list(sets), {**_about(list(sets), task), **headline}),
    }
    if first.references:
        names = list(first.references)
        coords["reference"] = reference_coord(names, task)
    if first.batch.targets.ndim > 1:
        coords["position"] = position_coord(first.batch.targets.shape[1])
    return coords


def _about(names: list[str], task: Task) -> dict[str, str]:
    said = "; ".join(f"{name}: {task.said(name)}" for name in names)
    symbols = {name: task.symbol(name) for name in names}
    return {"long_name": said, "units": "1", "symbols": json.dumps(symbols)}


def position_coord(number: int) -> tuple:
    """Of examples in a sequence, from 1."""
    return ("position", np.arange(1, number + 1), {"long_name": "number of the example in its sequence, k",
                                                   "units": "1"})  # fmt: skip


def step_coord(steps: Sequence[int] | np.ndarray) -> dict[str, tuple]:
    """Of a result over training."""
    about = {"long_name": "number of optimiser updates", "units": "1"}
    return {"step": ("step", np.asarray(steps, dtype=np.int64), about)}
