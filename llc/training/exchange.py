"""Weights in, weights out: other people's checkpoints as a run folder, and ours as plain `state_dict`s."""

import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llc import models, own_code, store
from llc.errors import InvalidInput, StoreError
from llc.models import FactoryConfig
from llc.parallel import Progress, quiet
from llc.training.config import ExperimentConfig, RunConfig
from llc.training.recorder import Recorder
from llc.training.sweep import check_not_inside_run, claim_experiment, run_folder

_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
# Where training scripts put the weights in a checkpoint that holds more.
_NESTED = ("state_dict", "model_state_dict", "model")


def with_factory(config: ExperimentConfig, function: str) -> ExperimentConfig:
    """The config with the model that a function makes: `package.module:name`, or `path/to/file.py:name`."""
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
        source: for a sweep of one run, a folder of checkpoints whose file names hold the step (`step_1000.pt`,
            `001000.safetensors`), each a `state_dict`, alone or under `state_dict`, `model_state_dict` or `model`;
            otherwise a folder of such folders, named as runs are (`num_tasks=16,seed=0`).
        out: the experiment's folder.
        config: gives task, model and sweep. For a model of one's own, `model` is a `FactoryConfig`. What it says of
            training is not used.
        system: the function that gave `config`, as for `train`. progress: told about progress.
    Raises:
        InvalidInput: no checkpoints, two of one step, or weights that do not fit the model.
        StoreError: a file that cannot be read, or a folder that belongs to another experiment.
    """
    source, out, runs = Path(source), Path(out), config.runs()
    check_not_inside_run(out)
    folders = [source] if len(runs) == 1 and not (source / run_folder(runs[0])).is_dir() else None
    folders = folders or [source / run_folder(run) for run in runs]
    files = [_by_step(folder) for folder in folders]
    for run, of_run in zip(runs, files, strict=True):  # what cannot work leaves no folder behind
        _load(models.build(run.model, run.task), next(iter(of_run.values())))
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
    """A checkpoint as a plain `state_dict`: `.safetensors` by that suffix, by PyTorch's own format otherwise.

    Raises:
        StoreError: no such checkpoint, or a file that cannot be written.
    """
    weights = run.weights(step)
    with store.atomic_path(Path(path)) as scratch:
        if Path(path).suffix == ".safetensors":
            save_file(weights, scratch)
        else:
            torch.save(weights, scratch)


def _import_run(files: dict[int, Path], folder: Path, config: RunConfig, progress: Progress) -> None:
    recorder = Recorder(folder, config, steps=list(files))
    if recorder.run.finished:
        progress(recorder.run.name, 0, 0, f"{recorder.run.name} was imported before")
        return
    model = models.build(config.model, config.task)
    for number, (step, path) in enumerate(files.items()):
        _load(model, path)
        recorder.record(model, step)
        progress(recorder.run.name, number + 1, len(files), recorder.note)
    recorder.finish(model)


def _by_step(folder: Path) -> dict[int, Path]:
    """Checkpoint files of a folder by the last number in their names, ascending."""
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder; expected one with a checkpoint for each step")
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        numbers = re.findall(r"\d+", path.stem)
        if path.suffix not in _SUFFIXES or not numbers:
            continue
        step = int(numbers[-1])
        if step in found:
            raise InvalidInput(f"{found[step]} and {path} are both of step {step}")
        found[step] = path
    if not found:
        raise InvalidInput(f"{folder} has no checkpoints: files such as step_1000.pt, of {', '.join(_SUFFIXES)}")
    return dict(sorted(found.items()))


def _load(model: nn.Module, path: Path) -> None:
    weights = _state_dict(path)
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    if given != wanted:
        missing, extra = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
        other = [f"{name} {given[name]}, expected {wanted[name]}" for name in wanted.keys() & given.keys()]
        other = [said for said in sorted(other) if not said.endswith(f"{given[said.split(' ')[0]]}")]
        parts = {"missing": missing, "not known to it": extra, "of another shape": other}
        said = "; ".join(f"{what}: {', '.join(names[:4])}" for what, names in parts.items() if names)
        raise InvalidInput(f"{path} does not fit the model ({said})")
    model.load_state_dict(weights)


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({str(error).splitlines()[0]})") from None
    except Exception as error:  # pickle's own, for files that hold more than tensors
        raise StoreError(
            f"{path} holds more than tensors ({type(error).__name__}); save its state_dict alone"
        ) from None
    for name in _NESTED:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
            break
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        keys = f" with {', '.join(map(str, list(found)[:4]))}" if isinstance(found, dict) else ""
        raise InvalidInput(f"{path} holds a {type(found).__name__}{keys}, expected a state_dict")
    return found
