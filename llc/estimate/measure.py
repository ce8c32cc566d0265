"""Estimates of λ̂ in plain numbers: target, curvature, chains, conclusion."""

import math
import statistics
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import Any

import torch
from torch import nn

from llc.devices import one_attention
from llc.estimate.climb import Climb, climb
from llc.estimate.conclusion import Estimate, conclude
from llc.estimate.floor import RATIO
from llc.estimate.noise import choose_batch
from llc.estimate.observing import Observing
from llc.estimate.pair import read, run_pairs, rung_of
from llc.estimate.settings import SamplingConfig, choose_gamma
from llc.estimate.settle import depth
from llc.parallel import Progress, quiet, torch_threads
from llc.sampling import (
    Data,
    Graph,
    Loss,
    Losses,
    Observable,
    Sampler,
    Samples,
    Target,
    check_apart,
    fitted,
    graph_where_it_pays,
    largest_curvatures,
    sampled_copy,
    sampler_named,
    try_loss,
)
from llc.version import library_version


@dataclass(frozen=True)
class Point:
    """One w* to estimate at: a model, what to sample there, and the mean losses of predictors that know nothing.

    Attributes:
        sample_weights: of each sample's loss, see `llc.sampling.fitted`; None for all alike.
        masks: which weights move, in place of the settings' patterns; see `llc.sampling.chosen_weights`.
    """

    name: str
    model: nn.Module
    loss: Loss
    data: Data
    reference_losses: Mapping[str, float] = field(default_factory=dict)
    sample_weights: Any = None
    masks: Mapping[str, Any] | None = None


def estimate_at(
    point: Point,
    config: SamplingConfig,
    *,
    key: tuple,
    device: torch.device | None = None,
    observables: Sequence[Observable | Losses] = (),
    progress: Progress = quiet,
) -> Estimate:
    """`estimate_llc` without labels. A total failure is a verdict here, with NaN for numbers, not an error.

    Args:
        device: where to sample; None for where the model is.
        observables: see `llc.sampling.Observable`.
    """
    (found,) = estimate_all([point], config, keys=[key], device=device, observables=observables, progress=progress)
    return found


def loss_at(point: Point, config: SamplingConfig, device: torch.device | None = None) -> float:
    """L_n(w*), as an estimate there begins with it."""
    with torch.random.fork_rng():
        return _target(point, config, device)[0].loss_init


def estimate_all(
    points: Sequence[Point],
    config: SamplingConfig,
    *,
    keys: Sequence[tuple],
    device: torch.device | None = None,
    observables: Sequence[Observable | Losses] = (),
    progress: Progress = quiet,
) -> Iterator[Estimate]:
    """Estimates at several points with one setting, in order.

    On a GPU all their chains run in one graph, if they can and if nβ, γ and the number of draws are given. Otherwise
    each estimate is finished, and yielded, before the next is begun.

    Args:
        points: with one architecture, loss and shape of data, where they are to share a graph.
        keys: of each.
    """
    if len(points) > 1 and None not in (config.nbeta, config.gamma, config.draws):
        with torch.random.fork_rng():
            made = [_target(point, config, device) for point in points]
            graph = graph_where_it_pays([target for target, _, _ in made], 2 * config.chains)
            if graph is not None:
                yield from _together(points, made, config, keys, graph, observables=observables, progress=progress)
                return
    for point, key in zip(points, keys, strict=True):
        with torch.random.fork_rng():  # nothing the models or losses draw may disturb the caller's random state
            target, kernel, why = _target(point, config, device)
            with torch_threads(torch.get_num_threads() if target.pays_threads else 1):
                graph = graph_where_it_pays([target], 2 * config.chains)
                observing = Observing(observables, [target], (point.loss, point.data), config)
                known = min(point.reference_losses.values(), default=math.inf)
                climbed = climb(
                    target,
                    kernel,
                    config,
                    key=key,
                    reference_loss=known,
                    graph=graph,
                    observables=observing.on_the_way,
                    progress=progress,
                )
                climbed = observing.after(climbed, progress)
                found = _concluded(climbed, kernel, point, config, why=why, observing=observing)
        yield found


def _concluded(
    climbed: Climb, kernel: Sampler, point: Point, config: SamplingConfig, *, why: str, observing: Observing
) -> Estimate:
    climbed.pair.target.check_still()
    settings = _said(kernel, climbed, why, config, point.masks)
    known = point.reference_losses
    found = conclude(_without_ends(climbed), kernel, settings=settings, config=config, reference_losses=known)
    weighted = frozenset(look.name for look in observing.looks if look.weighted)
    return replace(found, baselines=observing.baselines(climbed.pair.target), weighted=weighted)


def _together(
    points: Sequence[Point],
    made: Sequence[tuple[Target, Sampler, str]],
    config: SamplingConfig,
    keys: Sequence[tuple],
    graph: Graph,
    *,
    observables: Sequence[Observable | Losses],
    progress: Progress,
) -> Iterator[Estimate]:
    """Estimates whose chains share a graph: one pair each, at the nβ and γ given."""
    targets, kernel = [target for target, _, _ in made], made[0][1]
    curvatures = largest_curvatures(targets, graph)
    observing = Observing(observables, targets, (points[0].loss, points[0].data), config)
    assert config.draws is not None
    pairs = run_pairs(
        targets,
        kernel,
        curvatures,
        chains=config.chains,
        warmup=config.draws if config.warmup is None else config.warmup,
        draws=config.draws,
        keys=[(*key, 0) for key in keys],
        step_size=config.step_size,
        hot_starts=True,
        full_look_every=config.full_loss_every,
        graph=graph,
        observables=observing.on_the_way,
        progress=progress,
    )
    for point, (target, _, why), pair, curvature in zip(points, made, pairs, curvatures, strict=True):
        nats, minimised = depth(target, config.max_gradients)
        reading = read(pair, kernel, find_warmup=config.warmup is None, settled=nats)
        spent = target.gradients + pair.hot.gradients + minimised
        climbed = Climb([rung_of(pair, reading)], pair, reading, curvature, spent, "", "", "as given", "as given")
        yield _concluded(climbed, kernel, point, config, why=why, observing=observing)


def _without_ends(climbed: Climb) -> Climb:
    """Without where chains ended: a model's worth of memory a chain, which nobody needs any more."""
    pair = climbed.pair
    bare = replace(pair, cold=replace(pair.cold, ended=None), hot=replace(pair.hot, ended=None))
    return replace(climbed, pair=bare)


def _target(point: Point, config: SamplingConfig, device: torch.device | None) -> tuple[Target, Sampler, str]:
    """What is sampled first, by which sampler, and why in such batches."""
    model = sampled_copy(point.model, device)
    loss, data = fitted(model, point.loss, point.data, point.sample_weights)
    samples = Samples(data, next(model.parameters()).device)
    few = samples.batch(samples.everything[: min(8, len(samples))])
    with one_attention():
        moving = config.parameters if point.masks is None else point.masks
        check_apart(point.model, model, lambda tried: try_loss(loss, tried, few), moving)
    n = len(data)
    full_batch = config.sampler is not None and sampler_named(config.sampler).full_batch
    size, why = choose_batch(model, loss, data, config.batch_size, full_batch=full_batch)
    kernel = sampler_named(config.sampler or ("gle" if size == n else "kinetic"))
    target = Target(
        model,
        loss,
        data,
        nbeta=n / math.log(n) if config.nbeta is None else config.nbeta,
        gamma=choose_gamma([model], config, point.masks),
        batch_size=size,
        control_variates=bool(config.control_variates),
        parameters=config.parameters if point.masks is None else point.masks,
        compile=bool(config.compile),
        precision=config.precision,
        device=device,
    )
    if point.sample_weights is None:
        _warn_of_ignored(samples, target)
    return target, kernel, why


# The label of positions that PyTorch's cross-entropy leaves out.
_IGNORED = -100


def _warn_of_ignored(samples: Samples, target: Target) -> None:
    """Labels that a loss gives 0 for are counted all the same, among the positions of which the mean is taken."""
    if target.positions is None or samples.tensors is None:
        return
    labels = [one for one in samples.tensors if not one.is_floating_point() and bool((one == _IGNORED).any())]
    if labels and bool((target.baseline_by_position == 0).any()):
        warnings.warn(
            f"data has labels of {_IGNORED}, whose losses are 0 and count as others do in the mean over positions; "
            f"give sample_weights=(labels != {_IGNORED}) to leave them out",
            stacklevel=2,
        )


def _said(
    kernel: Sampler, climbed: Climb, batches: str, config: SamplingConfig, masks: Mapping[str, Any] | None
) -> dict[str, float | int | str]:
    """How an estimate was made."""
    target = climbed.pair.target
    return {
        "sampler": kernel.name,
        "nbeta": target.nbeta,
        "gamma": target.gamma,
        "temperature_ratio": RATIO,
        "choice": climbed.choice,
        "batch_size": target.batch_size,
        "batches": batches,
        "control_variates": int(target.control_variates),
        "variates": climbed.variates,
        "precision": target.precision,
        "device": str(target.device),
        "num_samples": target.num_samples,
        "num_parameters": target.num_parameters,
        "curvature": climbed.curvature,
        "parameters": _moving(target, config, masks),
        "target_error": config.target_error,
        "max_gradients": config.max_gradients,
        "seed": config.seed,
        "given": _given(config),
        "library": f"local-learning-coefficient {library_version()}",
        **_constants(kernel),
        **_ended_with(climbed.pair.cold.settings),
    }


def _moving(target: Target, config: SamplingConfig, masks: Mapping[str, Any] | None) -> str:
    """Which weights moved, in words."""
    if masks is not None:
        return f"{target.num_parameters} elements of {', '.join(target.weights.trainable)}"
    return "all" if config.parameters is None else ", ".join(config.parameters)


def _given(config: SamplingConfig) -> str:
    """The settings that are not the defaults."""
    defaults = type(config)().model_dump()
    given = {name: value for name, value in config.model_dump().items() if value != defaults[name]}
    return ", ".join(f"{name} = {value!r}" for name, value in given.items()) or "nothing"


def _ended_with(settings: list[dict[str, float]]) -> dict[str, float]:
    """The sampler's settings at the end of warm-up and cuts: the median over chains, where they differ."""
    return {name: statistics.median_low(of_chain[name] for of_chain in settings) for name in settings[0]}


def _constants(sampler: Sampler) -> dict[str, float]:
    """What a sampler was made with, such as the decay of a running mean."""
    return asdict(sampler) if is_dataclass(sampler) and not isinstance(sampler, type) else {}
