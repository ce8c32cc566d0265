"""Susceptibilities of a model's parts at the checkpoints of anyone's training."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from llc import devices, store
from llc.behaviour import step_coord
from llc.errors import EstimateFailed, LLCError, StoreError
from llc.estimate import susceptibilities
from llc.estimate.measure import loss_at
from llc.estimate.observed.susceptibility import (
    SETTINGS_OF_PARTS,
    check_convention,
    check_parts,
    check_settings,
    looks_at,
)
from llc.parallel import Progress, check_progress, raise_failures
from llc.progress import patient_progress
from llc.sampling import Columns, Data, Items, Loss, Restriction, check_data, chosen_weights
from llc.study.checkpoints import (
    Checkpoints,
    CheckpointStudy,
    check_same_loss,
    crc,
    fingerprint_of,
    folder_named,
    moving,
    source_of,
    template_of,
    weights_of,
)
from llc.study.pilots import in_turn, settle_at
from llc.study.points import CurveConfig, listed_steps
from llc.study.spread import at_every_step

Parts = Mapping[str, Restriction] | Callable[[nn.Module], Mapping[str, Restriction]]
"""Which weights move, by name; or what gives that of a model, such as `llc.heads`."""

# A pilot may take as many gradients as so many checkpoints of a curve do: γ is to suit them all.
_PILOT_SHARE = 2
_TABLE = "susceptibility.toml"


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
    collate_fn: Callable[[list[Any]], Any] | None = None,
    jobs: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> xr.Dataset:
    """`llc.susceptibilities` at checkpoints of a training, all at one nβ and γ.

    Args:
        checkpoints: as for `estimate_llc_over_checkpoints`.
        model: as for `estimate_llc_over_checkpoints`.
        loss: as for `susceptibilities`.
        data: as for `susceptibilities`, the same at every step.
        parts: which weights move, by name; or a function of the model that gives them, such as `llc.heads`.
        datasets: as for `susceptibilities`.
        steps: `all`, `last`, `log:12`, `linear:12`, or a list.
        out: a folder to keep each checkpoint's results in as they are made; the same call goes on there, and adds the
            steps that are new. Without one nothing is kept but what is returned.
        nbeta: nβ; by default what `estimate_llc` chooses at the last checkpoint where all weights move.
        gamma: γ, likewise.
        convention: as for `susceptibility`.
        collate_fn: of data and datasets.
        jobs: worker processes; by default one a core, or one a GPU.
        device: where to sample; by default where each model is.
        progress: told (unit, done, total, note); by default shown where it takes long.
        settings: of `estimate_llc` for each part, such as `draws` or `target_error`.
    Returns:
        What `susceptibilities` returns, by `step` as well.
    Raises:
        InvalidInput: as there, or steps that are none.
        StoreError: a folder with results of something else.
        EstimateFailed: some checkpoints failed (each is named); the others are saved.
    """
    check_progress(progress)
    where = None if device is None else devices.choose_device(device)
    steps = steps if isinstance(steps, str) else listed_steps(steps)
    source = source_of(checkpoints, steps)
    wanted = source.chosen(steps)
    check_convention(convention)
    looks_at(datasets, collate_fn)
    if not callable(parts):
        check_parts(parts)
    check_settings(settings)
    with torch.inference_mode(False), ExitStack() as stack:
        told = stack.enter_context(patient_progress("checkpoints")) if progress is None else progress
        made = check_data(data, collate_fn)
        study = CheckpointStudy(source, template_of(model), loss, made, settings.get("sample_weights"), {})
        given = {"own": None} if datasets is None else datasets
        forms = {name: None if one is None else check_data(one, collate_fn, least=1) for name, one in given.items()}
        place = Path(stack.enter_context(tempfile.TemporaryDirectory())) if out is None else folder_named("out", out)
        folder = place / "susceptibility"
        store.own_folder(folder)
        stack.enter_context(store.folder_lock(folder))
        last = study.model(wanted[-1])
        for part in _of(parts, last).values():
            chosen_weights(last, part)  # one that matches nothing is told before anything runs
        about = {
            **study.about(),
            "datasets": [f"{name}: {'own' if one is None else fingerprint_of(one)}" for name, one in forms.items()],
            "parts": [f"{name}: {moving(part)}" for name, part in _of(parts, last).items()],
            "convention": convention,
            "settings": {name: _said(value) for name, value in settings.items()},
        }
        asked = {name: float(value) for name, value in (("nbeta", nbeta), ("gamma", gamma)) if value is not None}
        table = _begun(folder, about, asked)
        if table is None:
            known = {name: value for name, value in settings.items() if name in CurveConfig.model_fields}
            own = dict.fromkeys(SETTINGS_OF_PARTS)
            config = CurveConfig(**{**known, **own, "nbeta": nbeta, "gamma": gamma})
            budget = _PILOT_SHARE * config.max_gradients
            config = settle_at(in_turn(study.point, wanted), config, where, told, budget=budget)
            table = {**about, "nbeta": config.nbeta, "gamma": config.gamma}
        results = folder / store.table_hash(table)
        store.check_numbered(results, ".nc")
        work = _Responses(study, results, table, where, parts, forms, convention, settings)
        missing = [step for step in wanted if not work.is_made(step)]
        work.check_loss([step for step in wanted if step not in missing])
        store.own_folder(results)
        store.write_table(folder / _TABLE, table)
        failures: list[Exception] = []
        for outcome in at_every_step(work, missing, jobs=jobs, stack=stack, progress=told):
            failures += [outcome.error] if outcome.error else []
        left = sum(not work.path(step).exists() for step in missing)
        raise_failures(failures, f"{left} of {len(wanted)} checkpoints could not be estimated", EstimateFailed)
        parts_of = [store.read_numbered(work.path(step)).load() for step in wanted]
        found = xr.concat(parts_of, "step", join="exact", coords="minimal", compat="equals", combine_attrs="override")
    return found.drop_attrs(deep=False).assign_attrs(convention=parts_of[0].attrs["convention"])


def _of(parts: Parts, model: nn.Module) -> Mapping[str, Restriction]:
    found = parts(model) if callable(parts) else parts
    check_parts(found)
    return found


def _said(value: Any) -> str:
    """A setting in a table; of tensors and arrays a checksum, for they are not said whole."""
    large = isinstance(value, Tensor | np.ndarray | Sequence) and not isinstance(value, str)
    return crc([torch.as_tensor(value)]) if large else str(value)


def _begun(folder: Path, about: dict[str, Any], asked: dict[str, float]) -> dict[str, Any] | None:
    """The table of what is in the folder already; None where there is nothing.

    Raises:
        StoreError: it is of something else.
    """
    path = folder / _TABLE
    if not store.is_there(path):
        return None
    stored = store.read_table(path)
    if not store.numbered_steps(folder / store.table_hash(stored), ".nc"):
        return None  # begun, and nothing came of it
    there = {name: stored.get(name) for name in (*about, *asked)}
    if changed := store.differences(there, {**about, **asked}):
        raise StoreError(f"{folder} has results of something else ({'; '.join(changed)}); give another folder")
    return stored


@dataclass(frozen=True)
class _Responses:
    """The susceptibilities of every step."""

    study: CheckpointStudy
    results: Path
    table: dict[str, Any]
    device: torch.device | None
    parts: Parts
    datasets: Mapping[str, Columns | Items | None]
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

    def check_loss(self, made: list[int]) -> None:
        """Refuse to go on where a checkpoint's loss is another than when its results were made."""
        if made:
            path = self.path(made[-1])
            before = store.settings_of(store.read_numbered(path), "loss_at_w")["mean"]
            check_same_loss(made[-1], path, before, self._loss_at(made[-1]), "give another folder")

    def _loss_at(self, step: int) -> float:
        return loss_at(self.study.point(step), CurveConfig(nbeta=1.0, gamma=1.0), self.device)

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
        found = found.assign({name: values.expand_dims(step=1) for name, values in found.data_vars.items()})
        about = {**self.table, "weights": weights_of(model), "loss_at_w": {"mean": self._loss_at(step)}}
        store.write_dataset(self.path(step), found.assign_coords(step_coord([step])), about)
        progress("", step, max(1, step), f"{found.sizes['part']} parts")
