"""Joint trajectory PCA: all runs of a sweep, as curves in one low-dimensional space of what they predict."""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import xarray as xr

from llc import behaviour, store
from llc.development import principal
from llc.development.principal import Components
from llc.errors import InvalidInput, StoreError
from llc.parallel import Report, quiet
from llc.training import RunConfig, load_model

_SCORE = "coordinate along a joint principal component"


def joint_pca(
    experiment: store.Experiment, components: int = 4, *, sequences: int = 512, report: Report = quiet
) -> xr.Dataset:
    """The joint trajectory PCA of an experiment, also written to its `pca.nc`.

    f(w) ∈ R^{BK} stacks a model's K predictions on B fixed sequences of the root task q_1. The rows of F are f at
    every checkpoint of every run; column means are subtracted, and scores are projections on the leading right
    singular vectors. Ridge and each run's dMMSE_M are encoded in the same way, shifted by the same means and
    projected; they are never part of the fit. Source: Carroll et al. (2025), arXiv 2501.17745.

    Args:
        experiment: from `llc.open` or `llc.train`.
        components: how many principal components to keep.
        sequences: B, the size of the probe.
    Returns:
        `score` (num_tasks, seed, step, component), `score_ridge` (component), `score_dmmse` (num_tasks, component),
        `explained_variance_ratio` (component), `loading` (component, sequence, position).
    Raises:
        StoreError: the experiment has no checkpoints, or its folder cannot be written.
        InvalidInput: a count out of range.
    """
    if sequences < 1:
        raise InvalidInput(f"sequences = {sequences} given, expected at least 1")
    runs = [run for run in experiment.runs if run.recorded_steps]
    if not runs:
        raise StoreError(f"{experiment.path} has no checkpoints yet; train it first with: llc train")
    rows = sum(len(run.recorded_steps) for run in runs)
    settings = {**experiment.config, "pca": {"components": components, "sequences": sequences, "checkpoints": rows}}
    with store.folder_lock(experiment.path):
        if store.made_with(experiment.path / "pca.nc", settings):
            report("pca", 0, 0, f"{experiment.path / 'pca.nc'} holds just this already; nothing to do")
            return experiment.pca
        probe = behaviour.probe(RunConfig.from_table(runs[0].config).task, sequences)
        with _Rows(runs, probe, experiment.path, report) as features:
            fit = principal.fit(features.chunks, features.shape, components)
            scores = [_label_scores(run, fit.scores(features.of(run))) for run in runs]
        # Runs that differ in their seed alone share their dMMSE_M.
        dmmse = {run.num_tasks: _project_references(run, probe, fit)["dmmse"] for run in runs}
        ridge = _project_references(runs[0], probe, fit)["ridge"]
        dataset = store.merge(scores).merge(_label_fit(fit, ridge, dmmse, sequences))
        report("pca", rows, rows, "")
        return store.write_dataset(experiment.path / "pca.nc", dataset, settings)


class _Rows:
    """The predictions of every checkpoint on the probe, (checkpoint, B·K), in a scratch file beside the runs.

    At paper scale they are gigabytes; a pass over them holds one run at a time.
    """

    def __init__(self, runs: list[store.Run], probe: behaviour.Batch, folder: Path, report: Report) -> None:
        self._runs, self._probe, self._report = runs, probe, report
        self._counts = {run.name: len(run.recorded_steps) for run in runs}
        self.shape = (sum(self._counts.values()), probe[1].numel())
        self._path = folder / ".rows.part"

    def __enter__(self) -> Self:
        done = 0
        with store.scratch_file(self._path) as file:
            for run in self._runs:
                self._report("pca", done, self.shape[0], run.name)
                for step in run.recorded_steps:
                    predictions(run, step, self._probe).tofile(file)
                done += self._counts[run.name]
        return self

    def __exit__(self, *_error: object) -> None:
        self._path.unlink(missing_ok=True)

    def chunks(self) -> Iterator[np.ndarray]:
        for run in self._runs:
            yield self.of(run)

    def of(self, run: store.Run) -> np.ndarray:
        """Those of one run, float64."""
        names = [other.name for other in self._runs]
        before = sum(self._counts[name] for name in names[: names.index(run.name)])
        columns = self.shape[1]
        numbers = np.fromfile(self._path, np.float32, self._counts[run.name] * columns, offset=4 * before * columns)
        return numbers.reshape(-1, columns).astype(np.float64)


def predictions(run: store.Run, step: int, probe: behaviour.Batch) -> np.ndarray:
    """f(w): the predictions on the probe, stacked to one float32 vector of B·K.

    Raises:
        InvalidInput: the weights at this step were not kept, and the predictions that were are too few.
    """
    if step in run.steps:
        found = behaviour.predict(load_model(run, step), *probe)
    else:
        found = run.predictions(step)[: len(probe[1])]
    if len(found) < len(probe[1]):
        raise InvalidInput(
            f"sequences = {len(probe[1])} given, but {run.path} keeps {len(found)} predictions in place of the weights "
            f"of step {step} (checkpoints.weights_every); expected at most {len(found)}"
        )
    return found.float().flatten().numpy()


def _project_references(run: store.Run, probe: behaviour.Batch, fit: Components) -> dict[str, np.ndarray]:
    """Scores of ridge and of the run's dMMSE_M, encoded as `predictions` encodes a model."""
    task = RunConfig.from_table(run.config).task
    encoded = behaviour.reference_predictions(task, *probe)
    return {name: fit.scores(value.double().reshape(1, -1).numpy())[0] for name, value in encoded.items()}


def _label_scores(run: store.Run, scores: np.ndarray) -> xr.Dataset:
    num_tasks = None if np.isinf(run.num_tasks) else int(run.num_tasks)
    coords = behaviour.run_coords([num_tasks], [run.seed], run.recorded_steps) | {
        "component": _components(scores.shape[1])
    }
    data = {
        "score": (
            ("num_tasks", "seed", "step", "component"),
            scores[None, None],
            {"long_name": _SCORE, "units": "y"},
        ),
    }
    return xr.Dataset(data, coords)


def _label_fit(fit: Components, ridge: np.ndarray, dmmse: dict[float, np.ndarray], sequences: int) -> xr.Dataset:
    loadings = fit.axes.reshape(len(fit.axes), sequences, -1)
    coords = {
        "num_tasks": (
            "num_tasks",
            sorted(dmmse),
            {"long_name": "task diversity M (inf: Gaussian prior)", "units": "1"},
        ),
        "component": _components(len(fit.axes)),
        "sequence": ("sequence", np.arange(sequences), {"long_name": "sequence of the probe", "units": "1"}),
        "position": (
            "position",
            np.arange(1, loadings.shape[-1] + 1),
            {"long_name": "number of the example in its sequence, k", "units": "1"},
        ),
    }
    data = {
        "score_ridge": (
            "component",
            ridge,
            {"long_name": f"{_SCORE}: ridge, projected and not fitted", "units": "y"},
        ),
        "score_dmmse": (
            ("num_tasks", "component"),
            np.stack([dmmse[num_tasks] for num_tasks in sorted(dmmse)]),
            {"long_name": f"{_SCORE}: dMMSE_M, projected and not fitted", "units": "y"},
        ),
        "explained_variance_ratio": (
            "component",
            fit.explained_variance_ratio,
            {"long_name": "share of the variance of all checkpoints along a component", "units": "1"},
        ),
        "loading": (
            ("component", "sequence", "position"),
            loadings,
            {"long_name": "right singular vectors, reshaped to the probe", "units": "1"},
        ),
    }
    return xr.Dataset(data, coords)


def _components(number: int) -> tuple:
    return ("component", np.arange(1, number + 1), {"long_name": "number of the principal component", "units": "1"})
