"""All runs of an experiment, side by side on the cores there are."""

import datetime
import platform
from pathlib import Path

import torch

from llc import models, store
from llc.errors import LLCError, StoreError
from llc.parallel import Report, available_cores, default_jobs, quiet, raise_failures, run_units
from llc.training.config import ExperimentConfig, RunConfig
from llc.training.loop import train_run
from llc.training.plan import check_room


def train(
    config: ExperimentConfig, out: str | Path, *, jobs: int | None = None, report: Report = quiet
) -> store.Experiment:
    """Train every run of a sweep into the folder `out`; calling it again resumes, or finds everything done.

    Args:
        config: such as `llc.presets.tiny()`.
        out: the experiment's folder; made if need be.
        jobs: worker processes; by default one a core. Results do not depend on it.
        report: told about progress.
    Returns:
        The experiment; `metrics.nc` over the whole sweep is written when all runs are done.
    Raises:
        StoreError: `out` belongs to another config (the difference is shown), is in use, cannot be written, or is on
            a disk with too little room.
        TrainingFailed: some runs failed (each is named); the others are finished.
        Interrupted: Ctrl-C; calling again resumes.
    """
    out = Path(out)
    runs = config.runs()
    check_not_inside_run(out)
    check_room(config, out)
    with store.folder_lock(out):
        claim_experiment(config, out, len(runs))
        experiment = store.Experiment(out)
        if experiment.finished:
            report("training", 0, 0, f"all {len(runs)} runs in {out} were trained before; nothing to do")
            return experiment
        store.remove_scratch(out)
        outcomes = run_units(
            train_run,
            [(out / run_folder(run), run) for run in runs],
            jobs=jobs or default_jobs(len(runs)),
            threads=experiment.provenance["threads"],
            report=report,
        )
        failures = [outcome.error for outcome in outcomes if outcome.error]
        raise_failures(failures, f"{len(failures)} of {len(runs)} runs failed", TrainingFailed)
        whole = store.merge(run.metrics for run in experiment.runs)
        store.write_dataset(out / "metrics.nc", whole, experiment.config)
    return experiment


class TrainingFailed(LLCError):
    """Some runs of a sweep failed."""


def run_folder(config: RunConfig) -> str:
    """The name of a run's folder in its experiment."""
    return store.run_name(config.task.num_tasks, config.seed)


def claim_experiment(config: ExperimentConfig, out: Path, runs: int) -> None:
    """Write `experiment.toml`, or check that the folder is this config's."""
    provenance = {
        "library": store.library_version(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        # Recorded, so that a resumed run sums in the same order and ends with the same bits.
        "threads": max(1, available_cores() // default_jobs(runs)),
    }
    store.claim(out, store.EXPERIMENT_FILE, config.to_table(), provenance)


def check_not_inside_run(out: Path) -> None:
    """Raise StoreError if `out` is the folder of a run, or inside one."""
    for folder in (out, *out.absolute().parents):
        if (folder / store.RUN_FILE).exists():
            raise StoreError(f"{out} is, or lies in, the single run {folder}; choose a folder outside it")


def load_model(run: store.Run, step: int) -> torch.nn.Module:
    """The model of a run as it was at a step, on the CPU, in eval mode.

    Raises:
        StoreError: no such checkpoint, or a damaged one.
    """
    config = RunConfig.from_table(run.config)
    model = models.build(config.model, config.task)
    model.load_state_dict(run.weights(step))
    return model.eval()
