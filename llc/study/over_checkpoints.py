"""λ̂ at the checkpoints of anyone's training: any model, loss and data, with one setting, resumable."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
import xarray as xr
from torch import nn

from llc import devices, store
from llc.errors import EstimateFailed, LLCError, StoreError, check_flag
from llc.estimate.measure import estimate_at, loss_at
from llc.estimate.settings import checked_reference_losses, patterns_of
from llc.parallel import Progress, check_progress, raise_failures
from llc.progress import patient_progress
from llc.sampling import Data, Loss, Restriction, check_data
from llc.study.checkpoints import (
    Checkpoints,
    CheckpointStudy,
    check_same_loss,
    folder_named,
    moving,
    source_of,
    template_of,
    weights_of,
)
from llc.study.labels import joined, label
from llc.study.pilots import in_turn, settle_at
from llc.study.points import CurveConfig, listed_steps
from llc.study.spread import at_every_step

# A pilot may take as many gradients as so many checkpoints: λ̂ is to be a plateau for them all.
_PILOT_SHARE = 2
# Names of the files of single estimates.
_NAMES = r"(\d{6}|[1-9]\d{6,})\.nc"


def estimate_llc_over_checkpoints(
    checkpoints: Checkpoints,
    model: nn.Module | Callable[[], nn.Module] | None,
    loss: Loss,
    data: Data,
    *,
    steps: str | Sequence[int] = "all",
    out: str | Path | None = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    sample_weights: Any = None,
    reference_losses: Mapping[str, float] | None = None,
    parameters: Restriction | None = None,
    jobs: int | None = None,
    overwrite: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> xr.Dataset:
    """λ̂ at checkpoints of a training of one's own, all at one nβ and γ, so that they may be compared.

    nβ and γ are what `estimate_llc` chooses at the last checkpoint, unless they are given.

    Args:
        checkpoints: models or `state_dict`s by step; a folder of files or folders whose names hold the step, such as
            `step_1000.pt` or `checkpoint-1000`; or a function of the step that gives one, with `steps` listed.
        model: takes the weights of a `state_dict`: a module, which stays as it is, or a function that makes one. None
            where every checkpoint is a model.
        loss: `loss(model, batch) -> (B,)` or `(B, K)`, as for `estimate_llc`.
        data: as for `estimate_llc`, the same at every step.
        steps: `all`, `last`, `log:12`, `linear:12`, or a list.
        out: a folder to keep each estimate in as it is made, and `llc.nc` of all; the same call goes on there, and adds
            the steps that are new. Without one nothing is kept but what is returned.
        collate_fn: as for `estimate_llc`.
        sample_weights: as for `estimate_llc`.
        reference_losses: as for `estimate_llc`.
        parameters: which weights move, as for `estimate_llc`, the same at every step; by default all.
        jobs: worker processes; by default one a core, or one a GPU.
        overwrite: replace estimates in `out` that were made with other settings, data or weights.
        device: where to sample: `cpu`, `cuda`, `mps`, or `auto` for the fastest there is; by default where models are.
        progress: told (unit, done, total, note); by default shown where it takes long.
        settings: the fields of `llc.study.CurveConfig`, such as `nbeta`, `gamma` or `draws`.
    Returns:
        λ̂, error, verdict and diagnostics by `step`, and the traces by (step, chain, draw), as for a study.
    Raises:
        InvalidInput: no checkpoints, steps that are none, weights that do not fit, or a setting that does not.
        StoreError: a file that cannot be read, or a folder with estimates of something else.
        EstimateFailed: some checkpoints could not be estimated (each is named); the others are saved.
        Interrupted: Ctrl-C; with `out` the same call resumes.
    """
    check_flag("overwrite", overwrite)
    masks = parameters if isinstance(parameters, Mapping) else None
    settings |= {} if masks is not None or parameters is None else {"parameters": patterns_of(parameters)}
    steps = steps if isinstance(steps, str) else listed_steps(steps)
    config = CurveConfig(**settings)
    where = None if device is None else devices.choose_device(device)
    source = source_of(checkpoints, steps)
    wanted = source.chosen(steps)
    known = checked_reference_losses(reference_losses)
    check_progress(progress)
    with torch.inference_mode(False), ExitStack() as stack:
        told = stack.enter_context(patient_progress("estimates")) if progress is None else progress
        if source.left_out:
            told("estimates", 0, 0, store.without_steps(source.left_out))
        made = check_data(data, collate_fn)
        study = CheckpointStudy(source, template_of(model), loss, made, sample_weights, known, masks)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) if out is None else folder_named("out", out)
        if not folder.exists():
            stack.callback(store.remove_if_empty, folder)
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(store.folder_lock(folder))
        about = {**study.about(), "masks": "none" if masks is None else moving(masks)}
        # What moves is what λ̂ is of: that is not taken from what is there, as other settings are that nobody gives.
        given = {**settings, "parameters": config.parameters}
        _check_same(folder, {"llc": config.model_dump(exclude_none=True), **about}, overwrite, given=given)
        if store.is_there(folder / "llc.toml") and not overwrite:
            config = CurveConfig.from_table(store.read_table(folder / "llc.toml")["llc"])
        else:
            budget = _PILOT_SHARE * config.max_gradients
            config = settle_at(in_turn(study.point, wanted), config, where, told, budget=budget)
        table = {"llc": config.to_table(), **about}
        results = folder / store.table_hash(table)
        store.check_numbered(store.own_folder(results), ".nc")
        missing = [step for step in wanted if not _is_made(_path(results, step), study, overwrite)]
        _check_losses(study, config, results, [step for step in wanted if step not in missing], where)
        failures: list[Exception] = []
        if not missing:
            told("estimates", 0, 0, "all of these were estimated before; nothing to do")
        try:
            work = _Estimates(study, results, table, where)
            for outcome in at_every_step(work, missing, jobs=jobs, stack=stack, progress=told):
                failures += [outcome.error] if outcome.error else []
        finally:  # what is finished is merged, also after Ctrl-C
            _merge(folder, results, table)
        left = sum(not _path(results, step).exists() for step in missing)
        raise_failures(failures, f"{left} of {len(wanted)} checkpoints could not be estimated", EstimateFailed)
        if overwrite:
            for other in store.settings_folders(folder):
                if other != results:
                    store.remove_folder(other, _NAMES)
        found = store.read_dataset(folder / "llc.nc", lazy=out is not None)
    return found.sel(step=wanted) if out is None else found


def _check_same(folder: Path, table: dict[str, Any], overwrite: bool, given: dict[str, Any]) -> None:
    """Refuse to mix estimates of other data, loss or settings with these, unless asked to replace them."""
    path = folder / "llc.toml"
    if overwrite or not store.is_there(path):
        return
    stored = store.read_table(path, ["llc", "data", "loss", "reference_losses"])
    asked = {**table, "llc": {name: table["llc"].get(name) for name in given}}
    there = {**stored, "llc": {name: stored["llc"].get(name) for name in asked["llc"]}}
    if changed := store.differences(there, asked):
        raise StoreError(
            f"{folder} has estimates of something else ({'; '.join(changed)}); give another folder, or overwrite to "
            "replace them"
        )


def _path(results: Path, step: int) -> Path:
    return store.numbered_path(results, step, ".nc")


def _is_made(path: Path, study: CheckpointStudy, overwrite: bool) -> bool:
    """Whether there is an estimate of a step, of the weights that it has now.

    Raises:
        StoreError: it is of other weights.
    """
    if not path.exists():
        return False
    step = int(path.stem)
    if store.settings_of(store.read_numbered(path), "weights") == weights_of(study.model(step)):
        return True
    if not overwrite:
        raise StoreError(
            f"the checkpoint of step {step} has other weights than when {path} was made; overwrite to estimate it again"
        )
    store.remove_file(path)
    return False


def _check_losses(
    study: CheckpointStudy, config: CurveConfig, results: Path, made: list[int], device: torch.device | None
) -> None:
    """Refuse to go on where a checkpoint's loss is another than when its estimate was made."""
    if made:
        path = _path(results, made[-1])
        before = float(store.read_numbered(path).loss_init.item())
        now = loss_at(study.point(made[-1]), config, device)
        check_same_loss(made[-1], path, before, now, "give another folder, or overwrite to replace what is there")


@dataclass(frozen=True)
class _Estimates:
    """λ̂ of every step: the study, where results go, what they are made with, and the device."""

    study: CheckpointStudy
    results: Path
    table: dict[str, Any]
    device: torch.device | None

    def with_study(self, study: CheckpointStudy) -> Self:
        return replace(self, study=study)

    def make(self, step: int, progress: Progress) -> None:
        """Estimate one checkpoint and save the result."""
        path = _path(self.results, step)
        if path.exists():  # by a worker that was lost afterwards
            return
        config = CurveConfig.from_table(self.table["llc"])
        try:
            point = self.study.point(step)
            with torch.inference_mode(False):
                estimate = estimate_at(point, config, key=(config.seed, "llc", step), device=self.device)
        except LLCError as error:
            raise type(error)(f"step {step}: {error}") from error
        about = {**self.table, "weights": weights_of(point.model)}
        store.write_dataset(path, label(estimate, (), {}, step), about)
        found = estimate.summary
        progress("", step, max(1, step), f"llc {found.llc:.1f} ± {found.llc_se:.1f}, {estimate.verdict}")


def _merge(folder: Path, results: Path, table: dict[str, Any]) -> None:
    """Write `llc.nc` and `llc.toml` from every estimate there is with these settings, if there are any."""
    files = [_path(results, step) for step in store.numbered_steps(results, ".nc")]
    whole = joined(files)
    if whole is not None:
        store.write_merged(folder / "llc.nc", files, whole, table)
        store.write_table(folder / "llc.toml", table)
