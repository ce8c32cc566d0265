"""Weights that constant-rate training has left above the floor of their basin, as checkpoints are."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from llc.errors import InvalidInput
from llc.randomness import generator
from llc.validation.problems import chance, classification, deep_linear, regression
from llc.validation.problems.case import Case, Data, Loss, Problem
from llc.validation.problems.losses import mean_loss

OPTIMISERS = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}

_STEPS, _BATCH = 300, 32
_ATTEMPTS = 30
# Nats above the floor that are worth the name.
_LOWEST = 5


def above_the_floor(
    build: Callable[..., Problem],
    arguments: tuple,
    lowest: Callable[[Data], float],
    optimiser: str,
    nats: int,
    seed: int,
    *,
    redraw: int = 0,
) -> Problem:
    """Another problem, trained on from its w* by `_STEPS` minibatches of `_BATCH` at a constant rate.

    The rate is one at which the loss ends T(log n)/n above the floor, within a third; half of T where none does, since
    a larger one diverges or kills the network. It is looked for with the same minibatches throughout, for SGD from
    4T(log n)/n / E‖g_B − g‖², which is it on a quadratic loss in the long run.

    Args:
        build, arguments: of the problem.
        lowest: its least mean loss, from the data.
        optimiser: a name in `OPTIMISERS`.
        nats: T.
        redraw: another sample of the same truth.
    Raises:
        InvalidInput: no rate leaves it there.
    """
    model, loss, data = build(*arguments, redraw=redraw)
    nbeta = len(data[0]) / math.log(len(data[0]))
    floor = lowest(data)
    start = copy.deepcopy(model.state_dict())
    key = ("above the floor", optimiser, seed, redraw)
    noise = _gradient_noise(model, loss, data, generator(*key))
    rate = 4 * nats / (nbeta * noise) if optimiser == "SGD" else 0.01
    slower, faster = 0.0, math.inf
    for attempt in range(_ATTEMPTS):
        model.load_state_dict(start)
        _train(model, loss, data, OPTIMISERS[optimiser](model.parameters(), lr=rate), generator(*key))
        found = nbeta * (mean_loss(model, loss, data) - floor)
        if abs(found / nats - 1) < 1 / 3:
            return model, loss, data
        if found < nats:
            slower = rate
        else:  # also where it is not a number
            faster = rate
        # By what is missing, and every other time by halves, since the loss need not rise evenly with the rate.
        rate *= min(8.0, max(1 / 8, nats / found)) if math.isfinite(found) else 1 / 8
        if not slower < rate < faster or (attempt % 2 and slower > 0 and faster < math.inf):
            rate = math.sqrt(slower * faster)
    if nats >= 2 * _LOWEST:
        return above_the_floor(build, arguments, lowest, optimiser, nats // 2, seed, redraw=redraw)
    raise InvalidInput(f"no rate of {optimiser} found that leaves {arguments} {nats} above its floor")


def _train(model: nn.Module, loss: Loss, data: Data, optimiser: torch.optim.Optimizer, rng: torch.Generator) -> None:
    for batch in _minibatches(data, _STEPS, rng):
        optimiser.zero_grad()
        loss(model, batch).mean().backward()
        optimiser.step()
    optimiser.zero_grad()


def _gradient_noise(model: nn.Module, loss: Loss, data: Data, rng: torch.Generator) -> float:
    """E‖g_B − g‖² at w*."""
    gradients = torch.stack([_gradient(model, loss, batch) for batch in _minibatches(data, 20, rng)])
    return float((gradients - _gradient(model, loss, data)).square().sum(1).mean())


def _gradient(model: nn.Module, loss: Loss, batch: Data) -> Tensor:
    found = torch.autograd.grad(loss(model, batch).mean(), list(model.parameters()))
    return torch.cat([part.reshape(-1) for part in found])


def _minibatches(data: Data, steps: int, rng: torch.Generator) -> Iterator[Data]:
    for chosen in torch.randint(0, len(data[0]), (steps, _BATCH), generator=rng):
        yield tuple(part[chosen] for part in data)


def left_by(optimiser: str, problems: int, index: int) -> Case:
    """A deep linear network at every other index, and a linear regression or a classification in between."""
    rng = chance.stream(f"left by {optimiser}", problems, index)
    case, lowest = _settled(index, rng, chance.number(problems, index))
    nats = chance.count(40, 140, rng)
    return replace(
        case,
        name=f"{case.name}, {nats} above by {optimiser}",
        kind=f"above the floor, {optimiser}",
        build=above_the_floor,
        arguments=(case.build, case.arguments, lowest, optimiser, nats, case.arguments[-1]),
        lowest=lowest,
    )


def _settled(index: int, rng: torch.Generator, seed: int) -> tuple[Case, Callable[[Data], float]]:
    """A problem at its truth or its minimum, and its least loss."""
    samples = chance.samples(2000, 8000, rng)
    noise = chance.real(0.5, 1.5, rng)
    if index % 4 == 1:
        case = regression.least_squares_case("regression", chance.count(5, 60, rng), samples, noise, rng, seed)
        return case, partial(regression.lowest, loss=case.arguments[5])
    if index % 4 == 3:
        classes, dim = chance.count(2, 6, rng), chance.count(3, 15, rng)
        case = classification.classes_case("classification", classes, dim, samples, rng, seed)
        return case, partial(classification.lowest, classes=classes, bias=case.arguments[2])
    widths = deep_linear.random_widths(100, 600, rng)
    rank = chance.count(1, min(widths), rng)  # at 0 there is no gradient to leave by
    case = deep_linear.teacher_case("deep linear", widths, rank, samples, noise, rng, seed)
    return case, partial(deep_linear.lowest, rank=min(widths), loss=case.arguments[5])


left_by_sgd = partial(left_by, "SGD")
left_by_adam = partial(left_by, "Adam")
