"""All runs of an experiment, side by side on the cores there are."""

import datetime
import math
import platform
from pathlib import Path

import torch

from llc import devices, own_code, store
from llc.errors import InvalidInput, LLCError, StoreError
from llc.parallel import Progress, check_scheduler, default_threads, default_workers, quiet, raise_failures, run_units
from llc.training.config import ExperimentConfig, RunConfig, give_code
from llc.training.fit import check_fit
from llc.training.learner import fits_ensemble, kind_of
from llc.training.loop import train_runs
from llc.training.plan import check_room, update_flops
from llc.version import library_version

# FLOPs of an update below which a CPU trains several runs at least 1.3 times as fast in one graph
# (`benchmarks/speed.py --only training`).
_SMALL_UPDATE = 1e8
# The same for a GPU: on an H100 five runs in one graph are 3.1 times as fast at 5e9 FLOPs and 0.9 times at 4e11
# (`benchmarks/gpu.py --only ensemble`).
_SMALL_ON_GPU = 1e11


def train(
    config: ExperimentConfig,
    out: str | Path,
    *,
    jobs: int | None = None,
    together: int | None = None,
    device: str = "auto",
    scheduler: str | None = None,
    system: str | None = None,
    progress: Progress = quiet,
) -> store.Experiment:
    """Train every run of a sweep into the folder `out`; calling it again resumes, or finds everything done.

    A folder can grow: a config that differs in having further values on its axes trains those, and keeps the runs there
    are.

    Args:
        config: such as `llc.presets.tiny()`.
        out: the experiment's folder; made if need be.
        jobs: worker processes; by default one a core, or one a GPU. Results do not depend on it.
        together: how many runs to train as one graph; by default several where single updates are too small to keep
            the machine busy, which hangs on how many cores there are, and what the folder was begun with when a call
            resumes. Results agree but for rounding, in float32; give 1 for the same bits on every machine of a kind.
        device: `cpu`, `cuda`, `mps`, or `auto` for the fastest there is.
        scheduler: address of a Dask scheduler whose workers share this file system (see `docs/many_machines.md`).
        system: the function that gave `config`, `/path/to/file.py:name`, for the report's commands.
        progress: told about progress.
    Returns:
        The experiment; `metrics.nc` over the whole sweep is written when all runs are done.
    Raises:
        InvalidInput: `jobs` or `together` below 1, or no such device here.
        StoreError: `out` belongs to another config (the difference is shown), is in use, cannot be written, or is on
            a disk with too little room.
        TrainingFailed: some runs failed (each is named); the others are finished.
        Interrupted: Ctrl-C; calling again resumes.
    """
    if together is not None and together < 1:
        raise InvalidInput(f"together = {together} given, expected at least 1")
    out = Path(out)
    runs, where = config.runs(), devices.choose_device(device)
    check_not_inside_run(out)
    _check_can_be_sent(config)
    give_code(config, system)
    check_fit(runs[0], references=True)  # those of other runs may take long
    for run in _one_of_each_kind(runs[1:]):
        check_fit(run)
    check_room(config, out)
    check_scheduler(scheduler)
    with store.folder_lock(out):
        claim_experiment(config, out, where, together=together, system=system)
        experiment = store.Experiment(out)
        if experiment.finished:
            progress("training", 0, 0, f"all {len(runs)} runs in {out} were trained before; nothing to do")
            return experiment
        store.remove_scratch(experiment.folders)
        if config.checkpoints.weights_every > 1 and _probes_differ(runs):
            note = "the runs have probes of their own, so that llc pca cannot compare them at steps without weights"
            progress("training", 0, 0, f"{note}, which checkpoints.weights_every leaves out")
        together = together or experiment.provenance.get("together", 1)
        units = [
            ([out.absolute() / run_folder(run) for run in group], group, str(where))
            for group in _chunks(runs, together)
        ]
        failures: list[Exception] = []
        for outcome in run_units(
            train_runs,
            units,
            jobs=jobs or default_workers(len(units), where),
            threads=experiment.provenance["threads"],
            scheduler=scheduler,
            progress=progress,
        ):
            failures += [outcome.error] if outcome.error else outcome.result
        raise_failures(failures, f"{len(failures)} of {len(runs)} runs failed", TrainingFailed)
        whole = store.merge(run.metrics for run in experiment.runs)
        store.write_dataset(out / "metrics.nc", whole, experiment.config)
    return experiment


class TrainingFailed(LLCError):
    """Some runs of a sweep failed."""


def run_folder(config: RunConfig) -> str:
    """The name of a run's folder in its experiment."""
    return store.run_name(config.place)


def _check_can_be_sent(config: ExperimentConfig) -> None:
    """Raise InvalidInput where a task's or model's class is in no file, which workers and later commands need."""
    for part in (config.task, config.model):
        kind = type(part)
        if not own_code.is_ours(kind) and own_code.file_of(kind) is None:
            raise InvalidInput(f"{kind.__name__} is defined in no file (typed in, or in a notebook); write it to one")


def claim_experiment(
    config: ExperimentConfig,
    out: Path,
    device: torch.device,
    *,
    together: int | None = None,
    imported_from: str | None = None,
    system: str | None = None,
) -> None:
    """Write `experiment.toml`, or check that the folder is this config's or can grow to it."""
    runs = len(config.runs())
    provenance = {
        "library": library_version(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        # Recorded, so that a resumed run sums in the same order and ends with the same bits.
        "threads": default_threads(runs),
        "device": str(device),
        "together": together or choose_together(config, device),
    }
    system = system and own_code.absolute(system)
    origin = {"imported_from": imported_from, "system": system}
    provenance |= {name: said for name, said in origin.items() if said is not None}
    named = {**config.to_table(), "system": system or ""}
    if store.is_there(out / store.EXPERIMENT_FILE):
        store.check_code_unchanged(out, named)
        there = store.Experiment(out).provenance.get("imported_from")
        if there != imported_from:
            how = f"was imported from {there}" if there else "was trained, not imported"
            raise StoreError(f"{out} {how}; choose another folder")
        store.extend_sweep(out, config.to_table(), provenance)
    store.claim(out, store.EXPERIMENT_FILE, config.to_table(), provenance)
    store.keep_code(out, named)
    store.remember(give_code(config, system))  # so that other commands run it on this folder


def choose_together(config: ExperimentConfig, device: torch.device) -> int:
    """How many runs to train as one graph where nobody says: as many as a worker gets, if updates are small enough."""
    runs = config.runs()
    most = _SMALL_UPDATE if device.type == "cpu" else _SMALL_ON_GPU
    if not all(fits_ensemble(run) and update_flops(run) <= most for run in _one_of_each_kind(runs)):
        return 1
    return math.ceil(len(runs) / default_workers(len(runs), device))


def _one_of_each_kind(runs: list[RunConfig]) -> list[RunConfig]:
    return list({kind_of(run): run for run in reversed(runs)}.values())


def _probes_differ(runs: list[RunConfig]) -> bool:
    """Whether the runs' tasks have different probes, on which predictions are kept in place of weights."""
    tasks = {store.table_hash(run.task.to_table()): run.task for run in runs}
    first, *others = (task.probe(1).inputs for task in tasks.values())
    return not all(len(one) == len(first) and all(map(torch.equal, first, one)) for one in others)


def _chunks(runs: list[RunConfig], size: int) -> list[list[RunConfig]]:
    """Runs of one kind that share a graph, at most so many."""
    kinds: dict[str, list[RunConfig]] = {}
    for run in runs:
        kinds.setdefault(kind_of(run), []).append(run)
    return [of_kind[first : first + size] for of_kind in kinds.values() for first in range(0, len(of_kind), size)]


def check_not_inside_run(out: Path) -> None:
    """Raise StoreError if `out` is the folder of a run, or inside one."""
    for folder in (out, *out.absolute().parents):
        if store.is_there(folder / store.RUN_FILE):
            raise StoreError(f"{out} is, or lies in, the single run {folder}; choose a folder outside it")
