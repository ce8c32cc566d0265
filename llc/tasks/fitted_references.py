"""The numbers under which references of query regression lose least: steps of GD++, and a pair of softmax heads."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llc import predictors
from llc.devices import torch_threads
from llc.predictors import Predictor
from llc.predictors.fitting import least_losing
from llc.randomness import generator
from llc.tasks.task import Batch

if TYPE_CHECKING:
    from llc.tasks.query_regression import QueryRegression

# Sequences that numbers are fitted to, after a first look from many starts at some.
_FITTED_TO, _SOME, _STARTS = 8192, 512, 24
# The weight on scores that a pair of softmax heads begins its fit with, in units of what makes scores of size 1.
_FIRST_OMEGA = 0.3
# Tasks whose numbers are kept: a study's runs mostly have one.
_KEPT = 64


@lru_cache(maxsize=_KEPT)
def best_gd_plus_plus(task: QueryRegression) -> tuple[Tensor, Tensor]:
    """η_t and γ_t, (T,) each, of the `descent_steps` steps of GD++ with the smallest loss that is found.

    Two steps have several minima, of which the lowest loses less than half of what plain steps lose: it shrinks x along
    the directions in which they are long, and then takes a long step. So it is looked for from many starts, on some of
    the sequences, and from the best of these on all.
    """
    steps, best = task.descent_steps, task.best_step

    def named(numbers: Tensor) -> dict[str, Tensor]:
        last = torch.zeros(1, dtype=torch.float64)  # has no effect
        return {"steps": best * numbers[:steps], "gammas": best * torch.cat([numbers[steps:], last])}

    rng = generator("starts of GD++", steps)
    first = torch.randn(_STARTS, steps, generator=rng, dtype=torch.float64).exp()
    shrinking = torch.rand(_STARTS, steps - 1, generator=rng, dtype=torch.float64)
    near = _fit(task, predictors.gd_plus_plus, named, torch.cat([first, shrinking], 1), _SOME)
    found = named(_fit(task, predictors.gd_plus_plus, named, near[None], _FITTED_TO))
    return found["steps"], found["gammas"]


@lru_cache(maxsize=_KEPT)
def best_softmax_pair(task: QueryRegression) -> tuple[Tensor, Tensor]:
    """(ω, −ω) and (μ, −μ) of the pair of softmax heads with the smallest loss."""
    sigma = task.covariance_matrix
    omega, signs = _FIRST_OMEGA / float(torch.trace(sigma @ sigma)) ** 0.5, torch.tensor([1.0, -1.0]).double()
    mu = task.best_step / (2 * omega)  # of a step of descent, which small ω come to

    def named(numbers: Tensor) -> dict[str, Tensor]:
        return {"omegas": omega * numbers[0] * signs, "mus": mu * numbers[1] * signs}

    start = torch.ones(1, 2, dtype=torch.float64)
    found = named(_fit(task, predictors.structured_softmax, named, start, _FITTED_TO))
    return found["omegas"], found["mus"]


def _fit(
    task: QueryRegression,
    predictor: Predictor,
    named: Callable[[Tensor], dict[str, Tensor]],
    starts: Tensor,
    sequences: int,
) -> Tensor:
    """The numbers with which a predictor loses least, on sequences that no seed of the task changes."""
    batch = task.override({"seed": 0}).sample(sequences, stream="fitted references")
    inputs, targets = tuple(each.double() for each in batch.inputs), batch.targets.double()
    with torch_threads(1):  # there is little for several to share, and they would wait for one another
        return least_losing(lambda at: task.losses(predictor(*inputs, **named(at)), Batch(inputs, targets)), starts)
