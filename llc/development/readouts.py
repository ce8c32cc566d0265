"""Read-outs of models over training, to set beside λ̂ and the loss."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from llc import store
from llc.behaviour import FlatLoss, TaskLoss, step_coord
from llc.development.hessian import curvature
from llc.development.labels import lead, run_place
from llc.errors import InvalidInput, shown
from llc.models.readout import Readout
from llc.parallel import Progress, quiet
from llc.study.points import choose_steps, trained_runs
from llc.tasks import Batch, Task

# Sequences of the task that models and curvature are looked at on.
_SEQUENCES = 256
_EIGENVALUES = 3


@store.takes_experiment
def readouts(
    experiment: store.Experiment,
    *,
    steps: str | Sequence[int] = "log:20",
    hessian: bool = True,
    progress: Progress = quiet,
) -> xr.Dataset:
    """What models say of themselves at chosen checkpoints of every run, also written to `readouts.nc`.

    Args:
        experiment: from `llc.open` or `llc.train`.
        steps: as of `estimate_llc_over_training`.
        hessian: whether to look at the Hessian of the loss too.
        progress: told (unit, done, total, note).
    Returns:
        By (axes of the sweep …, step) what the model's own `readouts(batch)` gives, if it has such a method, on 256
        sequences of the task; with `hessian`, `hessian_trace` with its standard error and `hessian_eigenvalue`
        (…, rank) of the loss on those.
    Raises:
        StoreError: nothing is trained yet, or steps without weights.
        InvalidInput: nothing to read out.
    """
    runs = trained_runs(experiment)
    chosen = {run.name: choose_steps(steps, run) for run in runs}
    total, done, parts = sum(map(len, chosen.values())), 0, []
    settings = {"steps": chosen, "hessian": hessian}
    with store.folder_lock(experiment.path):
        made = store.recipe(experiment, "readouts", settings, runs=runs)
        if store.is_made(experiment, "readouts", made, progress):
            return experiment.readouts
        for run in runs:
            batch = run.task.sample(_SEQUENCES, stream="readouts")
            rows = []
            for step in chosen[run.name]:
                progress("read-outs", done, total, f"{run.name} step {step}")
                rows.append(_row(run.model(step), run.task, batch, hessian))
                done += 1
            parts.append(_label(run, chosen[run.name], rows))
        return store.write_dataset(experiment.path / "readouts.nc", store.merge(parts), made)


def own_readouts(run: store.Run, steps: list[int]) -> xr.Dataset:
    """What a run's model says of itself at some of its steps; no variables where it says nothing."""
    batch = run.task.sample(_SEQUENCES, stream="readouts")
    rows = []
    for step in steps:
        model = run.model(step)
        if not hasattr(model, "readouts"):
            return xr.Dataset()
        rows.append(_row(model, run.task, batch, hessian=False))
    return _label(run, steps, rows)


def _row(model: nn.Module, task: Task, batch: Batch, hessian: bool) -> dict[str, Readout]:
    offered = getattr(model, "readouts", None)
    with torch.no_grad():
        found = {} if offered is None else offered(batch)
    row = _checked(found, type(model).__name__)
    if hessian:
        found = curvature(model, FlatLoss(TaskLoss(task)), batch.flat, eigenvalues=_EIGENVALUES)
        row["hessian_trace"] = Readout(found.trace, (), "trace of the loss's Hessian")
        row["hessian_trace_se"] = Readout(found.trace_se, (), "standard error of hessian_trace")
        largest = "largest eigenvalues of the loss's Hessian"
        row["hessian_eigenvalue"] = Readout(found.eigenvalues, ("rank",), largest)
    if not row:
        raise InvalidInput(f"{type(model).__name__} has no method readouts(batch), and the Hessian is left out")
    return row


def _checked(found: Any, model: str) -> dict[str, Readout]:
    """What a model gives, by name."""
    if not isinstance(found, Mapping):
        raise InvalidInput(f"{model}.readouts(batch) returned {shown(found)}, expected numbers or tensors by name")
    return {name: _as_readout(name, value) for name, value in found.items()}


def _as_readout(name: str, value: Any) -> Readout:
    """What a model gives: a `Readout`, or plain numbers whose dims are called after it."""
    if isinstance(value, Tensor):
        value = value.detach()
    if isinstance(value, Readout):
        return value._replace(said=value.said or name.replace("_", " "))
    dims = tuple(f"{name}_{place}" for place in range(np.ndim(value)))
    return Readout(value, dims, name.replace("_", " "))


def check_names_are_free(names: Iterable[Any], taken: Collection[Any]) -> None:
    """Raise InvalidInput where a read-out is called like something else of the result that it goes into."""
    if clashing := sorted(str(name) for name in names if name in taken):
        raise InvalidInput(
            f"the model's readouts(batch) gives {', '.join(clashing)}, which is the name of an axis or of something "
            "else of this result; call it otherwise"
        )


def _label(run: store.Run, steps: list[int], rows: list[dict[str, Readout]]) -> xr.Dataset:
    data: dict = {}
    check_names_are_free(rows[0], {*run.place, "step"})
    for name, first in rows[0].items():
        values = np.stack([np.asarray(row[name].values) for row in rows])
        about = {"long_name": first.said, "units": first.units}
        data[name] = ((*run.place, "step", *first.dims), lead(values, run.place), about)
    dataset = xr.Dataset(data, run_place(run) | step_coord(steps))
    for dim in [dim for dim in dataset.sizes if dim not in {*run.place, "step"}]:
        places = np.arange(1, dataset.sizes[dim] + 1)
        dataset = dataset.assign_coords({dim: (dim, places, {"long_name": str(dim), "units": "1"})})
    return dataset
