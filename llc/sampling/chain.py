"""One chain on its way: steps, traces, and what keeps it stable."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llc.errors import Interrupted
from llc.parallel import check_interrupt
from llc.randomness import generator
from llc.sampling.curvature import power_iteration, random_direction
from llc.sampling.target import Evaluation, Minibatch, Target

# A chain is taken back this many draws, at least, when it ran away and its step size is cut.
_REWIND = 25
# A chain that runs away more often than this has diverged.
_MOST_ESCAPES = 16
# A chain looks at the curvature where it is about this many times, but not more often than every so many steps: …
_LOOKS, _LEAST_BETWEEN_LOOKS = 16, 50
# … each look takes twice as many gradients, starting from the direction found last.
_LOOK_ITERATIONS = 3
# The step size is cut where it is more than this many times what the sampler would choose there.
_TOO_LARGE = 1.25


@dataclass(frozen=True)
class Plan:
    """What every chain of an estimate is to do.

    Attributes:
        steps: in all. warmup: how many of them are warm-up.
        probed: steps at which to look at the whole dataset and at the gradient's noise.
        adapt: follow the curvature where the chain is: the sampler's settings are chosen anew in warm-up, and cut
            after it where they have become unsafe; a chain that runs away is taken back with half its step size.
            Otherwise the settings are kept whatever happens, and the curvature is only recorded.
        look: look at the curvature on the way at all.
        explore: the chain is to go far, not to sample, so that only the step size is adapted.
    """

    steps: int
    warmup: int
    probed: tuple[int, ...] = ()
    adapt: bool = False
    look: bool = False
    explore: bool = False


@dataclass
class Chain:
    """One chain of one sampler, from `start` on; `go` runs it.

    Attributes:
        settings: the keyword arguments of the sampler's `update`, its own copy, as they are at the end.
        traces: paired difference, loss, distance from w*, (w − w*)·∇Û, acceptance, (5, steps).
        by_position: paired differences of every position, (steps, K), or None.
        full, noise, square, rounding: at the probed steps, see `llc.sampling.Chains`.
        step_over_limit: the largest step size relative to the stability limit where the chain was after warm-up.
        diverged: the step at which it did. cuts: (step, new step size) after trouble.
    """

    target: Target
    sampler: ModuleType
    settings: dict[str, float]
    plan: Plan
    start: Tensor
    key: tuple
    traces: np.ndarray = field(init=False)
    by_position: np.ndarray | None = field(init=False, default=None)
    position: Tensor = field(init=False)
    step_over_limit: float = field(init=False, default=math.nan)
    diverged: int | None = field(init=False, default=None)
    cuts: list[tuple[int, float]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.settings = dict(self.settings)
        *study, chain = self.key
        self._random = generator(*study, "noise", chain)
        self._minibatches = self.target.minibatches(generator(*study, "minibatches", chain))
        # Streams of their own: what a chain sees does not depend on how often it is looked at.
        looks = generator(*study, "looks", chain)
        self._look_minibatches = self.target.minibatches(looks)
        self._direction = random_direction(self.target, looks)
        self._default_step = self.settings["step_size"]
        self.traces = np.full((5, self.plan.steps), np.nan)
        if self.target.positions is not None:
            self.by_position = np.full((self.plan.steps, self.target.positions), np.nan)
        self.full, self.noise, self.square, self.rounding = np.full((4, len(self.plan.probed)), np.nan)
        self.position = self.start
        self._allowance = 0.0

    def go(self, tell: Callable[[int], None]) -> None:
        """Run to the end, or to where the chain diverges."""
        plan = self.plan
        between = max(_LEAST_BETWEEN_LOOKS, plan.steps // _LOOKS)
        places = {step: place for place, step in enumerate(plan.probed)}
        state, step, escapes = self.sampler.init(self.start), 0, 0
        if plan.warmup:  # a hot start may take its warm-up to cool down
            self._allowance = 2 * max(0.0, self.target.potential(self.start))
        saved = [(step, state)]
        while step < plan.steps:
            if step == plan.warmup and hasattr(self.sampler, "freeze"):
                state = self.sampler.freeze(state)
            if plan.look and step % between == 0:
                self._look(state, step)
            minibatch = next(self._minibatches)
            position = state.position
            state, seen = self.sampler.update(state, self._on(minibatch), self._random, **self.settings)
            row = self._row(position, seen, state)
            if not np.isfinite(row[:4]).all() or (plan.adapt and self._ran_away(position, seen, step)):
                if not plan.adapt or escapes == _MOST_ESCAPES:
                    self.diverged = step
                    self.traces[:, step:] = np.nan
                    return
                # Back to a point from before the trouble; the target does not depend on the step size.
                escapes += 1
                self._cut(step, self.settings["step_size"] / 2)
                step, state = saved[0]
                saved = saved[:1]
                continue
            self.traces[:, step] = row
            if self.by_position is not None and seen.by_position is not None:
                self.by_position[step] = seen.by_position.cpu().numpy()
            if step in places:
                self._probe(position, seen, state, places[step])
            step += 1
            if step % _REWIND == 0:
                saved = [saved[-1], (step, state)]
                tell(step)
            if check_interrupt():
                raise Interrupted("stopped while sampling")
        self.position = state.position

    def _on(self, minibatch: Minibatch) -> Callable[[Tensor], Evaluation]:
        return lambda position: self.target.evaluate(position, minibatch)

    def _row(self, position: Tensor, seen: Evaluation, state: Any) -> tuple[float, ...]:
        away = position - self.target.center
        virial = float(away @ seen.gradient)
        return seen.difference, seen.loss, float(away.norm()), virial, getattr(state, "accepted", math.nan)

    def _look(self, state: Any, step: int) -> None:
        """Measure the curvature and the gradient's noise where the chain is, and choose settings that suit them."""
        target, gamma = self.target, self.target.gamma
        minibatch = next(self._look_minibatches)
        iterations = _LOOK_ITERATIONS * (4 if step == 0 else 1)
        curvature, self._direction = power_iteration(target, state.position, self._direction, minibatch, iterations)
        if not math.isfinite(curvature):
            return  # the next step shows what is wrong
        draws = max(1, self.plan.steps - self.plan.warmup)
        suited = min(self._default_step, self.sampler.default_settings(curvature, gamma, draws)["step_size"])
        if self.plan.adapt and step < self.plan.warmup:
            self.settings["step_size"] = suited
            if hasattr(self.sampler, "adapted") and step > 0 and not self.plan.explore:
                recent = self.traces[0, max(0, step - _LEAST_BETWEEN_LOOKS) : step]
                noise = self._noise(state, minibatch)
                llc = target.nbeta * float(recent.mean())
                self.settings = self.sampler.adapted(self.settings, noise=noise, llc=llc, gamma=gamma, draws=draws)
        elif self.plan.adapt and self.settings["step_size"] > _TOO_LARGE * suited:
            self._cut(step, suited)
        if step >= self.plan.warmup:
            over = self.settings["step_size"] / self.sampler.stability_limit(curvature, gamma)
            self.step_over_limit = float(np.fmax(self.step_over_limit, over))

    def _cut(self, step: int, step_size: float) -> None:
        self.settings["step_size"] = step_size
        self._default_step = min(self._default_step, step_size)
        self.cuts.append((step, step_size))

    def _ran_away(self, position: Tensor, seen: Evaluation, step: int) -> bool:
        """Whether U is far above anything that the posterior holds.

        U − U(w*) has mean P/2 and standard deviation √(P/2) in a Gaussian well, and less in a degenerate one. The limit
        leaves room for chains that minibatches heat to three times that, with twenty deviations to spare: a chain that
        runs away grows exponentially and soon passes any limit. A chain that was started hot may take its warm-up to
        cool down. A minibatch's word is checked on the whole dataset.
        """
        half = self.target.num_parameters / 2
        limit = 3 * half + 20 * math.sqrt(half) + 50
        if step < self.plan.warmup:
            limit += self._allowance
        if seen.potential <= limit:
            return False
        if self.target.batch_size == self.target.num_samples:
            return True
        return self.target.potential(position) > limit

    def _noise(self, state: Any, minibatch: Minibatch) -> float:
        """tr C of ∇Û from two minibatches at one point."""
        if self.target.batch_size == self.target.num_samples:
            return 0.0
        here = self.target.evaluate(state.position, minibatch).gradient
        other = self.target.evaluate(state.position, next(self._look_minibatches)).gradient
        return float((other - here).square().sum()) / 2

    def _probe(self, position: Tensor, seen: Evaluation, state: Any, place: int) -> None:
        """The whole dataset's loss difference at a draw, and how much another minibatch's gradient differs."""
        target = self.target
        metric = self.sampler.metric(state) if hasattr(self.sampler, "metric") else torch.ones_like(position)
        self.full[place] = float((target.losses(position) - target.baseline).mean())
        self.rounding[place] = target.rounding(position)
        self.square[place] = float((metric * (seen.gradient.square() - target.gamma)).sum())
        if target.batch_size == target.num_samples:
            self.noise[place] = 0.0
            return
        other = target.evaluate(position, next(self._minibatches))
        self.noise[place] = float((metric * (other.gradient - seen.gradient).square()).sum()) / 2
