"""Weights in, weights out: other people's checkpoints as a run folder, and ours as plain `state_dict`s."""

import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from llc import models, own_code, store
from llc.errors import InvalidInput, StoreError, check_whole, shown
from llc.models import FactoryConfig, load_state
from llc.parallel import Progress, quiet
from llc.training.config import ExperimentConfig, RunConfig, give_code
from llc.training.fit import check_fit
from llc.training.recorder import Recorder
from llc.training.sweep import check_not_inside_run, claim_experiment, run_folder

# Endings of what is written: that of safetensors, and those that PyTorch's own format goes by. `llc import` reads each.
_EXPORTED = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


def with_factory(config: ExperimentConfig, function: str) -> ExperimentConfig:
    """The config with the model that a function makes: `package.module:name`, or `path/to/file.py:name`.

    Args:
        config: of which everything but the model is kept.
        function: where it is; a file's path is made absolute.
    """
    return config.model_copy(update={"model": FactoryConfig(function=own_code.absolute(function))})


def import_weights(
    source: str | Path,
    out: str | Path,
    config: ExperimentConfig,
    *,
    system: str | None = None,
    progress: Progress = quiet,
) -> store.Experiment:
    """An experiment made of weights that were trained elsewhere; its behaviour is evaluated here.

    Args:
        source: for a sweep of one run, a folder of checkpoints whose names hold the step (`step_1000.pt`,
            `001000.safetensors`, a folder `checkpoint-1000`), each a `state_dict`, alone or under a name such as
            `model_state_dict`; otherwise a folder of such folders, named as runs are (`num_tasks=16,seed=0`). What has
            been added since an earlier import is imported too.
        out: the experiment's folder.
        config: gives task, model and sweep. For a model of one's own, `model` is a `FactoryConfig`. What it says of
            training is not used.
        system: the function that gave `config`, as for `train`.
        progress: told about progress.
    Raises:
        InvalidInput: no checkpoints, two of one step, a name that may mean several steps, weights that do not fit the
            model, or a model that cannot take the task's inputs.
        StoreError: a file that cannot be read or has changed since it was imported, or a folder that belongs to another
            experiment.
    """
    if not isinstance(config, ExperimentConfig):
        raise InvalidInput(f"config = {shown(config)} given, expected an ExperimentConfig, such as llc.presets.tiny()")
    source, out, runs = Path(source), Path(out), config.runs()
    check_not_inside_run(out)
    give_code(config, system)
    folders = [source] if len(runs) == 1 and not (source / run_folder(runs[0])).is_dir() else None
    folders = folders or [source / run_folder(run) for run in runs]
    if source.is_dir() and not any(folder.is_dir() for folder in folders):
        axes = ", ".join(f"{key}" for key, values in config.sweep.axes.items() if len(values) > 1)
        raise InvalidInput(
            f"{source} has none of the folders {run_folder(runs[0])} to {run_folder(runs[-1])} of a sweep over {axes}; "
            "for checkpoints of one run say which it is, as by --num-tasks 16"
        )
    files = [_by_step(folder, progress) for folder in folders]
    for run, of_run in zip(runs, files, strict=True):  # what cannot work leaves no folder behind
        path = next(iter(of_run.values()))
        load_state(models.build(run.model, run.task), store.read_foreign(path), str(path))
        check_fit(run)
    with store.folder_lock(out):
        came_from = {"imported_from": str(source.absolute()), "system": system}
        claim_experiment(config, out, torch.device("cpu"), together=1, **came_from)
        experiment = store.Experiment(out)
        store.remove_scratch(experiment.folders)
        for run, of_run in zip(runs, files, strict=True):
            _import_run(of_run, out / run_folder(run), run, progress)
        whole = store.merge(run.metrics for run in experiment.runs)
        store.write_dataset(out / "metrics.nc", whole, experiment.config)
    return experiment


def export_weights(run: store.Run, step: int, path: str | Path) -> None:
    """A checkpoint as a plain `state_dict`, in the format that the file's name ends in.

    Args:
        run: one run of an experiment, such as `experiment.runs[0]`.
        step: of the checkpoint.
        path: `.safetensors`, or for PyTorch's own format `.pt`, `.pth`, `.ckpt` or `.bin`.
    Raises:
        InvalidInput: no run, a step that is no whole number, no path, or another suffix.
        StoreError: no such checkpoint, or a file that cannot be written.
    """
    if not isinstance(run, store.Run):
        raise InvalidInput(f"{shown(run)} given, expected one run, such as experiment.runs[0]")
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise InvalidInput(f"path = {shown(path)} given, expected a file's name that ends in {', '.join(_EXPORTED)}")
    path = Path(path)
    if path.suffix not in _EXPORTED:
        raise InvalidInput(f"{path} given, expected a name that ends in {', '.join(_EXPORTED)}")
    weights = run.weights(check_whole("step", step, 0))
    with store.atomic_path(path) as scratch:
        if path.suffix == ".safetensors":
            save_file(store.apart(weights), scratch)
        else:
            torch.save(weights, scratch)


def _by_step(folder: Path, progress: Progress) -> dict[int, Path]:
    found, without = store.checkpoints_in(folder)
    if without:
        progress("import", 0, 0, store.without_steps(without))
    return found


def _import_run(files: dict[int, Path], folder: Path, config: RunConfig, progress: Progress) -> None:
    """What is new of a run's checkpoints; those that were imported before stay as they are.

    Raises:
        StoreError: one that was imported before holds other weights now.
    """
    there = store.Run(folder).steps if store.is_there(folder / store.RUN_FILE) else []
    recorder = Recorder(folder, config, steps=sorted({*files, *there}))
    known = recorder.read_rows() if recorder.run.finished else []
    model = models.build(config.model, config.task)
    steps = sorted(recorder.steps)
    for number, step in enumerate(steps):  # the model ends with the weights of the last
        path = files.get(step)
        load_state(model, recorder.run.weights(step) if path is None else store.read_foreign(path), str(path or folder))
        if path is not None and step in known and not _same(model.state_dict(), recorder.run.weights(step)):
            raise StoreError(
                f"{path} holds other weights than when it was imported into {folder}; import it into another folder"
            )
        recorder.record(model, step)
        progress(recorder.run.name, number + 1, len(steps), recorder.note)
    if files.keys() <= set(known):
        progress(recorder.run.name, 0, 0, f"{recorder.run.name} was imported before")
    else:
        recorder.finish(model)


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())
