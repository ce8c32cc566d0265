"""The commands that make an experiment again, from what its results say of themselves."""

import json
import shlex
from pathlib import Path
from typing import Any

import xarray as xr

from llc import store
from llc.training import presets

_SWEEP = {"sweep.num_tasks": "--num-tasks", "sweep.seeds": "--seeds"}


def commands(experiment: store.Experiment) -> list[str]:
    """`llc train`, and one command for each result that is there, with every setting that is not a default."""
    folder = shlex.quote(str(experiment.path))
    found = [_train(experiment.config, experiment.path)]
    makers = {"llc": _estimate, "pca": _pca, "stages": _stages}
    for name, maker in makers.items():
        if (experiment.path / f"{name}.nc").exists():
            dataset = getattr(experiment, name)
            found.append(f"llc {maker(dataset, json.loads(dataset.attrs['config']))}".replace("FOLDER", folder))
    for name in ("behaviour", "readouts"):
        if (experiment.path / f"{name}.nc").exists():
            found.append(f"llc {name} {folder} --steps {_steps(getattr(experiment, name))}")
    return [*found, f"llc report {folder}"]


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


def _estimate(llc: xr.Dataset, config: dict[str, Any]) -> str:
    parts = ["estimate-llc FOLDER --steps", _steps(llc)]
    for key, value in config.get("llc", {}).items():
        option = "--" + key.replace("_", "-")
        if value is None or value is False:
            continue
        parts += [option] if value is True else [option, ",".join(value) if isinstance(value, list) else str(value)]
    return " ".join(parts)


def _pca(_pca: xr.Dataset, config: dict[str, Any]) -> str:
    settings = config.get("pca", {})
    parts = ["pca FOLDER"]
    for key in ("components", "sequences", "probe", "features", "weighting"):
        if key in settings:
            parts += [f"--{key}", str(settings[key])]
    return " ".join(parts)


def _stages(_stages: xr.Dataset, config: dict[str, Any]) -> str:
    settings = config.get("stages", {})
    return " ".join(["stages FOLDER", *(part for key, value in settings.items() for part in (f"--{key}", str(value)))])


def _steps(dataset: xr.Dataset) -> str:
    return ",".join(str(int(step)) for step in dataset.step.values)
