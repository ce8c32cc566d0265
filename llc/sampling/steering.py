"""The sampler's settings of every chain, and how they follow the curvature that chains run into."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llc.randomness import generator
from llc.sampling.curvature import power_iteration, random_direction
from llc.sampling.data import Minibatch
from llc.sampling.ensemble import Ensemble
from llc.sampling.rows import take
from llc.sampling.sampler import Sampler

# A chain looks at the curvature where it is about this many times, but not more often than every so many steps: …
_LOOKS, LEAST_BETWEEN_LOOKS = 16, 50
# … each look takes twice as many gradients, starting from the direction found last.
_LOOK_ITERATIONS = 3
# The step size is cut where it is more than this many times what the sampler would choose there.
_TOO_LARGE = 1.25


@dataclass(frozen=True)
class Course:
    """What every chain of an estimate is to do.

    Attributes:
        steps: in all.
        warmup: how many of them are warm-up.
        adapt: follow the curvature where the chain is: the sampler's settings are chosen anew in warm-up, and cut
            after it where they have become unsafe; a chain that runs away is taken back with half its step size.
            Otherwise the settings are kept whatever happens, and the curvature is only recorded.
        look: look at the curvature on the way at all.
        explore: the chain is to go far, not to sample, so that only the step size is adapted.
    """

    steps: int
    warmup: int
    adapt: bool = False
    look: bool = False
    explore: bool = False


class Steering:
    """Settings of chains, one a row.

    Args:
        settings: of each chain, the hyperparameters of the sampler's `step`; copied.
        keys: of each, (*study, chain).

    Attributes:
        settings: as they are now.
        cuts: of each chain, (step, new step size) after trouble.
        step_over_limit: the largest step size relative to the stability limit where a chain was after warm-up, (R,).
    """

    def __init__(
        self,
        ensemble: Ensemble,
        sampler: Sampler,
        settings: Sequence[dict[str, float]],
        course: Course,
        keys: Sequence[tuple],
    ) -> None:
        self._sampler, self._course = sampler, course
        self.settings = [dict(of_row) for of_row in settings]
        self._default_step = [of_row["step_size"] for of_row in settings]
        self.cuts: list[list[tuple[int, float]]] = [[] for _ in settings]
        self.step_over_limit = np.full(len(settings), np.nan)
        # A stream of its own: what a chain sees does not depend on how often it is looked at.
        rngs = [generator(*study, "looks", chain) for *study, chain in keys]
        self._minibatches = [target.minibatches(rng) for target, rng in zip(ensemble.targets, rngs, strict=True)]
        directions = [random_direction(target, rng) for target, rng in zip(ensemble.targets, rngs, strict=True)]
        self._direction = torch.stack(directions)
        # Settings as the sampler saw them last.
        self._shown: tuple[list[dict[str, float]], dict[str, Tensor]] = ([], {})

    def columns(self, rows: np.ndarray) -> dict[str, Tensor]:
        """The settings of some chains as the sampler takes them, (R, 1)."""
        settings = [self.settings[row] for row in rows]
        if settings != self._shown[0]:
            columns = {
                name: torch.tensor([[of_row[name]] for of_row in settings], dtype=torch.float64).to(self._direction)
                for name in settings[0]
            }
            self._shown = ([dict(of_row) for of_row in settings], columns)
        return self._shown[1]

    def due(self, step: np.ndarray) -> np.ndarray:
        """Which chains are to look at the curvature, given the step of each."""
        return step % max(LEAST_BETWEEN_LOOKS, self._course.steps // _LOOKS) == 0

    def look(
        self, rows: np.ndarray, step: np.ndarray, ensemble: Ensemble, state: Any, recent: Callable[[int], float]
    ) -> None:
        """Measure the curvature and the gradient's noise where chains are, and choose settings that suit them.

        Args:
            rows: which chains; either all of them are at their first step or none.
            step: of each.
            ensemble, state: theirs.
            recent: the mean of a chain's latest loss differences.
        """
        course, first = self._course, step[0] == 0
        minibatches = [next(self._minibatches[row]) for row in rows]
        curvatures, direction = power_iteration(
            partial(ensemble.evaluate, minibatches=minibatches),
            ensemble.gamma,
            state.position,
            self._direction[rows],
            _LOOK_ITERATIONS * (4 if first else 1),
        )
        self._direction[rows] = direction
        noise = np.full(len(rows), np.nan)
        adapting = (step < course.warmup) & (
            course.adapt and not course.explore and not first and _adapts(self._sampler)
        )
        adapting &= curvatures.isfinite().cpu().numpy()
        if adapting.any():
            among = [minibatch for minibatch, chosen in zip(minibatches, adapting, strict=True) if chosen]
            there = take(torch.from_numpy(adapting), state)
            some = ensemble.only(adapting)
            noise[adapting] = self._noise_at(rows[adapting], some, there.position, among)
        for place, (row, curvature) in enumerate(zip(rows, curvatures.tolist(), strict=True)):
            if math.isfinite(curvature):  # otherwise the next step shows what is wrong
                target = ensemble.targets[place]
                llc = math.nan if math.isnan(noise[place]) else target.nbeta * recent(row)
                seen = {"curvature": curvature, "noise": float(noise[place]), "llc": llc}
                self._suit(row, int(step[place]), gamma=target.gamma, **seen)

    def cut(self, row: int, step: int, step_size: float) -> None:
        """A shorter step for one chain from here on."""
        self.settings[row]["step_size"] = step_size
        self._default_step[row] = min(self._default_step[row], step_size)
        self.cuts[row].append((step, step_size))

    def _suit(self, row: int, step: int, *, gamma: float, curvature: float, noise: float, llc: float) -> None:
        """One chain's settings, given the curvature and, if its friction is to follow it, the noise."""
        course, sampler, settings = self._course, self._sampler, self.settings[row]
        draws = max(1, course.steps - course.warmup)
        suited = min(self._default_step[row], sampler.default_settings(curvature, gamma, draws)["step_size"])
        if course.adapt and step < course.warmup:
            settings["step_size"] = suited
            if not math.isnan(noise) and hasattr(sampler, "adapt"):
                self.settings[row] = sampler.adapt(settings, noise=noise, llc=llc, gamma=gamma, draws=draws)
        elif course.adapt and settings["step_size"] > _TOO_LARGE * suited:
            self.cut(row, step, suited)
        if step >= course.warmup:
            over = self.settings[row]["step_size"] / sampler.stability_limit(curvature, gamma)
            self.step_over_limit[row] = np.fmax(self.step_over_limit[row], over)

    def _noise_at(
        self, rows: np.ndarray, ensemble: Ensemble, position: Tensor, minibatches: Sequence[Minibatch]
    ) -> np.ndarray:
        """tr C of ∇Û from two minibatches at one point, (R,)."""
        if ensemble.full_batch:
            return np.zeros(len(rows))
        here = ensemble.evaluate(position, minibatches).gradient
        other = ensemble.evaluate(position, [next(self._minibatches[row]) for row in rows]).gradient
        return (other - here).square().sum(1).cpu().numpy() / 2


def _adapts(sampler: Sampler) -> bool:
    return hasattr(sampler, "adapt")
