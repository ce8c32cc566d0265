"""What users of other tools do, on the cases that `llc validate` holds this package against."""

import contextlib
import copy
import io
import itertools
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from llc.estimate.diagnostics import INTERVAL
from llc.extras import installed
from llc.randomness import generator

Data = tuple[Tensor, ...]
# Step sizes at which a chain is lost are halved so often, at most.
_HALVINGS = 12


class Chains(Protocol):
    """What a tool's chains say of λ̂, by its own definition: nβ (mean of every draw's loss − that at w*), (chain,)."""

    def __call__(
        self,
        model: nn.Module,
        loss: Callable,
        data: Data,
        *,
        chains: int,
        steps: int,
        step_size: float,
        nbeta: float,
        gamma: float,
        batch_size: int,
        key: tuple,
    ) -> np.ndarray:
        """λ̂ of every chain; not finite where one is lost."""
        ...


class Peer(NamedTuple):
    """A tool: its chains, and the module and the package that it comes in."""

    chains: Chains
    module: str
    package: str

    @property
    def installed(self) -> bool:
        """Whether it can be imported here."""
        return installed(self.module)


def peer_estimate(
    name: str,
    model: nn.Module,
    loss: Callable,
    data: Data,
    *,
    gradients: int,
    chains: int,
    step_size: float,
    **target: Any,
) -> dict:
    """λ̂ as a tool defines it, of its plain SGLD: the mean over chains, burn-in and all.

    Its error is the spread of the chains' means. A step size at which a chain is lost is halved, as its user would do,
    and what that took is not counted.

    Args:
        name: in `PEERS`.
        gradients: of all chains.
        target: `nbeta`, `gamma`, `batch_size`, `key`.
    """
    steps = gradients // chains
    for _ in range(_HALVINGS):
        found = PEERS[name].chains(model, loss, data, chains=chains, steps=steps, step_size=step_size, **target)
        if np.isfinite(found).all():
            break
        step_size /= 2
    error = float(found.std(ddof=1) / np.sqrt(chains))
    reach = float(stats.norm.ppf(0.5 + INTERVAL / 2)) * error
    return {
        "llc": float(found.mean()),
        "llc_se": error,
        "llc_low": float(found.mean()) - reach,
        "llc_high": float(found.mean()) + reach,
        "verdict": "none" if np.isfinite(found).all() else "diverged",
        "reason": f"{name} gives no verdict",
        "gradients": steps * chains,
    }


def devinterp_sgld(
    model: nn.Module,
    loss: Callable,
    data: Data,
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


def _devinterp(
    model: nn.Module,
    loss: Callable,
    data: Data,
    *,
    chains: int,
    steps: int,
    step_size: float,
    nbeta: float,
    gamma: float,
    batch_size: int,
    key: tuple,
) -> np.ndarray:
    with torch.no_grad():
        start = float(loss(model, data).mean())
    traces = [
        devinterp_sgld(
            model,
            loss,
            data,
            steps=steps,
            step_size=step_size,
            nbeta=nbeta,
            gamma=gamma,
            batches=_reshuffled(len(data[0]), batch_size, generator(*key, "batches", chain)),
            noise=generator(*key, "noise", chain),
        )
        for chain in range(chains)
    ]
    return nbeta * (np.stack(traces).mean(1) - start)


class _Losses(nn.Module):
    """A model and its data as one: from numbers of samples to their losses, which is what canonical-interp can call."""

    def __init__(self, model: nn.Module, loss: Callable, data: Data) -> None:
        super().__init__()
        self.model, self.loss, self.data = model, loss, data

    def forward(self, chosen: Tensor) -> Tensor:
        return self.loss(self.model, tuple(tensor[chosen] for tensor in self.data))


def _canonical(
    model: nn.Module,
    loss: Callable,
    data: Data,
    *,
    chains: int,
    steps: int,
    step_size: float,
    nbeta: float,
    gamma: float,
    batch_size: int,
    key: tuple,
) -> np.ndarray:
    with warnings.catch_warnings():  # of what it imports
        warnings.simplefilter("ignore")
        from canonical_interp.slt import LLCEstimator
    n = len(data[0])
    numbers = torch.utils.data.TensorDataset(torch.arange(n), torch.zeros(n))
    loader = torch.utils.data.DataLoader(
        numbers, batch_size, shuffle=True, drop_last=True, generator=generator(*key, "batches")
    )
    settings = {"burnin_steps": 0, "steps_bw_draws": 1, "learning_rate": step_size, "localization": gamma}
    logging.getLogger("canonical_interp").setLevel(logging.ERROR)
    with contextlib.redirect_stderr(io.StringIO()), torch.no_grad(), torch.random.fork_rng():
        estimator = LLCEstimator(draws=steps, chains=chains, nbeta=nbeta, **settings)
        seed = generator(*key, "noise").initial_seed() % 2**31
        estimator.estimate_llc(
            _Losses(model, loss, data), loader, lambda losses, _: losses.mean(), seed=seed, compile=False
        )
    return estimator.get_metrics()["llcs"].double().numpy()


PEERS = {
    "devinterp": Peer(_devinterp, "devinterp", "devinterp"),
    "canonical-interp": Peer(_canonical, "canonical_interp", "canonical-interp"),
}


def _reshuffled(n: int, batch_size: int, rng: torch.Generator) -> Iterator[Tensor]:
    for _ in itertools.count():
        order = torch.randperm(n, generator=rng)
        yield from order[: n - n % batch_size].split(batch_size)
