"""λ̂ at chosen checkpoints of every run of an experiment, with one setting, resumable checkpoint by checkpoint."""

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from llc import devices, store
from llc.errors import EstimateFailed, Interrupted, InvalidInput, LLCError, StoreError, check_flag
from llc.estimate.measure import estimate_all
from llc.parallel import Progress, check_scheduler, counted, default_workers, quiet, raise_failures, run_units
from llc.sampling import chosen_weights, sent_samplers, take_samplers
from llc.store.places import coords_of
from llc.study.labels import joined, label
from llc.study.pilots import settle
from llc.study.points import LLCConfig, choose_steps, sampled_task, study_points, trained_runs


@store.takes_experiment
def estimate_llc_over_training(
    experiment: store.Experiment,
    *,
    steps: str | Sequence[int] = "log:12",
    jobs: int | None = None,
    overwrite: bool = False,
    scheduler: str | None = None,
    device: str = "auto",
    progress: Progress = quiet,
    **settings: Any,
) -> xr.Dataset:
    """λ̂ at the same steps of every run of a sweep; also written to its `llc.nc`.

    Each checkpoint's result is saved as it is made; calling again goes on where an earlier call stopped, and adds
    steps to those there are. On a CPU results do not depend on `jobs`; on a GPU, where chains of several checkpoints
    share a graph if draws are given, up to rounding.

    Args:
        experiment: from `llc.open` or `llc.train`.
        steps: `log:12` (about twelve, evenly spaced in log step, first and last among them), `linear:12`, `last`,
            `all`, `500,1000`, or a list of steps.
        jobs: worker processes; by default one a core, or one a GPU.
        overwrite: replace estimates that were made with other settings instead of refusing.
        scheduler: address of a Dask scheduler whose workers share this file system (see `docs/many_machines.md`).
        device: `cpu`, `cuda`, `mps`, or `auto` for the fastest there is.
        progress: told (unit, done, total, note).
        settings: the fields of `LLCConfig`.
    Returns:
        λ̂, error, verdict and diagnostics by (axes of the sweep …, step), and the traces by (…, chain, draw).
    Raises:
        InvalidInput: a setting that does not fit, or no such device here.
        StoreError: steps that no checkpoint has, estimates with other settings (the difference is shown), or nothing is
            trained yet.
        EstimateFailed: some checkpoints could not be estimated (each is named); the others are saved.
        Interrupted: Ctrl-C; calling again resumes.
    """
    check_flag("overwrite", overwrite)
    config, where = LLCConfig(**settings), devices.choose_device(device)
    runs = trained_runs(experiment)
    chosen = {run.name: choose_steps(steps, run) for run in runs}
    if config.parameters is not None:
        _check_patterns(runs, config.parameters)
    for run in runs:
        run.check_code()  # here, since workers elsewhere have no list of what this user trusts
        sampled_task(run, config)  # a test set that is none is told before anything runs
    for run in runs:
        store.check_belongs(experiment, run)
        store.own_folder(run.estimates)
        run.check_files()
    check_scheduler(scheduler)
    with store.folder_lock(experiment.path):
        # Pilots take minutes: settings that clash with those there are told without.
        config = (None if overwrite else _filled(experiment.path, config)) or settle(
            config, runs, where, progress, jobs=jobs or default_workers(len(runs), where)
        )
        _check_settings(experiment.path, config, overwrite)
        for run in runs:  # all there are go into one result: what cannot, is told before hours of work
            store.check_numbered(result_path(run, 0, config).parent, ".nc")
        wanted = [
            (run.path.absolute(), step)
            for run in runs
            for step in chosen[run.name]
            if not result_path(run, step, config).exists()
        ]
        if not wanted and _up_to_date(experiment, runs, config):
            progress("estimates", 0, 0, "all of these were estimated before; nothing to do")
            return experiment.llc
        workers = jobs or default_workers(len(wanted), where)
        share = math.ceil(len(wanted) / workers) if scheduler is None else _MOST_ON_A_CLUSTER
        size = _checkpoints_at_once(runs, config, where, share)
        units = [(part, config.to_table(), sent_samplers(), str(where)) for part in _parts(wanted, size)]
        failures: list[Exception] = []
        try:
            for outcome in run_units(
                _estimate_unit,
                units,
                jobs=workers,
                scheduler=scheduler,
                progress=counted(progress, len(wanted)),
            ):
                failures += [outcome.error] if outcome.error else []
        finally:  # what is finished is merged, also after Ctrl-C
            dataset = _merge(experiment, runs, config)
        missing = sum(not result_path(store.Run(path), step, config).exists() for path, step in wanted)
        raise_failures(failures, f"{missing} of {len(wanted)} checkpoints could not be estimated", EstimateFailed)
        if overwrite:
            _forget_others(experiment, runs, config)
    if dataset is None:
        raise EstimateFailed("no checkpoint could be estimated")
    return dataset


def _check_patterns(runs: list[store.Run], patterns: list[str]) -> None:
    """A pattern that matches in no run is told as such, not as settings that clash."""
    errors = []
    for run in runs:
        try:
            chosen_weights(run.untrained(), patterns)
        except InvalidInput as error:
            errors.append(error)
    if len(errors) == len(runs):
        raise errors[0]


def result_path(run: store.Run, step: int, config: LLCConfig) -> Path:
    """Where the estimate at one checkpoint with one setting is kept; other settings have a folder of their own."""
    return store.numbered_path(run.estimates / store.table_hash(config.to_table()), step, ".nc")


def _parts(wanted: list[tuple[Path, int]], size: int) -> Iterator[list[tuple[Path, int]]]:
    """Checkpoints of models of one kind, so many at a time."""
    kinds: dict[str, list[tuple[Path, int]]] = {}
    for path, step in wanted:
        kinds.setdefault(store.table_hash(store.Run(path).config["model"]), []).append((path, step))
    for of_kind in kinds.values():
        yield from (of_kind[start : start + size] for start in range(0, len(of_kind), size))


# Checkpoints whose chains share a graph, at most: results are saved when all of them are done. Fewer on a cluster,
# whose workers this machine does not know.
_MOST_AT_ONCE, _MOST_ON_A_CLUSTER = 64, 8
# Vectors of P numbers that the engine holds for each chain, with some to spare.
_VECTORS_A_CHAIN = 20


def _checkpoints_at_once(runs: list[store.Run], config: LLCConfig, device: torch.device, share: int) -> int:
    """How many checkpoints' chains run in one graph: one on a CPU; on a CUDA device as many as a quarter of its free
    memory holds, but no more than a worker's share.
    """
    if device.type != "cuda":
        return 1
    parameters = max(sum(parameter.numel() for parameter in run.untrained().parameters()) for run in runs)
    vectors = _VECTORS_A_CHAIN * config.chains
    if config.control_variates:
        vectors += math.ceil(config.num_samples / (config.batch_size or config.num_samples))
    fitting = devices.free_memory(device) // 4 // (4 * parameters * vectors)
    return max(1, min(int(fitting), share, _MOST_AT_ONCE))


def _estimate_unit(
    places: list[tuple[Path, int]], table: dict[str, Any], samplers: bytes, device: str, progress: Progress
) -> None:
    """Estimate checkpoints, (run folder, step) each, and save the results beside them.

    Where several cannot be estimated together, because one of them is damaged or they need too much memory, halves of
    them are tried: the failure of one does not take others along.
    """
    take_samplers(samplers)
    config = LLCConfig.from_table(table)
    places = [(path, step) for path, step in places if not result_path(store.Run(path), step, config).exists()]
    try:
        _estimate_together(places, config, devices.choose_device(device), progress)
    except Interrupted:
        raise
    except (LLCError, torch.OutOfMemoryError) as error:
        if len(places) == 1:
            raise
        if isinstance(error, torch.OutOfMemoryError):
            torch.cuda.empty_cache()
        failures = []
        for half in (places[: len(places) // 2], places[len(places) // 2 :]):
            try:
                _estimate_unit(half, table, samplers, device, progress)
            except Interrupted:
                raise
            except LLCError as failed:
                failures.append(str(failed))
        if failures:
            raise EstimateFailed("; ".join(failures)) from None


def _estimate_together(
    places: list[tuple[Path, int]], config: LLCConfig, device: torch.device, progress: Progress
) -> None:
    by_run = [
        (store.Run(path), [step for _, step in of_run])
        for path, of_run in itertools.groupby(places, key=lambda place: place[0])
    ]
    points = [point for run, steps in by_run for point in study_points(run, steps, config)]
    every = [(run, step) for run, steps in by_run for step in steps]
    keys = [(config.seed, "llc", run.name, step) for run, step in every]
    estimates = estimate_all(points, config, keys=keys, device=device)
    for (run, step), estimate in zip(every, estimates, strict=True):
        about = {**run.config, "llc": config.to_table()}
        coords = coords_of(run.config["place"], run.task)
        store.write_dataset(result_path(run, step, config), label(estimate, tuple(run.place), coords, step), about)
        found = estimate.summary
        progress(run.name, step, max(1, step), f"llc {found.llc:.1f} ± {found.llc_se:.1f}, {estimate.verdict}")


def _results(run: store.Run, config: LLCConfig) -> list[Path]:
    folder = result_path(run, 0, config).parent
    return [result_path(run, step, config) for step in store.numbered_steps(folder, ".nc")]


def _merge(experiment: store.Experiment, runs: list[store.Run], config: LLCConfig) -> xr.Dataset | None:
    """Write `llc.nc` and `llc.toml` from every estimate there is with these settings, if there are any."""
    files = [path for run in runs for path in _results(run, config)]
    if not files:
        return None
    parts = [joined(_results(run, config), run.config) for run in runs]
    whole = store.merge(part for part in parts if part is not None)
    store.write_merged(experiment.path / "llc.nc", files, whole, _provenance(experiment, runs, config))
    store.write_table(experiment.path / "llc.toml", config.to_table())
    return experiment.llc


def _up_to_date(experiment: store.Experiment, runs: list[store.Run], config: LLCConfig) -> bool:
    """Whether `llc.nc` was merged from just the estimates there are with these settings. Clocks are not asked."""
    return store.carries(experiment.path / "llc.nc", _provenance(experiment, runs, config))


def _provenance(experiment: store.Experiment, runs: list[store.Run], config: LLCConfig) -> dict[str, Any]:
    """What `llc.nc` is made from: the experiment, the settings, and the steps of each run."""
    steps = {run.name: [int(path.stem) for path in _results(run, config)] for run in runs}
    return {**experiment.config, "llc": config.to_table(), "estimates": steps}


def _check_settings(folder: Path, config: LLCConfig, overwrite: bool) -> None:
    """Refuse to mix settings in one `llc.nc`, unless asked to replace it."""
    path = folder / "llc.toml"
    changed = store.differences(store.read_table(path), config.to_table()) if store.is_there(path) else []
    if changed and not overwrite:
        raise StoreError(
            f"{folder} has estimates made with other settings ({'; '.join(changed)}); give those settings again to "
            "add to them, or --overwrite to replace them"
        )


def _filled(folder: Path, config: LLCConfig) -> LLCConfig | None:
    """These settings, with what nobody has given as in the estimates there are; None where there are none.

    A study keeps the nβ and γ it began with when it is called again, also where its sweep has grown since. With a
    radius γ is still to be found.
    """
    path = folder / "llc.toml"
    if config.radius is not None or not store.is_there(path):
        return None
    stored = LLCConfig.from_table(store.read_table(path))
    chosen = ("nbeta", "gamma", "plateau", "control_variates")
    left_out = {name: getattr(stored, name) for name in chosen if getattr(config, name) is None}
    return config.model_copy(update=left_out)


def _forget_others(experiment: store.Experiment, runs: list[store.Run], config: LLCConfig) -> None:
    """Delete estimates made with other settings, now that these have replaced them."""
    kept = {result_path(run, 0, config).parent for run in runs}
    for folder in experiment.folders:
        if folder.parent in {run.estimates for run in runs} and folder not in kept:
            store.remove_folder(folder, r"(\d{6}|[1-9]\d{6,})\.nc")
