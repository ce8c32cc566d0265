"""λ̂ at chosen checkpoints of every run of an experiment, with one setting, resumable checkpoint by checkpoint."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field, model_validator

from llc import behaviour, models, predictors, store
from llc.complexity.calibration import NBETA_FACTORS, RADII, Calibration, Point, calibrate, choose_radius
from llc.complexity.calibration_labels import calibration_dataset
from llc.complexity.conclusion import Estimate
from llc.complexity.labels import (
    SCALARS,
    TRACES,
    described,
    described_position,
    position_coord,
    position_values,
    scalar_values,
    trace_values,
)
from llc.complexity.measure import estimate_numbers
from llc.complexity.settings import SamplingConfig, choose_batch_size, choose_gamma
from llc.errors import EstimateFailed, InvalidInput, StoreError
from llc.parallel import Report, default_jobs, quiet, raise_failures, run_units
from llc.sampling import Loss, needs_full_batch, sampler_named
from llc.training import RunConfig, load_model


class LLCConfig(SamplingConfig):
    """How λ̂ is estimated over training: `SamplingConfig`, and what is the same at every checkpoint besides.

    Args:
        num_samples: n, sequences of q_M in the sampling dataset of each run.
        loss: `mse`, squared error averaged over positions and sequences, or `nll`, K/(2σ²) times that.
        positions: also tell λ̂ apart by position, from the same draws.
        seed: of the chains.
    """

    num_samples: int = Field(4096, ge=2)
    loss: Literal["mse", "nll"] = "mse"
    positions: bool = False
    seed: int = 0

    @model_validator(mode="after")
    def _fits(self):
        if self.batch_size is not None and self.batch_size > self.num_samples:
            raise ValueError(f"batch_size = {self.batch_size} given, expected at most num_samples = {self.num_samples}")
        return self


def estimate_llc_over_training(
    experiment: store.Experiment,
    *,
    steps: str | Sequence[int] = "log:12",
    jobs: int | None = None,
    overwrite: bool = False,
    report: Report = quiet,
    **settings,
) -> xr.Dataset:
    """λ̂ at the same steps of every run of a sweep; also written to its `llc.nc`.

    Each checkpoint's result is saved as it is made; calling again goes on where an earlier call stopped, and adds
    steps to those there are. Results do not depend on `jobs`.

    Args:
        experiment: from `llc.open` or `llc.train`.
        steps: `log:12` (about twelve, evenly spaced in log step, first and last among them), `linear:12`, `last`,
            `all`, `500,1000`, or a list of steps.
        jobs: worker processes; by default one a core.
        overwrite: replace estimates that were made with other settings instead of refusing.
        settings: the fields of `LLCConfig`.
    Returns:
        λ̂, error, verdict and diagnostics by (num_tasks, seed, step), and the traces by (…, chain, draw).
    Raises:
        InvalidInput: a setting that does not fit, or steps that no checkpoint has.
        StoreError: there are estimates with other settings (the difference is shown), or nothing is trained yet.
        EstimateFailed: some checkpoints could not be estimated (each is named); the others are saved.
        Interrupted: Ctrl-C; calling again resumes.
    """
    config = LLCConfig(**settings)
    runs = [run for run in experiment.runs if run.steps]
    if not runs:
        raise StoreError(f"{experiment.path} has no checkpoints yet; train it first with: llc train")
    chosen = {run.name: choose_steps(steps, run) for run in runs}
    with store.folder_lock(experiment.path):
        config = settle(config, runs)
        _check_settings(experiment.path, config, overwrite)
        units = [
            (run.path, step, config.to_table())
            for run in runs
            for step in chosen[run.name]
            if not result_path(run, step, config).exists()
        ]
        if not units and _up_to_date(experiment, runs, config):
            report("estimates", 0, 0, "all of these were estimated before; nothing to do")
            return experiment.llc
        failures: list[Exception] = []
        try:
            for outcome in run_units(
                _estimate_unit, units, jobs=jobs or default_jobs(len(units)), report=_counted(report, len(units))
            ):
                failures += [outcome.error] if outcome.error else []
        finally:  # what is finished is merged, also after Ctrl-C
            dataset = _merge(experiment, runs, config)
        raise_failures(failures, f"{len(failures)} of {len(units)} checkpoints could not be estimated", EstimateFailed)
        _forget_others(runs, config)
    if dataset is None:
        raise EstimateFailed("no checkpoint could be estimated")
    return dataset


def choose_steps(steps: str | Sequence[int], run: store.Run) -> list[int]:
    """The checkpoints of a run that a choice of steps names.

    Raises:
        InvalidInput: a choice that cannot be read. StoreError: a step without a checkpoint; the nearest are named.
    """
    available = run.steps
    if isinstance(steps, str):
        kind, _, number = steps.partition(":")
        if steps == "all":
            return available
        if steps == "last":
            return available[-1:]
        if kind in {"log", "linear"} and number.isdecimal() and int(number) > 0:
            return _spaced(available, int(number), logarithmic=kind == "log")
        parts = [part.strip() for part in steps.split(",")]
        if not all(part.isdecimal() for part in parts):
            raise InvalidInput(
                f"steps = {steps!r} given, expected log:N, linear:N, all, last, or steps such as 500,1000"
            )
        steps = [int(part) for part in parts]
    for step in steps:
        run.check_step(step)
    return sorted(set(steps))


def _spaced(available: list[int], number: int, *, logarithmic: bool) -> list[int]:
    """At most `number` of the available steps, nearest to an even spacing, the first and the last among them."""
    if number == 1:
        return available[-1:]
    scale = np.log1p if logarithmic else np.asarray
    places = scale(np.array(available, dtype=float))
    wanted = np.linspace(places[0], places[-1], number)
    return sorted({available[int(np.abs(places - want).argmin())] for want in wanted})


def settle(config: LLCConfig, runs: list[store.Run]) -> LLCConfig:
    """The config with nβ and γ chosen, so that every checkpoint of a study has the same target."""
    full_batch = needs_full_batch(sampler_named(config.sampler))
    chosen: dict = {
        "nbeta": config.num_samples / math.log(config.num_samples) if config.nbeta is None else config.nbeta,
        "batch_size": choose_batch_size(config, config.num_samples, full_batch),
    }
    config = config.model_copy(update=chosen)
    if config.gamma is None:
        if config.radius is None:
            pilots = _evenly(runs, 2)
            points = [study_point(run, run.steps[-1], config) for run in pilots]
            radius = choose_radius(points, config, key=(config.seed, "pilot"))
            config = config.model_copy(update={"radius": radius})
        gamma = choose_gamma((load_model(run, run.steps[-1]) for run in runs), config)
        config = config.model_copy(update={"gamma": gamma, "radius": None})
    return config


def _evenly(items: list, number: int) -> list:
    """At most `number` of them, the first and the last among them."""
    places = np.linspace(0, len(items) - 1, min(number, len(items))).round().astype(int)
    return [items[place] for place in places]


def study_point(run: store.Run, step: int, config: LLCConfig) -> Point:
    """A checkpoint with the loss, data and know-nothing losses that the study estimates it with."""
    of_run = RunConfig.from_table(run.config)
    loss = run_loss(of_run, config)
    data = of_run.task.sample(config.num_samples, stream="llc")
    name = f"{run.name} step {step}"
    return Point(name, load_model(run, step), loss, data, know_nothing_losses(of_run, loss, data))


def calibrate_experiment(
    experiment: store.Experiment,
    *,
    steps: str | Sequence[int] = "last",
    points: int = 3,
    radii: Sequence[float] = RADII,
    nbeta_factors: Sequence[float] = NBETA_FACTORS,
    report: Report = quiet,
    **settings,
) -> tuple[Calibration, xr.Dataset]:
    """Choose nβ, γ and the step size of a study on a few of its checkpoints; see `calibrate`.

    Writes `calibration.nc` (every trial, with traces) and `calibration.toml` (what `settings_from` reads).

    Args:
        steps: as for `estimate_llc_over_training`. points: how many checkpoints to use, spread over runs and steps.
        settings: the fields of `LLCConfig` that are not to be chosen.
    Raises:
        InvalidInput: a setting that does not fit. StoreError: nothing is trained yet.
        EstimateFailed: no setting will do; the reasons are given.
    """
    if points < 1:
        raise InvalidInput(f"points = {points} given, expected a whole number from 1 up")
    config = LLCConfig(**settings)
    runs = [run for run in experiment.runs if run.steps]
    if not runs:
        raise StoreError(f"{experiment.path} has no checkpoints yet; train it first with: llc train")
    places = _evenly([(run, step) for run in runs for step in choose_steps(steps, run)], points)
    chosen = [study_point(run, step, config) for run, step in places]
    key = (config.seed, "calibrate")
    found = calibrate(chosen, config, radii=radii, nbeta_factors=nbeta_factors, key=key, report=report)
    dataset = calibration_dataset(found)
    with store.folder_lock(experiment.path):
        about = {**experiment.config, "llc": found.settings.to_table()}
        written = store.write_dataset(experiment.path / "calibration.nc", dataset, about)
        # The trials were short; how long to run is for the estimates to say.
        chosen_table = {name: value for name, value in found.settings.to_table().items() if name != "draws"}
        store.write_table(experiment.path / "calibration.toml", chosen_table)
    return found, written


def settings_from(path: Path) -> dict:
    """The fields of `LLCConfig` in a settings file, such as `calibration.toml` or an `llc.toml`.

    Raises:
        StoreError: there is no such file, or it cannot be read. InvalidInput: a key or value that does not fit.
    """
    if not path.is_file():
        raise StoreError(f"no settings file {path}; llc calibrate makes one")
    return LLCConfig.from_table(store.read_table(path)).model_dump(exclude_unset=True)


def result_path(run: store.Run, step: int, config: LLCConfig) -> Path:
    """Where the estimate at one checkpoint with one setting is kept; other settings have a folder of their own."""
    return run.path / "llc" / store.table_hash(config.to_table()) / f"{step:06d}.nc"


def run_loss(run: RunConfig, config: LLCConfig) -> Loss:
    """The loss that a study asks for by name, per sequence or per sequence and position."""
    if config.loss == "nll":
        return behaviour.negative_log_likelihoods(run.task.noise_variance, by_position=config.positions)
    return behaviour.position_losses if config.positions else behaviour.sequence_losses


class _Zero(torch.nn.Module):
    """The zero predictor, where a model is wanted."""

    def forward(self, xs: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
        return predictors.zero(xs, ys)


@torch.no_grad()
def know_nothing_losses(config: RunConfig, loss: Loss, data: behaviour.Batch) -> dict[str, float]:
    """Mean losses of two predictors that know nothing: always zero, and the run's model before training."""
    untrained = models.build(config.model, config.task, config.seed)
    return {
        "the zero predictor": float(loss(_Zero(), data).mean()),
        "the untrained model": float(loss(untrained, data).mean()),
    }


def _estimate_unit(path: Path, step: int, table: dict, report: Report) -> None:
    """Estimate one checkpoint of one run and save the result beside it."""
    config, run = LLCConfig.from_table(table), store.Run(path)
    of_run, point = RunConfig.from_table(run.config), study_point(run, step, config)
    estimate = estimate_numbers(
        point.model,
        point.loss,
        point.data,
        config,
        reference_losses=point.reference_losses,
        key=(config.seed, "llc", of_run.task.num_tasks, of_run.seed, step),
    )
    store.write_dataset(result_path(run, step, config), _label(estimate, of_run, step), {**run.config, "llc": table})
    report(run.name, step, step, f"llc {estimate.summary.llc:.1f} ± {estimate.summary.llc_se:.1f}, {estimate.verdict}")


def _label(estimate: Estimate, run: RunConfig, step: int) -> xr.Dataset:
    """One estimate with the dims of a sweep, each of length one, and its traces with the warm-up first."""
    place = ("num_tasks", "seed", "step")
    chains, draws = estimate.chains.difference.shape
    coords = behaviour.run_coords([run.task.num_tasks], [run.seed], [step]) | {
        "chain": ("chain", np.arange(chains), {"long_name": "chain", "units": "1"}),
        "draw": ("draw", np.arange(draws), {"long_name": "draw; those below `warmup` are warm-up", "units": "1"}),
    }
    data: dict = {
        name: (place, np.reshape(value, (1, 1, 1)), described(SCALARS, name))
        for name, value in scalar_values(estimate).items()
    }
    for name in sorted({"step_size", "friction", "leapfrog_steps", "curvature"} & set(estimate.settings)):
        about = {"long_name": f"{name.replace('_', ' ')} used at this checkpoint", "units": "1"}
        data[name] = (place, np.full((1, 1, 1), float(estimate.settings[name])), about)
    for name, values in position_values(estimate).items():
        data[name] = ((*place, "position"), values[None, None, None], described_position(name))
        coords["position"] = position_coord(len(values))
    for name, trace in trace_values(estimate).items():
        data[f"{name}_trace"] = ((*place, "chain", "draw"), trace[None, None, None], described(TRACES, name))
    return xr.Dataset(data, coords)


def _results(run: store.Run, config: LLCConfig) -> list[Path]:
    return sorted(result_path(run, 0, config).parent.glob("[0-9]*.nc"))


def _merge(experiment: store.Experiment, runs: list[store.Run], config: LLCConfig) -> xr.Dataset | None:
    """Write `llc.nc` and `llc.toml` from every estimate there is with these settings, if there are any."""
    parts = []
    for run in runs:
        found = [store.read_dataset(path) for path in _results(run, config)]
        if found:
            parts.append(xr.concat(found, "step", combine_attrs="override"))
    if not parts:
        return None
    settings = {**experiment.config, "llc": config.to_table()}
    whole = store.write_dataset(experiment.path / "llc.nc", store.merge(parts), settings)
    store.write_table(experiment.path / "llc.toml", config.to_table())
    return whole


def _up_to_date(experiment: store.Experiment, runs: list[store.Run], config: LLCConfig) -> bool:
    """Whether `llc.nc` was merged after the last estimate with these settings was made."""
    merged = experiment.path / "llc.nc"
    made = [path.stat().st_mtime_ns for run in runs for path in _results(run, config)]
    return merged.exists() and merged.stat().st_mtime_ns >= max(made, default=0)


def _check_settings(folder: Path, config: LLCConfig, overwrite: bool) -> None:
    """Refuse to mix settings in one `llc.nc`, unless asked to replace it."""
    path = folder / "llc.toml"
    changed = store.differences(store.read_table(path), config.to_table()) if path.exists() else []
    if changed and not overwrite:
        raise StoreError(
            f"{folder} has estimates made with other settings ({'; '.join(changed)}); give those settings again to "
            "add to them, or --overwrite to replace them"
        )


def _forget_others(runs: list[store.Run], config: LLCConfig) -> None:
    """Delete estimates made with other settings, now that these have replaced them."""
    for run in runs:
        kept = result_path(run, 0, config).parent
        for folder in kept.parent.glob("*"):
            if folder != kept:
                shutil.rmtree(folder, ignore_errors=True)


def _counted(report: Report, total: int) -> Report:
    """Turn the reports of single checkpoints into one count of them."""
    done = 0

    def counted(unit: str, step: int, _total: int, note: str) -> None:
        nonlocal done
        done += 1
        report("estimates", done, total, f"{unit} step {step}: {note}")

    return counted
