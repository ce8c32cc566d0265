"""The chain engine: runs chains of one sampler on one target and records what each draw saw."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llc.errors import InvalidInput
from llc.parallel import Report, quiet
from llc.sampling.ensemble import Ensemble
from llc.sampling.graph import Graph
from llc.sampling.lockstep import Lockstep, Trail
from llc.sampling.looks import ByPosition, FullDifference, GradientNoise
from llc.sampling.observable import Observable, Observer, OneByOne, check_observables
from llc.sampling.rows import joined, row_of
from llc.sampling.sampler import Sampler
from llc.sampling.steering import ChainPlan
from llc.sampling.target import Target

# Fewer draws cannot be told apart from a trend.
LEAST_DRAWS = 8
# The second kind of start comes out of a chain at an inverse temperature lower by this factor, …
HOT = 10.0
# … of at least so many steps: hot chains take longer steps and go far in few.
_LEAST_HOT_STEPS = 50


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
        loss: L_B(w_t), likewise. distance: ‖w_t − w*‖, likewise. virial: (w_t − w*)·∇Û(w_t), likewise.
        acceptance: whether a Metropolis sampler moved, likewise; NaN for the others.
        by_position: paired differences of every position, (chain, warmup + draws, K), or None.
        warmup: how many of the draws are warm-up.
        superchain: the kind of start of each chain, (chain,): 0 at w*, 1 where a hot chain went.
        probed: at which draws the next five were taken, (probe,).
        full_difference: L_n(w) − L_n(w*) over the whole dataset, (chain, probe).
        sample_losses: ℓ_i(w) − ℓ_i(w*) of some samples i, evenly spread over the data, (chain, probe, sample).
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
    probed: np.ndarray
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
            name: np.concatenate([getattr(self, name), getattr(more, name)], 1)
            for name in ("difference", "loss", "distance", "virial", "acceptance", *_AT_PROBES)
        }
        if self.by_position is not None and more.by_position is not None:
            traces["by_position"] = np.concatenate([self.by_position, more.by_position], 1)
        observed = {
            name: Observed(
                np.concatenate([one.values, more.observed[name].values], 1),
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
            probed=np.concatenate([self.probed, self.steps + more.probed]),
            gradients=self.gradients + more.gradients,
            step_over_limit=np.fmax(self.step_over_limit, more.step_over_limit),
            diverged={chain: self.steps + at for chain, at in more.diverged.items()} | self.diverged,
            cuts=[*self.cuts, *((chain, self.steps + at, size) for chain, at, size in more.cuts)],
            observed=observed,
        )


# What is recorded a look at the whole dataset.
_AT_PROBES = ("full_difference", "sample_losses", "gradient_noise", "gradient_square", "rounding")


def run_chains(
    target: Target, sampler: Sampler, settings: dict[str, float], *, key: tuple, report: Report = quiet, **how
) -> Chains:
    """Run chains on one target, each with its own noise and its own reshuffled minibatches.

    Args:
        sampler: one of `SAMPLERS`, or anything that satisfies `llc.sampling.Sampler`.
        settings: its hyperparameters.
        key: seeds the chains; chain c draws from the streams (*key, "noise", c), (*key, "minibatches", c), ….
        report: told (unit, done, total, note).
        how: see `run_many`, of which `hot_settings` are this target's.
    Raises:
        InvalidInput: see `run_many`.
    """
    hot = how.pop("hot_settings", None)
    (found,) = run_many(
        [target], sampler, [settings], keys=[key], hot_settings=None if hot is None else [hot], report=report, **how
    )
    return found


def run_many(
    targets: Sequence[Target],
    sampler: Sampler,
    settings: Sequence[dict[str, float]],
    *,
    chains: int,
    warmup: int,
    draws: int,
    keys: Sequence[tuple],
    probes: int = 0,
    probe_every: int | None = None,
    adapt: bool = False,
    look: bool = False,
    hot_settings: Sequence[dict[str, float]] | None = None,
    starts: Sequence[Any] | None = None,
    graph: Graph | None = None,
    observables: Sequence[Observable] = (),
    report: Report = quiet,
) -> list[Chains]:
    """Run chains on several targets: in one graph all at once, otherwise one chain after another.

    Args:
        settings, keys: of each target.
        chains, warmup, draws: how many on each target, each chain taking warmup + draws steps.
        probes: at so many evenly spaced draws after warm-up, look at the whole dataset and at the gradient's noise.
        probe_every: do so at every k-th draw instead.
        adapt, look: see `ChainPlan`.
        hot_settings: `settings` for a chain at nβ/`HOT`. Where they are given, the second half of the chains start
            where such a chain goes during half a warm-up, not at w*. Chains that all start at w* agree while all of
            them still climb; coming from both sides, they agree only once they have arrived.
        starts: of each target, where its chains start instead: positions (chain, P), or the state that earlier chains
            `ended` with.
        graph: the targets', from `one_graph`; see there when it pays.
        observables: looked at after warm-up, at every k-th draw each; see `llc.sampling.Observable`.
        report: told (unit, done, total, note).
    Raises:
        InvalidInput: a count out of range, settings that the sampler does not take, a sampler that needs full batches
            without them, or an observable that fails (it is named).
    """
    first = targets[0]
    for name, value, least in (("chains", chains, 1), ("draws", draws, LEAST_DRAWS), ("warmup", warmup, 0)):
        if value < least:
            raise InvalidInput(f"{name} = {value} given, expected a whole number from {least} up")
    _check_settings(sampler, [*settings, *(hot_settings or [])])
    if sampler.full_batch:
        if first.batch_size < first.num_samples:
            raise InvalidInput(
                f"a Metropolis sampler needs the whole dataset at once: batch_size = {first.batch_size} given, "
                f"expected {first.num_samples}"
            )
        look = False  # what such a sampler accepts is right at any step size
    check_observables(observables, draws)
    plan = ChainPlan(warmup + draws, warmup, adapt, look)
    observers = _observers(first, plan, _probed(warmup, draws, probes, probe_every), observables)
    before = [target.gradients for target in targets]
    hot_starts: list[Tensor | None] = [None] * len(targets)
    if hot_settings and chains > 1 and warmup and starts is None:
        hot_starts = _hot_starts(targets, sampler, hot_settings, plan, keys=keys, graph=graph)
    rows = [(place, chain) for place in range(len(targets)) for chain in range(chains)]
    superchain = np.zeros((len(targets), chains), int)
    for place, hot in enumerate(hot_starts):
        superchain[place, (chains + 1) // 2 :] = int(hot is not None)
    pieces = [rows] if graph is not None else [[row] for row in rows]
    trails: list[list[Trail]] = [[] for _ in targets]
    ended: list[list[Any]] = [[] for _ in targets]
    for number, piece in enumerate(pieces):
        if starts is None:
            at = [hot_starts[place] if superchain[place, chain] else targets[place].center for place, chain in piece]
            start: Any = torch.stack([one for one in at if one is not None])
        else:
            start = joined([row_of(starts[place], chain) for place, chain in piece])
        lockstep = Lockstep(
            Ensemble([targets[place] for place, _ in piece], graph),
            sampler,
            [settings[place] for place, _ in piece],
            plan,
            start=start,
            keys=[(*keys[place], chain) for place, chain in piece],
            observers=observers,
        )
        of_piece = lockstep.go(partial(_tell, report, number * len(piece) * plan.steps, len(rows) * plan.steps))
        for row, ((place, _), trail) in enumerate(zip(piece, of_piece, strict=True)):
            trails[place].append(trail)
            ended[place].append(row_of(lockstep.state, row))
    return [
        _gather(
            trails[place],
            plan,
            superchain[place],
            observers,
            ended=joined(ended[place]),
            gradients=target.gradients - before[place],
            at_once=1 if graph is None else min(len(rows), graph.rows_at_once),
        )
        for place, target in enumerate(targets)
    ]


def _check_settings(sampler: Sampler, settings: Sequence[dict[str, float]]) -> None:
    if "step_size" not in sampler.hyperparameters:
        raise InvalidInput(f"sampler {sampler.name} takes {sampler.hyperparameters}, expected step_size among them")
    for of_target in settings:
        if set(of_target) != set(sampler.hyperparameters):
            raise InvalidInput(
                f"{', '.join(of_target) or 'nothing'} given to sampler {sampler.name}, which takes "
                f"{', '.join(sampler.hyperparameters)}"
            )


def _observers(
    target: Target, plan: ChainPlan, probed: Sequence[int], observables: Sequence[Observable]
) -> list[tuple[Observer, Sequence[int]]]:
    """Everything that looks at the chains, with the steps at which it does; the users' observables come last."""
    found: list[tuple[Observer, Sequence[int]]] = [
        (FullDifference(target.num_samples), probed),
        (GradientNoise(), probed),
    ]
    if target.positions is not None:  # in warm-up too, of which a part may turn out to be none
        found.append((ByPosition(target.positions), range(plan.steps)))
    sizes: dict[str, tuple[int, str]] = {}
    for observable in observables:
        at = range(plan.warmup + observable.every - 1, plan.steps, observable.every)
        found.append((OneByOne(observable, sizes), at))
    return found


def _probed(warmup: int, draws: int, probes: int, every: int | None) -> tuple[int, ...]:
    """The steps at which to look at the whole dataset: every so many draws, or so many of them."""
    if every is None:
        return tuple(warmup + round((i + 1) * draws / probes) - 1 for i in range(probes))
    if not 1 <= every <= draws:
        raise InvalidInput(f"a look at every {every} draws asked for, expected every 1 to {draws} (draws)")
    return tuple(range(warmup + every - 1, warmup + draws, every))


def _gather(
    trails: list[Trail],
    plan: ChainPlan,
    superchain: np.ndarray,
    observers: Sequence[tuple[Observer, Sequence[int]]],
    *,
    ended: Any,
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
        warmup=plan.warmup,
        superchain=superchain,
        probed=full.at,
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


def _observed(values: Sequence[np.ndarray | None], observer: Observer, at: Sequence[int]) -> Observed:
    """Chains side by side; one that never came to a look has NaN."""
    shape = next((one.shape for one in values if one is not None), (len(at), *[0] * len(observer.dims)))
    whole = [np.full(shape, np.nan) if one is None else one for one in values]
    return Observed(np.stack(whole), np.array(at, int), observer.dims)


def _hot_starts(
    targets: Sequence[Target],
    sampler: Sampler,
    settings: Sequence[dict[str, float]],
    plan: ChainPlan,
    *,
    keys: Sequence[tuple],
    graph: Graph | None,
) -> list[Tensor | None]:
    """Where a hot chain on each target is after half as many steps as warm-up has; None if it diverged."""
    steps = max(_LEAST_HOT_STEPS, plan.warmup // 2)
    plan = replace(plan, steps=steps, warmup=steps, explore=True)
    hot_targets = [target.at(nbeta=target.nbeta / HOT) for target in targets]
    if hasattr(sampler, "exploring"):
        pairs = zip(settings, targets, strict=True)
        settings = [sampler.exploring(of_target, target.gamma) for of_target, target in pairs]
    starts: list[Tensor | None] = []
    for piece in [range(len(targets))] if graph is not None else [[place] for place in range(len(targets))]:
        ensemble = Ensemble([hot_targets[place] for place in piece], graph)
        hot_keys = [(*keys[place], "hot", 0) for place in piece]
        chosen = [settings[place] for place in piece]
        lockstep = Lockstep(ensemble, sampler, chosen, plan, start=ensemble.center, keys=hot_keys)
        trails = lockstep.go(lambda _done: None)
        starts += [
            None if trail.diverged is not None else at
            for trail, at in zip(trails, lockstep.state.position, strict=True)
        ]
    for target, hot in zip(targets, hot_targets, strict=True):
        target.gradients += hot.gradients
    return starts


def _tell(report: Report, before: int, total: int, done: int) -> None:
    report("", before + done, total, "")
