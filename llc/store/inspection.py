"""What a folder holds, and whether it is whole."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from llc.errors import StoreError, one_line
from llc.store.atomic import is_there
from llc.store.checkpoints import CHECKPOINT
from llc.store.claiming import check_belongs
from llc.store.experiment import Experiment
from llc.store.folder_code import code_of
from llc.store.numbered import foreign, numbered_path, numbered_steps, settings_folders
from llc.store.reading import has_checksum, read_dataset, read_numbered
from llc.store.registry import MADE, RESULTS, again
from llc.store.results import check_made_with, settings_of
from llc.store.run import RUN_FILE, Run
from llc.store.state import read_state
from llc.store.tables import differences, flat, read_table, table_hash
from llc.trusted import is_allowed


def describe(found: Experiment | Run) -> str:
    """What a folder holds, for a reader: a few lines of text.

    Folders come from anywhere: what would break a line, or is meant for the terminal, is shown as Python writes it.

    Args:
        found: from `llc.open`.
    """
    return "\n".join(map(one_line, _of_run(found) if isinstance(found, Run) else _of_experiment(found)))


def _of_run(found: Run) -> list[str]:
    state = _unfinished(found) or "finished"
    state += "; run the same `llc train` command to go on" if state == _UNFINISHED else ""
    lines = [f"Run {found.path}: {_joined(_held(found, steps=True), state)}"]
    return [*lines, *(f"  {line}" for line in flat(found.config)), *_untrusted(found)]


def _of_experiment(found: Experiment) -> list[str]:
    lines = [f"Experiment {found.path}: preset {found.config['preset']}, {len(found.wanted)} runs"]
    if "imported_from" in found.provenance:
        lines.append(f"  weights imported from {found.provenance['imported_from']}")
    for run in found.runs:
        lines.append(f"  {run.name}: {_joined(_held(run), _unfinished(run))}")
    not_begun = [name for name in found.wanted if not (found.path / name).exists()]
    lines += ["  results alone: its runs and their weights are not here"] if found.alone else []
    lines += [f"  {name}: not begun" for name in not_begun if not found.alone]
    if not found.alone and _unfinished(found) == _UNFINISHED:
        command = "import" if "imported_from" in found.provenance else "train"
        lines.append(f"  {_UNFINISHED}; run the same `llc {command}` command to go on")
    for name in ("metrics", "llc", "pca"):
        if not is_there(found.path / f"{name}.nc"):
            lines.append(f"  no {name}.nc yet")
    for look, name in itertools.product((found.outdated, found.incomplete), MADE):
        try:
            why = look(name)
        except StoreError as error:
            why = str(error)
        lines += [f"  {why}"] if why and f"  {why}" not in lines else []
    return [*lines, *_untrusted(found)]


_UNFINISHED = "not finished"


def _held(run: Run, *, steps: bool = False) -> str:
    """How many checkpoints a run has, or why that cannot be told."""
    try:
        there = run.steps
    except StoreError as error:
        return str(error)
    if steps:
        return f"{len(there)} checkpoints, steps {there[0]} to {there[-1]}" if there else "no checkpoints yet"
    return f"{len(there)} checkpoints"


def _joined(*said: str) -> str:
    """What there is to say, each thing once."""
    return "; ".join(dict.fromkeys(filter(None, said)))


def _untrusted(found: Experiment | Run) -> list[str]:
    """Code that the folder names and commands will not run; none of it is run to find out."""
    try:
        files = [code for code in code_of(found) if code.file is None or code.file.is_file()]
        named = [str(code) for code in files if not is_allowed(code)]
    except StoreError as error:
        return [f"  {error}"]
    said = f"  names code that you have not trusted: {', '.join(named)}; look at it, then: llc trust {found.path}"
    return [said] if named else []


def _unfinished(found: Experiment | Run) -> str:
    """Nothing where it is finished, `not finished`, or why that cannot be told."""
    try:
        return "" if found.finished else _UNFINISHED
    except StoreError as error:
        return str(error)


def verify(found: Experiment | Run) -> list[str]:
    """What is wrong with the files of a folder, a sentence each; reads every byte of them.

    Checkpoints and states that are not what was written, of another step or of another config, and results that cannot
    be read or were made from another folder.

    Args:
        found: from `llc.open`.
    """
    said = []
    for look in _looks(found):
        try:
            look()
        except StoreError as error:
            said.append(str(error))
    return said


def without_checksum(found: Experiment | Run) -> list[str]:
    """Which results have no checksum, a sentence a folder: they are read, and damage to their values is not seen.

    Args:
        found: from `llc.open`.
    """
    by_folder: dict[Path, list[str]] = {}
    for path in _results(found):
        try:
            known = has_checksum(path)
        except StoreError:  # `verify` says it
            continue
        if not known:
            by_folder.setdefault(path.parent, []).append(path.name)
    return [
        one_line(
            f"{folder}: no checksum in {', '.join(names)}, so that it is not known whether their values are whole; "
            "they were written by another program or an earlier version"
        )
        for folder, names in by_folder.items()
    ]


def _results(found: Experiment | Run) -> Iterator[Path]:
    """The netCDF files of ours, one after the other."""
    for run in _runs(found):
        paths = [run.path / "metrics.nc"]
        for folder in settings_folders(run.estimates):
            with suppress(StoreError):  # `verify` says it
                paths += [numbered_path(folder, step, ".nc") for step in numbered_steps(folder, ".nc")]
        yield from (path for path in paths if is_there(path))
    if isinstance(found, Experiment):
        names = (*RESULTS, "calibration")
        yield from (path for name in names if is_there(path := found.path / f"{name}.nc"))


def passed_over(found: Experiment | Run) -> list[str]:
    """What lies where files of ours are expected and is none of them, a sentence each. Every command ignores it.

    Args:
        found: from `llc.open`.
    """
    there: list[Path] = []
    for run in _runs(found):
        there += [path for folder in run.kept for path in foreign(folder, CHECKPOINT)]
        settings = settings_folders(run.estimates)
        there += sorted(set(_inside(run.estimates)) - set(settings))
        for folder in settings:
            there += foreign(folder, ".nc")
    if isinstance(found, Experiment):
        others = {path.parent for path in found.path.glob(f"*/{RUN_FILE}")}
        there += sorted(others - {found.path / name for name in found.wanted})
    return [
        one_line(f"{path} is not of this {'experiment' if isinstance(found, Experiment) else 'run'}; it is ignored")
        for path in there
    ]


def _runs(found: Experiment | Run) -> list[Run]:
    return [found] if isinstance(found, Run) else found.runs


def _looks(found: Experiment | Run) -> Iterator[Callable[[], object]]:
    """What to read, each once: checkpoints, estimates, results."""
    for run in _runs(found):
        for folder in run.kept:
            yield from _looks_at(folder, CHECKPOINT, partial(run.read, folder))
        for folder in settings_folders(run.estimates):
            yield from _looks_at(folder, ".nc", partial(_read_estimate, run, folder))
        if is_there(run.path / "metrics.nc"):
            yield partial(getattr, run, "metrics")
        if is_there(run.state):
            yield partial(read_state, run.state, config_hash=run.config_hash)
        if isinstance(found, Experiment):
            yield partial(check_belongs, found, run)
    if isinstance(found, Experiment):
        for name in RESULTS:
            if is_there(found.path / f"{name}.nc"):
                yield partial(_read_whole, found, name)
        yield partial(_read_calibration, found)
        yield partial(_read_settings, found)


def _looks_at(folder: Path, suffix: str, look: Callable[[int], object]) -> Iterator[Callable[[], object]]:
    """A look at every step of a folder; one at the folder, where that is none."""
    try:
        steps = numbered_steps(folder, suffix)
    except StoreError:
        yield partial(numbered_steps, folder, suffix)
    else:
        yield from (partial(look, step) for step in steps)


def _read_whole(found: Experiment, name: str) -> None:
    whole = found.result(name)
    if not has_checksum(found.path / f"{name}.nc"):
        whole.load()


def _read_calibration(found: Experiment) -> None:
    path = found.path / "calibration.nc"
    if is_there(path):
        check_made_with(read_dataset(path), path, found.config)


def _read_settings(found: Experiment) -> None:
    """Read the settings of further estimates, and hold them against those of the estimates there are."""
    tables = {
        path: read_table(path) for name in ("calibration", "llc") if is_there(path := found.path / f"{name}.toml")
    }
    result, path = found.path / "llc.nc", found.path / "llc.toml"
    if path in tables and is_there(result):
        others = differences(settings_of(read_dataset(result, lazy=True), "llc"), tables[path])
        if others:
            raise StoreError(
                f"{path} is not what {result} was made with ({'; '.join(others)}); delete it and run the same "
                "`llc estimate-llc` command again"
            )


def _read_estimate(run: Run, folder: Path, step: int) -> None:
    """Read an estimate, and hold its step, run and settings against its place."""
    path = numbered_path(folder, step, ".nc")
    found = read_numbered(path)
    if not has_checksum(path):
        found.load()
    settings = check_made_with(found, path, run.config).get("llc", {})
    here = {dim: found[dim].values.tolist() for dim in run.place if dim in found.coords}
    if here != {dim: [value] for dim, value in run.place.items()} or table_hash(settings) != path.parent.name:
        raise StoreError(f"{path} is of another run or of other settings than its place; {again(path)}")


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
