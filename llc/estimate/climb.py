"""λ̂ of one model, from the first chains to a plateau: which nβ, which γ, how many draws."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llc.estimate import scale
from llc.estimate.batches import choose_control_variates
from llc.estimate.ladder import next_step
from llc.estimate.noise import coldest
from llc.estimate.pair import Pair, Reading, read, run_on, run_pairs
from llc.estimate.scale import Rung
from llc.estimate.settings import SamplingConfig
from llc.estimate.settle import settle
from llc.estimate.verdict import DRIFT_LIMIT, ROUGH_RHAT_LIMIT
from llc.parallel import Report, quiet
from llc.sampling import LEAST_DRAWS, Graph, Observable, Sampler, Target, largest_curvature

# Steps of a rung: so many times what the sampler needs along directions that only γ holds, …
_RELAXATIONS = 4.0
# … within these bounds; a third of them is warm-up.
_LEAST_STEPS, _MOST_STEPS = 400, 2500
# The first rung of a ladder may take this share of the budget.
_FIRST_SHARE = 1 / 3
# Looks at the whole dataset a chain makes in a rung.
_LOOKS = 6
# z of the 90 % interval.
_Z = 1.645
# Of the half-width that is asked for, what is left of the climb may take so much before another rung is tried.
_SCALE_SHARE = 0.7
# The minimiser may take this share of the budget.
_SETTLE_SHARE = 0.05
# Chains that have gone less than this share of the way that the prior lets them go may not have found λ̂ yet.
_LAGGING = 0.05
# To cross the prior once, chains may take this share of what is left of the budget; a rung on which steepest curvature
# over ρ is less than so many times what it was is not worth it.
_CROSSING_SHARE, _LEAST_RUNG = 0.5, 3.0


@dataclass(frozen=True)
class Climb:
    """What came of it.

    Attributes:
        rungs: every localisation tried. pair, reading: of the last.
        curvature: nβ h_max at w*, for the last nβ. gradients: minibatch gradients in all.
        ended: why no more was done, for the reason; "" where the interval is as narrow as was asked for.
        highest: why there is no further rung; "" where none was needed.
        choice: why nβ and γ are what they are. variates: why there are control variates, or none.
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


def climb(
    target: Target,
    kernel: Sampler,
    config: SamplingConfig,
    *,
    key: tuple,
    reference_loss: float = math.inf,
    graph: Graph | None = None,
    observables: Sequence[Observable] = (),
    report: Report = quiet,
) -> Climb:
    """Choose what is not given, and draw until the interval of λ̂ is narrow enough or the budget is spent.

    1. A first pair of chains at n/log n and a prior as wide as ‖w*‖ says how noisy the data are and how steep the loss.
    2. nβ goes no colder than what the data's own noise allows (`llc.estimate.noise.coldest`).
    3. Rungs on which the steepest curvature is ever larger beside ρ = γ/nβ: one by a larger nβ, as far as that allows,
       and a smaller γ, then by a smaller γ alone, until λ̂ moves by no more than a small step (`llc.estimate.scale`) or
       chains get about no more.
    4. Rounds of draws there, until the interval, which carries what is left of the way, is narrow enough.

    Args:
        target: at the first nβ and γ. config: an nβ, γ or number of draws given there is kept.
        reference_loss: of a predictor that knows nothing; localisation so weak that draws do no better is not tried on.
    """
    surroundings = {"graph": graph, "observables": observables, "report": report}
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
        self.choice = "n/log n" if config.nbeta is None else "as given"
        self.scale_is_free = config.gamma is None and config.radius is None
        self.spent, self.ended = self.target.gradients, ""
        self.highest = ""  # why the ladder goes no further
        self.rungs: list[Rung] = []
        self.floors: dict[float, float | None] = {}  # what a minimiser gains, in loss, by ρ
        self.pair, self.reading = self._run(None)
        self._add()

    def go(self) -> Climb:
        """Climb and draw until there is a reason to stop."""
        while not self.ended and not _lost(self.pair):
            if self._may_climb() and not scale.settled(self.rungs):
                self._up()
            elif self.config.draws is not None or self._precise():
                break
            elif self.spent >= self.config.max_gradients:
                self.ended = f"max_gradients = {self.config.max_gradients} are spent"
            elif self._may_climb() and self._share_of_scale() > _SCALE_SHARE:
                self._up()
            else:
                self._round()
        curvature = self.steepest * self.pair.target.nbeta
        return Climb(
            self.rungs,
            self.pair,
            self.reading,
            curvature,
            self.spent,
            self.ended,
            self.highest,
            self.choice,
            self.variates,
        )

    def _run(self, start: Pair | None) -> tuple[Pair, Reading]:
        """A pair of chains at the nβ and γ of now."""
        at = self.target.at(nbeta=self.nbeta, gamma=self.gamma)
        warmup, draws = self._lengths(at)
        (pair,) = run_pairs(
            [at],
            self.kernel,
            [self.nbeta * max(self.steepest, self._mean_curvature())],
            chains=self.config.chains,
            warmup=warmup,
            draws=draws,
            keys=[(*self.key, len(self.rungs))],
            step_size=self.config.step_size,
            starts=None if start is None else [start],
            hot_starts=not self.scale_is_free,
            probes=min(_LOOKS, draws),
            probe_every=self.config.full_loss_every,
            **self.surroundings,
        )
        self.spent += pair.cold.gradients + pair.hot.gradients
        return pair, self._read(pair)

    def _floor(self, at: Target) -> float | None:
        """A minimiser's nats of a target, where that is cheap beside the chains; the floor is that of its ρ."""
        rho = at.gamma / at.nbeta
        if rho not in self.floors:
            nats, gradients = depth(at, self.config)
            self.spent += gradients
            self.floors[rho] = None if nats is None else nats / at.nbeta
        drop = self.floors[rho]
        return None if drop is None else at.nbeta * drop

    def _read(self, pair: Pair) -> Reading:
        find_warmup = self.config.warmup is None
        return read(pair, self.kernel, find_warmup=find_warmup, settled=self._floor(pair.target))

    def _add(self) -> None:
        self.rungs.append(rung_of(self.pair, self.reading))

    def _may_climb(self) -> bool:
        free = self.scale_is_free and not self.highest
        return free and len(self.rungs) < scale.MOST_RUNGS and self.spent < self.config.max_gradients

    def _up(self) -> None:
        """One rung up; back again where chains do not stay there."""
        before = self.nbeta, self.gamma
        nbeta, gamma, choice = self._next(scale.WEAKER)
        if (reachable := self._reachable(nbeta, gamma)) < 1:
            if scale.WEAKER * reachable < _LEAST_RUNG:
                self.highest = f"chains would not get about in time where gamma is {gamma:.3g} and nbeta {nbeta:.3g}"
                return
            nbeta, gamma, choice = self._next(scale.WEAKER * reachable)
        self.nbeta, self.gamma = nbeta, gamma
        # Cooled chains stay where only hotter ones belong, on saddles for one: those begin at w*.
        cooled = self.nbeta > before[0]
        pair, reading = self._run(None if cooled else self.pair)
        if _lost(pair) or self._delocalised(pair, reading):
            self.highest = f"chains do not stay where gamma is {self.gamma:.3g} and nbeta {self.nbeta:.3g}"
        elif self._lags(pair, reading):
            self.highest = f"chains do not get about in time where gamma is {self.gamma:.3g} and nbeta {self.nbeta:.3g}"
        else:
            if self.nbeta < before[0]:  # the first rung was too cold for the noise of the data: this is the first
                self.rungs.clear()
            self.pair, self.reading, self.choice = pair, reading, choice
            self._add()
            return
        self.nbeta, self.gamma = before

    def _lags(self, pair: Pair, reading: Reading) -> bool:
        """Whether λ̂ is lower than on the rung before because chains have hardly left w*."""
        cold, before = pair.cold, self.reading.basin
        square = float(np.square(cold.distance[cold.survivors, reading.warmup :]).mean())
        free = pair.target.num_parameters - 2 * max(before.llc, reading.basin.llc)
        fell = before.llc - reading.basin.llc > 2 * math.hypot(before.llc_se, reading.basin.llc_se)
        return fell and pair.target.gamma * square < _LAGGING * free

    def _delocalised(self, pair: Pair, reading: Reading) -> bool:
        """Whether draws do no better than a predictor that knows nothing."""
        cold = pair.cold.difference[pair.cold.survivors, reading.warmup :]
        return bool(self.target.loss_init + cold.mean() >= self.reference_loss)

    def _round(self) -> None:
        """More draws on the last rung: as many as the interval needs, as far as that can be told, at least a few."""
        kept = self.pair.cold.steps - self.reading.warmup
        found = self.reading.basin
        wanted = self.config.target_error * abs(found.llc) / _Z
        factor = (found.llc_se / wanted) ** 2 if wanted > 0 and math.isfinite(found.llc_se) else 2.0
        draws = int(np.clip(1.1 * (factor - 1) * kept, _LEAST_STEPS // 4, 2 * kept))
        rows = 2 * len(self.pair.cold.difference)
        affordable = max(_LEAST_STEPS // 4, (self.config.max_gradients - self.spent) // rows)
        before = self.pair.cold.gradients + self.pair.hot.gradients
        self.pair = run_on(
            self.pair,
            self.kernel,
            draws=min(draws, affordable),
            key=(*self.key, len(self.rungs), self.pair.cold.steps),
            adapt=self.config.step_size is None,
            probes=_LOOKS // 2,
            probe_every=self.config.full_loss_every,
            **self.surroundings,
        )
        self.spent += self.pair.cold.gradients + self.pair.hot.gradients - before
        self.reading = self._read(self.pair)
        self.rungs.pop()
        self._add()

    def _precise(self) -> bool:
        """Whether chains have arrived and the interval is as narrow as was asked for."""
        reading = self.reading
        arrived = all(
            one.rhat <= (self.config.max_rhat or ROUGH_RHAT_LIMIT) and abs(one.drift) <= DRIFT_LIMIT
            for one in (reading.cold, reading.hot)
        )
        error = math.hypot(reading.basin.llc_se, scale.left(self.rungs)[1])
        return arrived and _Z * error <= self.config.target_error * abs(reading.basin.llc)

    def _share_of_scale(self) -> float:
        """How much of the half-width that is asked for goes to what is left of the climb."""
        return _Z * scale.left(self.rungs)[1] / max(1e-300, self.config.target_error * abs(self.rungs[-1].llc))

    def _lengths(self, at: Target) -> tuple[int, int]:
        """Warm-up and draws of a rung."""
        config = self.config
        if config.draws is not None:
            return (config.draws if config.warmup is None else config.warmup), config.draws
        settings = self.kernel.default_settings(self.steepest * at.nbeta, at.gamma, _LEAST_STEPS)
        if config.step_size is not None:
            settings["step_size"] = config.step_size
        relaxation = self.kernel.relaxation(settings, at.gamma) if hasattr(self.kernel, "relaxation") else math.inf
        affordable = (config.max_gradients - self.spent) / (2 * config.chains)
        if self.scale_is_free and not self.rungs:  # which is to tell where to go on
            affordable *= _FIRST_SHARE
        most = max(_MOST_STEPS, _CROSSING_SHARE * affordable)
        steps = min(max(_RELAXATIONS * relaxation, _LEAST_STEPS), most, max(affordable, _LEAST_STEPS / 4))
        warmup = int(steps) // 3 if config.warmup is None else config.warmup
        return warmup, max(LEAST_DRAWS, int(steps) - int(steps) // 3)

    def _next(self, weaker: float) -> tuple[float, float, str]:
        """nβ and γ of the next rung, and why this nβ; see `llc.estimate.ladder`."""
        steepness, limit = None, 1.0
        if len(self.rungs) == 1:
            steepness = max(self.steepest, self._mean_curvature()) * self.nbeta / self.gamma
        if self.config.nbeta is None:
            found = self.reading.basin
            cold = coldest(self.nbeta, self.reading.noise, max(found.llc, found.llc_se), self.target.num_samples)
            limit = cold / self.nbeta
        step = next_step(weaker, steepness=steepness, coldest=limit)
        nbeta = self.nbeta if step.colder == 1 else float(f"{self.nbeta * step.colder:.4g}")
        return nbeta, self.gamma / step.wider, step.choice or self.choice

    def _reachable(self, nbeta: float, gamma: float) -> float:
        """By how much more than what this rung asks for the budget would let chains cross what only the prior holds.

        Steps for one crossing go with √(nβ/γ), from how long they were on the last rung; they may take half of what is
        left of the budget.
        """
        if not hasattr(self.kernel, "relaxation"):
            return math.inf
        now = min(self.kernel.relaxation(one, self.gamma) for one in self.pair.cold.settings)
        steps = now * math.sqrt(nbeta / self.nbeta * self.gamma / gamma)
        affordable = (self.config.max_gradients - self.spent) / (2 * self.config.chains)
        return (_CROSSING_SHARE * affordable / steps) ** 2

    def _mean_curvature(self) -> float:
        """(w − w*)·∇L/‖w − w*‖² where the chains are: at a degenerate w* the loss is steep only away from it."""
        if not self.rungs:
            return 0.0
        cold, kept = self.pair.cold, self.pair.cold.survivors
        square = np.square(cold.distance[kept, self.reading.warmup :])
        at = self.pair.target
        slope = (cold.virial[kept, self.reading.warmup :] - at.gamma * square) / at.nbeta
        return max(0.0, float(slope.mean() / square.mean())) if square.mean() > 0 else 0.0


def depth(target: Target, config: SamplingConfig) -> tuple[float | None, int]:
    """A minimiser's nβ(L(w*) − L_0), None where it did not end within its share of the budget; and its gradients."""
    found = settle(target, max_gradients=int(_SETTLE_SHARE * config.max_gradients))
    return (found.nats if found.done else None), found.gradients


def rung_of(pair: Pair, reading: Reading) -> Rung:
    """The rung that a pair stands on."""
    found = reading.basin
    return Rung(pair.target.nbeta, pair.target.gamma, found.llc, found.llc_se, reading.degeneracy)


def _lost(pair: Pair) -> bool:
    """Half of the chains at one of the temperatures, or more."""
    return any(2 * len(chains.diverged) >= len(chains.difference) for chains in (pair.cold, pair.hot))
