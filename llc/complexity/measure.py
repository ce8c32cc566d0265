"""One estimate of λ̂ at one w*, in plain numbers: target, curvature, chains, conclusion."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from llc.complexity.conclusion import Estimate, conclude
from llc.complexity.settings import SamplingConfig, choose_batch_size, choose_gamma
from llc.parallel import Report, quiet
from llc.sampling import HOT, Target, largest_curvature, needs_full_batch, run_chains, sampler_named
from llc.sampling.target import Data, Loss, check_data, data_length


def estimate_numbers(
    model: nn.Module,
    loss: Loss,
    data: Data,
    config: SamplingConfig,
    *,
    key: tuple,
    device: torch.device | None = None,
    reference_losses: Mapping[str, float] | None = None,
    report: Report = quiet,
) -> Estimate:
    """`estimate_llc` without labels. A total failure is a verdict here, with NaN for numbers, not an error.

    Args:
        device: where to sample; None for where the model is.
    """
    kernel = sampler_named(config.sampler)
    data = check_data(data)
    num_samples = data_length(data)
    # Nothing the model or loss draws may disturb the caller's random state.
    with torch.random.fork_rng():
        target = Target(
            model,
            loss,
            data,
            nbeta=num_samples / math.log(num_samples) if config.nbeta is None else config.nbeta,
            gamma=choose_gamma([model], config),
            batch_size=choose_batch_size(config, num_samples, needs_full_batch(kernel)),
            control_variates=config.control_variates,
            parameters=config.parameters,
            precision=config.precision,
            device=device,
        )
        curvature = largest_curvature(target)
        settings = kernel.default_settings(curvature, target.gamma, config.draws)
        hot_settings = kernel.default_settings(curvature / HOT, target.gamma, config.draws)
        if config.step_size is not None:
            settings["step_size"] = hot_settings["step_size"] = config.step_size
        traces = run_chains(
            target,
            kernel,
            settings,
            chains=config.chains,
            warmup=config.draws if config.warmup is None else config.warmup,
            draws=config.draws,
            key=key,
            probes=_affordable_probes(target, config.draws),
            probe_every=config.full_loss_every,
            adapt=config.step_size is None,
            look=True,
            hot_settings=hot_settings,
            report=report,
        )
    said = {
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
        **_ended_with(traces.settings),
    }
    return conclude(
        replace(traces, gradients=target.gradients),
        kernel,
        settings=said,
        loss_init=target.loss_init,
        find_warmup=config.warmup is None,
        max_rhat=config.max_rhat,
        reference_losses=reference_losses,
    )


def _ended_with(settings: list[dict[str, float]]) -> dict[str, float]:
    """The sampler's settings at the end of warm-up and cuts: the median over chains, where they differ."""
    return {name: statistics.median_low(of_chain[name] for of_chain in settings) for name in settings[0]}


def _affordable_probes(target: Target, draws: int) -> int:
    """Looks at the whole dataset that add at most about a tenth to a chain's cost: a loss is a third of a gradient."""
    looks = 0.1 * 2 * draws * 3 * target.batch_size / target.num_samples
    return int(min(20, draws, max(3, looks)))
