"""A finished result is not made again: what a result was made from, and whether one that is there says just that."""

from collections.abc import Iterable, Sequence
from typing import Any

from llc import own_code, trusted
from llc.parallel import Progress, quiet
from llc.store.atomic import is_there
from llc.store.claiming import check_belongs
from llc.store.contents import CHECKSUM
from llc.store.experiment import Experiment
from llc.store.reading import attributes
from llc.store.registry import RESULTS
from llc.store.results import carries
from llc.store.run import Run
from llc.store.tables import Table, table_hash

# The key under which a result says what it was made from; no config has one of that name.
MADE_FROM = "made_from"


def recipe(
    experiment: Experiment,
    name: str,
    settings: Table | None = None,
    *,
    sources: Iterable[str] | None = None,
    runs: Sequence[Run] = (),
    **others: Any,
) -> Table:
    """What a result is written with: the folder's config, its own settings, and what it was made from.

    Read it before what it names, so that a result never claims to be of what is newer than it.

    Args:
        experiment: whose result it is.
        name: of the result.
        settings: what JSON can say of everything that moves the result and was chosen.
        sources: results that it is made from, where they are there; None for those that the registry says it needs.
        runs: those whose checkpoints, tasks or models it is made from.
        others: what moves the result and is no setting, as JSON.
    Raises:
        StoreError: a source is damaged, or a run is not of this experiment.
        InvalidInput: a run's task or model cannot be imported, or may not be.
    """
    for run in runs:
        run.check_code()
    for run in experiment.runs:
        check_belongs(experiment, run)
    known = RESULTS[name].needs if sources is None else sources
    paths = {source: experiment.path / f"{source}.nc" for source in known}
    made_from: Table = {source: _identity(attributes(path)) for source, path in paths.items() if is_there(path)}
    if runs:
        steps = {run.name: [run.steps, run.recorded_steps] for run in runs}
        made_from |= {"checkpoints": table_hash(steps), "code": _code_of(runs)}
    own = RESULTS[name].settings if name in RESULTS else ""
    return {**experiment.config, **({own: settings or {}} if own else {}), MADE_FROM: {**made_from, **others}}


def is_made(experiment: Experiment, name: str, made: Table, progress: Progress = quiet) -> bool:
    """Whether there is a result that is of just this recipe and of this version, of which progress is told.

    Never where what it was made from cannot be told.

    Args:
        experiment: whose result it is.
        name: of the result.
        made: its recipe.
        progress: told (unit, done, total, note).
    Raises:
        StoreError: the result that is there is damaged.
    """
    path = experiment.path / f"{name}.nc"
    if None in made[MADE_FROM].values() or not carries(path, made):
        return False
    if name in RESULTS and experiment.outdated(name):  # by the clock: what `show` says is old is made again
        return False
    progress(name, 0, 0, f"{path} holds just this already; nothing to do")
    return True


def _identity(said: dict) -> str:
    """What changes when a result is made again with other contents; of one without a checksum, whenever it is."""
    return str(said.get(CHECKSUM) or said.get("created", ""))


def _code_of(runs: Sequence[Run]) -> str | None:
    """What other people's files say that runs name, as one number; None where the code is in no file.

    What such files import is not looked at.
    """
    found = set()
    for run in runs:
        for code in trusted.code_in(run.config):
            path = own_code.there(code.where)
            if code.file is None or not path.is_file():
                return None
            found.add(f"{code.name} {trusted.digest(path.read_bytes())}")
        for kind in (type(run.task), type(run.model_config)):
            if not own_code.is_ours(kind) and own_code.file_of(kind) is None:
                return None
    return table_hash({"code": sorted(found)})
