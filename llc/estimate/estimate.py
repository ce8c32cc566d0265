"""The local learning coefficient of one model: λ̂ with its error, its traces and a verdict."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import torch
import xarray as xr
from torch import nn

from llc import devices
from llc.devices import Precision
from llc.errors import EstimateFailed
from llc.estimate.labels import estimate_tree
from llc.estimate.measure import Point, estimate_at
from llc.estimate.observing import check_what_to_observe
from llc.estimate.settings import SamplingConfig, checked_reference_losses, patterns_of
from llc.parallel import Progress, check_progress
from llc.progress import patient_progress
from llc.sampling import LEAST_DRAWS, Data, Loss, Losses, Observable, Restriction, check_data


def estimate_llc(
    model: nn.Module,
    loss: Loss,
    data: Data,
    *,
    nbeta: float | None = None,
    gamma: float | None = None,
    radius: float | None = None,
    sampler: str | None = None,
    step_size: float | None = None,
    target_error: float = 0.1,
    max_gradients: int = 100_000,
    chains: int = 2,
    draws: int | None = None,
    warmup: int | None = None,
    batch_size: int | None = None,
    control_variates: bool | None = None,
    headline: Literal["auto", "w*", "basin"] = "auto",
    parameters: Restriction | None = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    sample_weights: Any = None,
    full_loss_every: int | None = None,
    max_rhat: float | None = None,
    compile: bool = False,
    precision: Precision = "float32",
    device: str | None = None,
    reference_losses: Mapping[str, float] | None = None,
    observables: Sequence[Observable | Losses] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> xr.DataTree:
    """Estimate the local learning coefficient of a model at its current weights w*.

        λ̂(w*) = nβ (E[L_n(w)] − L_n(w*)),   w ~ exp(−nβ L_n(w) − γ/2 ‖w − w*‖²)

    Lau et al. (2023), arXiv 2308.12108. Each draw's minibatch loss is paired with the same samples' losses at w*, so
    that the spread between samples cancels. What the finite step and the noise of minibatch gradients add to the mean
    is predicted from the gradients themselves (each sampler's `bias`), taken off, and its uncertainty carried.

    Nothing has to be chosen. Chains at two temperatures with one ρ = γ/nβ, and a minimiser, give λ̂ at w*, the floor of
    its basin and λ̂ of that (`llc.estimate.floor`); ρ is lowered, by a colder nβ as far as the noise of the data allows
    (`llc.estimate.noise`) and by a weaker γ, until λ̂ is a plateau (`llc.estimate.scale`); draws are added until the
    interval is as narrow as `target_error` asks for or `max_gradients` are spent. Where that is not reached, the
    verdict says what the number is instead.

    Args:
        model: any `nn.Module`. A copy in eval mode is sampled (dropout off, batch norms with their running averages);
            neither the weights, mode nor device of yours are touched. Parameters that require no gradient stay put.
        loss: `loss(model, batch) -> (B,)`, one loss a sample, or (B, K), one a position, of which the mean is sampled
            and λ̂ is told apart by position; `batch` has the structure of `data`.
        data: n samples: a tensor or array, a tuple or dict of them, a list of samples, a map-style dataset or anything
            else with `len(data)` and `data[i]`, or a DataLoader, of which the dataset and `collate_fn` are taken.
        nbeta: nβ, multiplies the mean loss; by default chosen.
        gamma: γ; by default chosen. What is given is kept, and with γ or a radius given there is no ladder.
        radius: the same thing as the prior's radius √(P/γ) relative to ‖w*‖.
        sampler: `kinetic`, `gle`, `sgld`, `rmsprop-sgld`, or on full batches `mala` or `hmc`; by default `gle` on full
            batches and `kinetic` on minibatches.
        step_size: h (kinetic, gle, HMC) or ε (the others); by default from the largest curvature at w*, and then cut
            for a chain that runs into higher curvature. A step size that is given is kept.
        target_error: half-width of the 90 % interval, relative to λ̂, at which rounds of draws end.
        max_gradients: minibatch gradients, of all chains, after which no new round is begun.
        chains: at each of the two temperatures.
        draws: how many each keeps; by default as many as `target_error` takes.
        warmup: draws each chain makes first, kept apart and never averaged; by default found from the traces.
        headline: which λ̂ is called `llc`: at `w*`, of the `basin` below it, or `auto`: of the basin where there is a
            ladder, or where w* lies above the floor.
        batch_size: samples a draw; by default all n where that is cheap or the sampler needs it, else 256 or more.
        reference_losses: losses of predictors that know nothing, by name, such as `{"the zero predictor": 4.1}`; draws
            that do no better are called `delocalised`.
        observables: what else to look at on the way: losses of datasets, `llc.Losses("test", test_data)`, or what you
            like, see `llc.sampling.Observable`; without `draws` at every eighth draw at least.
        control_variates: see `llc.sampling.Target`; by default where they lower the noise.
        parameters: which weights move, for the refined LLC: patterns of names, `["blocks.0.*"]`, with a slice if need
            be, `["blocks.0.attention.qkv.weight[0:16]"]`, or masks by name, `{"out.weight": mask}`, such as `llc.heads`
            gives; by default all. The others stay at w*.
        collate_fn: makes a batch of a list of samples where they are no tensors of one shape, by padding for one.
        sample_weights: of the losses, (n,), one a sample, or (n, K), one a position, 0 for padding: what is sampled is
            Σwℓ/Σw. By default all alike.
        full_loss_every: also look at the whole dataset's loss at every k-th draw (`full_llc` in `sample_stats`);
            by default at a few.
        compile: have PyTorch compile the gradient for this machine: half a minute once a process, and then a third less
            time for small transformers on a CPU. The numbers are the same up to rounding.
        precision: of matrix products, `float32`, `tf32` or `bf16`. What it adds to λ̂ is measured against float32 at
            some draws (`rounding`) and taken off.
        device: where to sample, such as `cuda`; by default where the model is.
        max_rhat: R̂ and nested R̂ above which chains are said to disagree, by default 1.2, or 1.05 where
            draws are given.
        seed: of the chains' noise and minibatches.
        progress: told ("llc", gradients so far, `max_gradients`, note); by default shown where it takes long. Most
            estimates end well before the last gradient.

    Returns:
        A tree whose root holds `llc`, `llc_se`, `llc_low`, `llc_high` (90 %), `verdict`, `reason` and diagnostics,
        (with positions, also `llc_position`, that at w*, and its error and interval) and
        whose groups `posterior`, `sample_stats`, `warmup_posterior`, `warmup_sample_stats` hold the traces by
        (chain, draw) as ArviZ expects them, and those with `hot_` before it the chains at nβ/4; `ladder` holds λ̂ of
        every rung that was kept; with observables, a group `observables` holds theirs, each by a `draw_…`
        of its own, and `losses/<name>` those of a dataset. Chains that diverged are in no group; the reason names them.

    Raises:
        InvalidInput: an argument out of range, a loss of the wrong shape or that is no function of weights and sample,
            weights that are not finite, a model that cannot be copied.
        EstimateFailed: every chain diverged.
    """
    check_progress(progress)
    masks = parameters if isinstance(parameters, Mapping) else None
    config = SamplingConfig(
        sampler=sampler,
        target_error=target_error,
        max_gradients=max_gradients,
        headline=headline,
        chains=chains,
        draws=draws,
        warmup=warmup,
        batch_size=batch_size,
        control_variates=control_variates,
        parameters=None if masks is not None or parameters is None else patterns_of(parameters),
        nbeta=nbeta,
        gamma=gamma,
        radius=radius,
        step_size=step_size,
        full_loss_every=full_loss_every,
        max_rhat=max_rhat,
        seed=seed,
        compile=compile or None,
        precision=precision,
    )
    where = None if device is None else devices.choose_device(device)
    check_what_to_observe(observables, draws or LEAST_DRAWS)  # before any chain runs
    known = checked_reference_losses(reference_losses)
    with torch.inference_mode(False), ExitStack() as stack:  # whatever the caller is in: gradients are taken
        told = stack.enter_context(patient_progress("gradients")) if progress is None else progress
        point = Point("the model", model, loss, check_data(data, collate_fn), known, sample_weights, masks)
        estimate = estimate_at(
            point,
            config,
            key=(config.seed, "llc"),
            device=where,
            observables=observables,
            progress=_in_gradients(told, max_gradients),
        )
    if step_size is not None and estimate.step_over_limit >= 1:
        warnings.warn(
            f"step_size = {step_size:.3g} is {estimate.step_over_limit:.2f} times what is stable; leave it out for one "
            "that follows the curvature",
            stacklevel=2,
        )
    if len(estimate.chains.diverged) == chains:
        raise EstimateFailed(f"no estimate: {estimate.reason}")
    return estimate_tree(estimate)


def _in_gradients(progress: Progress, most: int) -> Progress:
    """Reports of one run of chains after another as gradients in all."""
    spent = last = 0

    def told(unit: str, done: int, total: int, note: str) -> None:
        nonlocal spent, last
        if unit:  # something else than gradients
            progress(unit, done, total, note)
            return
        spent, last = spent + (done - last if done >= last else done), done
        progress("llc", min(spent, most), most, note)

    return told
