"""The chain engine: runs chains of one sampler on one target and records what each draw saw."""

from dataclasses import dataclass, field, replace
from functools import partial
from types import ModuleType

import numpy as np
from torch import Tensor

from llc.errors import InvalidInput, did_you_mean
from llc.parallel import Report, quiet
from llc.sampling import hmc, kinetic, mala, rmsprop_sgld, sgld
from llc.sampling.chain import Chain, Plan
from llc.sampling.target import Target

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
# The second kind of start comes out of a chain at an inverse temperature lower by this factor, …
HOT = 10.0
# … of at least so many steps: hot chains take longer steps and go far in few.
_LEAST_HOT_STEPS = 50


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
        probed: at which draws the next four were taken, (probe,).
        full_difference: L_n(w) − L_n(w*) over the whole dataset, (chain, probe).
        gradient_noise: tr Cov(∇Û) of a minibatch, (chain, probe); 0 for full batches.
        gradient_square: ‖∇Û‖² − γP of a minibatch, likewise; both in the sampler's metric.
        rounding: what low precision adds to a loss difference, likewise; 0 in float32.
        gradients: how many minibatch gradients were computed in all.
        settings: the sampler's, as each chain ended with them.
        step_over_limit: the largest step size relative to the stability limit where a chain was, (chain,).
        diverged: for each chain that diverged, the draw at which it did.
        cuts: (chain, draw, new step size) where a step was too long for the curvature a chain ran into.
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
    diverged: dict[int, int] = field(default_factory=dict)
    cuts: list[tuple[int, int, float]] = field(default_factory=list)

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
    probe_every: int | None = None,
    adapt: bool = False,
    look: bool = False,
    hot_settings: dict[str, float] | None = None,
    report: Report = quiet,
) -> Chains:
    """Run chains, each with its own noise and its own reshuffled minibatches.

    Args:
        sampler: a module of `llc.sampling` with `init` and `update`.
        settings: the keyword arguments of its `update`.
        chains, warmup, draws: how many, each chain taking warmup + draws steps.
        key: seeds the chains; chain c draws from the streams (*key, "noise", c), (*key, "minibatches", c), ….
        probes: at so many evenly spaced draws after warm-up, look at the whole dataset and at the gradient's noise.
        probe_every: do so at every k-th draw instead.
        adapt, look: see `Plan`.
        hot_settings: `settings` for a chain at nβ/`HOT`. Where they are given, the second half of the chains start
            where such a chain goes during half a warm-up, not at w*. Chains that all start at w* agree while all of
            them still climb; coming from both sides, they agree only once they have arrived.
        report: told (unit, done, total, note).
    Raises:
        InvalidInput: a count out of range, or a sampler that needs full batches without them.
    """
    for name, value, least in (("chains", chains, 1), ("draws", draws, LEAST_DRAWS), ("warmup", warmup, 0)):
        if value < least:
            raise InvalidInput(f"{name} = {value} given, expected a whole number from {least} up")
    if needs_full_batch(sampler):
        if target.batch_size < target.num_samples:
            raise InvalidInput(
                f"a Metropolis sampler needs the whole dataset at once: batch_size = {target.batch_size} given, "
                f"expected {target.num_samples}"
            )
        look = False  # what such a sampler accepts is right at any step size
    before = target.gradients
    steps = warmup + draws
    if probe_every is not None:
        if not 1 <= probe_every <= draws:
            raise InvalidInput(f"a look at every {probe_every} draws asked for, expected every 1 to {draws} (draws)")
        probed = tuple(range(warmup + probe_every - 1, steps, probe_every))
    else:
        probed = tuple(warmup + round((i + 1) * draws / probes) - 1 for i in range(probes))
    plan = Plan(steps, warmup, probed, adapt, look)
    superchain = np.zeros(chains, int)
    hot = None
    if hot_settings and chains > 1 and warmup:
        hot = _hot_start(target, sampler, hot_settings, plan, (*key, "hot", 0))
    if hot is not None:
        superchain[(chains + 1) // 2 :] = 1
    runs = []
    for chain in range(chains):
        start = hot if superchain[chain] and hot is not None else target.center
        run = Chain(target, sampler, settings, plan, start, (*key, chain))
        run.go(partial(_tell, report, chain, chains, steps))
        runs.append(run)
    difference, loss, distance, virial, acceptance = np.stack([run.traces for run in runs], axis=1)
    by_position = [run.by_position for run in runs if run.by_position is not None]
    return Chains(
        difference=difference,
        loss=loss,
        distance=distance,
        virial=virial,
        acceptance=acceptance,
        by_position=np.stack(by_position) if by_position else None,
        warmup=warmup,
        superchain=superchain,
        probed=np.array(probed, int),
        full_difference=np.array([run.full for run in runs]),
        gradient_noise=np.array([run.noise for run in runs]),
        gradient_square=np.array([run.square for run in runs]),
        rounding=np.array([run.rounding for run in runs]),
        gradients=target.gradients - before,
        settings=[run.settings for run in runs],
        step_over_limit=np.array([run.step_over_limit for run in runs]),
        diverged={chain: run.diverged for chain, run in enumerate(runs) if run.diverged is not None},
        cuts=[(chain, *cut) for chain, run in enumerate(runs) for cut in run.cuts],
    )


def _hot_start(target: Target, sampler: ModuleType, settings: dict, plan: Plan, key: tuple) -> Tensor | None:
    """Where a hot chain is after half as many steps as warm-up has; None if it diverged."""
    hot_target = target.at_nbeta(target.nbeta / HOT)
    steps = max(_LEAST_HOT_STEPS, plan.warmup // 2)
    plan = replace(plan, steps=steps, warmup=steps, probed=(), explore=True)
    if hasattr(sampler, "exploring"):
        settings = sampler.exploring(settings, target.gamma)
    chain = Chain(hot_target, sampler, settings, plan, target.center, key)
    chain.go(lambda _step: None)
    target.gradients = hot_target.gradients
    return None if chain.diverged is not None else chain.position


def _tell(report: Report, chain: int, chains: int, steps: int, step: int) -> None:
    report("", chain * steps + step, chains * steps, "")
