"""One nβ and γ for all checkpoints of a study, from pilots at a few of them."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from llc import devices, store
from llc.errors import Interrupted, InvalidInput, LLCError
from llc.estimate.calibration import PILOT_GRADIENTS, Scale, common, scale_at
from llc.estimate.measure import Point
from llc.estimate.settings import SamplingConfig, choose_gamma
from llc.parallel import Progress, quiet, run_units, torch_threads
from llc.sampling import sent_samplers, take_samplers
from llc.study.points import LLCConfig, study_point

_C = TypeVar("_C", bound=SamplingConfig)
_T = TypeVar("_T")

# Checkpoints that a study's nβ and γ are chosen at, and how many may stand in for one that fails.
_PILOTS, _OTHERS = 2, 3


def settle(
    config: LLCConfig,
    runs: list[store.Run],
    device: torch.device | None = None,
    progress: Progress = quiet,
    *,
    jobs: int = 1,
    budget: int = PILOT_GRADIENTS,
) -> LLCConfig:
    """The config with nβ and γ chosen, so that every checkpoint of a study has the same target.

    Both come from what `estimate_llc` chooses by itself at the last checkpoints of a few runs, as in `calibrate`: the
    warmest nβ and the strongest localisation of these.

    Args:
        config: what is given there is kept.
        runs: with a last checkpoint each.
        device: where to sample; None for where the models are.
        progress: told (unit, done, total, note).
        jobs: processes. Pilots are units of work as estimates are, each on one thread, so that what is chosen does not
            hang on how many cores there are.
        budget: gradients that a pilot may take.
    Raises:
        LLCError: a pilot failed, and so did all that might have taken its place; the first's is raised.
        Interrupted: Ctrl-C.
    """
    if config.radius is not None:
        gamma = choose_gamma((_with_a_size(in_turn(run.model, run.steps)) for run in runs), config)
        config = config.model_copy(update={"gamma": gamma, "radius": None})
    if _given(config):
        return _as_given(config)
    chosen = evenly(runs, _PILOTS)
    for run in chosen:  # what fits nowhere is told before anything is sampled
        _first(_pilots_of(run, config), warn=False)
    where = None if device is None else str(device)
    units = [(run.path.absolute(), config.to_table(), sent_samplers(), where, budget) for run in chosen]
    found: list[Scale] = []
    names = " and ".join(run.name for run in chosen)
    progress("pilots", 0, len(units), f"choosing nbeta and gamma at the ends of {names}")
    for outcome in run_units(_pilot, units, jobs=min(jobs, len(units))):
        if outcome.error:
            raise outcome.error
        scale, said = outcome.result
        for warning in said:
            warnings.warn(warning, stacklevel=2)
        found.append(scale)
        if len(found) < len(units):
            progress("pilots", len(found), len(units), "")
    return _chosen(config, found, progress)


def _pilot(
    path: Path, table: dict[str, Any], samplers: bytes, device: str | None, budget: int, _progress: Progress
) -> tuple[Scale, list[str]]:
    """What suits the last checkpoint of a run, and what there is to warn of."""
    take_samplers(samplers)
    run, config = store.Run(path), LLCConfig.from_table(table)
    where = None if device is None else devices.choose_device(device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        scale = _scale(_pilots_of(run, config), config, where, budget)
    return scale, [str(warning.message) for warning in caught if warning.category is UserWarning]


def _pilots_of(run: store.Run, config: LLCConfig) -> list[Callable[[], Point]]:
    return in_turn(partial(study_point, run, config=config), run.steps)


def settle_at(
    makings: Sequence[Callable[[], Point]],
    config: _C,
    device: torch.device | None,
    progress: Progress,
    *,
    budget: int = PILOT_GRADIENTS,
) -> _C:
    """The config with nβ and γ that suit a point, found in this process; what is given there is kept.

    Args:
        makings: what makes the point, and others to take in its place where it fails, in turn. Those that failed are
            warned of, and named again when their own estimate fails.
        config: what is given there is kept.
        device: where to sample; None for where the model is.
        progress: told (unit, done, total, note).
        budget: gradients that the pilot may take.
    Raises:
        LLCError: the point failed, and so did all that might have taken its place; the first's is raised.
    """
    point = _first(makings, warn=False)  # what fits nowhere is told before anything is sampled
    if config.radius is not None:
        models = [partial(_model_of, making) for making in makings]
        config = config.model_copy(update={"gamma": choose_gamma([_with_a_size(models)], config), "radius": None})
    if _given(config):
        return _as_given(config)
    progress("pilots", 0, 1, f"choosing nbeta and gamma at {point.name}")
    with torch_threads(1):  # as estimates are: two that wait for each other on a busy machine take eight times as long
        found = _scale(makings, config, device, budget)
    return _chosen(config, [found], progress)


def _given(config: SamplingConfig) -> bool:
    return config.nbeta is not None and config.gamma is not None


def _as_given(config: _C) -> _C:
    return config.model_copy(update={"control_variates": bool(config.control_variates)})


def _chosen(config: _C, found: Sequence[Scale], progress: Progress) -> _C:
    chosen = common(found)
    progress("pilots", len(found), len(found), f"nbeta {chosen['nbeta']:.4g} and gamma {chosen['gamma']:.3g} for all")
    return config.model_copy(update=chosen)


def _scale(
    makings: Sequence[Callable[[], Point]], config: SamplingConfig, device: torch.device | None, budget: int
) -> Scale:
    """Of the first point that does not fail."""

    def scale(making: Callable[[], Point]) -> Scale:
        point = making()
        return scale_at(point, config, key=(config.seed, "pilot", point.name), budget=budget, device=device)

    return _first([partial(scale, making) for making in makings])


def _with_a_size(makings: Sequence[Callable[[], nn.Module]]) -> nn.Module:
    """The first model whose weights are finite, so that γ may be taken from their size; the first where none's are."""

    def finite(making: Callable[[], nn.Module]) -> nn.Module:
        model = making()
        for name, weight in model.named_parameters():
            if not bool(weight.isfinite().all()):
                raise InvalidInput(f"the weights {name} are not finite")
        return model

    try:
        return _first([partial(finite, making) for making in makings])
    except InvalidInput:
        return _first(makings, warn=False)


def _model_of(making: Callable[[], Point]) -> nn.Module:
    return making().model


def in_turn(of_step: Callable[[int], _T], steps: Sequence[int]) -> list[Callable[[], _T]]:
    """What makes the last step's, and a few others' to take where that one fails, latest first."""
    others = reversed(evenly(list(steps[:-1]), _OTHERS))
    return [partial(of_step, step) for step in [steps[-1], *others]]


def _first(attempts: Sequence[Callable[[], _T]], *, warn: bool = True) -> _T:
    """What the first gives that does not fail, with a warning of those before it; the first's error where all do."""
    errors: list[LLCError] = []
    for attempt in attempts:
        try:
            found = attempt()
        except Interrupted:
            raise
        except LLCError as error:
            errors.append(error)
            continue
        if errors and warn:
            why = "; ".join(str(error) for error in errors)
            warnings.warn(
                f"nbeta and gamma are chosen at an earlier checkpoint, for a later one fails: {why}", stacklevel=2
            )
        return found
    raise errors[0]


def evenly(items: list, number: int) -> list:
    """At most `number` of them, the first and the last among them."""
    places = np.linspace(0, len(items) - 1, min(number, len(items))).round().astype(int)
    return [items[place] for place in places]
