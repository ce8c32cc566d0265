"""Experiments: folders of the runs of one sweep, with the results that are made of them."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import xarray as xr

from llc import own_code
from llc.errors import InvalidInput, StoreError, did_you_mean, shown, shown_name
from llc.store.atomic import is_there
from llc.store.merging import merge
from llc.store.places import axes_of, check_sweep, coordinate, coordinates, dims_of, places_of, run_name, same
from llc.store.reading import read_dataset
from llc.store.registry import MADE, RESULTS
from llc.store.removal import own_folders
from llc.store.results import check_made_with, made, made_from
from llc.store.run import EXPERIMENT_FILE, RUN_FILE, Run
from llc.store.tables import Table, read_table
from llc.tasks import Task

# Part of the two files above that says how they came about; two folders may differ in it and be the same.
PROVENANCE = "provenance"


def _run_names(sweep: Table) -> list[str]:
    return [run_name(place) for place in places_of(axes_of(sweep))]


class Experiment:
    """A sweep: its runs and its labelled results, read from its folder when asked for.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not is_there(self.path / EXPERIMENT_FILE):
            raise StoreError(
                f"{path} is not an experiment: it has no {EXPERIMENT_FILE}; name a folder that `llc train --out` made"
            )
        own_code.use_copies(self.path)

    def __repr__(self) -> str:
        return f"<llc.Experiment {self.path}: {len(self.runs)} runs>"

    @cached_property
    def _table(self) -> Table:
        path = self.path / EXPERIMENT_FILE
        table = read_table(path, needs=("preset", "task", "model", "training", "sweep"))
        try:
            check_sweep(table["sweep"])
        except InvalidInput as error:
            raise StoreError(f"{path} is damaged, or was edited ({error}); restore it") from None
        return table

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
        """Those of the sweep that are begun, in the order of its axes; other folders are passed over.

        Raises:
            StoreError: something else than a folder has the place of one.
        """
        return [Run(self.path / name) for name in self.wanted if _is_begun(self.path / name)]

    def run(self, **place: Any) -> Run:
        """The run at a place in the sweep, such as `run(num_tasks=16, seed=0)`; None or inf for infinity.

        An axis may be left out where that leaves one run, or several that differ in their seed alone: then it is the
        first of them.

        Raises:
            StoreError: there is none, or several; those there are, are named.
        """
        runs = self.runs
        found = [run for run in runs if all(dim in run.place for dim in place)]
        found = [run for run in found if all(same(run.place[dim], value) for dim, value in place.items())]
        first = found[0].place if found else {}
        if found and all({**run.place, "seed": 0} == {**first, "seed": 0} for run in found):
            return found[0]
        wanted = ", ".join(f"{dim} = {value}" for dim, value in place.items()) or "no place"
        known = ", ".join(run.name for run in found or runs) or "none"
        there = f"{len(found)} runs" if found else "no run"
        raise StoreError(f"{self.path} has {there} with {wanted}; {'those' if found else 'runs there'}: {known}")

    @property
    def task(self) -> Task:
        """That of its runs, but for what the sweep sets.

        Raises:
            UntrustedCode: its class is in a file that may not be imported.
        """
        with own_code.named_in(self.path):
            return Task.of(self.config["task"])

    @property
    def described(self) -> tuple[Task, str]:
        """The task as far as its words go, and why they are no more than its name: its code may not run, or is gone."""
        try:
            return self.task, ""
        except InvalidInput as error:
            return Task(kind=str(self.config["task"].get("kind"))), str(error)

    @property
    def axes(self) -> dict[str, list[Any]]:
        """Values of the sweep by axis, as they label results."""
        axes = axes_of(self.config["sweep"])
        return {dim: [coordinate(one) for one in axes[key]] for key, dim in dims_of(axes).items()}

    @property
    def places(self) -> list[dict[str, Any]]:
        """Where its runs stand in the sweep, begun or not, as they label results."""
        return coordinates_of(self.config["sweep"])

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
        return is_there(self.path / "metrics.nc") and all(name in runs and runs[name].finished for name in self.wanted)

    @property
    def has_metrics(self) -> bool:
        """Whether any run has recorded its behaviour yet."""
        return any(is_there(folder / "metrics.nc") for folder in (self.path, *(run.path for run in self.runs)))

    @property
    def metrics(self) -> xr.Dataset:
        """Behaviour of every run by (axes of the sweep …, step, test_set, …); merged from the runs while they train."""
        if is_there(self.path / "metrics.nc"):
            return self._read("metrics")
        return merge(run.metrics for run in self.runs if is_there(run.path / "metrics.nc"))

    def __getattr__(self, name: str) -> xr.Dataset:
        """A result by name, such as `experiment.llc`; see `llc.store.registry`."""
        if name not in MADE:
            raise AttributeError(f"an experiment has no {name}; its results are {', '.join(RESULTS)}")
        return self.result(name)

    def result(self, name: str) -> xr.Dataset:
        """A result by name; traces of λ̂ are read once they are asked for.

        Raises:
            StoreError: there is no result of that name; it is not there (the command that makes it is named), cannot be
                read, or was made from another folder.
        """
        _check_known(name)
        if name == "metrics":
            return self.metrics
        path = self.path / f"{name}.nc"
        if not is_there(path):
            how = "it is not among these results" if self.alone else f"make it with: {self._again(name)}"
            raise StoreError(f"{self.path} has no {name}.nc; {how}")
        return self._read(name)

    def _read(self, name: str) -> xr.Dataset:
        path = self.path / f"{name}.nc"
        found = read_dataset(path, lazy=name == "llc")
        stored = check_made_with(found, path, self.config)
        wanted = [set(place.items()) for place in coordinates_of(self.config["sweep"])]
        known = coordinates_of(stored.get("sweep") or self.config["sweep"])
        others = [place for place in known if set(place.items()) not in wanted]
        if others:
            name_of_other = run_name({dim: others[0][dim] for dim in self.axes if dim in others[0]})
            raise StoreError(
                f"{path} was made from another folder (it knows {name_of_other}, which is not in this sweep); "
                f"move it away and make it again with: {self._again(name)}"
            )
        return found

    def damaged(self) -> dict[str, str]:
        """Why results that are there cannot be used, by name."""
        found = {}
        for name in self.results:
            try:
                if is_there(self.path / f"{name}.nc"):
                    self.result(name)
            except StoreError as error:
                found[name] = str(error)
        return found

    @property
    def alone(self) -> bool:
        """Whether results are here and their runs are not."""
        return not self.runs and self.has_metrics

    @property
    def no_checkpoints(self) -> str:
        """What to say where checkpoints are asked for and there are none."""
        if self.alone:
            return (
                f"{self.path} holds results alone, without their runs and weights; name the folder it was copied from"
            )
        return f"{self.path} has no checkpoints yet; train it first with: llc train"

    @property
    def results(self) -> list[str]:
        """Names of the results that its task has, made or not."""
        return [
            name
            for name, result in RESULTS.items()
            if (result.missed and self._has(result.asks)) or is_there(self.path / f"{name}.nc")
        ]

    def _has(self, asks: str) -> bool:
        """Whether the task has what a result asks for."""
        if not asks:
            return True
        found = getattr(self.described[0], asks)
        return bool(found() if callable(found) else found)

    def _again(self, name: str) -> str:
        return f"llc {RESULTS[name].command} {self.path}"

    def outdated(self, name: str) -> str:
        """Why a result is of no use any longer: what it was made from is newer. Empty if that is not so.

        Raises:
            StoreError: there is no result of that name, or a file cannot be read.
        """
        _check_known(name)
        path = self.path / f"{name}.nc"
        sources = [self.path / f"{source}.nc" for source in RESULTS[name].needs]
        newer = [source.name for source in sources if is_there(path) and is_there(source) and made(path) < made(source)]
        if not newer:
            return ""
        return f"{path.name} is older than {' and '.join(newer)}; make it again with: {self._again(name)}"

    def incomplete(self, name: str) -> str:
        """Which runs a result knows nothing of, since the sweep has grown. Empty if it knows of all.

        Raises:
            StoreError: there is no result of that name, or the file cannot be read.
        """
        _check_known(name)
        path = self.path / f"{name}.nc"
        sweep = made_from(path).get("sweep") if is_there(path) else None
        known = [set(place.items()) for place in coordinates_of(sweep)] if sweep else []
        wanted = coordinates_of(self.config["sweep"]) if sweep else []
        lacking = [run_name(place) for place in wanted if set(place.items()) not in known]
        if not lacking:
            return ""
        return f"{path.name} lacks {', '.join(lacking)}; make it again with: {self._again(name)}"


def _is_begun(folder: Path) -> bool:
    if is_there(folder) and not folder.is_dir():
        raise StoreError(
            f"cannot read {folder}: it is no folder, or a link that leads to none, in the place of a run; restore it, "
            "or move it away"
        )
    return is_there(folder / RUN_FILE)


def _check_known(name: str) -> None:
    if not isinstance(name, str) or name not in RESULTS:
        raise StoreError(f"unknown result {shown_name(str(name))}; {did_you_mean(name, RESULTS)}")


def coordinates_of(sweep: Table) -> list[dict[str, Any]]:
    """Every place of a sweep, as it labels results."""
    return [coordinates(place) for place in places_of(axes_of(sweep))]


def open_folder(path: str | Path) -> Experiment | Run:
    """The experiment or the run in a folder.

    Args:
        path: of an experiment, or of one run in it.
    Raises:
        StoreError: it is neither.
    """
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise StoreError(f"{shown(path)} given, expected the name of a folder that `llc train --out` made")
    folder = Path(path)
    try:
        found = folder.is_dir()
        is_run = found and is_there(folder / RUN_FILE)
        what = "is no folder" if not found and is_there(folder) else "does not exist"
    except OSError as error:  # a name that is longer than names may be, or a folder that may not be looked into
        found, is_run, what = False, False, f"cannot be looked at ({error.strerror})"
    if not found:
        raise StoreError(f"{path} {what}; name one that `llc train --out` made")
    return Run(folder) if is_run else Experiment(folder)


def open_results(path: str | Path) -> Experiment:
    """The results in an experiment's folder, be its runs and their weights there or not.

    Such a folder is what `llc systems --keep` copies, and what this project ships: `experiment.metrics`, `.llc`, `.pca`
    and the others are datasets as anywhere, and figures and the report are made of them.

    Args:
        path: the experiment's folder.
    Raises:
        StoreError: there is no experiment, or none of its results.
    """
    found = open_folder(path)
    if isinstance(found, Run):
        raise StoreError(f"{path} is a single run; name the experiment's folder, {found.path.parent}")
    if not any(is_there(found.path / f"{name}.nc") for name in RESULTS):
        raise StoreError(f"{path} holds no results yet; train it first with: llc train --out {path}")
    return found
