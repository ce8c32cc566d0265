"""Estimates of λ̂ in plain numbers: target, curvature, chains, conclusion."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace

import torch
from torch import nn

from llc.estimate.conclusion import Estimate, conclude
from llc.estimate.settings import SamplingConfig, choose_batch_size, choose_gamma
from llc.parallel import Report, quiet
from llc.sampling import (
    HOT,
    Chains,
    Data,
    Graph,
    Loss,
    Observable,
    Sampler,
    Target,
    check_data,
    data_length,
    graph_where_it_pays,
    largest_curvatures,
    run_many,
    sampler_named,
)


@dataclass(frozen=True)
class Point:
    """One w* to estimate at: a model, what to sample there, and the mean losses of predictors that know nothing."""

    name: str
    model: nn.Module
    loss: Loss
    data: Data
    reference_losses: Mapping[str, float] = field(default_factory=dict)


def estimate_at(
    point: Point,
    config: SamplingConfig,
    *,
    key: tuple,
    device: torch.device | None = None,
    observables: Sequence[Observable] = (),
    report: Report = quiet,
) -> Estimate:
    """`estimate_llc` without labels. A total failure is a verdict here, with NaN for numbers, not an error.

    Args:
        device: where to sample; None for where the model is. observables: see `llc.sampling.Observable`.
    """
    (found,) = estimate_all([point], config, keys=[key], device=device, observables=observables, report=report)
    return found


def estimate_all(
    points: Sequence[Point],
    config: SamplingConfig,
    *,
    keys: Sequence[tuple],
    device: torch.device | None = None,
    observables: Sequence[Observable] = (),
    report: Report = quiet,
) -> Iterator[Estimate]:
    """Estimates at several points with one setting, in order; on a GPU all their chains run in one graph, if they can.

    Otherwise each estimate is finished, and yielded, before the next is begun.

    Args:
        points: with one architecture, loss and shape of data, where they are to share a graph. keys: of each.
    """
    full_batch = sampler_named(config.sampler).full_batch
    with torch.random.fork_rng():  # nothing the models or losses draw may disturb the caller's random state
        targets = [_target(point, config, full_batch, device) for point in points]
        graph = graph_where_it_pays(targets, config.chains)
    together = [range(len(points))] if graph is not None else [[place] for place in range(len(points))]
    for places in together:
        with torch.random.fork_rng():
            found = _estimate(
                [targets[place] for place in places],
                [points[place].reference_losses for place in places],
                config,
                keys=[keys[place] for place in places],
                graph=graph,
                observables=observables,
                report=report,
            )
        yield from found


def _estimate(
    targets: Sequence[Target],
    reference_losses: Sequence[Mapping[str, float]],
    config: SamplingConfig,
    *,
    keys: Sequence[tuple],
    graph: Graph | None,
    observables: Sequence[Observable],
    report: Report,
) -> list[Estimate]:
    """Estimates of targets that share a graph, or of a single one."""
    kernel = sampler_named(config.sampler)
    curvatures = largest_curvatures(targets, graph)
    settings, hot_settings = (
        [
            kernel.default_settings(curvature / colder, target.gamma, config.draws)
            for target, curvature in zip(targets, curvatures, strict=True)
        ]
        for colder in (1, HOT)
    )
    if config.step_size is not None:
        for of_target in (*settings, *hot_settings):
            of_target["step_size"] = config.step_size
    found = run_many(
        targets,
        kernel,
        settings,
        chains=config.chains,
        warmup=config.draws if config.warmup is None else config.warmup,
        draws=config.draws,
        keys=keys,
        probes=_affordable_probes(targets[0], config.draws),
        probe_every=config.full_loss_every,
        adapt=config.step_size is None,
        look=True,
        hot_settings=hot_settings,
        graph=graph,
        observables=observables,
        report=report,
    )
    return [
        conclude(
            replace(traces, gradients=target.gradients),
            kernel,
            settings=_said(config, target, curvature, traces),
            loss_init=target.loss_init,
            find_warmup=config.warmup is None,
            max_rhat=config.max_rhat,
            reference_losses=known,
        )
        for target, curvature, traces, known in zip(targets, curvatures, found, reference_losses, strict=True)
    ]


def _target(point: Point, config: SamplingConfig, full_batch: bool, device: torch.device | None) -> Target:
    data = check_data(point.data)
    num_samples = data_length(data)
    return Target(
        point.model,
        point.loss,
        data,
        nbeta=num_samples / math.log(num_samples) if config.nbeta is None else config.nbeta,
        gamma=choose_gamma([point.model], config),
        batch_size=choose_batch_size(config, num_samples, full_batch),
        control_variates=config.control_variates,
        parameters=config.parameters,
        compile=bool(config.compile),
        precision=config.precision,
        device=device,
    )


def _said(config: SamplingConfig, target: Target, curvature: float, traces: Chains) -> dict[str, float | int | str]:
    """How an estimate was made."""
    return {
        "sampler": config.sampler,
        "nbeta": target.nbeta,
        "gamma": target.gamma,
        "batch_size": target.batch_size,
        "control_variates": int(target.control_variates),
        "precision": target.precision,
        "device": str(target.device),
        "num_samples": target.num_samples,
        "num_parameters": target.num_parameters,
        "curvature": curvature,
        **_constants(sampler_named(config.sampler)),
        **_ended_with(traces.settings),
    }


def _ended_with(settings: list[dict[str, float]]) -> dict[str, float]:
    """The sampler's settings at the end of warm-up and cuts: the median over chains, where they differ."""
    return {name: statistics.median_low(of_chain[name] for of_chain in settings) for name in settings[0]}


def _constants(sampler: Sampler) -> dict[str, float]:
    """What a sampler was made with, such as the decay of a running mean."""
    return asdict(sampler) if is_dataclass(sampler) and not isinstance(sampler, type) else {}


def _affordable_probes(target: Target, draws: int) -> int:
    """Looks at the whole dataset that add at most about a tenth to a chain's cost: a loss is a third of a gradient."""
    looks = 0.1 * 2 * draws * 3 * target.batch_size / target.num_samples
    return int(min(20, draws, max(3, looks)))
