"""The commands that make an experiment again, from what its results say of themselves."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

import xarray as xr

from llc import own_code, store, systems

_SWEPT = "sweep.axes."


def commands(experiment: store.Experiment, results: Mapping[str, xr.Dataset] | None = None) -> list[str]:
    """`llc train`, and one command for each result that is there, with every setting that is not a default.

    Args:
        results: those that are there, by default read again.
    """
    if results is None:
        results = {
            name: experiment.result(name) for name in store.MADE if store.is_there(experiment.path / f"{name}.nc")
        }
    folder = shlex.quote(str(experiment.path))
    found = [_begin(experiment)]
    made: list[str] = []
    for name in store.MADE:
        command = store.RESULTS[name].command
        if command not in made and name in results:
            made.append(command)
            settings = store.settings_of(results[name], name)
            options = _MAKERS.get(name, _plain)(settings, results[name])
            if name == "stages":  # the same command makes the tradeoff
                options += _pair(experiment, results.get("tradeoff"))
            found.append(" ".join(["llc", command, folder, *options]))
    return [*found, f"llc report {folder}"]


def _begin(experiment: store.Experiment) -> str:
    """How the checkpoints came here."""
    source, system = (experiment.provenance.get(name) for name in ("imported_from", "system"))
    config, out = experiment.config, ["--out", shlex.quote(str(experiment.path))]
    begin, factory = ["llc", "train"], []
    if source is not None:
        begin, function = ["llc", "import", shlex.quote(str(source))], str(config["model"].get("function", ""))
        factory = ["--factory", shlex.quote(function)] if function and system is None else []
    name = config.get("preset", "tiny")
    if system is not None:
        study = ["--system", shlex.quote(system)]
        try:
            begun_with = own_code.called(system, {}, asked_by="system")
        except Exception:  # somebody's code, which may be gone or not trusted: no page fails for that
            return " ".join([*begin, *study, *out, " # with the settings in experiment.toml"])
    elif name in systems.PRESETS:
        study, begun_with = ["--preset", name], systems.preset(name)
    else:  # made by a program, or another version
        return " ".join([*begin, *out, "--system …  # with the settings in experiment.toml"])
    own = {key: value for key, value in config.items() if not (factory and key == "model")}
    changed = _changed(own, _flat(begun_with.to_table()))
    return " ".join([*begin, *study, *out, *factory, *changed])


def _changed(config: dict[str, Any], default: dict[str, Any]) -> list[str]:
    """Every setting in which a config differs from what it was begun with."""
    parts: list[str] = []
    for key, value in _flat(config).items():
        if key in ("preset", "task.defined_in", "model.defined_in") or _same(value, default.get(key)):
            continue
        if key.startswith(_SWEPT):
            parts += ["--sweep", shlex.quote(f"{key.removeprefix(_SWEPT)}={_values(value)}")]
        else:
            parts += ["--set", shlex.quote(f"{key}={_written(value)}")]
    return parts


def _same(value: Any, default: Any) -> bool:
    """Whether a setting is the default, also where that is a function of a copy of its file."""
    file, _, function = str(value).rpartition(":")
    copied = file.endswith(".py") and str(default).endswith(f"{own_code.copy_name(file)}:{function}")
    return bool(value == default or copied)


def _flat(table: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return flat


def _written(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | bool) else str(value)


def _values(values: list) -> str:
    """Values of an axis as `--sweep` reads them."""
    plain = all(isinstance(value, int | float | str) and not isinstance(value, bool) for value in values)
    return ",".join(map(str, values)) if plain else json.dumps(values)


def _options(settings: dict[str, Any], leave_out: tuple[str, ...] = ()) -> list[str]:
    parts = []
    for key, value in settings.items():
        if key in leave_out or value is None or value is False or value == []:
            continue
        option = "--" + key.replace("_", "-")
        parts += [option] if value is True else [option, _joined(value)]
    return parts


def _estimate(settings: dict[str, Any], llc: xr.Dataset) -> list[str]:
    return [*_steps(store.settings_of(llc, "estimates"), llc), *_options(settings, ("plateau",))]


def _pca(settings: dict[str, Any], _pca: xr.Dataset) -> list[str]:
    return [*_options(settings, ("fit", "checkpoints")), *_each("--fit", settings.get("fit", {}))]


def _behaviour(settings: dict[str, Any], found: xr.Dataset) -> list[str]:
    steps = _steps(settings.get("steps", {}), found)
    return [*steps, *_each("--change", settings.get("changed", {})), *_options(settings, ("steps", "changed"))]


def _readouts(settings: dict[str, Any], found: xr.Dataset) -> list[str]:
    parts = _steps(settings.get("steps", {}), found)
    return parts if settings.get("hessian", True) else [*parts, "--no-hessian"]


def _pair(experiment: store.Experiment, tradeoff: xr.Dataset | None) -> list[str]:
    """The references of the tradeoff, where they are not the task's own pair."""
    if tradeoff is None:
        return []
    pair = store.settings_of(tradeoff, "tradeoff").get("pair", [])
    return [] if not pair or tuple(pair) == tuple(experiment.described[0].pair or ()) else ["--pair", _joined(pair)]


def _plain(settings: dict[str, Any], found: xr.Dataset) -> list[str]:
    """Options that are called as the settings are."""
    steps = settings.get("steps")
    return [*([] if steps is None else _steps(steps, found)), *_options(settings, ("steps",))]


def _none(_settings: dict[str, Any], _found: xr.Dataset) -> list[str]:
    """Of what its command takes no settings for."""
    return []


# Of results some of whose settings are written in another way.
_MAKERS = {"essential": _none, "llc": _estimate, "pca": _pca, "behaviour": _behaviour, "readouts": _readouts}


def _each(option: str, values: dict[str, list]) -> list[str]:
    return [part for key, some in values.items() for part in (option, _joined(f"{key}={','.join(map(str, some))}"))]


def _joined(value: Any) -> str:
    return shlex.quote(",".join(map(str, value)) if isinstance(value, list) else str(value))


def _steps(of_runs: dict[str, list[int]], dataset: xr.Dataset) -> list[str]:
    """The steps that all runs have; where they differ, no single command does it."""
    common = set(map(int, dataset.step.values)).intersection(*of_runs.values())
    return ["--steps", ",".join(map(str, sorted(common)))]
