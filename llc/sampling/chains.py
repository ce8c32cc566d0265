"""The chain engine: runs chains of one sampler on one target and records what each draw saw."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llc.errors import InvalidInput
from llc.parallel import Progress, quiet
from llc.sampling.ensemble import Ensemble
from llc.sampling.graph import Graph
from llc.sampling.lockstep import Lockstep
from llc.sampling.looks import ByPosition, FullDifference, GradientNoise
from llc.sampling.observable import LOOKS, Observable, OneByOne, Watch, check_observables
from llc.sampling.rows import joined, row_of
from llc.sampling.sampler import Sampler
from llc.sampling.steering import Course
from llc.sampling.target import Target
from llc.sampling.traces import Chains, Trail, gather

# Fewer draws cannot be told apart from a trend.
LEAST_DRAWS = 8
# Chains of so few numbers in all go side by side also without a graph: what a step costs besides its gradients is then
# paid once for all of them. Larger ones go one after another, for which the memory of one is enough.
_SMALL = 2**18
# The second kind of start comes out of a chain at an inverse temperature lower by this factor, …
HOT = 10.0
# … of at least so many steps: hot chains take longer steps and go far in few.
_LEAST_HOT_STEPS = 50


def run_chains(
    target: Target, sampler: Sampler, settings: dict[str, float], *, key: tuple, progress: Progress = quiet, **how: Any
) -> Chains:
    """Run chains on one target, each with its own noise and its own reshuffled minibatches.

    Args:
        target: model, data, nβ and γ.
        sampler: one of `SAMPLERS`, or anything that satisfies `llc.sampling.Sampler`.
        settings: its hyperparameters.
        key: seeds the chains; chain c draws from the streams (*key, "noise", c), (*key, "minibatches", c), ….
        progress: told (unit, done, total, note).
        how: see `run_many`, of which `hot_settings` are this target's.
    Raises:
        InvalidInput: see `run_many`.
    """
    hot = how.pop("hot_settings", None)
    (found,) = run_many(
        [target], sampler, [settings], keys=[key], hot_settings=None if hot is None else [hot], progress=progress, **how
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
    full_looks: int = 0,
    full_look_every: int | None = None,
    adapt: bool = False,
    look: bool = False,
    hot_settings: Sequence[dict[str, float]] | None = None,
    starts: Sequence[Any] | None = None,
    graph: Graph | None = None,
    observables: Sequence[Observable] = (),
    observed: int | None = None,
    progress: Progress = quiet,
) -> list[Chains]:
    """Run chains on several targets: in one graph all at once, otherwise one chain after another.

    Args:
        targets: one or more.
        sampler: one of `SAMPLERS`, or anything that satisfies `llc.sampling.Sampler`.
        settings: hyperparameters of the sampler, of each target.
        chains: how many on each target.
        warmup: steps each chain takes first.
        draws: steps each chain takes after warm-up.
        keys: of each target, seeds its chains, see `run_chains`.
        full_looks: at so many evenly spaced draws after warm-up, look at the whole dataset and at the gradient's noise.
        full_look_every: do so at every k-th draw instead.
        adapt: see `Course`.
        look: see `Course`; a Metropolis sampler never looks.
        hot_settings: `settings` for a chain at nβ/`HOT`. Where they are given, the second half of the chains start
            where such a chain goes during half a warm-up, not at w*. Chains that all start at w* agree while all of
            them still climb; coming from both sides, they agree only once they have arrived.
        starts: of each target, where its chains start instead: positions (chain, P), or the state that earlier chains
            `ended` with.
        graph: the targets', from `one_graph`; see there when it pays.
        observables: looked at after warm-up, at every k-th draw each; see `llc.sampling.Observable`.
        observed: at the chains of so many targets, the first ones; None for all.
        progress: told (unit, done, total, note).
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
    course = Course(warmup + draws, warmup, adapt, look)
    full_at = _full_at(warmup, draws, full_looks, full_look_every)
    watches = _watches(first, course, full_at, observables, range(len(targets) if observed is None else observed))
    before = [target.gradients for target in targets]
    hot_starts: list[Tensor | None] = [None] * len(targets)
    if hot_settings and chains > 1 and warmup and starts is None:
        hot_starts = _hot_starts(targets, sampler, hot_settings, course, keys=keys, graph=graph)
    rows = [(place, chain) for place in range(len(targets)) for chain in range(chains)]
    superchain = np.zeros((len(targets), chains), int)
    for place, hot in enumerate(hot_starts):
        superchain[place, (chains + 1) // 2 :] = int(hot is not None)
    small = len(rows) * first.num_parameters <= _SMALL
    pieces = [rows] if graph is not None or small else [[row] for row in rows]
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
            course,
            start=start,
            keys=[(*keys[place], chain) for place, chain in piece],
            places=[place for place, _ in piece],
            watches=watches,
        )
        of_piece = lockstep.go(partial(_tell, progress, number * len(piece) * course.steps, len(rows) * course.steps))
        for row, ((place, _), trail) in enumerate(zip(piece, of_piece, strict=True)):
            trails[place].append(trail)
            ended[place].append(row_of(lockstep.state, row))
    return [
        gather(
            trails[place],
            course.warmup,
            superchain[place],
            [watch for watch in watches if watch.places is None or place in watch.places],
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


def _watches(
    target: Target, course: Course, full_at: Sequence[int], observables: Sequence[Observable], observed: range
) -> list[Watch]:
    """Everything that looks at the chains; the users' observables come last."""
    found = [Watch(FullDifference(target.num_samples), full_at), Watch(GradientNoise(), full_at)]
    if target.positions is not None:  # in warm-up too, of which a part may turn out to be none
        found.append(Watch(ByPosition(target.positions), range(course.steps)))
    sizes: dict[str, tuple[int, str]] = {}
    for observable in observables:
        every = observable.every or max(1, (course.steps - course.warmup) // LOOKS)
        at = range(course.warmup + every - 1, course.steps, every)
        found.append(Watch(OneByOne(observable, sizes), at, observed))
    return found


def _full_at(warmup: int, draws: int, full_looks: int, every: int | None) -> tuple[int, ...]:
    """The steps at which to look at the whole dataset: every so many draws, or so many of them."""
    if every is None:
        return tuple(warmup + round((i + 1) * draws / full_looks) - 1 for i in range(full_looks))
    if not 1 <= every <= draws:
        raise InvalidInput(f"a look at every {every} draws asked for, expected every 1 to {draws} (draws)")
    return tuple(range(warmup + every - 1, warmup + draws, every))


def _hot_starts(
    targets: Sequence[Target],
    sampler: Sampler,
    settings: Sequence[dict[str, float]],
    course: Course,
    *,
    keys: Sequence[tuple],
    graph: Graph | None,
) -> list[Tensor | None]:
    """Where a hot chain on each target is after half as many steps as warm-up has; None if it diverged."""
    steps = max(_LEAST_HOT_STEPS, course.warmup // 2)
    course = replace(course, steps=steps, warmup=steps, explore=True)
    hot_targets = [target.at(nbeta=target.nbeta / HOT) for target in targets]
    if hasattr(sampler, "exploring"):
        pairs = zip(settings, targets, strict=True)
        settings = [sampler.exploring(of_target, target.gamma) for of_target, target in pairs]
    starts: list[Tensor | None] = []
    for piece in [range(len(targets))] if graph is not None else [[place] for place in range(len(targets))]:
        ensemble = Ensemble([hot_targets[place] for place in piece], graph)
        hot_keys = [(*keys[place], "hot", 0) for place in piece]
        chosen = [settings[place] for place in piece]
        lockstep = Lockstep(ensemble, sampler, chosen, course, start=ensemble.center, keys=hot_keys)
        trails = lockstep.go(lambda _done: None)
        starts += [
            None if trail.diverged is not None else at
            for trail, at in zip(trails, lockstep.state.position, strict=True)
        ]
    for target, hot in zip(targets, hot_targets, strict=True):
        target.gradients += hot.gradients
    return starts


def _tell(progress: Progress, before: int, total: int, done: int) -> None:
    progress("", before + done, total, "")
