"""Chains on their way, step by step together: traces, what is looked at, and taking back what ran away."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llc.errors import Interrupted
from llc.parallel import check_interrupt
from llc.randomness import generator
from llc.sampling.data import Minibatch
from llc.sampling.ensemble import Ensemble
from llc.sampling.observable import Draws, Record, Watch
from llc.sampling.rows import choose, joined, row_of, take
from llc.sampling.sampler import Evaluation, Sampler
from llc.sampling.steering import LEAST_BETWEEN_LOOKS, Course, Steering
from llc.sampling.traces import TRACES, Trail

# A chain is taken back this many draws, at least, when it ran away and its step size is cut.
_REWIND = 25
# A chain that runs away more often than this has diverged.
_MOST_ESCAPES = 16


class Lockstep:
    """Chains of one sampler, one a row, each on its own target from its own start; `go` runs them.

    No chain's draws depend on which others there are. One that is taken back counts its own steps and ends later.

    Args:
        settings: of each chain, the hyperparameters of the sampler's `step`; copied.
        start: positions, (R, P), or states of the sampler.
        keys: of each chain (*study, chain).
        places: the number of each chain's target.
        watches: what looks at them, in this order.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        sampler: Sampler,
        settings: Sequence[dict[str, float]],
        course: Course,
        *,
        start: Any,
        keys: Sequence[tuple],
        places: Sequence[int] | None = None,
        watches: Sequence[Watch] = (),
    ) -> None:
        rows = len(ensemble)
        self.sampler, self.course = sampler, course
        self._state = sampler.init(start) if isinstance(start, Tensor) else start
        device = ensemble.center.device
        where = device if device.type == "cuda" else "cpu"
        self._rngs = [generator(*study, "noise", chain, device=where) for *study, chain in keys]
        self._minibatches = [
            target.minibatches(generator(*study, "minibatches", chain))
            for target, (*study, chain) in zip(ensemble.targets, keys, strict=True)
        ]
        self._steering = Steering(ensemble, sampler, settings, course, keys)
        self._chain = np.array([key[-1] for key in keys])
        self._traces = np.full((len(TRACES), rows, course.steps), np.nan)
        of_targets = np.zeros(rows, int) if places is None else np.array(places)
        self._records = [Record(watch, of_targets, course.steps) for watch in watches]
        self._diverged: dict[int, int] = {}
        # Of all chains: their own counts of steps. Of those that still go: rows, targets, states (above), …
        self._step = np.zeros(rows, int)
        self._live, self._ensemble = np.arange(rows), ensemble
        # … and the two states saved last, with their steps.
        self._saved = [(self._state, np.zeros(rows, int)), (self._state, np.zeros(rows, int))]
        self._escapes = np.zeros(rows, int)
        self._final: list[tuple[int, Any]] = []
        self._allowance = np.zeros(rows)

    def go(self, tell: Callable[[int], None]) -> list[Trail]:
        """Run every chain to its end, or to where it diverges. `tell` hears how many steps are done in all."""
        if self.course.warmup:  # a hot start may take its warm-up to cool down
            self._allowance = 2 * np.fmax(0.0, self._ensemble.potential(self._state.position).numpy())
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

    @property
    def state(self) -> Any:
        """The sampler's state of every chain, a row a chain, once `go` has returned."""
        return joined([state for _, state in sorted(self._final, key=lambda pair: pair[0])])

    def _trail(self, row: int) -> Trail:
        return Trail(
            self._traces[:, row],
            {record.observer.name: record.of_row(row) for record in self._records},
            self._steering.settings[row],
            float(self._steering.step_over_limit[row]),
            self._diverged.get(row),
            self._steering.cuts[row],
        )

    def _prepare(self) -> None:
        """What some chains are due before their next step: the end of warm-up, a look at the curvature."""
        course, live = self.course, self._live
        step = self._step[live]
        ending = step == course.warmup
        if hasattr(self.sampler, "freeze") and ending.any():
            self._state = choose(torch.from_numpy(ending), self.sampler.freeze(self._state), self._state)
        if course.look:
            due = self._steering.due(step)
            for looking in (due & (step == 0), due & (step > 0)):
                if looking.any():
                    (state,) = _take(looking, self._state)
                    ensemble = self._ensemble.only(looking)
                    self._steering.look(live[looking], step[looking], ensemble, state, self._recent)

    def _recent(self, row: int) -> float:
        """The mean of a chain's latest loss differences."""
        step = int(self._step[row])
        return float(self._traces[0, row, max(0, step - LEAST_BETWEEN_LOOKS) : step].mean())

    def _advance(self) -> np.ndarray:
        """One step of every chain that goes on; says which took it. The others are lost, or taken back."""
        live, before = self._live, self._state
        step = self._step[live]
        minibatches = [next(self._minibatches[row]) for row in live]
        after, seen = self.sampler.step(
            before,
            partial(self._ensemble.evaluate, minibatches=minibatches),
            [self._rngs[row] for row in live],
            **self._steering.columns(live),
        )
        numbers = self._numbers(before.position, seen)
        good = np.isfinite(numbers[:4]).all(0)
        if self.course.adapt:
            good &= ~self._ran_away(before.position, seen)
        self._traces[:, live[good], step[good]] = numbers[:, good]
        for record in self._records:
            due = good & record.due(live, step)
            if due.any():
                record.see(live[due], step[due], self._draws(due, minibatches, before.position, seen, after))
        self._state = after
        self._step[live[good]] += 1
        if not good.all():
            self._after_trouble(~good)
        return good

    def _draws(
        self, due: np.ndarray, minibatches: Sequence[Minibatch], position: Tensor, seen: Evaluation, after: Any
    ) -> Draws:
        """Some of the draws of this step, as observers see them."""
        rows = self._live[due]
        position, seen, after = _take(due, position, seen, after)

        def metric() -> Tensor:
            return self.sampler.metric(after) if hasattr(self.sampler, "metric") else torch.ones_like(position)

        return Draws(
            ensemble=self._ensemble.only(due),
            position=position,
            minibatches=[minibatch for minibatch, chosen in zip(minibatches, due, strict=True) if chosen],
            evaluation=seen,
            index=self._step[rows] - self.course.warmup,
            chain=self._chain[rows],
            metric=metric,
            fresh=lambda: [next(self._minibatches[row]) for row in rows],
        )

    def _after_trouble(self, bad: np.ndarray) -> None:
        """Take chains back to a point from before it, with half their step; or record that they have diverged."""
        live = self._live
        lost = bad & (self._escapes[live] == _MOST_ESCAPES if self.course.adapt else True)
        for row in live[lost]:
            self._diverged[int(row)] = int(self._step[row])
            self._traces[:, row, self._step[row] :] = np.nan
            for record in self._records:
                record.forget(int(row), int(self._step[row]))
        back = bad & ~lost
        for row in live[back]:  # the target does not depend on the step size
            self._escapes[row] += 1
            self._steering.cut(row, int(self._step[row]), self._steering.settings[row]["step_size"] / 2)
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
        ended = (self._step[self._live] == self.course.steps) | np.isin(self._live, list(self._diverged))
        if not ended.any():
            return
        of_ended = _take(ended, self._state)[0]
        self._final += [(int(row), row_of(of_ended, place)) for place, row in enumerate(self._live[ended])]
        self._live = self._live[~ended]
        if len(self._live):
            self._ensemble = self._ensemble.only(~ended)
            (old, old_step), (new, new_step) = self._saved
            self._state, old, new = _take(~ended, self._state, old, new)
            self._saved = [(old, old_step), (new, new_step)]

    def _numbers(self, position: Tensor, seen: Evaluation) -> np.ndarray:
        """A column of the traces, (5, R)."""
        away = position - self._ensemble.center
        accepted = torch.full((len(away),), math.nan) if seen.accepted is None else seen.accepted
        of_device = torch.stack([away.norm(dim=1), (away * seen.gradient).sum(1)]).cpu().double()
        of_losses = [torch.as_tensor(number) for number in (seen.difference, seen.loss)]
        return torch.stack([*of_losses, *of_device, accepted.cpu().double()]).numpy()

    def _ran_away(self, position: Tensor, seen: Evaluation) -> np.ndarray:
        """Whether U is far above anything that the posterior holds.

        U − U(w*) has mean P/2 and standard deviation √(P/2) in a Gaussian well, and less in a degenerate one. The limit
        leaves room for chains that minibatches heat to three times that, with twenty deviations to spare: a chain that
        runs away grows exponentially and soon passes any limit. A chain that was started hot may take its warm-up to
        cool down. A minibatch's word is checked on the whole dataset.
        """
        rows, half = self._live, position.shape[1] / 2
        allowance = np.where(self._step[rows] < self.course.warmup, self._allowance[rows], 0.0)
        limit = 3 * half + 20 * math.sqrt(half) + 50 + allowance
        over = torch.as_tensor(seen.potential).numpy() > limit
        if over.any() and not self._ensemble.full_batch:
            (there,) = _take(over, position)
            over[over] = self._ensemble.only(over).potential(there).numpy() > limit[over]
        return over


def _take(rows: np.ndarray, *things: Any) -> Any:
    """The rows of states, evaluations or tensors that a mask chooses."""
    chosen = torch.from_numpy(rows)
    return tuple(take(chosen, thing) for thing in things)
