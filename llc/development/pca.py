"""Joint trajectory PCA: all runs of a sweep, as curves in one low-dimensional space of what they do."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import xarray as xr

from llc import behaviour, store
from llc.development.features import Features, make_features, steps_of
from llc.development.null import random_walk_variances
from llc.development.principal import Components
from llc.development.rows import Rows
from llc.errors import InvalidInput, StoreError
from llc.parallel import Report, quiet

_SCORE = "coordinate along a joint principal component"
_WEIGHTINGS = ("checkpoints", "runs")


def joint_pca(
    experiment: store.Experiment,
    components: int = 4,
    *,
    sequences: int = 512,
    probe: float | behaviour.Batch = 1,
    features: str = "predictions",
    weighting: Literal["checkpoints", "runs"] = "checkpoints",
    fit_num_tasks: Sequence[float] | None = None,
    report: Report = quiet,
) -> xr.Dataset:
    """The joint trajectory PCA of an experiment, also written to its `pca.nc`.

    f(w) ∈ R^{BK} stacks a model's K predictions on B fixed sequences of the root task q_1. The rows of F are f at
    every checkpoint of every run; column means are subtracted, and scores are projections on the leading right
    singular vectors. Ridge and each run's dMMSE_M are encoded in the same way, shifted by the same means and
    projected; they are never part of the fit. Source: Carroll et al. (2025), arXiv 2501.17745.

    Random walks give smooth curves in few components too. `explained_variance_null` is what walks with the same
    increments, their signs drawn at random, reach (see `llc.development.null`); a share that does not exceed it
    says nothing about where runs go.

    Args:
        experiment: from `llc.open` or `llc.train`.
        components: how many principal components to keep.
        sequences: B, the size of the probe.
        probe: which sequences: those of q_M for this M (inf for fresh tasks), or (xs, ys) of your own.
        features: `predictions`, `outputs` (at every token, all coordinates) or `weights`.
        weighting: whether every checkpoint counts alike, or every run.
        fit_num_tasks: only runs of these M have a part in the fit; the others are projected. None for all.
    Returns:
        `score` (num_tasks, seed, step, component), `score_ridge` (component), `score_dmmse` (num_tasks, component),
        `distance_ridge_dmmse` (num_tasks), before any projection, `explained_variance_ratio` (component),
        `explained_variance_null` (walk, component), `loading` (component, sequence, position) with its share by
        position, `loading_position`, and the means that were subtracted, `center`; of other features than predictions
        no references, and loadings have dims of their own.
    Raises:
        StoreError: the experiment has no checkpoints, or its folder cannot be written.
        InvalidInput: a count out of range, or a choice that the experiment cannot serve.
    """
    if weighting not in _WEIGHTINGS:
        raise InvalidInput(f"weighting = {weighting} given, expected {' or '.join(_WEIGHTINGS)}")
    runs = [run for run in experiment.runs if steps_of(run, features)]
    if not runs:
        raise StoreError(f"{experiment.path} has no checkpoints yet; train it first with: llc train")
    fitted = _fitted(runs, fit_num_tasks)
    kind = make_features(runs, features, probe, sequences)
    checkpoints = sum(len(steps_of(run, features)) for run in runs)
    settings = {
        "components": components,
        "sequences": len(kind.probe[1]),
        "probe": f"{probe:g}"
        if isinstance(probe, int | float)
        else store.table_hash({"probe": kind.probe[0].tolist()}),
        "features": features,
        "weighting": weighting,
        "fit_num_tasks": [f"{run.num_tasks:g}" for run in fitted],
        "checkpoints": checkpoints,
    }
    provenance = {**experiment.config, "pca": settings}
    with store.folder_lock(experiment.path):
        if store.made_with(experiment.path / "pca.nc", provenance):
            report("pca", 0, 0, f"{experiment.path / 'pca.nc'} holds just this already; nothing to do")
            return experiment.pca
        with Rows(runs, kind, experiment.path, report) as rows:
            fit = rows.fit(components, fitted, weighting=weighting)
            scores = [_label_scores(run, features, fit.scores(rows.of(run))) for run in runs]
            null = random_walk_variances([rows.thinned(run, len(fitted)) for run in fitted], components)
        dataset = store.merge(scores).merge(_label_fit(kind, fit, null)).merge(_label_references(kind, fit, runs))
        report("pca", checkpoints, checkpoints, "")
        return store.write_dataset(experiment.path / "pca.nc", dataset, provenance)


def project(pca: xr.Dataset, experiment: store.Experiment, *, report: Report = quiet) -> xr.Dataset:
    """Scores of another experiment's runs in the plane of a `pca.nc` that they had no part in.

    Args:
        pca: from `joint_pca` with predictions on q_1.
    Returns:
        `score` (num_tasks, seed, step, component).
    Raises:
        InvalidInput: sequences of another length, or a PCA of something else.
        StoreError: nothing is trained yet.
    """
    if "position" not in pca.loading.dims:
        raise InvalidInput("this pca.nc was made of outputs or weights; expected one of predictions")
    runs = [run for run in experiment.runs if run.recorded_steps]
    if not runs:
        raise StoreError(f"{experiment.path} has no checkpoints yet; train it first with: llc train")
    kind = make_features(runs, "predictions", 1, pca.sizes["sequence"])
    if kind.shape != pca.center.shape:
        raise InvalidInput(f"{experiment.path} makes {kind.shape} predictions, expected {pca.center.shape}")
    axes = pca.loading.values.reshape(pca.sizes["component"], -1)
    fit = Components(pca.center.values.ravel(), axes, pca.explained_variance_ratio.values)
    found = []
    for number, run in enumerate(runs):
        report("project", number, len(runs), run.name)
        rows = np.stack([kind.of(run, step) for step in run.recorded_steps]).astype(np.float64)
        found.append(_label_scores(run, "predictions", fit.scores(rows)))
    return store.merge(found)


def format_pca(pca: xr.Dataset) -> str:
    """Explained variance beside what random walks reach, a line a component."""
    lines = ["Variance explained by each component, and by random walks with the same increments (90 % of them):"]
    low, high = np.quantile(pca.explained_variance_null, [0.05, 0.95], axis=0)
    for number, share in enumerate(pca.explained_variance_ratio.values):
        lines.append(f"  PC {number + 1}: {share:6.1%}   walks {low[number]:6.1%} to {high[number]:6.1%}")
    return "\n".join(lines)


def _fitted(runs: list[store.Run], num_tasks: Sequence[float] | None) -> list[store.Run]:
    if num_tasks is None:
        return runs
    known = {run.num_tasks for run in runs}
    for wanted in num_tasks:
        if wanted not in known:
            there = ", ".join(f"{m:g}" for m in sorted(known))
            raise InvalidInput(f"fit to M = {wanted:g} asked for, but there is no such run; here: {there}")
    return [run for run in runs if run.num_tasks in set(num_tasks)]


def _label_scores(run: store.Run, features: str, scores: np.ndarray) -> xr.Dataset:
    num_tasks = None if np.isinf(run.num_tasks) else int(run.num_tasks)
    coords = behaviour.run_coords([num_tasks], [run.seed], steps_of(run, features)) | {
        "component": _components(scores.shape[1])
    }
    dims = ("num_tasks", "seed", "step", "component")
    return xr.Dataset({"score": (dims, scores[None, None], {"long_name": _SCORE, "units": "y"})}, coords)


def _label_fit(features: Features, fit: Components, null: np.ndarray) -> xr.Dataset:
    loading = fit.axes.reshape(-1, *features.shape)
    coords: dict = {
        "component": _components(len(fit.axes)),
        "walk": ("walk", np.arange(len(null)), {"long_name": "random walk", "units": "1"}),
    }
    for dim, size in zip(features.dims, features.shape, strict=True):
        first = 1 if dim == "position" else 0
        coords[dim] = (dim, np.arange(first, first + size), {"long_name": _PLACES[dim], "units": "1"})
    data: dict = {
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
            ("component", *features.dims),
            loading,
            {"long_name": "right singular vectors, reshaped to the probe", "units": "1"},
        ),
        "center": (
            features.dims,
            fit.mean.reshape(features.shape),
            {"long_name": "mean over checkpoints, subtracted before projecting", "units": "y"},
        ),
    }
    if "position" in features.dims:
        data["loading_position"] = (
            ("component", "position"),
            (loading**2).sum(1),
            {"long_name": "share of a component that each position has", "units": "1"},
        )
    return xr.Dataset(data, coords)


def _label_references(features: Features, fit: Components, runs: list[store.Run]) -> xr.Dataset:
    """Scores of ridge and of dMMSE_M; runs that differ in their seed alone share theirs."""
    if features.kind != "predictions":
        return xr.Dataset()
    found = {run.num_tasks: features.of_references(run) for run in runs}
    scores = {
        num_tasks: {name: fit.scores(vector[None])[0] for name, vector in of_run.items()}
        for num_tasks, of_run in found.items()
    }
    order = sorted(scores)
    coords: dict = {
        "num_tasks": ("num_tasks", order, {"long_name": "task diversity M (inf: Gaussian prior)", "units": "1"}),
        "component": _components(len(fit.axes)),
    }
    about = {"units": "y"}
    return xr.Dataset(
        {
            "score_ridge": (
                "component",
                scores[order[0]]["ridge"],
                {"long_name": f"{_SCORE}: ridge, projected and not fitted", **about},
            ),
            "score_dmmse": (
                ("num_tasks", "component"),
                np.stack([scores[num_tasks]["dmmse"] for num_tasks in order]),
                {"long_name": f"{_SCORE}: dMMSE_M, projected and not fitted", **about},
            ),
            "distance_ridge_dmmse": (
                "num_tasks",
                [float(np.linalg.norm(found[m]["dmmse"] - found[m]["ridge"])) for m in order],
                {"long_name": "distance of dMMSE_M to ridge in the whole space of predictions", **about},
            ),
        },
        coords,
    )


_PLACES = {
    "sequence": "sequence of the probe",
    "position": "number of the example in its sequence, k",
    "token": "token of the sequence",
    "output": "coordinate of the read-out",
    "parameter": "parameter, in the model's order",
}


def _components(number: int) -> tuple:
    return ("component", np.arange(1, number + 1), {"long_name": "number of the principal component", "units": "1"})
