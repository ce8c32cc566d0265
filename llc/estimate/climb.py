"""λ̂ of one model, from the first chains to a plateau: which nβ, which γ, how many draws."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llc.estimate import scale
from llc.estimate.batches import choose_control_variates
from llc.estimate.ladder import Step, closer, next_step
from llc.estimate.lengths import CROSSING_SHARE, LEAST_STEPS, ended_after, reachable, rung_lengths
from llc.estimate.noise import coldest
from llc.estimate.pair import Pair, Reading, read, run_on, run_pairs, rung_of
from llc.estimate.reach import delocalised, lags, left_for_others, lost, mean_curvature
from llc.estimate.scale import Rung
from llc.estimate.settings import SamplingConfig
from llc.estimate.settle import Floors
from llc.estimate.spectrum import Held
from llc.estimate.thresholds import DRIFT_LIMIT, ROUGH_RHAT_LIMIT
from llc.parallel import Progress, quiet
from llc.sampling import Graph, Observable, Sampler, Target, largest_curvature

# The first rung of a ladder may take this share of the budget.
_FIRST_SHARE = 1 / 3
# Looks at the whole dataset a chain makes in a rung; more where each draw is one of the whole dataset anyway.
_LOOKS, _CHEAP_LOOKS = 6, 24
# z of the 90 % interval.
_Z = 1.645
# Of the half-width that is asked for, what is left of the climb may take so much before another rung is tried.
_SCALE_SHARE = 0.7
# Where the scale alone makes an interval too wide, draws end once they take so much of the half-width asked for.
_ENOUGH = 0.5
# The rung nearer to w* is run where it takes at most this share of what is left of the budget.
_CLOSER_SHARE = 0.25
# … and where the steepest curvature over ρ is so large: below that hardly a direction counts, and λ̂ is of nothing yet.
_LEAST_FELT = 10.0
# A rung on which steepest curvature over ρ is less than so many times what it was is not worth it.
_LEAST_RUNG = 3.0


@dataclass(frozen=True)
class Climb:
    """What came of it.

    Attributes:
        rungs: every rung that was kept.
        pair, reading: of the last.
        curvature: nβ h_max at w*, for the last nβ.
        gradients: minibatch gradients in all.
        ended: why no more was done, for the reason; "" where the interval is as narrow as was asked for.
        highest: why there is no further rung; "" where none was needed.
        farther: the rung that was left out since chains went to other solutions on it, or None.
        choice: why nβ and γ are what they are.
        variates: why there are control variates, or none.
    """

    rungs: list[Rung]
    pair: Pair
    reading: Reading
    curvature: float
    gradients: int
    ended: str
    highest: str
    choice: str
    variates: str
    farther: Rung | None = None


def climb(
    target: Target,
    kernel: Sampler,
    config: SamplingConfig,
    *,
    key: tuple,
    reference_loss: float = math.inf,
    graph: Graph | None = None,
    observables: Sequence[Observable] = (),
    progress: Progress = quiet,
) -> Climb:
    """Choose what is not given, and draw until the interval of λ̂ is narrow enough or the budget is spent.

    1. A first pair of chains at n/log n and a prior as wide as ‖w*‖ says how noisy the data are and how steep the loss.
    2. nβ goes no colder than what the data's own noise allows (`llc.estimate.noise.coldest`).
    3. A rung as much narrower as it is colder says whether chains stay with the solutions that w* is one of: where λ̂ is
       higher there, or the first rung's chains have found worse ones, that is left out, and the next are colder ones
       at this γ.
    4. Else rungs on which the steepest curvature is ever larger beside ρ = γ/nβ: one by a larger nβ, as far as that
       allows, and a smaller γ, then by a smaller γ alone, until λ̂ moves by no more than a small step
       (`llc.estimate.scale`) or chains get about no more.
    5. Rounds of draws there, until the interval, which carries what is left of the way, is narrow enough.

    Args:
        target: at the first nβ and γ.
        config: an nβ, γ or number of draws given there is kept.
        reference_loss: of a predictor that knows nothing; localisation so weak that draws do no better is not tried on.
    """
    surroundings = {"graph": graph, "observables": observables, "progress": progress}
    return _Climber(target, kernel, config, key, reference_loss, **surroundings).go()


class _Climber:
    """The state of a climb: the rungs so far, the pair of the last one, what was spent."""

    def __init__(
        self,
        target: Target,
        kernel: Sampler,
        config: SamplingConfig,
        key: tuple,
        reference_loss: float,
        **surroundings: Any,
    ) -> None:
        self.target, self.kernel, self.config, self.key = target, kernel, config, key
        self.reference_loss = reference_loss
        self.surroundings = surroundings
        curvature = largest_curvature(target)
        self.steepest, self.variates = curvature / target.nbeta, "as given"
        if config.control_variates is None:
            self.target, self.variates = choose_control_variates(target, kernel, curvature, key=key)
        self.nbeta, self.gamma = target.nbeta, target.gamma
        self.looks = _LOOKS if target.batch_size < target.num_samples else _CHEAP_LOOKS
        self.choice = "n/log n" if config.nbeta is None else "as given"
        self.scale_is_free = config.gamma is None and config.radius is None
        self.drawn, self.ended = self.target.gradients, ""
        self.highest = ""  # why the ladder goes no further
        self.rungs: list[Rung] = []
        self.floors = Floors(config.max_gradients)
        self.held = Held(self.target, config.max_gradients)
        self.farther: Rung | None = None
        self.runs = 0
        self.stood: list[tuple[Pair, Reading]] = []  # chains of each rung
        self._stand(0, *self._run(None))

    def go(self) -> Climb:
        """Climb and draw until there is a reason to stop."""
        if self._may_climb() and not lost(self.pair):
            self._look_closer()
        while not self.ended and not lost(self.pair):
            if self._may_climb() and not scale.settled(self.rungs):
                self._up()
            elif self.config.draws is not None or self._precise():
                break
            elif self.spent >= self.config.max_gradients:
                self.ended = ended_after(self.spent, self.config.max_gradients)
            elif self._may_climb() and self._share_of_scale() > _SCALE_SHARE:
                self._up()
            elif self._no_draws_would_do():
                break
            else:
                self._round()
        if self.scale_is_free and len(self.rungs) < 2 and not self.highest:
            self.highest = f"no other was tried within max_gradients = {self.config.max_gradients}"
        so_far = self.rungs, self.pair, self.reading, self.steepest * self.pair.target.nbeta, self.spent
        return Climb(*so_far, self.ended, self.highest, self.choice, self.variates, self.farther)

    def _run(self, start: Pair | None) -> tuple[Pair, Reading]:
        """A pair of chains at the nβ and γ of now."""
        at = self.target.at(nbeta=self.nbeta, gamma=self.gamma)
        first = self.scale_is_free and not self.rungs  # which is to tell where to go on
        share = _FIRST_SHARE if first else 1.0
        curvature = self.steepest * at.nbeta
        warmup, draws = rung_lengths(self.kernel, self.config, curvature, at.gamma, share * self._affordable())
        (pair,) = run_pairs(
            [at],
            self.kernel,
            [self.nbeta * self._steepest()],
            chains=self.config.chains,
            warmup=warmup,
            draws=draws,
            keys=[(*self.key, self.runs)],
            step_size=self.config.step_size,
            starts=None if start is None else [start],
            hot_starts=not self.scale_is_free,
            full_looks=min(self.looks, draws),
            full_look_every=self.config.full_loss_every,
            **self.surroundings,
        )
        self.runs += 1
        self.drawn += pair.cold.gradients + pair.hot.gradients
        return pair, self._read(pair)

    def _steepest(self) -> float:
        """h_max at w*, or the mean curvature where the chains are."""
        return max(self.steepest, mean_curvature(self.pair, self.reading)) if self.rungs else self.steepest

    def _read(self, pair: Pair) -> Reading:
        held = {"with_held": self.held.on} if self.scale_is_free else {}
        settled = self.floors.below(pair.target)
        return read(pair, self.kernel, find_warmup=self.config.warmup is None, settled=settled, **held)

    def _may_climb(self) -> bool:
        free = self.scale_is_free and not self.highest
        return free and len(self.rungs) < scale.MOST_RUNGS and self._remaining() > 0

    @property
    def spent(self) -> int:
        """Gradients so far, of chains, minimiser and curvatures."""
        return self.drawn + self.floors.gradients + self.held.gradients

    def _remaining(self) -> int:
        return self.config.max_gradients - self.spent

    def _look_closer(self) -> None:
        """A rung nearer to w*; the ladder goes on there if chains of the first one went to others."""
        if self._steepest() * self.nbeta / self.gamma < _LEAST_FELT:
            return
        step = closer(self._coldest())
        if step is None or 2 * self.config.chains * LEAST_STEPS > _CLOSER_SHARE * self._remaining():
            return
        before = self.nbeta, self.gamma
        self._take(step)
        pair, reading = self._run(None)
        if not lost(pair) and left_for_others((pair, reading), (self.pair, self.reading), self.held):
            self.farther, self.choice = self.rungs[0], step.choice
            self._stand(0, pair, reading)
        else:
            self.nbeta, self.gamma = before

    def _stand(self, number: int, pair: Pair, reading: Reading) -> None:
        """Make this the rung of a number, and the last."""
        self.pair, self.reading, self.nbeta, self.gamma = pair, reading, pair.target.nbeta, pair.target.gamma
        self.rungs[number:] = [rung_of(pair, reading)]
        self.stood[number:] = [(pair, reading)]

    def _take(self, step: Step) -> None:
        if step.colder != 1:
            self.nbeta = float(f"{self.nbeta * step.colder:.4g}")
        self.gamma /= step.wider

    def _up(self) -> None:
        """One rung up; back again where chains do not stay there."""
        before = self.nbeta, self.gamma
        step = self._next(scale.WEAKER)
        farther = step.colder * step.wider if step else 0.0
        reach = reachable(self.kernel, self.pair.cold, self.gamma, farther, self._affordable()) if step else 1.0
        reach = min(1.0, reach)
        if reach < 1:
            step = self._next(scale.WEAKER * reach)
        if step is None:
            self.highest = f"the noise of the data allows none colder than nbeta {self.nbeta:.3g}"
            return
        self._take(step)
        where = f"where gamma is {self.gamma:.3g} and nbeta {self.nbeta:.3g}"
        if scale.WEAKER * reach < _LEAST_RUNG:
            self.highest = f"chains would not get about in time {where}, with {self.config.max_gradients} gradients"
            self.nbeta, self.gamma = before
            return
        # Cooled chains stay where only hotter ones belong, on saddles for one: those begin at w*.
        cooled = self.nbeta > before[0]
        pair, reading = self._run(None if cooled else self.pair)
        if self.gamma < before[1]:
            pair, reading = self._wait(pair, reading)
        if lost(pair) or delocalised(pair, reading, self.reference_loss):
            self.highest = f"chains do not stay {where}"
        elif self.gamma < before[1] and lags(pair, reading, self.reading.basin):
            self.highest = f"chains do not get about in time {where}"
        elif self.gamma < before[1] and (near := self._left_from(pair, reading)) is not None:
            self.farther = rung_of(pair, reading)  # from here on colder ones, at the γ that they stay at
            self._stand(near, *self.stood[near])
            return
        else:  # a first rung that was too cold for the noise of the data makes place for this one
            self.choice = step.choice or self.choice
            self._stand(0 if self.nbeta < before[0] else len(self.rungs), pair, reading)
            return
        self.nbeta, self.gamma = before

    def _left_from(self, pair: Pair, reading: Reading) -> int | None:
        """The number of the rung with the highest λ̂, where chains have left its solutions for others."""
        highest = max(range(len(self.rungs)), key=lambda number: self.rungs[number].llc)
        return highest if left_for_others(self.stood[highest], (pair, reading), self.held) else None

    def _round(self) -> None:
        """More draws on the last rung: as many as the interval needs, as far as that can be told, at least a few."""
        kept = self.pair.cold.steps - self.reading.warmup
        found = self.reading.basin
        wanted = self.config.target_error * abs(found.llc) / _Z
        error = math.hypot(found.llc_se, scale.short(self.rungs[-1]))
        factor = (error / wanted) ** 2 if wanted > 0 and math.isfinite(error) else 2.0
        draws = int(np.clip(1.1 * (factor - 1) * kept, LEAST_STEPS // 4, 2 * kept))
        affordable = max(LEAST_STEPS // 4, int(self._affordable()))
        self._stand(len(self.rungs) - 1, *self._on(self.pair, min(draws, affordable)))

    def _wait(self, pair: Pair, reading: Reading) -> tuple[Pair, Reading]:
        """A rung whose chains have hardly left w*, once they had twice the time, and twice that again, to do so."""
        allowed = self.spent + CROSSING_SHARE * self._remaining()
        while self.config.draws is None and not lost(pair) and lags(pair, reading, self.reading.basin):
            if self.spent + 2 * self.config.chains * pair.cold.steps > allowed:
                break
            pair, reading = self._on(pair, pair.cold.steps)
        return pair, reading

    def _on(self, pair: Pair, draws: int) -> tuple[Pair, Reading]:
        """The same chains for some more draws."""
        before = pair.cold.gradients + pair.hot.gradients
        pair = run_on(
            pair,
            self.kernel,
            draws=draws,
            key=(*self.key, self.runs, pair.cold.steps),
            adapt=self.config.step_size is None,
            full_looks=self.looks // 2,
            full_look_every=self.config.full_loss_every,
            **self.surroundings,
        )
        self.drawn += pair.cold.gradients + pair.hot.gradients - before
        return pair, self._read(pair)

    def _arrived(self) -> bool:
        """Whether chains agree and stand still."""
        return all(
            one.rhat <= (self.config.max_rhat or ROUGH_RHAT_LIMIT) and abs(one.drift) <= DRIFT_LIMIT
            for one in (self.reading.cold, self.reading.hot)
        )

    def _precise(self) -> bool:
        """Whether chains have arrived and the interval is as narrow as was asked for."""
        found = self.reading.basin
        error = math.hypot(found.llc_se, scale.short(self.rungs[-1]), scale.left(self.rungs)[1])
        return self._arrived() and _Z * error <= self.config.target_error * abs(found.llc)

    def _no_draws_would_do(self) -> bool:
        """Whether other localisations or the floor leave more open than was asked for, and there are draws enough."""
        found, rest = self.reading.basin, self.reading.rest_se
        wanted = self.config.target_error * abs(found.llc)
        of_draws = math.sqrt(max(0.0, found.llc_se**2 - rest**2))
        enough = _Z * math.hypot(of_draws, scale.short(self.rungs[-1])) <= _ENOUGH * wanted
        return self._arrived() and enough and _Z * math.hypot(rest, scale.left(self.rungs)[1]) > wanted

    def _share_of_scale(self) -> float:
        """How much of the half-width that is asked for goes to what is left of the climb."""
        return _Z * scale.left(self.rungs)[1] / max(1e-300, self.config.target_error * abs(self.rungs[-1].llc))

    def _affordable(self) -> float:
        """Steps of each chain that the budget leaves."""
        return self._remaining() / (2 * self.config.chains)

    def _next(self, weaker: float) -> Step | None:
        """To the next rung, None where there is none; see `llc.estimate.ladder`."""
        steepness = self._steepest() * self.nbeta / self.gamma if len(self.rungs) == 1 else None
        return next_step(weaker, steepness=steepness, coldest=self._coldest(), stay=self.farther is not None)

    def _coldest(self) -> float:
        """The largest nβ that the noise of the data allows, over that of now; 1 where nβ is given."""
        if self.config.nbeta is not None:
            return 1.0
        found = self.reading.basin
        llc = max(found.llc, found.llc_se)
        return coldest(self.nbeta, self.reading.noise, llc, self.target.num_samples) / self.nbeta
