"""Joint trajectory PCA: all runs of a sweep, as curves in one low-dimensional space of what they do."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from llc import store
from llc.behaviour import position_coord, reference_coord, step_coord
from llc.development.features import OWN_PROBE, Features, make_features, steps_of
from llc.development.labels import check_result, lead, run_place
from llc.development.null import random_walk_variances
from llc.development.principal import Components
from llc.development.rows import Rows
from llc.errors import InvalidInput, StoreError, check_whole, did_you_mean, shown, shown_name
from llc.parallel import Progress, quiet
from llc.store.labels import value_label
from llc.store.places import same
from llc.tasks import Batch

_SCORE = "coordinate along a joint principal component"
_WEIGHTINGS = ("checkpoints", "runs")
# Kept by default.
_COMPONENTS = 4


@store.takes_experiment
def joint_pca(
    experiment: store.Experiment,
    components: int | None = None,
    *,
    sequences: int = 512,
    probe: str | Batch = OWN_PROBE,
    features: str = "predictions",
    weighting: Literal["checkpoints", "runs"] = "checkpoints",
    fit: Mapping[str, Sequence[Any]] | None = None,
    progress: Progress = quiet,
) -> xr.Dataset:
    """The joint trajectory PCA of an experiment, also written to its `pca.nc`.

    f(w) stacks a model's predictions on B fixed sequences, the task's probe. The rows of F are f at every checkpoint
    of every run; column means are subtracted, and scores are projections on the leading right singular vectors. Each
    run's references are encoded in the same way, shifted by the same means and projected; they are never part of the
    fit. Source: Carroll et al. (2025), arXiv 2501.17745.

    Random walks give smooth curves in few components too. `explained_variance_null` is what walks with the same
    increments, their signs drawn at random, reach (see `llc.development.null`); a share that does not exceed it
    says nothing about where runs go.

    Args:
        experiment: from `llc.open` or `llc.train`.
        components: how many principal components to keep; None for four, or as many as there are checkpoints.
        sequences: B, the size of the probe.
        progress: told (unit, done, total, note).
        probe: which sequences: `own`, the task's probe; those of one of its test sets; or a batch of your own.
        features: `predictions`, `outputs` (at every token, all coordinates) or `weights`.
        weighting: whether every checkpoint counts alike, or every run.
        fit: only runs with these values on these axes have a part in the fit, such as `{"num_tasks": [1, 4]}`; the
            others are projected. None for all.
    Returns:
        `score` (axes of the sweep …, step, component), `score_reference` (…, reference, component), and with several
        references `reference_distance` (…, reference, other), before any projection; `explained_variance_ratio`
        (component),
        `explained_variance_null` (walk, component), `loading` (sequence, position, component) with its share by
        position, `loading_position`, and the means that were subtracted, `center`; of other features than predictions
        no references, and loadings have dims of their own.
    Raises:
        StoreError: the experiment has no checkpoints, or its folder cannot be written.
        InvalidInput: a count out of range, or a choice that the experiment cannot serve.
    """
    components = None if components is None else check_whole("components", components, 1)
    sequences = check_whole("sequences", sequences, 1)
    fit = _values_by_axis(fit)
    if weighting not in _WEIGHTINGS:
        raise InvalidInput(f"weighting = {shown_name(weighting)} given, expected {' or '.join(_WEIGHTINGS)}")
    runs = [run for run in experiment.runs if steps_of(run, features)]
    if not runs:
        raise StoreError(experiment.no_checkpoints)
    fitted = _fitted(experiment, runs, fit)
    kind = make_features(runs, features, probe, sequences)
    checkpoints = sum(len(steps_of(run, features)) for run in runs)
    if components is None:
        components = min(_COMPONENTS, sum(len(steps_of(run, features)) for run in fitted))
    settings = {
        "components": components,
        "sequences": kind.probe.size,
        "probe": probe
        if isinstance(probe, str)
        else store.table_hash({"probe": [tensor.tolist() for tensor in kind.probe.flat]}),
        "features": features,
        "weighting": weighting,
        "fit": {dim: ["inf" if same(value, None) else value for value in values] for dim, values in fit.items()},
        "checkpoints": checkpoints,
    }
    with store.folder_lock(experiment.path):
        made = store.recipe(experiment, "pca", settings, runs=runs)
        if store.is_made(experiment, "pca", made, progress):
            return experiment.pca
        with Rows(runs, kind, experiment.path, progress) as rows:
            found = rows.fit(components, fitted, weighting=weighting)
            scores = [_label_scores(run, features, found.scores(rows.of(run))) for run in runs]
            null = random_walk_variances([rows.thinned(run, len(fitted)) for run in fitted], components)
        dataset = store.merge(scores).merge(_label_fit(kind, found, null)).merge(_label_references(kind, found, runs))
        progress("pca", checkpoints, checkpoints, "")
        return store.write_dataset(experiment.path / "pca.nc", dataset, made)


def project(pca: xr.Dataset, experiment: store.Experiment, *, progress: Progress = quiet) -> xr.Dataset:
    """Scores of another experiment's runs in the plane of a `pca.nc` that they had no part in.

    Args:
        pca: from `joint_pca` with predictions on the task's own probe.
        experiment: whose runs are projected; its task makes predictions of the same shape.
        progress: told (unit, done, total, note).
    Returns:
        `score` (axes of the sweep …, step, component).
    Raises:
        InvalidInput: sequences of another length, or a PCA of something else.
        StoreError: nothing is trained yet.
    """
    check_result(pca, ("loading", "center", "explained_variance_ratio"), "llc.joint_pca")
    if not isinstance(experiment, store.Experiment):
        raise InvalidInput(f"{shown(experiment)} given, expected an experiment, from llc.open(FOLDER) or llc.train")
    if {"token", "parameter"} & set(pca.loading.dims):
        raise InvalidInput("this pca.nc was made of outputs or weights; expected one of predictions")
    runs = [run for run in experiment.runs if run.recorded_steps]
    if not runs:
        raise StoreError(experiment.no_checkpoints)
    kind = make_features(runs, "predictions", OWN_PROBE, pca.sizes["sequence"])
    if kind.shape != pca.center.shape:
        raise InvalidInput(f"{experiment.path} makes {kind.shape} predictions, expected {pca.center.shape}")
    axes = pca.loading.transpose("component", ...).values.reshape(pca.sizes["component"], -1)
    fit = Components(pca.center.values.ravel(), axes, pca.explained_variance_ratio.values)
    found = []
    for number, run in enumerate(runs):
        progress("project", number, len(runs), run.name)
        rows = np.stack([kind.of(run, step) for step in run.recorded_steps]).astype(np.float64)
        found.append(_label_scores(run, "predictions", fit.scores(rows)))
    return store.merge(found)


def format_pca(pca: xr.Dataset) -> str:
    """Explained variance beside what random walks reach, a line a component.

    Args:
        pca: `experiment.pca`.
    """
    check_result(pca, ("explained_variance_null", "explained_variance_ratio"), "llc.joint_pca")
    lines = ["Variance explained by each component, and by random walks with the same increments (90 % of them):"]
    low, high = np.quantile(pca.explained_variance_null, [0.05, 0.95], axis=0)
    for number, share in enumerate(pca.explained_variance_ratio.values):
        lines.append(f"  PC {number + 1}: {share:6.1%}   walks {low[number]:6.1%} to {high[number]:6.1%}")
    return "\n".join(lines)


def _values_by_axis(fit: Mapping[str, Sequence[Any]] | None) -> dict[str, list[Any]]:
    """Lists of plain values, also from arrays."""
    fit = {} if fit is None else fit
    if not isinstance(fit, Mapping) or any(isinstance(v, str) or not isinstance(v, Iterable) for v in fit.values()):
        raise InvalidInput(f'fit = {shown(fit)} given, expected values by axis, such as {{"num_tasks": [1, 4]}}')
    found = {dim: [value.item() if isinstance(value, np.generic) else value for value in fit[dim]] for dim in fit}
    if not all(found.values()):
        raise InvalidInput(f"fit = {shown(fit)} given, expected a value for each axis that it names")
    return found


def _fitted(experiment: store.Experiment, runs: list[store.Run], fit: Mapping[str, Sequence[Any]]) -> list[store.Run]:
    """The runs with these values on these axes."""
    axes = experiment.axes
    for dim, values in fit.items():
        if dim not in axes:
            raise InvalidInput(f"fit to {dim} asked for, which is no axis of the sweep; {did_you_mean(dim, axes)}")
        for value in values:
            if not any(same(value, run.place[dim]) for run in runs):
                there = ", ".join(value_label(known) for known in axes[dim])
                raise InvalidInput(f"fit to {dim} = {value} asked for, but there is no such run; here: {there}")
    return [run for run in runs if all(any(same(run.place[dim], one) for one in values) for dim, values in fit.items())]


def _label_scores(run: store.Run, features: str, scores: np.ndarray) -> xr.Dataset:
    """Scores of a run's checkpoints, (checkpoint, component)."""
    coords = run_place(run) | step_coord(steps_of(run, features)) | {"component": _components(scores.shape[1])}
    dims = (*run.place, "step", "component")
    return xr.Dataset({"score": (dims, lead(scores, run.place), {"long_name": _SCORE, "units": "1"})}, coords)


def _label_fit(features: Features, fit: Components, null: np.ndarray) -> xr.Dataset:
    loading = fit.axes.T.reshape(*features.shape, -1)
    coords: dict[str, Any] = {
        "component": _components(len(fit.axes)),
        "walk": ("walk", np.arange(len(null)), {"long_name": "random walk", "units": "1"}),
    }
    for dim, size in zip(features.dims, features.shape, strict=True):
        about = {"long_name": _PLACES[dim], "units": "1"} if dim != "position" else {}
        coords[dim] = position_coord(size) if dim == "position" else (dim, np.arange(size), about)
    data: dict[str, Any] = {
        "explained_variance_ratio": (
            "component",
            fit.explained_variance_ratio,
            {"long_name": "share of the variance of all checkpoints along a component", "units": "1"},
        ),
        "explained_variance_null": (
            ("walk", "component"),
            null,
            {"long_name": "the same share for random walks with the runs' increments", "units": "1"},
        ),
        "loading": (
            (*features.dims, "component"),
            loading,
            {"long_name": "right singular vectors, reshaped to the probe", "units": "1"},
        ),
        "center": (
            features.dims,
            fit.mean.reshape(features.shape),
            {"long_name": "mean over checkpoints, subtracted before projecting", "units": "1"},
        ),
    }
    if "position" in features.dims:
        data["loading_position"] = (
            ("position", "component"),
            (loading**2).sum(tuple(at for at, dim in enumerate(features.dims) if dim != "position")),
            {"long_name": "share of a component that each position has", "units": "1"},
        )
    return xr.Dataset(data, coords)


def _label_references(features: Features, fit: Components, runs: list[store.Run]) -> xr.Dataset:
    """Scores of each run's references, and how far these lie from one another."""
    parts, known = [], {}
    for run in runs:
        key = store.table_hash(run.task.to_table())  # runs that differ in their seed alone share theirs
        if key not in known:
            known[key] = features.of_references(run)
        vectors = known[key]
        if not vectors:
            return xr.Dataset()
        names, every = list(vectors), np.stack(list(vectors.values()))
        apart = np.linalg.norm(every[:, None] - every[None], axis=2)
        said, units = reference_coord(names, run.task), {"units": "1"}
        coords = run_place(run) | {"reference": said, "other": ("other", *said[1:])}
        coords["component"] = _components(len(fit.axes))
        data = {
            "score_reference": (
                (*run.place, "reference", "component"),
                lead(fit.scores(every), run.place),
                {"long_name": f"{_SCORE}: a reference, projected and not fitted", **units},
            ),
            "reference_distance": (
                (*run.place, "reference", "other"),
                lead(apart, run.place),
                {"long_name": "distance of two references in the whole space of predictions", **units},
            ),
        }
        parts.append(xr.Dataset(data, coords))
    return store.merge(parts)


_PLACES = {
    "sequence": "sequence of the probe",
    "token": "token of the sequence",
    "output": "coordinate of the read-out",
    "parameter": "parameter, in the model's order",
}


def _components(number: int) -> tuple[Any, ...]:
    return ("component", np.arange(1, number + 1), {"long_name": "number of the principal component", "units": "1"})
