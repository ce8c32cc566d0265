"""Error curves: what a model and its references lose after so many examples, on every kind of prompt."""

from collections.abc import Iterable

import numpy as np
import xarray as xr
from torch import nn

from llc import behaviour
from llc.behaviour import EvalSet
from llc.development.labels import about, lead
from llc.store import Run
from llc.tasks import Task

_SAID = {
    "curve_loss": "mean loss on the question after so many examples, at the last of the steps",
    "curve_loss_se": "standard error of curve_loss",
    "curve_reference_loss": "mean loss of a reference on that question",
    "curve_reference_loss_se": "standard error of curve_reference_loss",
}


class ErrorCurves:
    """The sequences of `Task.curves`, with what the task's references say of them, which are the same at every step.

        curve_loss(c, n) = mean_i ℓ_i(f),   curve_reference_loss(c, n, r) = mean_i ℓ_i(r)

    over sequences of curve c, of the question after n examples; each with its standard error (Garg et al. 2022, arXiv
    2208.01066, §3 and §4).

    Args:
        task: of which runs.
        sequences: for each curve and number of examples.
        beside: sets of the task that are there.
    """

    def __init__(self, task: Task, sequences: int, beside: Iterable[EvalSet] = ()) -> None:
        self.task = task
        tasks = {(curve, shots): one for curve, by_shots in task.curves().items() for shots, one in by_shots.items()}
        self.places = list(tasks)
        sources = {f"{curve}, {shots}": one for (curve, shots), one in tasks.items()}
        self.sets = behaviour.eval_sets(task, sequences, sources, beside)
        self.curves = list(dict.fromkeys(curve for curve, _ in self.places))
        self.shots = sorted({shots for _, shots in self.places})

    def of(self, model: nn.Module, run: Run) -> xr.Dataset:
        """What a model loses, labelled with its run's place; nothing of a task without curves."""
        if not self.sets:
            return xr.Dataset()
        names = list(next(iter(self.sets.values())).references)
        found = np.full((len(self.curves), len(self.shots), 1 + len(names), 2), np.nan)
        for (curve, shots), (of_set, outputs) in zip(self.places, behaviour.said_of(model, self.sets), strict=True):
            losses = [behaviour.losses_of(of_set, outputs)]
            losses += [behaviour.reference_losses_by_sequence(of_set, name) for name in names]
            found[self.curves.index(curve), self.shots.index(shots)] = [behaviour.mean_and_error(one) for one in losses]
        dims = (*run.place, "error_curve", "shots")
        data = {}
        for number, suffix in enumerate(("", "_se")):
            for name, values, own in (
                ("curve_loss", found[:, :, 0, number], dims),
                ("curve_reference_loss", found[:, :, 1:, number], (*dims, "reference")),
            ):
                data[name + suffix] = (own, lead(values, run.place), about(_SAID, name + suffix))
        words = "; ".join(f"{curve}: {self.task.said(curve)}" for curve in self.curves)
        coords = {
            "error_curve": ("error_curve", self.curves, {"long_name": words, "units": "1"}),
            "reference": behaviour.reference_coord(names, self.task),
            "shots": ("shots", self.shots, {"long_name": "examples before the question", "units": "1"}),
        }
        return xr.Dataset(data, coords)
