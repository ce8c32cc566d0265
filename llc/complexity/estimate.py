"""The local learning coefficient of one model: λ̂ with its error, its traces and a verdict."""

import math
from collections.abc import Iterable, Mapping

import torch
import xarray as xr
from torch import nn

from llc.complexity.conclusion import Estimate, conclude
from llc.complexity.labels import estimate_tree
from llc.errors import EstimateFailed, InvalidInput
from llc.parallel import Report, quiet
from llc.sampling import Target, largest_curvature, needs_full_batch, run_chains, sampler_named
from llc.sampling.target import Data, Loss, check_data, data_length


def estimate_llc(
    model: nn.Module,
    loss: Loss,
    data: Data,
    *,
    nbeta: float | None = None,
    gamma: float | None = None,
    sampler: str = "kinetic",
    step_size: float | None = None,
    chains: int = 4,
    draws: int = 200,
    warmup: int | None = None,
    batch_size: int | None = None,
    control_variates: bool = False,
    reference_losses: Mapping[str, float] | None = None,
    seed: int = 0,
    report: Report = quiet,
) -> xr.DataTree:
    """Estimate the local learning coefficient of a model at its current weights w*.

        λ̂(w*) = nβ (E[L_n(w)] − L_n(w*)),   w ~ exp(−nβ L_n(w) − γ/2 ‖w − w*‖²)

    Lau et al. (2023), arXiv 2308.12108. Each draw's minibatch loss is paired with the same samples' losses at w*, so
    that the spread between samples cancels. What the finite step and the noise of minibatch gradients add to the mean
    is predicted from the gradients themselves (each sampler's `step_excess`), taken off, and its uncertainty carried.

    Args:
        model: any `nn.Module`. A copy in eval mode is sampled (dropout off, batch norms with their running averages);
            neither the weights, mode nor device of yours are touched. Parameters that require no gradient stay put.
        loss: `loss(model, batch) -> (B,)`, one loss a sample; `batch` has the structure of `data`.
        data: a tuple of tensors with one first dimension n, or a map-style dataset of n samples.
        nbeta: nβ, multiplies the mean loss; by default n / log n.
        gamma: γ; by default 9 P/‖w*‖², for which the prior's radius √(P/γ) is a third of ‖w*‖.
        sampler: `kinetic`, `sgld`, `rmsprop-sgld`, or on full batches `mala` or `hmc`.
        step_size: h (kinetic, HMC) or ε (the others); by default from the largest curvature at w*, and then halved
            for a chain that runs into higher curvature. A step size that is given is kept.
        chains, draws: how many chains, and how many draws each keeps.
        warmup: draws each chain makes first, kept apart and never averaged; by default found from the traces, of
            twice `draws` in all.
        batch_size: samples a draw; by default 256, or n if that is smaller or the sampler needs full batches.
        reference_losses: losses of predictors that know nothing, by name, such as `{"the zero predictor": 4.1}`; draws
            that do no better are called `delocalised`.
        control_variates: see `llc.sampling.Target`; off by default.
        seed: of the chains' noise and minibatches.

    Returns:
        A tree whose root holds `llc`, `llc_se`, `llc_low`, `llc_high` (90 %), `verdict`, `reason` and diagnostics,
        and whose groups `posterior`, `sample_stats`, `warmup_posterior`, `warmup_sample_stats` hold the traces by
        (chain, draw) as ArviZ expects them. Chains that diverged are in no group; the reason names them.

    Raises:
        InvalidInput: an argument out of range, a loss of the wrong shape, weights that are not finite.
        EstimateFailed: every chain diverged.
    """
    estimate = estimate_numbers(
        model,
        loss,
        data,
        nbeta=nbeta,
        gamma=gamma,
        sampler=sampler,
        step_size=step_size,
        chains=chains,
        draws=draws,
        warmup=warmup,
        batch_size=batch_size,
        control_variates=control_variates,
        reference_losses=reference_losses,
        key=(seed, "llc"),
        report=report,
    )
    if len(estimate.chains.diverged) == chains:
        raise EstimateFailed(f"no estimate: {estimate.reason}")
    return estimate_tree(estimate)


def estimate_numbers(
    model: nn.Module,
    loss: Loss,
    data: Data,
    *,
    nbeta: float | None,
    gamma: float | None,
    sampler: str,
    step_size: float | None,
    chains: int,
    draws: int,
    warmup: int | None,
    batch_size: int | None,
    control_variates: bool,
    key: tuple,
    reference_losses: Mapping[str, float] | None = None,
    report: Report = quiet,
) -> Estimate:
    """`estimate_llc` without labels. A total failure is a verdict here, with NaN for numbers, not an error."""
    kernel = sampler_named(sampler)
    data = check_data(data)
    num_samples = data_length(data)
    if gamma is None:
        gamma = default_gamma([model])
    # Nothing the model or loss draws may disturb the caller's random state.
    with torch.random.fork_rng():
        target = Target(
            model,
            loss,
            data,
            nbeta=num_samples / math.log(num_samples) if nbeta is None else nbeta,
            gamma=gamma,
            batch_size=batch_size or (num_samples if needs_full_batch(kernel) else min(256, num_samples)),
            control_variates=control_variates,
        )
        curvature = largest_curvature(target)
        settings = kernel.default_settings(curvature, target.gamma)
        if step_size is not None:
            if not 0 < step_size < math.inf:
                raise InvalidInput(f"step_size = {step_size} given, expected a finite number > 0")
            settings["step_size"] = float(step_size)
        traces = run_chains(
            target,
            kernel,
            settings,
            chains=chains,
            warmup=draws if warmup is None else warmup,
            draws=draws,
            key=key,
            probes=_affordable_probes(target, draws),
            may_cut=step_size is None,
            report=report,
        )
    said = {
        "sampler": sampler,
        "nbeta": target.nbeta,
        "gamma": target.gamma,
        "batch_size": target.batch_size,
        "control_variates": int(target.control_variates),
        "num_samples": target.num_samples,
        "num_parameters": target.num_parameters,
        "curvature": curvature,
        **settings,
    }
    return conclude(
        traces,
        kernel,
        settings=said,
        loss_init=float(target.baseline.mean()),
        find_warmup=warmup is None,
        reference_losses=reference_losses,
    )


def _affordable_probes(target: Target, draws: int) -> int:
    """Looks at the whole dataset that add at most about a tenth to a chain's cost: a loss is a third of a gradient."""
    looks = 0.1 * 2 * draws * 3 * target.batch_size / target.num_samples
    return int(min(20, draws, max(3, looks)))


def default_gamma(models: Iterable[nn.Module]) -> float:
    """γ = 9 P/‖w‖², geometric mean over models: the prior alone would leave chains at about ‖w‖/3 from w*.

    One value has to serve every checkpoint that is compared, since λ̂ depends on γ.
    """
    logs = []
    for model in models:
        weights = [p.detach().double() for p in model.parameters() if p.requires_grad]
        square = sum(float(w.square().sum()) for w in weights)
        if 0 < square < math.inf:
            logs.append(math.log(9 * sum(w.numel() for w in weights) / square))
    return float(f"{math.exp(sum(logs) / len(logs)):.3g}") if logs else 1.0
