"""What users of devinterp do, on the cases that `llc validate` holds this package against."""

import copy
import itertools
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from llc.estimate.diagnostics import INTERVAL
from llc.randomness import generator


def devinterp_sgld(
    model: nn.Module,
    loss: Callable,
    data: tuple[Tensor, ...],
    *,
    steps: int,
    step_size: float,
    nbeta: float,
    gamma: float,
    batches: Iterator[Tensor],
    noise: torch.Generator,
) -> np.ndarray:
    """One chain of devinterp 2's own SGLD optimiser in the loop its users write: L_B(w_t), one a step, (steps,)."""
    with warnings.catch_warnings():  # of packages that devinterp would like to have
        warnings.simplefilter("ignore")
        from devinterp.optim import SGMCMC
    sampled = copy.deepcopy(model)
    optimiser = SGMCMC.sgld(sampled.parameters(), lr=step_size, nbeta=nbeta, localization=gamma)
    trace = np.full(steps, np.nan)
    for step in range(steps):
        chosen = next(batches)
        optimiser.zero_grad()
        mean = loss(sampled, tuple(tensor[chosen] for tensor in data)).mean()
        trace[step] = mean.item()
        if not np.isfinite(trace[step]):
            break
        mean.backward()
        optimiser.step(noise_generator=noise)
    return trace


def devinterp_estimate(
    model: nn.Module,
    loss: Callable,
    data: tuple[Tensor, ...],
    *,
    gradients: int,
    chains: int,
    step_size: float,
    nbeta: float,
    gamma: float,
    batch_size: int,
    key: tuple,
) -> dict:
    """λ̂ as devinterp 2.0.1 defines it: nβ (mean of every draw's loss, burn-in and all, minus that at w*).

    Its error is the spread of the chains' means. A step size at which a chain is lost is halved, as its user would do,
    and what that took is not counted.
    """
    n = len(data[0])
    with torch.no_grad():
        start = float(loss(model, data).mean())
    steps = gradients // chains
    for _ in range(12):
        traces = np.stack(
            [
                devinterp_sgld(
                    model,
                    loss,
                    data,
                    steps=steps,
                    step_size=step_size,
                    nbeta=nbeta,
                    gamma=gamma,
                    batches=_reshuffled(n, batch_size, generator(*key, "batches", chain)),
                    noise=generator(*key, "noise", chain),
                )
                for chain in range(chains)
            ]
        )
        if np.isfinite(traces).all():
            break
        step_size /= 2
    means = nbeta * (traces.mean(1) - start)
    error = float(means.std(ddof=1) / np.sqrt(chains))
    reach = float(stats.norm.ppf(0.5 + INTERVAL / 2)) * error
    return {
        "llc": float(means.mean()),
        "llc_se": error,
        "llc_low": float(means.mean()) - reach,
        "llc_high": float(means.mean()) + reach,
        "verdict": "none" if np.isfinite(means).all() else "diverged",
        "reason": "devinterp gives no verdict",
        "gradients": steps * chains,
    }


def _reshuffled(n: int, batch_size: int, rng: torch.Generator) -> Iterator[Tensor]:
    for _ in itertools.count():
        order = torch.randperm(n, generator=rng)
        yield from order[: n - n % batch_size].split(batch_size)
