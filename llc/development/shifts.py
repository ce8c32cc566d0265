"""Behaviour on inputs that training did not show: the task's own shifts, and settings of it that are changed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from torch import Tensor, nn

from llc import behaviour, store
from llc.behaviour import EvalSet
from llc.development.labels import check_result, lead, run_place
from llc.errors import InvalidInput, check_whole, shown
from llc.parallel import Progress, quiet
from llc.store.labels import each_run, references_of, run_label
from llc.study.points import choose_steps, trained_runs
from llc.tasks import Task

# What sequences of the training distribution are called.
UNSHIFTED = "as in training"


@store.takes_experiment
def shifted_behaviour(
    experiment: store.Experiment,
    *,
    steps: str | Sequence[int] = "log:20",
    changed: Mapping[str, Sequence[Any]] | None = None,
    sequences: int | None = None,
    icl_positions: tuple[int, int] | None = None,
    progress: Progress = quiet,
) -> xr.Dataset:
    """Losses and distances of every run on shifted inputs, also written to the experiment's `behaviour.nc`.

        loss_k = mean_i ℓ_ik,   distance_k = mean_i |f_k − reference_k|²,   ICL score = loss_{k2} − loss_{k1}

    References are those of the training distribution: they stand for what a model may have learned, not for what would
    be best on the shifted inputs.

    Args:
        experiment: from `llc.open` or `llc.train`.
        steps: as of `estimate_llc_over_training`.
        changed: values of the task's settings to look at, one at a time, such as `{"noise_variance": [0.5, 2.0]}`; by
            default the shifts that the task offers itself.
        sequences: of each distribution, at least 2; None for as many as the run's test sets have.
        icl_positions: k1 < k2 from 1 to K; None for K/2 and K (Hoogland et al. 2024, arXiv 2402.02364).
        progress: told (unit, done, total, note).
    Returns:
        By (axes of the sweep …, step, test_set): `loss` and `distance` (…, reference), with a position where sequences
        have several; then also `icl_score` and its standard error `icl_score_se`, over sequences.
    Raises:
        StoreError: nothing is trained yet, or steps without weights.
        InvalidInput: no shifts, one that the task cannot have, positions out of range.
    """
    changed = _values_by_setting(changed)
    sequences = None if sequences is None else check_whole("sequences", sequences, 2)
    runs = trained_runs(experiment)
    places = _icl_positions(icl_positions, runs[0].task)
    chosen = {run.name: choose_steps(steps, run) for run in runs}
    total, done, parts = sum(map(len, chosen.values())), 0, []
    settings = {
        "steps": chosen,
        "changed": changed,
        "sequences": sequences,
        "icl_positions": list(places or ()),
    }
    with store.folder_lock(experiment.path):
        made = store.recipe(experiment, "behaviour", settings, runs=runs)
        if store.is_made(experiment, "behaviour", made, progress):
            return experiment.behaviour
        for run in runs:
            sources = _sources(run.task, changed)
            if changed:
                _check_changes(run, chosen[run.name][0], sources)
            sets = behaviour.eval_sets(run.task, sequences or run.sequences, sources)
            rows = []
            for step in chosen[run.name]:
                progress("behaviour", done, total, f"{run.name} step {step}")
                rows.append(_row(run.model(step), sets, places))
                done += 1
            parts.append(_label(run, sets, chosen[run.name], rows))
        return store.write_dataset(experiment.path / "behaviour.nc", store.merge(parts), made)


def _values_by_setting(changed: Mapping[str, Sequence[Any]] | None) -> dict[str, list[Any]]:
    changed = {} if changed is None else changed
    if not isinstance(changed, Mapping) or not all(
        isinstance(name, str) and isinstance(values, Iterable) and not isinstance(values, str)
        for name, values in changed.items()
    ):
        raise InvalidInput(
            f'changed = {shown(changed)} given, expected values by setting, such as {{"noise_variance": [0.5, 2.0]}}'
        )
    found = {
        name: [value.item() if isinstance(value, np.generic) else value for value in values]
        for name, values in changed.items()
    }
    for name, values in found.items():
        if len({str(value) for value in values}) < len(values):
            raise InvalidInput(f"{name} = {shown(values)} given, expected none of the values twice")
    return found


def _sources(task: Task, changed: Mapping[str, Sequence[Any]]) -> dict[str, Task]:
    """Where sequences come from, the training distribution first."""
    if not changed:
        found = task.shifts()
        if not found:
            raise InvalidInput(f"the task {task.kind} offers no shifts; name settings to change with --change KEY=V,V")
        return {UNSHIFTED: task, **found}
    own = {f"{name} = {value}": task.override({name: value}) for name, values in changed.items() for value in values}
    return {UNSHIFTED: task, **own}


def _check_changes(run: store.Run, step: int, sources: Mapping[str, Task]) -> None:
    """Try what is changed on the references and the model of a run; or InvalidInput with the change that does not fit.

    A model of sequences of any length takes another number of them, so that shapes alone do not say it.
    """
    model = run.model(step)
    _, *others = sources.items()
    for name, source in others:
        try:
            ((_, of_set),) = behaviour.eval_sets(run.task, 1, {name: source}).items()
            made, fitting = of_set.batch.targets.shape[1:], run.task.sample(1, stream="test").targets.shape[1:]
            if made != fitting:
                raise InvalidInput(f"targets have the shape {tuple(made)}, expected {tuple(fitting)}")
            behaviour.predict(model, of_set.batch)
        except (ValueError, TypeError, LookupError, RuntimeError) as error:  # of references, or the user's model
            raise InvalidInput(
                f"the change {name} does not fit what {run.name} was trained on: {error}; change a setting that "
                "leaves shapes alone"
            ) from error


def _icl_positions(given: tuple[int, int] | None, task: Task) -> tuple[int, int] | None:
    targets = task.shapes["targets"]
    examples = targets[0] if targets else 1
    if examples < 2:
        if given is not None:
            raise InvalidInput(f"icl_positions = {given} given, but sequences have one prediction each")
        return None
    if given is None:
        return max(1, examples // 2), examples
    if not isinstance(given, Iterable) or len(positions := list(given)) != 2:
        raise InvalidInput(f"icl_positions = {shown(given)} given, expected two, 1 <= k1 < k2 <= K = {examples}")
    first, last = (check_whole("one of icl_positions", one, 1) for one in positions)
    if not 1 <= first < last <= examples:
        raise InvalidInput(f"icl_positions = {first}, {last} given, expected 1 <= k1 < k2 <= K = {examples}")
    return first, last


def _row(model: nn.Module, sets: Mapping[str, EvalSet], places: tuple[int, int] | None) -> dict[str, np.ndarray]:
    row = behaviour.evaluate(model, sets)
    if places is not None and row["loss"].ndim > 1:  # a loss for each position
        first, last = places
        change = [_change(behaviour.every_loss(model, of_set), first, last) for of_set in sets.values()]
        row["icl_score"], row["icl_score_se"] = np.array(change).T
    return row


def _change(losses: Tensor, first: int, last: int) -> tuple[float, float]:
    """Late minus early loss, and its standard error over sequences."""
    change = losses[:, last - 1] - losses[:, first - 1]
    return float(change.mean()), float(change.std() / len(change) ** 0.5)


_SAID = {
    "loss": "mean loss",
    "distance": "mean squared distance of outputs to a reference's",
    "icl_score": "loss late in the sequence minus loss earlier in it",
    "icl_score_se": "standard error of icl_score",
}


def _label(
    run: store.Run, sets: Mapping[str, EvalSet], steps: list[int], rows: list[dict[str, np.ndarray]]
) -> xr.Dataset:
    coords = run_place(run) | behaviour.eval_coords(sets, run.task) | behaviour.step_coord(steps)
    data: dict = {}
    for name in rows[0]:
        values = np.stack([row[name] for row in rows])
        inner = (
            ("step", "test_set", "reference", "position") if name == "distance" else ("step", "test_set", "position")
        )
        data[name] = (
            (*run.place, *inner[: values.ndim]),
            lead(values, run.place),
            {"long_name": _SAID[name], "units": "1"},
        )
    return xr.Dataset(data, coords)


def format_behaviour(found: xr.Dataset) -> str:
    """Each run's last step as text, a line a run and shift.

    Args:
        found: `experiment.behaviour`.
    """
    check_result(found, ("loss", "test_set", "step"), "llc.development.shifted_behaviour")
    means = found.mean("position") if "position" in found.dims else found
    lines = []
    for place, run in each_run(means):
        known = run.dropna("step", subset=["loss"], how="all")
        if not known.sizes["step"]:
            continue
        end = known.isel(step=-1)
        for name in end.test_set.values:
            row = end.sel(test_set=name)
            line = {"run": run_label(found, place), "step": int(end.step), "inputs": str(name)}
            line["loss"] = f"{float(row.loss):.3f}"
            for reference in references_of(found):
                line[f"to {reference}"] = f"{float(row.distance.sel(reference=reference)):.3f}"
            if "icl_score" in row:
                line["ICL score"] = f"{float(row.icl_score):.3f} ± {float(row.icl_score_se):.3f}"
            lines.append(line)
    return pd.DataFrame(lines).to_string(index=False)
