"""What chains leave: traces of every step, what was looked at, and how it went."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from llc.sampling.looks import ByPosition, FullDifference, GradientNoise
from llc.sampling.observable import Observer

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
        diverged: the step at which it did. cuts: (step, new step size) after trouble.
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
        values: (chain, look, *dims), float64; NaN where a chain had diverged. at: draw of each look, warm-up included.
    """

    values: np.ndarray
    at: np.ndarray
    dims: tuple[str, ...]


@dataclass(frozen=True)
class Chains:
    """Traces of all chains, warm-up first.

    Attributes:
        difference: paired L_B(w_t) − L_B(w*), (chain, warmup + draws); NaN from where a chain diverged.
        loss: L_B(w_t), likewise. distance: ‖w_t − c‖, likewise, c being the target's center, w* unless it was moved.
        virial: (w_t − c)·∇Û(w_t), likewise.
        acceptance: whether a Metropolis sampler moved, likewise; NaN for the others.
        by_position: paired differences of every position, (chain, warmup + draws, K), or None.
        warmup: how many of the draws are warm-up.
        superchain: the kind of start of each chain, (chain,): 0 at w*, 1 where a hot chain went.
        probed: at which draws the next four were taken, (probe,).
        full_difference: L_n(w) − L_n(w*) over the whole dataset, (chain, probe).
        gradient_noise: tr Cov(∇Û) of a minibatch, (chain, probe); 0 for full batches.
        gradient_square: ‖∇Û‖² − γP of a minibatch, likewise; both in the sampler's metric.
        rounding: what low precision adds to a loss difference, likewise; 0 in float32.
        gradients: how many minibatch gradients were computed in all.
        settings: the sampler's, as each chain ended with them.
        step_over_limit: the largest step size relative to the stability limit where a chain was, (chain,).
        at_once: how many chains, of this and other targets, ran in one graph; 1 where each ran by itself.
        diverged: for each chain that diverged, the draw at which it did.
        cuts: (chain, draw, new step size) where a step was too long for the curvature a chain ran into.
        observed: what the observables saw, by name.
    """

    difference: np.ndarray
    loss: np.ndarray
    distance: np.ndarray
    virial: np.ndarray
    acceptance: np.ndarray
    by_position: np.ndarray | None
    warmup: int
    superchain: np.ndarray
    probed: np.ndarray
    full_difference: np.ndarray
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

    @property
    def survivors(self) -> list[int]:
        """The chains that did not diverge."""
        return [chain for chain in range(len(self.difference)) if chain not in self.diverged]

    @property
    def steps(self) -> int:
        """Draws a chain made, warm-up included."""
        return self.difference.shape[1]


def gather(
    trails: list[Trail],
    warmup: int,
    superchain: np.ndarray,
    observers: Sequence[tuple[Observer, Sequence[int]]],
    *,
    gradients: int,
    at_once: int,
) -> Chains:
    """The chains of one target, labelled."""
    difference, loss, distance, virial, acceptance = np.stack([trail.traces for trail in trails], axis=1)
    seen = {
        observer.name: _observed([trail.observed[observer.name] for trail in trails], observer, at)
        for observer, at in observers
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
        probed=full.at,
        full_difference=full.values[..., 0],
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
    )


def _observed(values: Sequence[np.ndarray | None], observer: Observer, at: Sequence[int]) -> Observed:
    """Chains side by side; one that never came to a look has NaN."""
    shape = next((one.shape for one in values if one is not None), (len(at), *[0] * len(observer.dims)))
    whole = [np.full(shape, np.nan) if one is None else one for one in values]
    return Observed(np.stack(whole), np.array(at, int), observer.dims)
