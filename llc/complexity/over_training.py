"""λ̂ at chosen checkpoints of every run of an experiment, with one setting, resumable checkpoint by checkpoint."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import xarray as xr
from pydantic import Field, field_validator

from llc import behaviour, models, predictors, store
from llc.complexity.conclusion import Estimate
from llc.complexity.estimate import default_gamma, estimate_numbers
from llc.complexity.labels import SCALARS, TRACES, described, scalar_values, trace_values
from llc.config import Config
from llc.errors import EstimateFailed, InvalidInput, StoreError, did_you_mean
from llc.parallel import Report, default_jobs, quiet, raise_failures, run_units
from llc.sampling import LEAST_DRAWS, SAMPLERS, Loss, needs_full_batch, sampler_named
from llc.training import RunConfig, load_model


class LLCConfig(Config):
    """How λ̂ is estimated over training; None stands for a choice made from the data, and recorded.

    Args:
        sampler: see `llc.sampling`.
        chains, draws: per checkpoint. warmup: draws made before those, kept apart; None to find the end of burn-in in
            twice `draws`.
        num_samples: n, sequences of q_M in the sampling dataset of each run.
        batch_size: sequences a draw; None for 256, or n where that is smaller or the sampler needs full batches.
        control_variates: see `llc.sampling.Target`.
        nbeta: nβ; None for n / log n.
        gamma: γ; None for 9 P/‖w‖², geometric mean over the runs' last checkpoints, one value for all.
        step_size: of the sampler; None for a choice from the curvature at each checkpoint.
        loss: `mse`, squared error averaged over positions and sequences, or `nll`, K/(2σ²) times that.
        seed: of the chains.
    """

    sampler: str = "kinetic"
    chains: int = Field(4, ge=1)
    draws: int = Field(200, ge=LEAST_DRAWS)
    warmup: int | None = Field(None, ge=0)
    num_samples: int = Field(4096, ge=2)
    batch_size: int | None = Field(None, ge=1)
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
    def _fits(cls, value: int | None, info) -> int | None:
        if value is not None and value > info.data.get("num_samples", value):
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
    choices: dict[str, float | int] = {}
    if config.batch_size is None:
        full = needs_full_batch(sampler_named(config.sampler))
        choices["batch_size"] = config.num_samples if full else min(256, config.num_samples)
    if config.nbeta is None:
        choices["nbeta"] = config.num_samples / math.log(config.num_samples)
    if config.gamma is None:
        choices["gamma"] = default_gamma(load_model(run, run.steps[-1]) for run in runs)
    return config.override(choices)


def result_path(run: store.Run, step: int, config: LLCConfig) -> Path:
    """Where the estimate at one checkpoint with one setting is kept; other settings have a folder of their own."""
    return run.path / "llc" / store.table_hash(config.to_table()) / f"{step:06d}.nc"


def run_loss(config: RunConfig, loss: str) -> Loss:
    """The per-sequence loss that a study asks for by name."""
    if loss == "nll":
        return behaviour.negative_log_likelihoods(config.task.noise_variance)
    return behaviour.sequence_losses


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
