"""λ̂ at chosen checkpoints of every run of an experiment, with one setting, resumable checkpoint by checkpoint."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field, field_validator

from llc import behaviour, models, predictors, store
from llc.complexity.estimate import (
    SCALARS,
    TRACES,
    Estimate,
    default_gamma,
    described,
    estimate_numbers,
    scalar_values,
    trace_values,
)
from llc.config import Config
from llc.errors import EstimateFailed, InvalidInput, StoreError, did_you_mean
from llc.parallel import Report, default_jobs, quiet, raise_failures, run_units
from llc.sampling import SAMPLERS, Loss
from llc.training import RunConfig, load_model


class LLCConfig(Config):
    """How λ̂ is estimated over training; None stands for a choice made from the data, and recorded.

    Args:
        sampler: see `llc.sampling`.
        chains, draws: per checkpoint. warmup: draws made before those, kept apart; None to find the end of burn-in in
            twice `draws`.
        num_samples: n, sequences of q_M in the sampling dataset of each run.
        batch_size: sequences a draw.
        control_variates: see `llc.sampling.Target`.
        nbeta: nβ; None for n / log n.
        gamma: γ; None for 9 P/‖w‖², geometric mean over the runs' last checkpoints, one value for all.
        step_size: of the sampler; None for a choice from the curvature at each checkpoint.
        loss: `mse`, squared error averaged over positions and sequences, or `nll`, K/(2σ²) times that.
        seed: of the chains.
    """

    sampler: str = "kinetic"
    chains: int = Field(4, ge=1)
    draws: int = Field(200, ge=4)
    warmup: int | None = Field(None, ge=0)
    num_samples: int = Field(4096, ge=2)
    batch_size: int = Field(256, ge=1)
    control_variates: bool = False
    nbeta: float | None = Field(None, gt=0, allow_inf_nan=False)
    gamma: float | None = Field(None, ge=0, allow_inf_nan=False)
    step_size: float | None = Field(None, gt=0, allow_inf_nan=False)
    loss: Literal["mse", "nll"] = "mse"
    seed: int = 0

    @field_validator("sampler")
    @classmethod
    def _known_sampler(cls, value: str) -> str:
        if value not in SAMPLERS:
            raise ValueError(did_you_mean(value, SAMPLERS))
        return value

    @field_validator("batch_size")
    @classmethod
    def _fits(cls, value: int, info) -> int:
        if value > info.data.get("num_samples", value):
            raise ValueError(f"expected at most num_samples = {info.data['num_samples']}")
        return value


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
        _claim(experiment.path, runs, config, overwrite)
        units = [
            (run.path, step, config.to_table())
            for run in runs
            for step in chosen[run.name]
            if not result_path(run, step).exists()
        ]
        if not units and (experiment.path / "llc.nc").exists():
            report("estimates", 0, 0, "all of these were estimated before; nothing to do")
            return experiment.llc
        outcomes = run_units(
            _estimate_unit, units, jobs=jobs or default_jobs(len(units)), report=_counted(report, len(units))
        )
        failures = [outcome.error for outcome in outcomes if outcome.error]
        dataset = _merge(experiment, runs, config)
        raise_failures(failures, f"{len(failures)} of {len(units)} checkpoints could not be estimated", EstimateFailed)
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
    choices: dict[str, float | int] = {}
    if config.nbeta is None:
        choices["nbeta"] = config.num_samples / math.log(config.num_samples)
    if config.gamma is None:
        choices["gamma"] = default_gamma(load_model(run, run.steps[-1]) for run in runs)
    return config.override(choices)


def result_path(run: store.Run, step: int) -> Path:
    """Where the estimate at one checkpoint is kept."""
    return run.path / "llc" / f"{step:06d}.nc"


def run_loss(config: RunConfig, loss: str) -> Loss:
    """The per-sequence loss that a study asks for by name."""
    if loss == "nll":
        return behaviour.negative_log_likelihoods(config.task.noise_variance)
    return behaviour.sequence_losses


@torch.no_grad()
def know_nothing_losses(config: RunConfig, loss: Loss, data: behaviour.Batch) -> dict[str, float]:
    """Mean losses of two predictors that know nothing: always zero, and the run's model before training."""
    zero = lambda xs, ys: predictors.zero(xs, ys)  # noqa: E731
    untrained = models.build(config.model, config.task, config.seed)
    return {
        "the zero predictor": float(loss(zero, data).mean()),
        "the untrained model": float(loss(untrained, data).mean()),
    }


def _estimate_unit(path: Path, step: int, table: dict, report: Report) -> None:
    """Estimate one checkpoint of one run and save the result beside it."""
    config, run = LLCConfig.from_table(table), store.Run(path)
    of_run = RunConfig.from_table(run.config)
    loss = run_loss(of_run, config.loss)
    data = of_run.task.sample(config.num_samples, stream="llc")
    estimate = estimate_numbers(
        load_model(run, step),
        loss,
        data,
        nbeta=config.nbeta,
        gamma=config.gamma,
        sampler=config.sampler,
        step_size=config.step_size,
        chains=config.chains,
        draws=config.draws,
        warmup=config.warmup,
        batch_size=config.batch_size,
        control_variates=config.control_variates,
        reference_losses=know_nothing_losses(of_run, loss, data),
        key=(config.seed, "llc", of_run.task.num_tasks, of_run.seed, step),
    )
    store.write_dataset(result_path(run, step), _label(estimate, of_run, step), {**run.config, "llc": table})
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
    for name, trace in trace_values(estimate).items():
        data[f"{name}_trace"] = ((*place, "chain", "draw"), trace[None, None, None], described(TRACES, name))
    return xr.Dataset(data, coords)


def _merge(experiment: store.Experiment, runs: list[store.Run], config: LLCConfig) -> xr.Dataset:
    """Write `llc.nc` from every estimate there is."""
    parts = []
    for run in runs:
        found = [store.read_dataset(path) for path in sorted((run.path / "llc").glob("*.nc"))]
        if found:
            parts.append(xr.concat(found, "step", combine_attrs="override"))
    if not parts:
        raise EstimateFailed("no checkpoint could be estimated")
    settings = {**experiment.config, "llc": config.to_table()}
    return store.write_dataset(experiment.path / "llc.nc", store.merge(parts), settings)


def _claim(folder: Path, runs: list[store.Run], config: LLCConfig, overwrite: bool) -> None:
    """Check that the estimates there were made with these settings, or make room for new ones."""
    path, table = folder / "llc.toml", config.to_table()
    changed = store.differences(store.read_table(path), table) if path.exists() else []
    if changed and not overwrite:
        raise StoreError(
            f"{folder} has estimates made with other settings ({'; '.join(changed)}); give those settings again to "
            "add to them, or --overwrite to replace them"
        )
    if changed:
        (folder / "llc.nc").unlink(missing_ok=True)
        for run in runs:
            for old in (run.path / "llc").glob("*.nc"):
                old.unlink()
    store.write_table(path, table)


def _counted(report: Report, total: int) -> Report:
    """Turn the reports of single checkpoints into one count of them."""
    done = 0

    def counted(unit: str, step: int, _total: int, note: str) -> None:
        nonlocal done
        done += 1
        report("estimates", done, total, f"{unit} step {step}: {note}")

    return counted
