"""What chains leave: traces of every step, what was looked at, and how it went."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from llc.sampling.looks import ByPosition, FullDifference, GradientNoise
from llc.sampling.observable import Watch
from llc.sampling.storage import chosen, stacked

# What a step leaves in the traces.
TRACES = ("difference", "loss", "distance", "virial", "acceptance")


@dataclass(frozen=True)
class Trail:
    """What one chain leaves.

    Attributes:
        traces: paired difference, loss, distance from the center, (w − center)·∇Û, acceptance, (5, steps).
        observed: what each observer saw, by its name, (look, …); None where it never looked.
        settings: the sampler's, as they were at the end.
        step_over_limit: the largest step size relative to the stability limit where the chain was after warm-up.
        diverged: the step at which it did.
        cuts: (step, new step size) after trouble.
    """

    traces: np.ndarray
    observed: dict[str, np.ndarray | None]
    settings: dict[str, float]
    step_over_limit: float
    diverged: int | None
    cuts: list[tuple[int, float]]


@dataclass(frozen=True)
class Observed:
    """What one observable saw.

    Attributes:
        values: (chain, look, *dims), in a file where they are large (`llc.sampling.storage`); NaN where a chain had
            diverged.
        at: draw of each look, warm-up included.
    """

    values: np.ndarray
    at: np.ndarray
    dims: tuple[str, ...]


@dataclass(frozen=True)
class Chains:
    """Traces of all chains, warm-up first.

    Attributes:
        difference: paired L_B(w_t) − L_B(w*), (chain, warmup + draws); NaN from where a chain diverged.
        loss: L_B(w_t), likewise.
        distance: ‖w_t − c‖, likewise, c being the target's center, w* unless it was moved.
        virial: (w_t − c)·∇Û(w_t), likewise.
        acceptance: whether a Metropolis sampler moved, likewise; NaN for the others.
        by_position: paired differences of every position, (chain, warmup + draws, K), or None.
        warmup: how many of the draws are warm-up.
        superchain: the kind of start of each chain, (chain,): 0 at w*, 1 where a hot chain went.
        full_at: at which draws the next five were taken, (look,).
        full_difference: L_n(w) − L_n(w*) over the whole dataset, (chain, look).
        sample_losses: ℓ_i(w) − ℓ_i(w*) of some samples i, evenly spread over the data, (chain, look, sample).
        gradient_noise: tr Cov(∇Û) of a minibatch, (chain, look); 0 for full batches.
        gradient_square: ‖∇Û‖² − γP of a minibatch, likewise; both in the sampler's metric.
        rounding: what low precision adds to a loss difference, likewise; 0 in float32.
        gradients: how many minibatch gradients were computed in all.
        settings: the sampler's, as each chain ended with them.
        step_over_limit: the largest step size relative to the stability limit where a chain was, (chain,).
        at_once: how many chains, of this and other targets, ran in one graph; 1 where each ran by itself.
        diverged: for each chain that diverged, the draw at which it did.
        cuts: (chain, draw, new step size) where a step was too long for the curvature a chain ran into.
        observed: what the observables saw, by name.
        ended: the sampler's state of every chain in the end, a row a chain; `run_many(starts=…)` goes on from it.
    """

    difference: np.ndarray
    loss: np.ndarray
    distance: np.ndarray
    virial: np.ndarray
    acceptance: np.ndarray
    by_position: np.ndarray | None
    warmup: int
    superchain: np.ndarray
    full_at: np.ndarray
    full_difference: np.ndarray
    sample_losses: np.ndarray
    gradient_noise: np.ndarray
    gradient_square: np.ndarray
    rounding: np.ndarray
    gradients: int
    settings: list[dict[str, float]]
    step_over_limit: np.ndarray
    at_once: int = 1
    diverged: dict[int, int] = field(default_factory=dict)
    cuts: list[tuple[int, int, float]] = field(default_factory=list)
    observed: dict[str, Observed] = field(default_factory=dict)
    ended: Any = None

    @property
    def survivors(self) -> list[int]:
        """The chains that did not diverge."""
        return [chain for chain in range(len(self.difference)) if chain not in self.diverged]

    @property
    def steps(self) -> int:
        """Draws a chain made, warm-up included."""
        return self.difference.shape[1]

    def then(self, more: "Chains") -> "Chains":
        """These draws and those of the same chains going on, which had no warm-up of their own."""
        traces: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), getattr(more, name)], 1) for name in (*TRACES, *_AT_FULL_LOOKS)
        }
        if self.by_position is not None and more.by_position is not None:
            traces["by_position"] = np.concatenate([self.by_position, more.by_position], 1)
        observed = {
            name: Observed(
                chosen(_alike(one.values, more.observed[name].values), range(len(one.values))),
                np.concatenate([one.at, self.steps + more.observed[name].at]),
                one.dims,
            )
            for name, one in self.observed.items()
        }
        return replace(
            more,
            **traces,
            warmup=self.warmup,
            superchain=self.superchain,
            full_at=np.concatenate([self.full_at, self.steps + more.full_at]),
            gradients=self.gradients + more.gradients,
            step_over_limit=np.fmax(self.step_over_limit, more.step_over_limit),
            diverged={chain: self.steps + at for chain, at in more.diverged.items()} | self.diverged,
            cuts=[*self.cuts, *((chain, self.steps + at, size) for chain, at, size in more.cuts)],
            observed=observed,
        )


# What is recorded a look at the whole dataset.
_AT_FULL_LOOKS = ("full_difference", "sample_losses", "gradient_noise", "gradient_square", "rounding")


def gather(
    trails: list[Trail],
    warmup: int,
    superchain: np.ndarray,
    watches: Sequence[Watch],
    *,
    ended: Any,
    gradients: int,
    at_once: int,
) -> Chains:
    """The chains of one target, labelled."""
    difference, loss, distance, virial, acceptance = np.stack([trail.traces for trail in trails], axis=1)
    seen = {
        watch.observer.name: _observed([trail.observed[watch.observer.name] for trail in trails], watch)
        for watch in watches
    }
    full, noise, by_position = (seen.pop(one.name, None) for one in (FullDifference, GradientNoise, ByPosition))
    assert full is not None  # every run has them
    assert noise is not None
    return Chains(
        difference=difference,
        loss=loss,
        distance=distance,
        virial=virial,
        acceptance=acceptance,
        by_position=None if by_position is None else by_position.values,
        warmup=warmup,
        superchain=superchain,
        full_at=full.at,
        full_difference=full.values[..., 0],
        sample_losses=full.values[..., 2:],
        gradient_noise=noise.values[..., 0],
        gradient_square=noise.values[..., 1],
        rounding=full.values[..., 1],
        gradients=gradients,
        settings=[trail.settings for trail in trails],
        step_over_limit=np.array([trail.step_over_limit for trail in trails]),
        at_once=at_once,
        diverged={chain: trail.diverged for chain, trail in enumerate(trails) if trail.diverged is not None},
        cuts=[(chain, *cut) for chain, trail in enumerate(trails) for cut in trail.cuts],
        observed=seen,
        ended=ended,
    )


def _alike(one: np.ndarray, other: np.ndarray) -> list[np.ndarray]:
    """Two arrays (chain, look, …) of which one may have seen nothing, not even how large that is."""
    known = other if 0 in one.shape[2:] else one
    return [
        np.full((*each.shape[:2], *known.shape[2:]), np.nan, known.dtype) if 0 in each.shape[2:] else each
        for each in (one, other)
    ]


def _observed(values: Sequence[np.ndarray | None], watch: Watch) -> Observed:
    """Chains side by side; one that never came to a look has NaN."""
    nothing = len(watch.at), *[0] * len(watch.observer.dims)
    shape = next((one.shape for one in values if one is not None), nothing)
    return Observed(stacked(values, shape, watch.observer.dtype), np.array(watch.at, int), watch.observer.dims)
