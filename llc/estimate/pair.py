"""Chains at two temperatures of one localisation ρ = γ/nβ: what every reading of λ̂ is made from."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llc.estimate import diagnostics
from llc.estimate.floor import RATIO, Basin, Depth, basin
from llc.estimate.noise import free_nats, noise_nats, tilt_nats
from llc.estimate.scale import Rung
from llc.parallel import Progress, quiet
from llc.sampling import HOT, Chains, Graph, Observable, Sampler, Target, run_many

# A chain whose mean loss is above the lowest chain's by so many standard deviations of a draw has not come down.
_HANGING = 3.0


@dataclass(frozen=True)
class Pair:
    """Chains at nβ and, with the same ρ, at nβ/4.

    Attributes:
        target: at nβ and γ.
        cold, hot: the chains.
    """

    target: Target
    cold: Chains
    hot: Chains


@dataclass(frozen=True)
class Reading:
    """What a pair says, heat and rounding taken off.

    Attributes:
        cold, hot: mean-type λ̂(w*) at either temperature.
        basin: free of L(w*), whose error would be rest_se with any number of draws.
        noise, tilt: nats, see `noise_nats` and `tilt_nats`.
        excess: what step size and minibatches added to cold.
        warmup: draws left out of the cold chains.
        degeneracy, held, held_se: see `llc.estimate.scale.Rung`.
    """

    cold: diagnostics.Summary
    hot: diagnostics.Summary
    basin: Basin
    rest_se: float
    noise: float
    tilt: float
    excess: float
    warmup: int
    degeneracy: float
    held: float = math.nan
    held_se: float = math.nan


def run_pairs(
    targets: Sequence[Target],
    kernel: Sampler,
    curvatures: Sequence[float],
    *,
    chains: int,
    warmup: int,
    draws: int,
    keys: Sequence[tuple],
    step_size: float | None = None,
    starts: Sequence[Pair] | None = None,
    hot_starts: bool = False,
    full_looks: int = 6,
    full_look_every: int | None = None,
    graph: Graph | None = None,
    observables: Sequence[Observable] = (),
    progress: Progress = quiet,
) -> list[Pair]:
    """Run the pair of every target.

    Args:
        targets: at nβ and γ.
        curvatures: nβ h_max of each.
        chains: at each temperature.
        step_size: kept if given; otherwise it follows the curvature.
        starts: pairs whose ends the chains begin from.
        hot_starts: without `starts`, begin the second half of the chains where a hotter chain goes.
    """
    hot_targets = [target.at(nbeta=target.nbeta / RATIO, gamma=target.gamma / RATIO) for target in targets]
    every = [*targets, *hot_targets]
    steepness = [*curvatures, *(curvature / RATIO for curvature in curvatures)]
    settings, hotter = (
        [
            kernel.default_settings(curvature / colder, target.gamma, draws)
            for target, curvature in zip(every, steepness, strict=True)
        ]
        for colder in (1, HOT)
    )
    if step_size is not None:
        for of_target in (*settings, *hotter):
            of_target["step_size"] = step_size
    found = run_many(
        every,
        kernel,
        settings,
        chains=chains,
        warmup=warmup,
        draws=draws,
        keys=[(*key, name) for name in ("cold", "hot") for key in keys],
        full_looks=full_looks,
        full_look_every=full_look_every,
        adapt=step_size is None,
        look=True,
        hot_settings=hotter if hot_starts else None,
        starts=None if starts is None else _ends(starts),
        graph=graph,
        observables=observables,
        observed=len(targets),
        progress=progress,
    )
    return [
        Pair(target, cold, hot)
        for target, cold, hot in zip(targets, found[: len(targets)], found[len(targets) :], strict=True)
    ]


def run_on(
    pair: Pair,
    kernel: Sampler,
    *,
    draws: int,
    key: tuple,
    adapt: bool,
    full_looks: int,
    full_look_every: int | None = None,
    graph: Graph | None = None,
    observables: Sequence[Observable] = (),
    progress: Progress = quiet,
) -> Pair:
    """The same chains for some more draws, with the settings they ended with."""
    hot_target = pair.target.at(nbeta=pair.target.nbeta / RATIO, gamma=pair.target.gamma / RATIO)
    more = run_many(
        [pair.target, hot_target],
        kernel,
        [_common(chains) for chains in (pair.cold, pair.hot)],
        chains=len(pair.cold.difference),
        warmup=0,
        draws=draws,
        keys=[(*key, "cold"), (*key, "hot")],
        full_looks=full_looks,
        full_look_every=full_look_every,
        adapt=adapt,
        look=True,
        starts=[pair.cold.ended, pair.hot.ended],
        graph=graph,
        observables=observables,
        observed=1,
        progress=progress,
    )
    return replace(pair, cold=pair.cold.then(more[0]), hot=pair.hot.then(more[1]))


def read(
    pair: Pair,
    kernel: Sampler,
    *,
    find_warmup: bool,
    settled: Depth | None = None,
    with_held: Callable[[Rung], Rung] = lambda rung: rung,
) -> Reading:
    """λ̂ of a pair from the draws after warm-up of the chains that survived.

    Args:
        settled: how far a minimiser has found w* to lie above the floor, if there is one.
        with_held: a rung with what directions with curvature hold of it, where that can be told.
    """
    nbeta = pair.target.nbeta
    (cold, excess, warmup), (hot, _, _) = (
        _mean_type(chains, at, kernel, find_warmup) for chains, at in ((pair.cold, nbeta), (pair.hot, nbeta / RATIO))
    )
    kept = pair.cold.survivors
    losses = pair.cold.sample_losses[kept][:, pair.cold.full_at >= warmup]
    noise = noise_nats(nbeta, losses.reshape(-1, losses.shape[-1]), pair.target.num_samples)
    lowest = None if settled is None else settled.sample_losses
    tilt = 0.0
    if losses.size:
        tilt = tilt_nats(nbeta, losses, pair.target.num_samples, floor_losses=0.0 if lowest is None else lowest)
    of_floor = partial(basin, noise=noise, tilt=tilt)
    found = of_floor((cold.llc, cold.llc_se), (hot.llc, hot.llc_se), settled=settled)
    # How much steeper than a quadratic the pull towards w* makes the well: (w − w*)·∇L is 2(L − L_0) in one.
    bare = pair.cold.virial[kept, warmup:] - pair.target.gamma * np.square(pair.cold.distance[kept, warmup:])
    pull = float(bare.mean()) if kept else 0.0
    degeneracy = max(0.0, 1 - 2 * found.llc / pull) if pull > 0 else 0.0
    rung = with_held(Rung(nbeta, pair.target.gamma, found.llc, found.llc_se, degeneracy))
    if settled is not None:
        free, free_se = free_nats(noise, settled.nats, llc=rung.llc, held=rung.held, degeneracy=degeneracy)
        settled = replace(settled, nats=settled.nats + free, nats_se=math.hypot(settled.nats_se, free_se))
    of_floor = partial(of_floor, settled=settled, degeneracy=degeneracy)
    found = of_floor((cold.llc, cold.llc_se), (hot.llc, hot.llc_se))
    rest_se = of_floor((cold.llc, 0.0), (hot.llc, 0.0)).llc_se
    return Reading(cold, hot, found, rest_se, noise, tilt, excess, warmup, degeneracy, rung.held, rung.held_se)


def rung_of(pair: Pair, reading: Reading) -> Rung:
    """The rung that a pair stands on."""
    found, at = reading.basin, pair.target
    held = reading.degeneracy, reading.held, reading.held_se
    return Rung(at.nbeta, at.gamma, found.llc, found.llc_se, *held)


def _mean_type(
    chains: Chains, nbeta: float, kernel: Sampler, find_warmup: bool
) -> tuple[diagnostics.Summary, float, int]:
    kept, warmup = chains.survivors, chains.warmup
    if not kept:
        return diagnostics.FAILED, np.nan, warmup
    traces = nbeta * chains.difference[kept]
    if find_warmup:  # what goes on after the warm-up may still be burn-in
        warmup = max(min(warmup, chains.steps // 2), diagnostics.detect_warmup(traces))
    found = diagnostics.summarise(traces[:, warmup:], chains.superchain[kept])
    excess = float(np.mean([_step_excess(kernel, chains, chain) for chain in kept]))
    found = diagnostics.without(diagnostics.corrected(found, excess), nbeta * chains.rounding[kept])
    return found, excess, warmup


def _step_excess(kernel: Sampler, chains: Chains, chain: int) -> float:
    """What one chain's step size and minibatch noise are predicted to add to λ̂."""
    return kernel.bias(
        chains.settings[chain],
        square=float(np.mean(chains.gradient_square[chain])),
        noise=float(np.mean(chains.gradient_noise[chain])),
    )


def _ends(pairs: Sequence[Pair]) -> list[Any]:
    """Where the chains of earlier pairs ended, (chain, P) each: the cold ones, then the hot ones."""
    every = [*(pair.cold for pair in pairs), *(pair.hot for pair in pairs)]
    return [_standing(chains, pair.target) for chains, pair in zip(every, [*pairs, *pairs], strict=True)]


def _standing(chains: Chains, target: Target) -> Tensor:
    """Where chains ended, (chain, P); a lost one, or one that hangs far above the lowest, where that one is.

    A chain that came upon a saddle of the loss while it was hot stays there long after others have found their way
    down: to go on from is only what is a likely draw.
    """
    position = chains.ended.position.clone()
    if not chains.survivors:
        return target.center.expand_as(position).clone()
    late = target.nbeta * chains.difference[:, chains.steps // 2 :]
    means = np.where(np.isin(np.arange(len(late)), chains.survivors), late.mean(1), np.inf)
    lowest = int(means.argmin())
    above = means > means[lowest] + _HANGING * late[lowest].std()
    position[torch.from_numpy(above)] = position[lowest].clone()
    return position


def _common(chains: Chains) -> dict[str, float]:
    """Settings that suit every chain: the shortest step, and the median of what else there is."""
    kept = [chains.settings[chain] for chain in chains.survivors or range(len(chains.settings))]
    return {
        name: min(one[name] for one in kept) if name == "step_size" else float(np.median([one[name] for one in kept]))
        for name in kept[0]
    }
