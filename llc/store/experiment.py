"""Run folders: an experiment is one sweep over task diversity and seed, a run is one of its trainings."""

import bisect
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import xarray as xr
from torch import Tensor

from llc.errors import StoreError
from llc.store.checkpoints import AGAIN, PREDICTIONS, Weights, checkpoint_path, checkpoint_steps, read_checkpoint
from llc.store.removal import own_folders, remove_file
from llc.store.results import made, made_from, read_dataset
from llc.store.tables import Table, differences, read_table, table_hash, write_table

EXPERIMENT_FILE = "experiment.toml"
RUN_FILE = "config.toml"
# Part of the two files above that says how they came about; two folders may differ in it and be the same.
PROVENANCE = "provenance"
# Results that are made from others, and say nothing once those have changed.
_MADE_FROM = {"stages": ("llc", "pca"), "tradeoff": ("llc",), "essential": ("pca",)}
# The command that makes each result.
_MADE_BY = {
    "llc": "estimate-llc",
    "pca": "pca",
    "stages": "stages",
    "tradeoff": "stages",
    "essential": "stages",
    "behaviour": "behaviour",
    "readouts": "readouts",
}
RESULTS = tuple(_MADE_BY)
# What is written into the two kinds of folder beside the file that claims it.
_WRITTEN = {
    EXPERIMENT_FILE: (
        "metrics.nc",
        *(f"{name}.nc" for name in RESULTS),
        "llc.toml",
        "calibration.toml",
        "figures",
        "report.html",
    ),
    RUN_FILE: ("metrics.nc", "resume.pt", "checkpoints", "predictions", "llc"),
}


def run_name(num_tasks: int | None, seed: int) -> str:
    """The folder of a run: `M=16,seed=0`, or `M=inf,seed=0` for the Gaussian prior."""
    return f"M={'inf' if num_tasks is None else num_tasks},seed={seed}"


def _run_names(sweep: Table) -> list[str]:
    return [run_name(None if m == "inf" else m, seed) for seed in sweep["seeds"] for m in sweep["num_tasks"]]


class Run:
    """One training: its config, its checkpoints and its metrics, read from its folder when asked for.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / RUN_FILE).exists():
            raise StoreError(f"{path} is not a run: it has no {RUN_FILE}")

    def __repr__(self) -> str:
        return f"<llc.Run {self.path}: {len(self.steps)} checkpoints>"

    @cached_property
    def config(self) -> Table:
        """Everything that determined the run, as a plain table."""
        return read_table(self.path / RUN_FILE, needs=("task", "model", "training", "seed"))

    @property
    def config_hash(self) -> str:
        """What every checkpoint of the run carries in its header."""
        return table_hash(self.config)

    @property
    def name(self) -> str:
        """`M=16,seed=0`."""
        return self.path.name

    @property
    def num_tasks(self) -> float:
        """M as a number; inf for the Gaussian prior. This is the label of the run in every dataset."""
        return float(self.config["task"]["num_tasks"])

    @property
    def seed(self) -> int:
        """Of the initial weights and the training data."""
        return self.config["seed"]

    @property
    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        return checkpoint_steps(self.checkpoints)

    @property
    def recorded_steps(self) -> list[int]:
        """Steps that have a checkpoint or, where weights were thinned out, predictions on the probe, ascending."""
        return sorted({*self.steps, *checkpoint_steps(self.predicted)})

    @property
    def checkpoints(self) -> Path:
        """The folder of the weights."""
        return self.path / "checkpoints"

    @property
    def predicted(self) -> Path:
        """The folder of the predictions that stand in for weights that were not kept."""
        return self.path / "predictions"

    @property
    def estimates(self) -> Path:
        """The folder of the estimates, with a folder in it for each choice of settings."""
        return self.path / "llc"

    @property
    def metrics(self) -> xr.Dataset:
        """Behaviour at every checkpoint of this run so far."""
        return read_dataset(self.path / "metrics.nc")

    @property
    def finished(self) -> bool:
        """Whether training came to its end (`step_critical` is written last) and all it recorded is there."""
        if not (self.path / "metrics.nc").exists():
            return False
        metrics = self.metrics
        return (
            "step_critical" in metrics
            and int(metrics.step_critical.item()) in self.steps
            and set(metrics.step.values.tolist()) <= set(self.recorded_steps)
        )

    def weights(self, step: int) -> Weights:
        """The weights at one step.

        Raises:
            StoreError: there is no such checkpoint (the nearest are named), or it is damaged.
        """
        self.check_step(step)
        return self.read(self.checkpoints, step)

    def predictions(self, step: int) -> Tensor:
        """Predictions on the probe at a step whose weights were not kept, (sequence, position).

        Raises:
            StoreError: there are none, or they are damaged.
        """
        return self.read(self.predicted, step)[PREDICTIONS]

    def read(self, folder: Path, step: int) -> Weights:
        """What the file of a step in `checkpoints` or `predicted` holds.

        Raises:
            StoreError: there is none, it is damaged, or it is one of the other folder's.
        """
        path = checkpoint_path(folder, step)
        found = read_checkpoint(path, config_hash=self.config_hash)
        held, wanted = (
            "predictions" if stands_in else "weights"
            for stands_in in (set(found) == {PREDICTIONS}, folder == self.predicted)
        )
        if held != wanted:
            raise StoreError(f"{path} is damaged (it holds {held}, not {wanted}); {AGAIN}")
        return found

    def check_step(self, step: int) -> None:
        """Raise StoreError, naming the nearest steps, unless there is a checkpoint at this one."""
        steps = self.steps
        if step not in steps:
            place = bisect.bisect(steps, step)
            nearest = " and ".join(str(near) for near in steps[max(0, place - 1) : place + 1])
            hint = f"nearest are {nearest}" if nearest else "it has none yet"
            raise StoreError(f"{self.path} has no checkpoint at step {step}; {hint}")


class Experiment:
    """A sweep: its runs and its labelled results, read from its folder when asked for.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / EXPERIMENT_FILE).exists():
            raise StoreError(
                f"{path} is not an experiment: it has no {EXPERIMENT_FILE}; name a folder that `llc train --out` made"
            )

    def __repr__(self) -> str:
        return f"<llc.Experiment {self.path}: {len(self.runs)} runs>"

    @cached_property
    def _table(self) -> Table:
        return read_table(self.path / EXPERIMENT_FILE, needs=("preset", "task", "model", "training", "sweep"))

    @property
    def config(self) -> Table:
        """The config of the whole sweep, as a plain table."""
        return {key: value for key, value in self._table.items() if key != PROVENANCE}

    @property
    def provenance(self) -> Table:
        """Versions, thread count and time under which the folder was made."""
        return self._table.get(PROVENANCE, {})

    @property
    def runs(self) -> list[Run]:
        """Those of the sweep that are begun, by M ascending (inf last), then seed; other folders are passed over."""
        found = [Run(self.path / name) for name in self.wanted if (self.path / name / RUN_FILE).exists()]
        return sorted(found, key=lambda run: (run.num_tasks, run.seed))

    def run(self, num_tasks: float | None, seed: int = 0) -> Run:
        """One run of the sweep; `num_tasks=None` or inf for the Gaussian prior.

        Raises:
            StoreError: there is none; those there are, are named.
        """
        wanted = np.inf if num_tasks is None else float(num_tasks)
        for run in self.runs:
            if (run.num_tasks, run.seed) == (wanted, seed):
                return run
        known = ", ".join(run.name for run in self.runs) or "none"
        raise StoreError(f"{self.path} has no run with M = {wanted:g} and seed = {seed}; runs there: {known}")

    @property
    def wanted(self) -> list[str]:
        """Names of the sweep's runs, begun or not."""
        return _run_names(self.config["sweep"])

    @property
    def folders(self) -> list[Path]:
        """The folders that the experiment writes into, as far as they are there."""
        return own_folders(self.path, self.wanted)

    @property
    def finished(self) -> bool:
        """Whether every run of the sweep was trained, is whole, and is in `metrics.nc`."""
        runs = {run.name: run for run in self.runs}
        return (self.path / "metrics.nc").exists() and all(name in runs and runs[name].finished for name in self.wanted)

    @property
    def has_metrics(self) -> bool:
        """Whether any run has recorded its behaviour yet."""
        return any((folder / "metrics.nc").exists() for folder in (self.path, *(run.path for run in self.runs)))

    @property
    def metrics(self) -> xr.Dataset:
        """Behaviour of every run, dims (num_tasks, seed, step, position); merged from the runs while they train."""
        if (self.path / "metrics.nc").exists():
            return read_dataset(self.path / "metrics.nc")
        return merge(run.metrics for run in self.runs if (run.path / "metrics.nc").exists())

    @property
    def llc(self) -> xr.Dataset:
        """λ̂ at the estimated checkpoints, dims (num_tasks, seed, step, …); traces are read once they are asked for."""
        return self._result("llc", lazy=True)

    @property
    def pca(self) -> xr.Dataset:
        """The joint trajectory PCA."""
        return self._result("pca")

    @property
    def stages(self) -> xr.Dataset:
        """Boundaries and stages of every run."""
        return self._result("stages")

    @property
    def tradeoff(self) -> xr.Dataset:
        """Loss against complexity for every finite M."""
        return self._result("tradeoff")

    @property
    def behaviour(self) -> xr.Dataset:
        """Losses and distances on shifted inputs."""
        return self._result("behaviour")

    @property
    def readouts(self) -> xr.Dataset:
        """Read-outs of weights and attention."""
        return self._result("readouts")

    @property
    def essential(self) -> xr.Dataset:
        """Curvature, evolutes and forms of the trajectories."""
        return self._result("essential")

    def outdated(self, name: str) -> str:
        """Why a result is of no use any longer: what it was made from is newer. Empty if that is not so.

        Raises:
            StoreError: a file cannot be read.
        """
        path = self.path / f"{name}.nc"
        sources = [self.path / f"{source}.nc" for source in _MADE_FROM.get(name, ())]
        newer = [source.name for source in sources if path.exists() and source.exists() and made(path) < made(source)]
        if not newer:
            return ""
        return f"{path.name} is older than {' and '.join(newer)}; make it again with: llc {_MADE_BY[name]} {self.path}"

    def incomplete(self, name: str) -> str:
        """Which runs a result knows nothing of, since the sweep has grown. Empty if it knows of all.

        Raises:
            StoreError: the file cannot be read.
        """
        path = self.path / f"{name}.nc"
        sweep = made_from(path).get("sweep") if path.exists() else None
        lacking = sorted(set(self.wanted) - set(_run_names(sweep))) if sweep else []
        if not lacking:
            return ""
        return f"{path.name} lacks {', '.join(lacking)}; make it again with: llc {_MADE_BY[name]} {self.path}"

    def _result(self, name: str, *, lazy: bool = False) -> xr.Dataset:
        path = self.path / f"{name}.nc"
        if not path.exists():
            raise StoreError(f"{self.path} has no {name}.nc; make it with: llc {_MADE_BY[name]} {self.path}")
        return read_dataset(path, lazy=lazy)


def merge(parts: Iterable[xr.Dataset]) -> xr.Dataset:
    """One dataset over (num_tasks, seed, step) from parts that each hold some of them; gaps become NaN.

    Raises:
        StoreError: there are no parts.
    """
    parts = [part.drop_attrs(deep=False) for part in parts]
    if not parts:
        raise StoreError("there are no results to merge yet; run `llc train` first")
    whole = xr.combine_by_coords(
        parts, join="outer", combine_attrs="drop_conflicts", data_vars="all", coords="different", compat="no_conflicts"
    )
    return cast(xr.Dataset, whole)  # of datasets it makes a dataset


def open_folder(path: str | Path) -> Experiment | Run:
    """The experiment or the run in a folder.

    Raises:
        StoreError: it is neither.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise StoreError(f"{path} does not exist; name a folder that `llc train --out` made")
    return Run(folder) if (folder / RUN_FILE).exists() else Experiment(folder)


def extend_sweep(folder: Path, table: Table, provenance: Table) -> None:
    """Let an experiment's folder hold more runs, if `table` is its config but for further M or seeds in its sweep.

    Its provenance stays if some runs are under way, which are to end with the bits that they would have had.
    """
    stored = read_table(folder / EXPERIMENT_FILE)
    kept = stored.pop(PROVENANCE, {})
    before, after = stored.get("sweep", {}), table["sweep"]
    only_sweep = {**stored, "sweep": {}} == {**table, "sweep": {}} and before.keys() == after.keys()
    if only_sweep and before != after and all(set(before[key]) <= set(after[key]) for key in after):
        under_way = not all(run.finished for run in Experiment(folder).runs)
        # First: it lacks the new runs, and without it the sweep is not finished.
        remove_file(folder / "metrics.nc")
        write_table(folder / EXPERIMENT_FILE, {**table, PROVENANCE: kept if under_way else provenance})


def claim(folder: Path, file: str, table: Table, provenance: Table | None = None) -> None:
    """Make `folder` the home of this config, or check that it already is.

    Raises:
        StoreError: it belongs to another config (the difference is shown), or holds somebody's files whose place ours
            would take.
    """
    path = folder / file
    if path.exists():
        stored = {key: value for key, value in read_table(path).items() if key != PROVENANCE}
        changed = differences(stored, table)
        if changed:
            raise StoreError(
                f"{folder} was made with another config ({'; '.join(changed)}); "
                "choose another folder, or give the settings it was made with"
            )
    else:
        there = [name for name in _WRITTEN[file] if os.path.lexists(folder / name)]
        if there:
            raise StoreError(
                f"{folder} holds {', '.join(there)} but no {file}, so it is not known whose they are; choose another "
                "folder, or move them away"
            )
        write_table(path, {**table, PROVENANCE: provenance} if provenance else table)
