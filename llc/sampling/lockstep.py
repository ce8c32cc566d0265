"""Chains on their way, step by step together: traces, and what keeps each of them stable."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llc.errors import Interrupted
from llc.parallel import check_interrupt
from llc.randomness import generator
from llc.sampling.curvature import power_iteration, random_direction
from llc.sampling.rows import choose, take
from llc.sampling.stack import Stack
from llc.sampling.target import Evaluation, Minibatch

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
# What a step leaves in the traces.
_TRACES = ("difference", "loss", "distance", "virial", "acceptance")


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


@dataclass(frozen=True)
class Trail:
    """What one chain leaves.

    Attributes:
        traces: paired difference, loss, distance from w*, (w − w*)·∇Û, acceptance, (5, steps).
        by_position: paired differences of every position, (steps, K), or None.
        full, noise, square, rounding: at the probed steps, see `llc.sampling.Chains`, (probe,).
        settings: the sampler's, as they were at the end.
        step_over_limit: the largest step size relative to the stability limit where the chain was after warm-up.
        diverged: the step at which it did. cuts: (step, new step size) after trouble.
    """

    traces: np.ndarray
    by_position: np.ndarray | None
    full: np.ndarray
    noise: np.ndarray
    square: np.ndarray
    rounding: np.ndarray
    settings: dict[str, float]
    step_over_limit: float
    diverged: int | None
    cuts: list[tuple[int, float]]


class Lockstep:
    """Chains of one sampler, one a row, each on its own target from its own start; `go` runs them.

    No chain's draws depend on which others there are. One that is taken back counts its own steps and ends later.

    Args:
        settings: of each chain, the keyword arguments of the sampler's `update`; copied.
        start: (R, P). keys: of each chain (*study, chain).

    Attributes:
        position: where they are in the end, (R, P).
    """

    def __init__(
        self,
        stack: Stack,
        sampler: ModuleType,
        settings: Sequence[dict[str, float]],
        plan: Plan,
        *,
        start: Tensor,
        keys: Sequence[tuple],
    ) -> None:
        rows = len(stack)
        self.sampler, self.plan = sampler, plan
        self._settings = [dict(of_row) for of_row in settings]
        self.position = start.clone()
        streams = {
            name: [(*study, name, chain) for *study, chain in keys] for name in ("noise", "minibatches", "looks")
        }
        where = start.device if start.device.type == "cuda" else "cpu"
        self._random = [generator(*key, device=where) for key in streams["noise"]]
        self._minibatches = [
            target.minibatches(generator(*key))
            for target, key in zip(stack.targets, streams["minibatches"], strict=True)
        ]
        # Streams of their own: what a chain sees does not depend on how often it is looked at.
        looks = [generator(*key) for key in streams["looks"]]
        self._look_minibatches = [target.minibatches(draw) for target, draw in zip(stack.targets, looks, strict=True)]
        directions = [random_direction(target, draw) for target, draw in zip(stack.targets, looks, strict=True)]
        self._direction = torch.stack(directions)
        self._default_step = [of_row["step_size"] for of_row in settings]
        self._traces = np.full((len(_TRACES), rows, plan.steps), np.nan)
        self._by_position = None if stack.positions is None else np.full((rows, plan.steps, stack.positions), np.nan)
        self._full, self._noise, self._square, self._rounding = np.full((4, rows, len(plan.probed)), np.nan)
        self._step_over_limit = np.full(rows, np.nan)
        self._diverged: dict[int, int] = {}
        self._cuts: list[list[tuple[int, float]]] = [[] for _ in range(rows)]
        # Of all chains: their own counts of steps. Of those that still go: rows, targets, states, …
        self._step = np.zeros(rows, int)
        self._live, self._stack = np.arange(rows), stack
        self._state = sampler.init(start)
        # … and the two states saved last, with their steps.
        self._saved = [(self._state, np.zeros(rows, int)), (self._state, np.zeros(rows, int))]
        # Settings as the sampler saw them last.
        self._shown: tuple[list[dict[str, float]], dict[str, Tensor]] = ([], {})
        self._escapes = np.zeros(rows, int)
        self._allowance = np.zeros(rows)

    def go(self, tell: Callable[[int], None]) -> list[Trail]:
        """Run every chain to its end, or to where it diverges. `tell` hears how many steps are done in all."""
        if self.plan.warmup:  # a hot start may take its warm-up to cool down
            self._allowance = 2 * np.fmax(0.0, self._stack.potential(self.position).numpy())
        while len(self._live):
            self._prepare()
            good = self._advance()
            saving = good & (self._step[self._live] % _REWIND == 0)
            if saving.any():
                self._save(saving)
                tell(int(self._step.sum()))
            self._retire()
            if check_interrupt():
                raise Interrupted("stopped while sampling")
        return [self._trail(row) for row in range(len(self._step))]

    def _trail(self, row: int) -> Trail:
        return Trail(
            self._traces[:, row],
            None if self._by_position is None else self._by_position[row],
            self._full[row],
            self._noise[row],
            self._square[row],
            self._rounding[row],
            self._settings[row],
            float(self._step_over_limit[row]),
            self._diverged.get(row),
            self._cuts[row],
        )

    def _prepare(self) -> None:
        """What some chains are due before their next step: the end of warm-up, a look at the curvature."""
        plan, live = self.plan, self._live
        step = self._step[live]
        ending = step == plan.warmup
        if hasattr(self.sampler, "freeze") and ending.any():
            self._state = choose(torch.from_numpy(ending), self.sampler.freeze(self._state), self._state)
        if plan.look:
            due = step % max(_LEAST_BETWEEN_LOOKS, plan.steps // _LOOKS) == 0
            for looking in (due & (step == 0), due & (step > 0)):
                if looking.any():
                    self._look(live[looking], _only(looking, self._stack), *_take(looking, self._state))

    def _advance(self) -> np.ndarray:
        """One step of every chain that goes on; says which took it. The others are lost, or taken back."""
        plan, live, stack, before = self.plan, self._live, self._stack, self._state
        step = self._step[live]
        minibatches = [next(self._minibatches[row]) for row in live]
        after, seen = self.sampler.update(
            before,
            partial(stack.evaluate, minibatches=minibatches),
            [self._random[row] for row in live],
            **self._columns(),
        )
        numbers = self._numbers(before.position, seen, after)
        good = np.isfinite(numbers[:4]).all(0)
        if plan.adapt:
            good &= ~self._ran_away(before.position, seen)
        self._traces[:, live[good], step[good]] = numbers[:, good]
        if self._by_position is not None and seen.by_position is not None:
            self._by_position[live[good], step[good]] = seen.by_position.cpu().numpy()[good]
        probing = good & np.isin(step, plan.probed)
        if probing.any():
            self._probe(live[probing], _only(probing, stack), *_take(probing, before, seen, after))
        self._state = after
        self._step[live[good]] += 1
        if not good.all():
            self._after_trouble(~good)
        return good

    def _after_trouble(self, bad: np.ndarray) -> None:
        """Take chains back to a point from before it, with half their step; or record that they have diverged."""
        live = self._live
        lost = bad & (self._escapes[live] == _MOST_ESCAPES if self.plan.adapt else True)
        for row in live[lost]:
            self._diverged[int(row)] = int(self._step[row])
            self._traces[:, row, self._step[row] :] = np.nan
        back = bad & ~lost
        for row in live[back]:  # the target does not depend on the step size
            self._escapes[row] += 1
            self._cut(row, self._settings[row]["step_size"] / 2)
        old, old_step = self._saved[0]
        _, new_step = self._saved[1]
        new_step[live[back]] = self._step[live[back]] = old_step[live[back]]
        self._state = choose(torch.from_numpy(back), old, self._state)
        self._saved[1] = (choose(torch.from_numpy(back), old, self._saved[1][0]), new_step)

    def _save(self, saving: np.ndarray) -> None:
        """The last saved state of these chains becomes the one before it."""
        rows, chosen = self._live[saving], torch.from_numpy(saving)
        (old, old_step), (new, new_step) = self._saved
        old_step[rows], new_step[rows] = new_step[rows], self._step[rows]
        self._saved = [(choose(chosen, new, old), old_step), (choose(chosen, self._state, new), new_step)]

    def _retire(self) -> None:
        """Chains that have ended are not computed any longer."""
        ended = (self._step[self._live] == self.plan.steps) | np.isin(self._live, list(self._diverged))
        if not ended.any():
            return
        self.position[self._live[ended]] = _take(ended, self._state.position)[0]
        self._live = self._live[~ended]
        if len(self._live):
            self._stack = _only(~ended, self._stack)
            (old, old_step), (new, new_step) = self._saved
            self._state, old, new = _take(~ended, self._state, old, new)
            self._saved = [(old, old_step), (new, new_step)]

    def _columns(self) -> dict[str, Tensor]:
        """The settings of the chains that still go, as the sampler takes them, (R, 1)."""
        settings = [self._settings[row] for row in self._live]
        if settings != self._shown[0]:
            columns = {
                name: torch.tensor([[of_row[name]] for of_row in settings], dtype=torch.float64).to(self.position)
                for name in settings[0]
            }
            self._shown = ([dict(of_row) for of_row in settings], columns)
        return self._shown[1]

    def _numbers(self, position: Tensor, seen: Evaluation, after: Any) -> np.ndarray:
        """A column of the traces, (5, R)."""
        away = position - self._stack.center
        accepted = getattr(after, "accepted", torch.full((len(away),), math.nan))
        of_device = torch.stack([away.norm(dim=1), (away * seen.gradient).sum(1)]).cpu().double()
        of_losses = [torch.as_tensor(number) for number in (seen.difference, seen.loss)]
        return torch.stack([*of_losses, *of_device, accepted.double()]).numpy()

    def _look(self, rows: np.ndarray, stack: Stack, state: Any) -> None:
        """Measure the curvature and the gradient's noise where chains are, and choose settings that suit them."""
        warming = self._step[rows] < self.plan.warmup
        minibatches = [next(self._look_minibatches[row]) for row in rows]
        first = self._step[rows[0]] == 0
        curvatures, direction = power_iteration(
            partial(stack.evaluate, minibatches=minibatches),
            stack.gamma,
            state.position,
            self._direction[rows],
            _LOOK_ITERATIONS * (4 if first else 1),
        )
        self._direction[rows] = direction
        noise = np.full(len(rows), np.nan)
        adapting = warming & (
            self.plan.adapt and not self.plan.explore and not first and hasattr(self.sampler, "adapted")
        )
        adapting &= curvatures.isfinite().cpu().numpy()
        if adapting.any():
            among = [minibatch for minibatch, chosen in zip(minibatches, adapting, strict=True) if chosen]
            (there,) = _take(adapting, state)
            noise[adapting] = self._noise_at(rows[adapting], _only(adapting, stack), there, among)
        for place, (row, curvature) in enumerate(zip(rows, curvatures.tolist(), strict=True)):
            if math.isfinite(curvature):  # otherwise the next step shows what is wrong
                self._suit(row, stack.targets[place].nbeta, stack.targets[place].gamma, curvature, float(noise[place]))

    def _suit(self, row: int, nbeta: float, gamma: float, curvature: float, noise: float) -> None:
        """One chain's settings, given the curvature and, if its friction is to follow it, the noise."""
        step, settings, sampler = int(self._step[row]), self._settings[row], self.sampler
        draws = max(1, self.plan.steps - self.plan.warmup)
        suited = min(self._default_step[row], sampler.default_settings(curvature, gamma, draws)["step_size"])
        if self.plan.adapt and step < self.plan.warmup:
            settings["step_size"] = suited
            if not math.isnan(noise):
                recent = self._traces[0, row, max(0, step - _LEAST_BETWEEN_LOOKS) : step]
                llc = nbeta * float(recent.mean())
                self._settings[row] = sampler.adapted(settings, noise=noise, llc=llc, gamma=gamma, draws=draws)
        elif self.plan.adapt and settings["step_size"] > _TOO_LARGE * suited:
            self._cut(row, suited)
        if step >= self.plan.warmup:
            over = self._settings[row]["step_size"] / sampler.stability_limit(curvature, gamma)
            self._step_over_limit[row] = np.fmax(self._step_over_limit[row], over)

    def _cut(self, row: int, step_size: float) -> None:
        self._settings[row]["step_size"] = step_size
        self._default_step[row] = min(self._default_step[row], step_size)
        self._cuts[row].append((int(self._step[row]), step_size))

    def _ran_away(self, position: Tensor, seen: Evaluation) -> np.ndarray:
        """Whether U is far above anything that the posterior holds.

        U − U(w*) has mean P/2 and standard deviation √(P/2) in a Gaussian well, and less in a degenerate one. The limit
        leaves room for chains that minibatches heat to three times that, with twenty deviations to spare: a chain that
        runs away grows exponentially and soon passes any limit. A chain that was started hot may take its warm-up to
        cool down. A minibatch's word is checked on the whole dataset.
        """
        rows, half = self._live, position.shape[1] / 2
        allowance = np.where(self._step[rows] < self.plan.warmup, self._allowance[rows], 0.0)
        limit = 3 * half + 20 * math.sqrt(half) + 50 + allowance
        over = torch.as_tensor(seen.potential).numpy() > limit
        if over.any() and not self._stack.full_batch:
            (there,) = _take(over, position)
            over[over] = _only(over, self._stack).potential(there).numpy() > limit[over]
        return over

    def _noise_at(self, rows: np.ndarray, stack: Stack, state: Any, minibatches: Sequence[Minibatch]) -> np.ndarray:
        """tr C of ∇Û from two minibatches at one point, (R,)."""
        if stack.full_batch:
            return np.zeros(len(rows))
        position = state.position
        here = stack.evaluate(position, minibatches).gradient
        other = stack.evaluate(position, [next(self._look_minibatches[row]) for row in rows]).gradient
        return (other - here).square().sum(1).cpu().numpy() / 2

    def _probe(self, rows: np.ndarray, stack: Stack, state: Any, seen: Evaluation, moved: Any) -> None:
        """The whole dataset's loss difference at a draw, and how much another minibatch's gradient differs."""
        position = state.position
        places = np.searchsorted(self.plan.probed, self._step[rows])
        metric = self.sampler.metric(moved) if hasattr(self.sampler, "metric") else torch.ones_like(position)
        self._full[rows, places] = difference = stack.difference(position)
        self._rounding[rows, places] = stack.rounding(position, difference)
        self._square[rows, places] = (metric * (seen.gradient.square() - stack.gamma)).sum(1).cpu()
        if stack.full_batch:
            self._noise[rows, places] = 0.0
            return
        other = stack.evaluate(position, [next(self._minibatches[row]) for row in rows])
        self._noise[rows, places] = (metric * (other.gradient - seen.gradient).square()).sum(1).cpu() / 2


def _only(rows: np.ndarray, stack: Stack) -> Stack:
    """The rows of a stack that a mask chooses."""
    return stack if rows.all() else stack.take(np.flatnonzero(rows).tolist())


def _take(rows: np.ndarray, *things: Any) -> Any:
    """The rows of states, evaluations or tensors that a mask chooses."""
    chosen = torch.from_numpy(rows)
    return tuple(take(chosen, thing) for thing in things)
