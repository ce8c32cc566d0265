"""The commands that make an experiment again, from what its results say of themselves."""

import json
import shlex
from pathlib import Path
from typing import Any

import xarray as xr

from llc import store
from llc.report.made import fitted_of, settings_of
from llc.training import presets

_SWEEP = {"sweep.num_tasks": "--num-tasks", "sweep.seeds": "--seeds"}


def commands(experiment: store.Experiment) -> list[str]:
    """`llc train`, and one command for each result that is there, with every setting that is not a default."""
    folder = shlex.quote(str(experiment.path))
    found = [_begin(experiment)]
    makers = {
        "llc": _estimate,
        "pca": _pca,
        "stages": _stages,
        "behaviour": _behaviour,
        "readouts": _readouts,
    }
    for name, maker in makers.items():
        if (experiment.path / f"{name}.nc").exists():
            command, *more = maker(getattr(experiment, name))
            found.append(" ".join(["llc", command, folder, *more]))
    return [*found, f"llc report {folder}"]


def _begin(experiment: store.Experiment) -> str:
    """How the checkpoints came here."""
    source = experiment.provenance.get("imported_from")
    if source is None:
        return _train(experiment.config, experiment.path)
    model = experiment.config["model"]
    factory = ["--factory", shlex.quote(str(model["function"]))] if "function" in model else []
    preset = ["--preset", str(experiment.config.get("preset", "tiny"))]
    return " ".join(
        ["llc import", shlex.quote(str(source)), "--out", shlex.quote(str(experiment.path)), *preset, *factory]
    )


def _train(config: dict[str, Any], out: Path) -> str:
    """The preset, and every setting in which the config differs from it."""
    name = config.get("preset", "tiny")
    try:
        default = _flat(presets.preset(name).to_table())
    except Exception:  # a preset of another version
        return f"llc train --out {shlex.quote(str(out))}  # with the settings in experiment.toml"
    parts = ["llc", "train", "--preset", name, "--out", shlex.quote(str(out))]
    for key, value in _flat(config).items():
        if key == "preset" or default.get(key) == value:
            continue
        if key in _SWEEP:
            parts += [_SWEEP[key], ",".join(map(str, value))]
        else:
            parts += ["--set", shlex.quote(f"{key}={_written(value)}")]
    return " ".join(parts)


def _flat(table: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return flat


def _written(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | bool) else str(value)


def _estimate(llc: xr.Dataset) -> list[str]:
    parts = ["estimate-llc", *_steps(settings_of(llc, "estimates"), llc)]
    for key, value in settings_of(llc, "llc").items():
        option = "--" + key.replace("_", "-")
        if value is None or value is False:
            continue
        parts += [option] if value is True else [option, _joined(value)]
    return parts


def _pca(pca: xr.Dataset) -> list[str]:
    settings = settings_of(pca, "pca")
    parts = ["pca"]
    for key in ("components", "sequences", "probe", "features", "weighting"):
        if key in settings:
            parts += [f"--{key}", str(settings[key])]
    fitted = fitted_of(pca)
    return parts if fitted is None else [*parts, "--fit-num-tasks", ",".join(fitted)]


def _stages(stages: xr.Dataset) -> list[str]:
    return [
        "stages",
        *(part for key, value in settings_of(stages, "stages").items() for part in (f"--{key}", str(value))),
    ]


def _behaviour(behaviour: xr.Dataset) -> list[str]:
    settings = settings_of(behaviour, "shifts")
    parts = ["behaviour", *_steps(settings.get("steps", {}), behaviour)]
    for key in ("scales", "noises", "num_tasks", "sequences", "icl_positions"):
        if settings.get(key):
            parts += ["--" + key.replace("_", "-"), _joined(settings[key])]
    return parts


def _readouts(readouts: xr.Dataset) -> list[str]:
    settings = settings_of(readouts, "readouts")
    parts = ["readouts", *_steps(settings.get("steps", {}), readouts)]
    return parts if settings.get("hessian", True) else [*parts, "--no-hessian"]


def _joined(value: Any) -> str:
    return shlex.quote(",".join(map(str, value)) if isinstance(value, list) else str(value))


def _steps(of_runs: dict[str, list[int]], dataset: xr.Dataset) -> list[str]:
    """The steps that all runs have; where they differ, no single command does it."""
    common = set(map(int, dataset.step.values)).intersection(*of_runs.values())
    return ["--steps", ",".join(map(str, sorted(common)))]
