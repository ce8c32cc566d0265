"""Whose a folder is: the config that it was made with, and copies of the code that this names."""

import os
from pathlib import Path
from typing import Any

from llc import own_code
from llc.errors import StoreError
from llc.store.atomic import is_there
from llc.store.experiment import PROVENANCE, Experiment
from llc.store.numbered import KEPT
from llc.store.places import axes_of, coordinate, run_name
from llc.store.registry import MADE
from llc.store.removal import remove_file
from llc.store.run import EXPERIMENT_FILE, RUN_FILE, Run
from llc.store.tables import Table, differences, leaves, read_table, write_table

# What is written into the two kinds of folder beside the file that claims it.
_WRITTEN = {
    EXPERIMENT_FILE: (
        "metrics.nc",
        *(f"{name}.nc" for name in MADE),
        "llc.toml",
        "calibration.toml",
        "calibration.nc",
        own_code.CODE,
        "figures",
        "report.html",
    ),
    RUN_FILE: ("metrics.nc", "resume.pt", *KEPT, "llc"),
}


def extend_sweep(folder: Path, table: Table, provenance: Table) -> None:
    """Let an experiment's folder hold more runs, if `table` is its config but for further values on its sweep's axes.

    Its provenance stays if some runs are under way, which are to end with the bits that they would have had.

    Args:
        folder: of the experiment.
        table: the config now.
        provenance: of the present call.
    """
    there = Experiment(folder)
    stored, kept = there.config, there.provenance
    before, after = axes_of(stored["sweep"]), axes_of(table["sweep"])
    table = own_code.as_before(table, stored, folder)
    only_sweep = {**stored, "sweep": {}} == {**table, "sweep": {}} and before.keys() == after.keys()
    if only_sweep and before != after and all(_labels(before[key]) <= _labels(after[key]) for key in after):
        under_way = not all(run.finished for run in there.runs)
        # First: it lacks the new runs, and without it the sweep is not finished.
        remove_file(folder / "metrics.nc")
        write_table(folder / EXPERIMENT_FILE, {**table, PROVENANCE: kept if under_way else provenance})


def _labels(values: list[Any]) -> set[Any]:
    return {coordinate(value) for value in values}


def check_belongs(found: Experiment, run: Run) -> None:
    """Hold a run's config against its name, and against the experiment's but for what the sweep sets.

    Args:
        found: the experiment.
        run: in its folder.
    Raises:
        StoreError: they differ, which one of them was edited to do.
    """
    name = run_name(run.config["place"])
    if name != run.name:
        raise StoreError(f"{run.path} holds the run {name}; move it away and run the same `llc train` command again")
    swept = set(axes_of(found.config["sweep"]))
    shared, own = (
        {key: value for key, value in leaves(table) if not any(f"{key}.".startswith(f"{axis}.") for axis in swept)}
        for table in (found.config, run.config)
    )
    both = shared.keys() & own.keys()
    others = differences({key: shared[key] for key in both}, {key: own[key] for key in both})
    if others:
        raise StoreError(
            f"{run.path / RUN_FILE} does not belong to {found.path / EXPERIMENT_FILE} ({'; '.join(others)}); restore "
            "the one that was edited"
        )


def claim(folder: Path, file: str, table: Table, provenance: Table | None = None) -> None:
    """Make `folder` the home of this config, or check that it already is.

    Args:
        folder: of an experiment or a run.
        file: `EXPERIMENT_FILE` or `RUN_FILE`.
        table: the config.
        provenance: what else to write there on first use, never compared.
    Raises:
        StoreError: it belongs to another config (the difference is shown), or holds somebody's files whose place ours
            would take.
    """
    path = folder / file
    if is_there(path):
        stored = {key: value for key, value in read_table(path).items() if key != PROVENANCE}
        home = folder if file == EXPERIMENT_FILE else folder.parent  # where copies of its code are
        changed = differences(stored, own_code.as_before(table, stored, home))
        if changed:
            raise StoreError(
                f"{folder} was made with another config ({'; '.join(changed)}); choose another folder, or give the "
                "settings it was made with (a sweep grows by further values beside all that it had)"
            )
    else:
        there = [name for name in _WRITTEN[file] if os.path.lexists(folder / name)]
        if there:
            raise StoreError(
                f"{folder} holds {', '.join(there)} but no {file}, so it is not known whose they are; choose another "
                "folder, or move them away"
            )
        if file == RUN_FILE and is_there(folder.parent / EXPERIMENT_FILE):  # one folder calls a file one thing
            table = own_code.as_before(table, read_table(folder.parent / EXPERIMENT_FILE), folder.parent)
        write_table(path, {**table, PROVENANCE: provenance} if provenance else table)
