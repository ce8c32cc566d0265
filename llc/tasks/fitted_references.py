"""References of query regression with the numbers under which they lose least: GD++, and a pair of softmax heads."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llc import predictors
from llc.devices import torch_threads
from llc.errors import InvalidInput
from llc.predictors.fitting import least_losing
from llc.predictors.gd_plus_plus import steps_of_moments
from llc.randomness import generator
from llc.tasks.task import Batch

if TYPE_CHECKING:
    from llc.tasks.query_regression import QueryRegression

# Sequences that numbers are fitted to, after a first look from many starts at some; and others, on which they hold.
_FITTED_TO, _SOME, _STARTS, _FRESH = 8192, 512, 24, 65_536
# The weight on scores that a pair of softmax heads begins its fit with, in units of what makes scores of size 1.
_FIRST_OMEGA = 0.3
# Tasks whose numbers are kept: a study's runs mostly have one.
_KEPT = 64


def gd_plus_plus(task: QueryRegression, xs: Tensor, ys: Tensor, query: Tensor) -> Tensor:
    """`predictors.gd_plus_plus` with the best steps for a task."""
    steps, gammas = best_gd_plus_plus(task)
    return predictors.gd_plus_plus(xs, ys, query, steps=steps, gammas=gammas)


def structured_softmax(task: QueryRegression, xs: Tensor, ys: Tensor, query: Tensor) -> Tensor:
    """`predictors.structured_softmax` with the best pair for a task."""
    omegas, mus = best_softmax_pair(task)
    return predictors.structured_softmax(xs, ys, query, omegas=omegas, mus=mus)


def best_gd_plus_plus(task: QueryRegression) -> tuple[Tensor, Tensor]:
    """η_t and γ_t, (T,) each, of the `descent_steps` steps of GD++ with the smallest loss that is found.

    Two steps have several minima. In the lowest, x shrinks along the directions in which they are long, and then comes
    a long step; that nearest to plain steps loses 13 % more in `oswald2023`. So it is looked for from many starts, on
    some of the sequences, and from the best of these on all.

    Raises:
        InvalidInput: several outputs; or what is best on the sequences of the fit loses more than the best single step
            on others, as many steps do where examples are few.
    """
    steps, gammas = _gd_plus_plus(*_key(task))
    return steps.clone(), gammas.clone()


def best_softmax_pair(task: QueryRegression) -> tuple[Tensor, Tensor]:
    """(ω, −ω) and (μ, −μ) of the pair of softmax heads with the smallest loss.

    Raises:
        InvalidInput: several outputs.
    """
    omegas, mus = _softmax_pair(*_key(task))
    return omegas.clone(), mus.clone()


def _key(task: QueryRegression) -> tuple[type[QueryRegression], str]:
    """What numbers depend on: seeds change none."""
    if task.supports is not None:
        raise InvalidInput(f"supports = {task.supports} given, expected None: numbers are fitted for one output")
    return type(task), json.dumps(task.override({"seed": 0, "fitted": []}).to_table())


@lru_cache(maxsize=_KEPT)
@torch.inference_mode(False)  # whatever the caller is in: gradients are taken
def _gd_plus_plus(kind: type[QueryRegression], table: str) -> tuple[Tensor, Tensor]:
    task = kind.from_table(json.loads(table))
    steps, best = task.descent_steps, task.best_step

    def named(numbers: Tensor) -> tuple[Tensor, Tensor]:
        last = torch.zeros(1, dtype=torch.float64)  # has no effect
        return best * numbers[:steps], best * torch.cat([numbers[steps:], last])

    def prepared(batch: Batch) -> Callable[[Tensor], Tensor]:
        xs, ys, asked = batch.inputs
        moment, gradient = xs.mT @ xs / task.length, xs.mT @ ys[..., None] / task.length
        return lambda numbers: steps_of_moments(moment, gradient, asked, *named(numbers))[:, 0]

    rng = generator("starts of GD++", steps)
    first = torch.randn(_STARTS, steps, generator=rng, dtype=torch.float64).exp()
    shrinking = torch.rand(_STARTS, steps - 1, generator=rng, dtype=torch.float64)
    near = _fit(task, prepared, torch.cat([first, shrinking], 1), _SOME)
    found = _fit(task, prepared, near[None], _FITTED_TO)
    others = _batch(task, _FRESH, "fresh for fitted references")
    one = torch.cat([torch.ones(1), torch.zeros(2 * steps - 2)]).double()
    found_loss, one_loss = (float(task.losses(prepared(others)(at), others).mean()) for at in (found, one))
    if not found_loss <= one_loss * (1 + 1e-6) and steps > 1:
        raise InvalidInput(
            f"descent_steps = {steps} given: those that are best on {_FITTED_TO} sequences lose {found_loss:.3g} on "
            f"others, where one step loses {one_loss:.3g}; give fewer steps, or more examples than length = "
            f"{task.length}"
        )
    return named(found)


@lru_cache(maxsize=_KEPT)
@torch.inference_mode(False)  # whatever the caller is in: gradients are taken
def _softmax_pair(kind: type[QueryRegression], table: str) -> tuple[Tensor, Tensor]:
    task = kind.from_table(json.loads(table))
    sigma = task.covariance_matrix
    omega, signs = _FIRST_OMEGA / float(torch.trace(sigma @ sigma)) ** 0.5, torch.tensor([1.0, -1.0]).double()
    mu = task.best_step / (2 * omega)  # of a step of descent, which small ω come to

    def prepared(batch: Batch) -> Callable[[Tensor], Tensor]:
        def answers(numbers: Tensor) -> Tensor:
            omegas, mus = omega * numbers[0] * signs, mu * numbers[1] * signs
            return predictors.structured_softmax(*batch.inputs, omegas=omegas, mus=mus)

        return answers

    found = _fit(task, prepared, torch.ones(1, 2, dtype=torch.float64), _FITTED_TO)
    return omega * found[0] * signs, mu * found[1] * signs


def _fit(
    task: QueryRegression, prepared: Callable[[Batch], Callable[[Tensor], Tensor]], starts: Tensor, sequences: int
) -> Tensor:
    """The numbers with which what is made of a batch, by the numbers, loses least."""
    with torch_threads(1):  # there is little for several threads to share
        batch = _batch(task, sequences, "fitted references")
        answers = prepared(batch)
        unit = float(task.losses(torch.zeros_like(batch.targets), batch).mean())
        return least_losing(lambda at: task.losses(answers(at), batch), starts, unit)


def _batch(task: QueryRegression, sequences: int, stream: str) -> Batch:
    """In double precision."""
    batch = task.sample(sequences, stream=stream)
    return Batch(tuple(each.double() for each in batch.inputs), batch.targets.double())
