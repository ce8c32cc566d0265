"""The trained model against its task's references over training."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor, nn

from llc import behaviour, store
from llc.behaviour import EvalSet, baselines, mean_and_error
from llc.development.curves import ErrorCurves
from llc.development.labels import about, check_result, lead, run_place
from llc.development.readouts import check_names_are_free, own_readouts
from llc.errors import InvalidInput, check_whole
from llc.parallel import Progress, quiet
from llc.store.labels import each_run, references_of, run_label, symbol_in
from llc.study.points import choose_steps, trained_runs
from llc.systems import claims_of
from llc.systems.claims import Claim, check_claims, said_of_claims, with_claims
from llc.tasks import Batch, Task

# Places between a model's weights (0) and those of a construction (1).
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_CHUNK = 1024


@store.takes_experiment
def compare(
    experiment: store.Experiment,
    *,
    steps: str | Sequence[int] = "log:20",
    sequences: int = 4096,
    claims: Sequence[Claim] | None = None,
    progress: Progress = quiet,
) -> xr.Dataset:
    """Losses, predictions and sensitivities of every run beside its references', also written to `compare.nc`.

    On fresh sequences of every test set and shift of the task; f_i is the model's outputs on a sequence, r_i those of a
    reference, g their derivative by the input that the task calls `asked` (von Oswald et al. 2023, arXiv 2212.07677):

        excess = mean_i(ℓ_i(f) − ℓ_i(r)),   prediction_difference = mean_i ‖f_i − r_i‖,
        sensitivity_difference = mean_i ‖g_i(f) − g_i(r)‖,   sensitivity_cosine = mean_i cos(g_i(f), g_i(r))

    each with its standard error over sequences, the two of a pair on the same ones.

    Args:
        experiment: from `llc.open` or `llc.train`.
        progress: told (unit, done, total, note).
        steps: as of `estimate_llc_over_training`.
        sequences: of each test set, at least 2.
        claims: of a paper; by default those of its preset (`llc.systems.claims_of`). They are of the end of training,
            and left out before it.
    Returns:
        By (axes of the sweep …, step, test_set): `loss`; with `reference`: `excess`, `prediction_difference`, and on
        the first test set `sensitivity_difference`, `sensitivity_cosine`, and `interpolation_loss` (…, reference,
        share) where the model has a method `interpolated(task, reference, share)`. `reference_loss` (…, test_set,
        reference); of every two references `reference_difference` and `reference_excess_se` (…, reference, other); at
        the last step, of a task with `curves`, `curve_loss` (…, error_curve, shots) and `curve_reference_loss` (…,
        error_curve, shots, reference); what the model says of itself (see `readouts`); the claims by `claim`.
    Raises:
        StoreError: nothing is trained yet, or steps without weights.
        InvalidInput: a task without references, a count out of range, or claims that are none.
    """
    sequences = check_whole("sequences", sequences, 2)
    claims = None if claims is None else check_claims(claims)
    runs = trained_runs(experiment)
    if not set(runs[0].task.predictors()) - set(baselines(runs[0].task)):
        raise InvalidInput(f"the task {runs[0].task.kind} has no references to compare with; give it predictors()")
    chosen = {run.name: choose_steps(steps, run) for run in runs}
    total, done, parts = sum(map(len, chosen.values())), 0, []
    ended = max(steps[-1] for steps in chosen.values()) == experiment.config["training"]["steps"]
    settings, own = {"steps": chosen, "sequences": sequences}, claims_of(experiment.config)
    with store.folder_lock(experiment.path):
        judged = None if claims is not None else said_of_claims(own)
        made = store.recipe(experiment, "compare", settings, runs=runs, claims=judged)
        if store.is_made(experiment, "compare", made, progress):
            return experiment.compare
        task: Task | None = None
        for run in runs:
            if run.task != task:  # one after another mostly have the same, whose references may take long
                task = run.task
                sets = behaviour.eval_sets(task, sequences, {**task.test_tasks(), **task.shifts()})
                references = _References(task, sets)
                curves = ErrorCurves(task, sequences, sets.values())
            rows = []
            for step in chosen[run.name]:
                progress("compare", done, total, f"{run.name} step {step}")
                model = run.model(step)
                rows.append(references.against(model))
                done += 1
            found = _label(run, sets, chosen[run.name], rows, references)
            parts.append(xr.merge([found, curves.of(model, run)]))
        compared = with_claims(store.merge(parts), (own if claims is None else claims) if ended else ())
        return store.write_dataset(experiment.path / "compare.nc", compared, made)


class _References:
    """What the references of one run's task say of its test sets, computed once."""

    def __init__(self, task: Task, sets: Mapping[str, EvalSet]) -> None:
        self.task, self.sets = task, sets
        self.names = list(next(iter(sets.values())).references)
        self.losses = {
            name: torch.stack([behaviour.reference_losses_by_sequence(of, name) for of in sets.values()])
            for name in self.names
        }  # (test_set, B)
        self.differences = _differences(sets, self.losses)
        self.first = next(iter(sets.values()))
        self.slopes = {
            name: sensitivity(predictor, self.first.batch, task.asked) for name, predictor in task.predictors().items()
        } if task.asked is not None else {}  # fmt: skip

    def against(self, model: nn.Module) -> dict[str, np.ndarray]:
        """Everything of one checkpoint, means and standard errors."""
        found: dict[str, list[Any]] = {"loss": [], "excess": [], "prediction_difference": []}
        for number, (of_set, outputs) in enumerate(behaviour.said_of(model, self.sets)):
            losses = behaviour.losses_of(of_set, outputs)
            found["loss"].append(mean_and_error(losses))
            found["excess"].append([mean_and_error(losses - self.losses[name][number]) for name in self.names])
            apart = [
                (outputs - of_set.references[name].double()).reshape(len(outputs), -1).norm(dim=1)
                for name in self.names
            ]
            found["prediction_difference"].append([mean_and_error(each) for each in apart])
        if self.task.asked is not None:
            own = sensitivity(model, self.first.batch, self.task.asked)
            pairs = [(own, self.slopes[name]) for name in self.names]
            found["sensitivity_difference"] = [mean_and_error((a - b).norm(dim=1)) for a, b in pairs]
            found["sensitivity_cosine"] = [
                mean_and_error(torch.cosine_similarity(a, b, dim=1, eps=0)) for a, b in pairs
            ]
        row = {name: np.array(values)[..., 0] for name, values in found.items()}
        row |= {f"{name}_se": np.array(values)[..., 1] for name, values in found.items()}
        between = self._between(model)
        return row | ({} if between is None else {"interpolation_loss": between})

    def _between(self, model: nn.Module) -> np.ndarray | None:
        """(reference, share): losses between the weights and a construction's; None where there is no construction."""
        interpolated: Callable[..., Any] | None = getattr(model, "interpolated", None)
        if interpolated is None:
            return None
        found = np.full((len(self.names), len(_SHARES)), np.nan)
        for i, name in enumerate(self.names):
            for j, share in enumerate(_SHARES):
                moved = interpolated(self.task, name, share)
                if moved is not None:
                    found[i, j] = float(behaviour.losses_by_sequence(moved, self.first).mean())
        return None if np.isnan(found).all() else found


def _differences(sets: Mapping[str, EvalSet], losses: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Of every two references (test_set, reference, other): how far apart their outputs are, and the standard error of
    the difference of their losses."""
    apart, errors = [], []
    for number, of_set in enumerate(sets.values()):
        answers = {name: of_set.references[name].double() for name in losses}
        said = {name: answer.reshape(len(answer), -1) for name, answer in answers.items()}
        apart.append([[float((a - b).norm(dim=1).mean()) for b in said.values()] for a in said.values()])
        errors.append([[mean_and_error(a[number] - b[number])[1] for b in losses.values()] for a in losses.values()])
    return {"reference_difference": np.array(apart), "reference_excess_se": np.array(errors)}


def sensitivity(call: Callable[..., Tensor], batch: Batch, number: int) -> Tensor:
    """∂(sum of the outputs of a sequence)/∂(input of that number), (B, …) flattened to (B, d), float64.

    Args:
        call: a model or reference, of which a sequence's outputs depend on that sequence alone.
    """
    slopes = []
    for start in range(0, batch.size, _CHUNK):
        inputs = [tensor.detach() for tensor in batch.take(slice(start, start + _CHUNK)).inputs]
        inputs[number] = inputs[number].requires_grad_()
        outputs = call(*inputs).sum()
        slope = torch.zeros_like(inputs[number])
        if outputs.requires_grad:
            (given,) = torch.autograd.grad(outputs, inputs[number], allow_unused=True)
            slope = slope if given is None else given
        slopes.append(slope.double().reshape(len(slope), -1))
    return torch.cat(slopes)


_SAID = {
    "loss": "mean loss",
    "excess": "mean loss above a reference's, on the same sequences",
    "prediction_difference": "mean norm of the difference of a sequence's outputs to a reference's",
    "sensitivity_difference": "mean norm of the difference of sensitivities to a reference's",
    "sensitivity_cosine": "mean cosine of sensitivities with a reference's",
    "interpolation_loss": "mean loss between the weights (share 0) and those that are a reference (share 1)",
    "reference_loss": "mean loss of a reference",
    "reference_difference": "mean norm of the difference of two references' outputs to a sequence",
    "reference_excess_se": "standard error of the difference of two references' mean losses, on the same sequences",
}
_DIMS = {
    "loss": ("test_set",),
    "excess": ("test_set", "reference"),
    "prediction_difference": ("test_set", "reference"),
    "sensitivity_difference": ("reference",),
    "sensitivity_cosine": ("reference",),
    "interpolation_loss": ("reference", "share"),
    "reference_loss": ("test_set", "reference"),
    "reference_difference": ("test_set", "reference", "other"),
    "reference_excess": ("test_set", "reference", "other"),
}


def _label(
    run: store.Run, sets: Mapping[str, EvalSet], steps: list[int], rows: list[dict[str, Any]], references: _References
) -> xr.Dataset:
    known = behaviour.eval_coords(sets, run.task)
    known.pop("position", None)
    coords = run_place(run) | known | behaviour.step_coord(steps)
    coords["share"] = ("share", list(_SHARES), {"long_name": "share of the construction's weights", "units": "1"})
    said = {f"{name}_se": f"standard error of {name}" for name in _SAID} | _SAID
    data = {}
    for name in rows[0]:
        values = np.stack([row[name] for row in rows])
        dims = (*run.place, "step", *_DIMS[name.removesuffix("_se")])
        data[name] = (dims, lead(values, run.place), about(said, name))
    losses = [references.losses[name] for name in references.names]
    means = np.array([[mean_and_error(of_set) for of_set in each] for each in losses]).transpose(2, 1, 0)
    for name, values in zip(("reference_loss", "reference_loss_se"), means, strict=True):
        data[name] = ((*run.place, *_DIMS["reference_loss"]), lead(values, run.place), about(said, name))
    for name, values in references.differences.items():
        data[name] = ((*run.place, *_DIMS[name.removesuffix("_se")]), lead(values, run.place), about(said, name))
    coords["other"] = ("other", references.names, {"long_name": "another reference", "units": "1"})
    if "interpolation_loss" not in data:
        del coords["share"]
    own = own_readouts(run, steps)
    check_names_are_free(own.data_vars, {*data, *coords} - {*run.place, "step"})
    return xr.merge([xr.Dataset(data, coords), own])


def compare_rows(compared: xr.Dataset) -> pd.DataFrame:
    """Every run at its last step: its loss, and beside each reference its excess, prediction difference and cosine.

    Args:
        compared: `experiment.compare`.
    """
    check_result(compared, ("loss", "excess", "prediction_difference", "test_set", "step"), "llc.compare")
    first = str(compared.test_set.values[0])
    rows = []
    for place, everywhere in each_run(compared):
        run = everywhere.sel(test_set=first)
        known = run.loss.dropna("step")
        if not known.size:
            continue
        end = run.sel(step=int(known.step[-1]))
        row = {"run": run_label(compared, place), "step": int(end.step), "loss": float(end.loss),
               "loss_se": float(end.loss_se)}  # fmt: skip
        for reference in references_of(compared):
            of, symbol = end.sel(reference=reference), symbol_in(compared, "reference", reference)
            row |= {f"{symbol}: excess": float(of.excess), f"{symbol}: apart": float(of.prediction_difference)}
            if "sensitivity_cosine" in of:
                row[f"{symbol}: cosine"] = float(of.sensitivity_cosine)
        rows.append(row)
    return pd.DataFrame(rows)
