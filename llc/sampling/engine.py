"""The chain engine: runs one sampler on one target and records what each draw saw."""

import math
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llc.errors import Interrupted, InvalidInput, did_you_mean
from llc.parallel import Report, check_interrupt, quiet
from llc.randomness import generator
from llc.sampling import hmc, kinetic, mala, rmsprop_sgld, sgld
from llc.sampling.target import Evaluation, Minibatch, Target

# The line to add for a new sampler.
SAMPLERS: dict[str, ModuleType] = {
    "kinetic": kinetic,
    "sgld": sgld,
    "rmsprop-sgld": rmsprop_sgld,
    "mala": mala,
    "hmc": hmc,
}

# Fewer draws cannot be told apart from a trend.
LEAST_DRAWS = 8
# A chain is taken back this many draws, at least, when its step size is cut.
_REWIND = 25
# A chain that needs more cuts than this has diverged.
_MOST_CUTS = 24


@dataclass(frozen=True)
class Chains:
    """Traces of all chains, warm-up first.

    Attributes:
        difference: paired L_B(w_t) − L_B(w*), (chain, warmup + draws); NaN from where a chain diverged.
        loss: L_B(w_t), likewise. distance: ‖w_t − w*‖, likewise.
        acceptance: whether a Metropolis sampler moved, likewise; NaN for the others.
        warmup: how many of the draws are warm-up.
        full_difference: L_n(w) − L_n(w*) over the whole dataset at a few draws after warm-up, (chain, probe).
        gradient_noise: tr Cov(∇Û) of a minibatch at the same draws, (chain, probe); 0 for full batches.
        gradient_square: ‖∇Û‖² − γP of a minibatch at the same draws, likewise; both in the sampler's metric.
        gradients: how many minibatch gradients were computed in all.
        diverged: for each chain that diverged, the draw at which it did.
        cuts: (chain, draw, new step size) where a chain ran into curvature too high for its step and was taken back.
    """

    difference: np.ndarray
    loss: np.ndarray
    distance: np.ndarray
    acceptance: np.ndarray
    warmup: int
    full_difference: np.ndarray
    gradient_noise: np.ndarray
    gradient_square: np.ndarray
    gradients: int
    diverged: dict[int, int] = field(default_factory=dict)
    cuts: list[tuple[int, int, float]] = field(default_factory=list)

    @property
    def survivors(self) -> list[int]:
        """The chains that did not diverge."""
        return [chain for chain in range(len(self.difference)) if chain not in self.diverged]

    def step_size(self, chain: int, given: float) -> float:
        """The step size with which a chain ended, `given` unless it was cut."""
        return next((size for at, _, size in reversed(self.cuts) if at == chain), given)

    @property
    def steps(self) -> int:
        """Draws a chain made, warm-up included."""
        return self.difference.shape[1]


def sampler_named(name: str) -> ModuleType:
    """A sampler by name, or InvalidInput with the nearest one."""
    if name not in SAMPLERS:
        raise InvalidInput(f"unknown sampler {name}; {did_you_mean(name, SAMPLERS)}")
    return SAMPLERS[name]


def needs_full_batch(sampler: ModuleType) -> bool:
    """Whether a sampler has a Metropolis test, which takes the whole dataset at once."""
    return getattr(sampler, "FULL_BATCH", False)


def run_chains(
    target: Target,
    sampler: ModuleType,
    settings: dict[str, float],
    *,
    chains: int,
    warmup: int,
    draws: int,
    key: tuple,
    probes: int = 0,
    may_cut: bool = False,
    report: Report = quiet,
) -> Chains:
    """Run chains from w*, each with its own noise and its own reshuffled minibatches.

    Args:
        sampler: a module of `llc.sampling` with `init` and `update`.
        settings: the keyword arguments of its `update`.
        chains, warmup, draws: how many, each chain taking warmup + draws steps.
        key: seeds the chains; chain c draws from the streams (*key, "noise", c), (*key, "minibatches", c), ….
        probes: at so many evenly spaced draws after warm-up, look at the whole dataset and at the gradient's noise.
        may_cut: halve the step size of a chain that runs away, and take it back, instead of losing it.
        report: told (unit, done, total, note).
    Raises:
        InvalidInput: a count out of range, or a sampler that needs full batches without them.
    """
    for name, value, least in (("chains", chains, 1), ("draws", draws, LEAST_DRAWS), ("warmup", warmup, 0)):
        if value < least:
            raise InvalidInput(f"{name} = {value} given, expected a whole number from {least} up")
    if needs_full_batch(sampler) and target.batch_size < target.num_samples:
        raise InvalidInput(
            f"a Metropolis sampler needs the whole dataset at once: batch_size = {target.batch_size} given, "
            f"expected {target.num_samples}"
        )
    steps = warmup + draws
    probed = {warmup + round((i + 1) * draws / probes) - 1: i for i in range(probes)} if probes else {}
    runs = []
    for chain in range(chains):
        run = _Chain(
            target,
            sampler,
            dict(settings),
            steps=steps,
            warmup=warmup,
            probed=probed,
            streams=(key, chain),
            may_cut=may_cut,
        )
        run.go(lambda step, chain=chain: report("", chain * steps + step, chains * steps, ""))
        runs.append(run)
    difference, loss, distance, acceptance = np.stack([run.traces for run in runs], axis=1)
    return Chains(
        difference=difference,
        loss=loss,
        distance=distance,
        acceptance=acceptance,
        warmup=warmup,
        full_difference=np.array([run.full for run in runs]),
        gradient_noise=np.array([run.noise for run in runs]),
        gradient_square=np.array([run.square for run in runs]),
        gradients=sum(run.gradients for run in runs),
        diverged={chain: run.diverged for chain, run in enumerate(runs) if run.diverged is not None},
        cuts=[(chain, *cut) for chain, run in enumerate(runs) for cut in run.cuts],
    )


class _Chain:
    """One chain on its way."""

    def __init__(
        self,
        target: Target,
        sampler: ModuleType,
        settings: dict[str, float],
        *,
        steps: int,
        warmup: int,
        probed: dict[int, int],
        streams: tuple[tuple, int],
        may_cut: bool,
    ) -> None:
        self.target, self.sampler, self.settings = target, sampler, settings
        self.steps, self.warmup, self.probed, self.may_cut = steps, warmup, probed, may_cut
        key, chain = streams
        self.random = generator(*key, "noise", chain)
        self.minibatches = target.minibatches(generator(*key, "minibatches", chain))
        self.traces = np.full((4, steps), np.nan)
        self.full, self.noise, self.square = np.full((3, len(probed)), np.nan)
        self.gradients = 0
        self.diverged: int | None = None
        self.cuts: list[tuple[int, float]] = []

    def go(self, tell) -> None:
        """Run to the end, or to where the chain diverges."""
        state, step = self.sampler.init(self.target.center), 0
        saved = [(step, state)]
        while step < self.steps:
            if step == self.warmup and hasattr(self.sampler, "freeze"):
                state = self.sampler.freeze(state)
            minibatch = next(self.minibatches)
            position = state.position
            state, seen = self.sampler.update(state, self._on(minibatch), self.random, **self.settings)
            row = self._row(position, seen, state)
            if not np.isfinite(row[:3]).all() or (self.may_cut and self._ran_away(position, seen)):
                if not self.may_cut or len(self.cuts) == _MOST_CUTS:
                    self.diverged = step
                    self.traces[:, step:] = np.nan
                    return
                # Back to a point from before the trouble; the target does not depend on the step size.
                self.settings["step_size"] /= 2
                self.cuts.append((step, self.settings["step_size"]))
                step, state = saved[0]
                saved = saved[:1]
                continue
            self.traces[:, step] = row
            if step in self.probed:
                self._probe(position, seen, state, self.probed[step])
            step += 1
            if step % _REWIND == 0:
                saved = [saved[-1], (step, state)]
                tell(step)
            if check_interrupt():
                raise Interrupted("stopped while sampling")

    def _on(self, minibatch: Minibatch):
        def evaluate(position: Tensor) -> Evaluation:
            self.gradients += 1
            return self.target.evaluate(position, minibatch)

        return evaluate

    def _row(self, position: Tensor, seen: Evaluation, state: Any) -> tuple[float, float, float, float]:
        distance = float((position - self.target.center).norm())
        return seen.difference, seen.loss, distance, getattr(state, "accepted", math.nan)

    def _ran_away(self, position: Tensor, seen: Evaluation) -> bool:
        """Whether U is far above anything that the posterior holds.

        U − U(w*) has mean P/2 and standard deviation √(P/2) in a Gaussian well, and less in a degenerate one. The limit
        leaves room for chains that minibatches heat to three times that, with twenty deviations to spare: a chain that
        runs away grows exponentially and soon passes any limit. A minibatch's word is checked on the whole dataset.
        """
        half = self.target.num_parameters / 2
        limit = 3 * half + 20 * math.sqrt(half) + 50
        if seen.potential <= limit:
            return False
        if self.target.batch_size == self.target.num_samples:
            return True
        return self.target.potential(position) > limit

    def _probe(self, position: Tensor, seen: Evaluation, state: Any, place: int) -> None:
        """The whole dataset's loss difference at a draw, and how much another minibatch's gradient differs."""
        target = self.target
        metric = self.sampler.metric(state) if hasattr(self.sampler, "metric") else torch.ones_like(position)
        self.full[place] = float((target.losses(position) - target.baseline).mean())
        self.square[place] = float((metric * (seen.gradient.square() - target.gamma)).sum())
        if target.batch_size == target.num_samples:
            self.noise[place] = 0.0
            return
        other = target.evaluate(position, next(self.minibatches))
        self.gradients += 1
        self.noise[place] = float((metric * (other.gradient - seen.gradient).square()).sum()) / 2
