"""The chain engine: runs one sampler on one target and records what each draw saw."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
from torch import Tensor

from llc.errors import Interrupted, InvalidInput, did_you_mean
from llc.parallel import Report, check_interrupt, quiet
from llc.randomness import generator
from llc.sampling import kinetic, sgld
from llc.sampling.target import Evaluation, Minibatch, Target

# The line to add for a new sampler.
SAMPLERS: dict[str, ModuleType] = {"kinetic": kinetic, "sgld": sgld}


@dataclass(frozen=True)
class Chains:
    """Traces of all chains, warm-up first.

    Attributes:
        difference: mean_{i∈B}(ℓ_i(w_t) − ℓ_i(w*)), (chain, warmup + draws); NaN from where a chain diverged.
        loss: mean_{i∈B} ℓ_i(w_t), likewise. distance: ‖w_t − w*‖, likewise.
        warmup: how many of the draws are warm-up.
        diverged: for each chain that diverged, the draw at which it did.
    """

    difference: np.ndarray
    loss: np.ndarray
    distance: np.ndarray
    warmup: int
    diverged: dict[int, int] = field(default_factory=dict)

    @property
    def survivors(self) -> list[int]:
        """The chains that did not diverge."""
        return [chain for chain in range(len(self.difference)) if chain not in self.diverged]

    @property
    def steps(self) -> int:
        """Draws a chain made, warm-up included."""
        return self.difference.shape[1]


def sampler_named(name: str) -> ModuleType:
    """A sampler by name, or InvalidInput with the nearest one."""
    if name not in SAMPLERS:
        raise InvalidInput(f"unknown sampler {name}; {did_you_mean(name, SAMPLERS)}")
    return SAMPLERS[name]


def run_chains(
    target: Target,
    sampler: ModuleType,
    settings: dict[str, float],
    *,
    chains: int,
    warmup: int,
    draws: int,
    key: tuple,
    report: Report = quiet,
) -> Chains:
    """Run chains from w*, each with its own noise and its own reshuffled minibatches.

    Args:
        sampler: a module of `llc.sampling` with `init` and `update`.
        settings: the keyword arguments of its `update`.
        chains, warmup, draws: how many, each chain taking warmup + draws steps.
        key: seeds the chains; chain c draws from the streams (*key, "noise", c) and (*key, "minibatches", c).
        report: told (unit, done, total, note).
    Raises:
        InvalidInput: a count out of range.
    """
    for name, value, least in (("chains", chains, 1), ("draws", draws, 1), ("warmup", warmup, 0)):
        if value < least:
            raise InvalidInput(f"{name} = {value} given, expected a whole number from {least} up")
    steps = warmup + draws
    traces = np.full((3, chains, steps), np.nan)
    diverged = {}
    for chain in range(chains):
        noise = generator(*key, "noise", chain)
        minibatches = target.minibatches(generator(*key, "minibatches", chain))
        state = sampler.init(target.center)
        for step in range(steps):
            position = state.position
            state, seen = sampler.update(state, _on(target, next(minibatches)), noise, **settings)
            row = (seen.difference, seen.loss, float((position - target.center).norm()))
            if not np.isfinite(row).all():
                diverged[chain] = step
                break
            traces[:, chain, step] = row
            if check_interrupt():
                raise Interrupted("stopped while sampling")
            if step % 50 == 0:
                report("", chain * steps + step, chains * steps, "")
    difference, loss, distance = traces
    return Chains(difference, loss, distance, warmup, diverged)


def _on(target: Target, minibatch: Minibatch) -> Callable[[Tensor], Evaluation]:
    return lambda position: target.evaluate(position, minibatch)
