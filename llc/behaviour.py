"""What a model does: its losses and its distances to the reference predictors on fixed test sets.

Training calls this at every checkpoint; development reads what it left.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from llc import predictors
from llc.errors import InvalidInput
from llc.tasks import AnyTask

Batch = tuple[Tensor, Tensor]

TEST_SETS = {
    "id": "in distribution, q_M",
    "ood": "out of distribution, q_inf",
    "root": "root task, q_1",
}
REFERENCES = ("ridge", "dmmse")

# Sequences evaluated at once: enough to be fast, little enough to stay in cache and memory.
_CHUNK = 1024


def position_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Squared error of every prediction, (B, K)."""
    xs, ys = batch
    return (model(xs, ys) - ys).square()


def sequence_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Squared error averaged over positions, one value a sequence, (B,): ℓ_i = mean_k (f_k − y_k)²."""
    return position_losses(model, batch).mean(-1)


def negative_log_likelihoods(noise_variance: float, *, by_position: bool = False):
    """The loss `"nll"`: a function (model, batch) -> (B,) giving K ℓ_i / (2σ²), constants left out.

    By position it is (B, K), of which that is the mean.
    """

    def losses(model: nn.Module, batch: Batch) -> Tensor:
        every = position_losses(model, batch) * (batch[1].shape[1] / (2 * noise_variance))
        return every if by_position else every.mean(-1)

    return losses


@dataclass(frozen=True)
class TestSet:
    """Fixed sequences with what the reference predictors say of them.

    Attributes:
        xs: (B, K, D). ys: (B, K).
        references: predictions (B, K) by name of reference. dMMSE_∞ is ridge, its limit.
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    xs: Tensor
    ys: Tensor
    references: dict[str, Tensor]


# Sequences of the probe whose predictions are kept where weights are not.
PROBE_SEQUENCES = 512


def probe(task: AnyTask, sequences: int = PROBE_SEQUENCES) -> Batch:
    """The fixed inputs on which runs of a sweep are compared: sequences of the root task q_1, (B, K, D) and (B, K).

    Fewer than `PROBE_SEQUENCES` are the first of those.
    """
    xs, ys = task.with_num_tasks(1).sample(max(sequences, PROBE_SEQUENCES), stream="probe")
    return xs[:sequences], ys[:sequences]


def test_sets(task: AnyTask, sequences: int) -> dict[str, TestSet]:
    """The test sets of q_M, q_∞ and q_1 that belong to a task; those of q_∞ and q_1 are the same for every M."""
    sources = {"id": task, "ood": task.with_num_tasks(None), "root": task.with_num_tasks(1)}
    sets = {}
    for name, source in sources.items():
        xs, ys = source.sample(sequences, stream="test")
        sets[name] = TestSet(xs, ys, reference_predictions(task, xs, ys))
    return sets


test_sets.__test__ = False  # type: ignore[attr-defined]


def reference_predictions(task: AnyTask, xs: Tensor, ys: Tensor) -> dict[str, Tensor]:
    """Predictions (B, K) of ridge and of the task's own dMMSE_M."""
    ridge = predictors.ridge(xs, ys, noise_variance=task.noise_variance)
    if task.tasks is None:
        return {"ridge": ridge, "dmmse": ridge}
    dmmse = predictors.dmmse(xs, ys, tasks=task.tasks, noise_variance=task.noise_variance)
    return {"ridge": ridge, "dmmse": dmmse}


@torch.no_grad()
def predict(model: nn.Module, xs: Tensor, ys: Tensor) -> Tensor:
    """Predictions (B, K) in chunks, on whatever device the model is."""
    return _in_chunks(model, model, xs, ys)


@torch.no_grad()
def outputs(model: nn.Module, xs: Tensor, ys: Tensor) -> Tensor:
    """The read-out at every token, (B, T, d_out), of a model that has a method `outputs` for that.

    Raises:
        InvalidInput: it has none.
    """
    call = getattr(model, "outputs", None)
    if call is None:
        raise InvalidInput(
            f"features = outputs asks for a model with a method outputs(xs, ys); {type(model).__name__} has none"
        )
    return _in_chunks(model, call, xs, ys)


def _in_chunks(model: nn.Module, call: Callable[[Tensor, Tensor], Tensor], xs: Tensor, ys: Tensor) -> Tensor:
    device = next(model.parameters()).device
    chunks = zip(xs.split(_CHUNK), ys.split(_CHUNK), strict=True)
    return torch.cat([call(x.to(device), y.to(device)).cpu() for x, y in chunks])


def evaluate(model: nn.Module, sets: dict[str, TestSet]) -> dict[str, np.ndarray]:
    """Per-position means over each test set, each of shape (K,), float64.

    loss_{set} = mean_i (f_k − y_k)²,   distance_{reference}_{set} = mean_i (f_k − reference_k)²
    """
    row = {}
    for name, test in sets.items():
        predictions = predict(model, test.xs, test.ys).double()
        row[f"loss_{name}"] = _mean_square(predictions, test.ys)
        for reference in REFERENCES:
            row[f"distance_{reference}_{name}"] = _mean_square(predictions, test.references[reference])
    return row


def reference_losses(sets: dict[str, TestSet]) -> dict[str, np.ndarray]:
    """What ridge, dMMSE_M and the zero predictor lose on each test set, per position (K,)."""
    losses = {}
    for name, test in sets.items():
        for reference in REFERENCES:
            losses[f"{reference}_loss_{name}"] = _mean_square(test.references[reference], test.ys)
        losses[f"zero_loss_{name}"] = _mean_square(predictors.zero(test.xs, test.ys), test.ys)
    return losses


def paired_rise(earlier: nn.Module, later: nn.Module, test: TestSet) -> tuple[float, float]:
    """By how much the mean loss rose from one model to another, and the standard error of that difference.

    Both are evaluated on the same sequences and the difference is taken sequence by sequence, so that the (much
    larger) spread between sequences cancels: se = sd(ℓ_i(later) − ℓ_i(earlier)) / √B.
    """
    change = losses_by_sequence(later, test) - losses_by_sequence(earlier, test)
    return float(change.mean()), float(change.std() / len(change) ** 0.5)


def metrics_dataset(
    rows: Mapping[int, Mapping[str, np.ndarray | float | list[float]]],
    references: dict[str, np.ndarray],
    *,
    num_tasks: int | None,
    seed: int,
) -> xr.Dataset:
    """Rows of `evaluate` (with `learning_rate` and `weight_norm`) by step, labelled, for one run."""
    steps = sorted(rows)
    names = list(rows[steps[0]]) if steps else []
    coords = run_coords([num_tasks], [seed], steps) | {
        "position": (
            "position",
            np.arange(1, len(next(iter(references.values()))) + 1),
            {"long_name": "number of the example in its sequence, k", "units": "1"},
        )
    }
    dataset = xr.Dataset(coords=coords)
    for name in names:
        values = np.stack([np.asarray(rows[step][name]) for step in steps])
        dims = ("num_tasks", "seed", "step", "position")[: values.ndim + 2]
        dataset[name] = (dims, values[None, None], describe_metric(name))
    for name, value in references.items():
        dataset[name] = (("num_tasks", "seed", "position"), value[None, None], describe_metric(name))
    return dataset


def run_coords(num_tasks: Sequence[int | None], seeds: Sequence[int], steps: Sequence[int]) -> dict[str, tuple]:
    """The coordinates that every result over a sweep shares; M = ∞ is written as inf."""
    return {
        "num_tasks": (
            "num_tasks",
            [np.inf if m is None else float(m) for m in num_tasks],
            {"long_name": "task diversity M (inf: Gaussian prior)", "units": "1"},
        ),
        "seed": ("seed", np.asarray(seeds, dtype=np.int64), {"long_name": "seed of the run", "units": "1"}),
        "step": (
            "step",
            np.asarray(steps, dtype=np.int64),
            {"long_name": "number of optimiser updates", "units": "1"},
        ),
    }


def describe_metric(name: str) -> dict[str, str]:
    """`long_name` and `units` of a metric, read off its name."""
    plain = {"learning_rate": "learning rate of the next update", "weight_norm": "Euclidean norm of all parameters"}
    if name in plain:
        return {"long_name": plain[name], "units": "1"}
    *parts, test_set = name.split("_")
    where = f"({TEST_SETS[test_set]})"
    if parts[0] == "distance":
        said = f"mean squared distance of predictions to {parts[1]} {where}; divide by D for the papers' value"
    elif parts == ["loss"]:
        said = f"mean squared error {where}"
    else:
        said = f"mean squared error of the {parts[0]} predictor {where}"
    return {"long_name": said, "units": "y^2"}


def _mean_square(predictions: Tensor, targets: Tensor) -> np.ndarray:
    return (predictions.double() - targets.double()).square().mean(0).numpy()


def losses_by_sequence(model: nn.Module, test: TestSet) -> Tensor:
    """Squared error of each sequence, averaged over positions, float64, (B,)."""
    return (predict(model, test.xs, test.ys).double() - test.ys.double()).square().mean(-1)
