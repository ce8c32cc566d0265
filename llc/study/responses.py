"""Susceptibilities of a model's parts at the checkpoints of anyone's training."""

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
from llc.behaviour import step_coord
from llc.errors import EstimateFailed, InvalidInput, LLCError, StoreError
from llc.estimate import susceptibilities
from llc.parallel import Progress, quiet, raise_failures
from llc.sampling import Columns, Data, Items, Loss, Restriction, check_data
from llc.study.checkpoints import Checkpoints, CheckpointStudy, crc, fingerprint_of, source_of, template_of, weights_of
from llc.study.points import CurveConfig, settle_at
from llc.study.spread import at_every_step

Parts = Mapping[str, Restriction] | Callable[[nn.Module], Mapping[str, Restriction]]
"""Which weights move, by name; or what gives that of a model, such as `llc.heads`."""

# A pilot may take as many gradients as so many checkpoints of a curve do: γ is to suit them all.
_PILOT_SHARE = 2


def susceptibilities_over_checkpoints(
    checkpoints: Checkpoints,
    model: nn.Module | Callable[[], nn.Module] | None,
    loss: Loss,
    data: Data,
    parts: Parts,
    *,
    datasets: Mapping[str, Data] | None = None,
    steps: str | Sequence[int] = "all",
    out: str | Path | None = None,
    nbeta: float | None = None,
    gamma: float | None = None,
    convention: str = "primer",
    collate_fn: Callable[[list], Any] | None = None,
    jobs: int | None = None,
    device: str | None = None,
    progress: Progress = quiet,
    **settings: Any,
) -> xr.Dataset:
    """`llc.susceptibilities` at checkpoints of a training, all at one nβ and γ.

    Args:
        checkpoints, model, steps, jobs, device: as for `estimate_llc_over_checkpoints`.
        loss, data, datasets, convention, collate_fn: as for `susceptibilities`.
        parts: which weights move, by name; or a function of the model that gives them, such as `llc.heads`.
        out: a folder to keep each checkpoint's results in as they are made; the same call goes on there, and adds the
            steps that are new. Without one nothing is kept but what is returned.
        nbeta, gamma: what is not given is what `estimate_llc` chooses at the last checkpoint where all weights move.
        progress: told (unit, done, total, note).
        settings: of `estimate_llc` for each part, such as `draws` or `target_error`.
    Returns:
        What `susceptibilities` returns, by `step` as well.
    Raises:
        InvalidInput: as there, or steps that are none. StoreError: a folder with results of something else.
        EstimateFailed: some checkpoints failed (each is named); the others are saved.
    """
    where = None if device is None else devices.choose_device(device)
    source = source_of(checkpoints, steps)
    wanted = source.chosen(steps)
    with torch.inference_mode(False), ExitStack() as stack:
        made = check_data(data, collate_fn)
        study = CheckpointStudy(source, template_of(model), loss, made, None, {})
        given = {"own": made} if datasets is None else {n: check_data(d, collate_fn) for n, d in datasets.items()}
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()) if out is None else out)
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(store.folder_lock(folder))
        last = study.model(wanted[-1])
        about = {
            "data": study.fingerprint(),
            "datasets": {name: fingerprint_of(one) for name, one in given.items()},
            "loss": getattr(loss, "__qualname__", type(loss).__name__),
            "parts": {name: _fingerprint(part) for name, part in _of(parts, last).items()},
            "convention": convention,
            "settings": {name: str(value) for name, value in settings.items()},
        }
        asked = {name: float(value) for name, value in (("nbeta", nbeta), ("gamma", gamma)) if value is not None}
        scale = _scale(folder, about, asked)
        if scale is None:
            config = CurveConfig(nbeta=nbeta, gamma=gamma, seed=settings.get("seed", 0))
            budget = _PILOT_SHARE * config.max_gradients
            config = settle_at([study.point(wanted[-1])], config, where, progress, budget=budget)
            scale = {"nbeta": float(config.nbeta or 0), "gamma": float(config.gamma or 0)}
        table = {**about, **scale}
        store.write_table(folder / "susceptibility.toml", table)
        results = folder / store.table_hash(table)
        store.own_folder(results)
        work = _Responses(study, results, table, where, parts, given, convention, settings)
        missing = [step for step in wanted if not work.is_made(step)]
        failures: list[Exception] = []
        for outcome in at_every_step(work, missing, jobs=jobs, stack=stack, progress=progress):
            failures += [outcome.error] if outcome.error else []
        left = sum(not work.path(step).exists() for step in missing)
        raise_failures(failures, f"{left} of {len(wanted)} checkpoints could not be estimated", EstimateFailed)
        found = xr.concat([store.read_numbered(work.path(step)).load() for step in wanted], "step")
    return found.assign_attrs(convention=convention)


def _fingerprint(part: Restriction) -> str:
    """Of which weights move."""
    masks = part.values() if isinstance(part, Mapping) else part
    return crc(
        [*(part if isinstance(part, Mapping) else ()), *(torch.as_tensor(m) if _is_mask(m) else m for m in masks)]
    )


def _is_mask(mask: Any) -> bool:
    return not isinstance(mask, str) and mask is not None


def _of(parts: Parts, model: nn.Module) -> Mapping[str, Restriction]:
    found = parts(model) if callable(parts) else parts
    if not isinstance(found, Mapping) or not found:
        raise InvalidInput(f"parts = {parts!r} given, expected which weights move by name, such as llc.heads")
    return found


def _scale(folder: Path, about: dict, asked: dict[str, float]) -> dict[str, float] | None:
    """nβ and γ of what is in the folder already; None where there is nothing.

    Raises:
        StoreError: it is of something else.
    """
    path = folder / "susceptibility.toml"
    if not path.exists():
        return None
    stored = store.read_table(path)
    there = {name: stored.get(name) for name in (*about, *asked)}
    if changed := store.differences(there, {**about, **asked}):
        raise StoreError(f"{folder} has results of something else ({'; '.join(changed)}); give another folder")
    return {name: float(stored[name]) for name in ("nbeta", "gamma")}


@dataclass(frozen=True)
class _Responses:
    """The susceptibilities of every step."""

    study: CheckpointStudy
    results: Path
    table: dict
    device: torch.device | None
    parts: Parts
    datasets: Mapping[str, Columns | Items]
    convention: str
    settings: Mapping[str, Any]

    def with_study(self, study: CheckpointStudy) -> Self:
        return replace(self, study=study)

    def path(self, step: int) -> Path:
        """Of a step's results."""
        return store.numbered_path(self.results, step, ".nc")

    def is_made(self, step: int) -> bool:
        """Whether a step's results are there, of the weights that it has now.

        Raises:
            StoreError: they are of other weights.
        """
        if not self.path(step).exists():
            return False
        if store.settings_of(store.read_numbered(self.path(step)), "weights") != weights_of(self.study.model(step)):
            raise StoreError(f"the checkpoint of step {step} has other weights than when {self.path(step)} was made")
        return True

    def make(self, step: int, progress: Progress) -> None:
        """Every part at one checkpoint."""
        if self.path(step).exists():  # by a worker that was lost afterwards
            return
        model = self.study.model(step)
        scale = {name: self.table[name] for name in ("nbeta", "gamma")}
        try:
            found = susceptibilities(
                model,
                self.study.loss,
                self.study.data,
                _of(self.parts, model),
                self.datasets,
                convention=self.convention,  # type: ignore[arg-type]
                device=None if self.device is None else str(self.device),
                **scale,
                **self.settings,
            )
        except LLCError as error:
            raise type(error)(f"step {step}: {error}") from error
        found = found.expand_dims(step=1).assign_coords(step_coord([step]))
        store.write_dataset(self.path(step), found, {**self.table, "weights": weights_of(model)})
        progress("", step, max(1, step), f"{found.sizes['part']} parts")
