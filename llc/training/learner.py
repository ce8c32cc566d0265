"""What the optimiser loop trains: one model, or several of one shape stacked into one graph."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from llc import behaviour, devices, models
from llc.objective import Objective
from llc.pieces import piece_size
from llc.training.config import RunConfig
from llc.training.recorder import State
from llc.training.schedules import learning_rate

_CPU = torch.device("cpu")


class Learner(Protocol):
    """Models of runs that differ in M and seed alone, and their optimiser."""

    def update(self, batches: Sequence[behaviour.Batch], step: int) -> Tensor:
        """One Adam update of every run on its own batch; returns the losses before it, (R,)."""

    def model(self, run: int) -> nn.Module:
        """One run's model as it is now; not to be changed or kept."""

    def state(self, run: int, step: int) -> State:
        """One run's state, in the same form whichever learner made it."""

    def keep(self, runs: Sequence[int]) -> "Learner":
        """A learner of only these runs."""


def learner(
    configs: Sequence[RunConfig], states: Sequence[State | None], *, stacked: bool, device: torch.device = _CPU
) -> Learner:
    """A learner of runs that all stand at one step.

    Args:
        configs: alike in all but M and seed.
        states: to go on from; None to begin with the initial weights.
        stacked: in one graph, as several have to be. One that was stacked before stays so, for the sake of its bits.
    """
    return (Stack if stacked else Solo)(configs, states, device)


class Solo:
    """One model, trained as anybody would."""

    def __init__(
        self, configs: Sequence[RunConfig], states: Sequence[State | None], device: torch.device = _CPU
    ) -> None:
        (self._config,), (state,) = configs, states
        self._device = device
        self._model = models.build(self._config.model, self._config.task, self._config.seed).to(device)
        self._optimiser = _adam(self._model.parameters(), self._config)
        self._piece: int | None = None
        if state:
            self._model.load_state_dict(state.model)
            self._optimiser.load_state_dict(state.optimiser)

    def update(self, batches: Sequence[behaviour.Batch], step: int) -> Tensor:
        """See `Learner`."""
        xs, ys = (tensor.to(self._device) for tensor in batches[0])
        training = self._config.training
        if self._piece is None:
            self._piece = piece_size(self._model, lambda: self._model(xs[:1], ys[:1]), 1, self._device)
        self._optimiser.zero_grad()
        losses = []
        with devices.matmul_precision(training.precision):
            for piece in zip(xs.split(self._piece), ys.split(self._piece), strict=True):
                with devices.autocast(training.precision, self._device):
                    loss = behaviour.sequence_losses(self._model, piece).mean() * (len(piece[1]) / len(ys))
                loss.backward()
                losses.append(loss.detach())
        _step(self._optimiser, learning_rate(training, step))
        return torch.stack(losses).sum()[None]

    def model(self, run: int) -> nn.Module:
        """See `Learner`."""
        return self._model

    def state(self, run: int, step: int) -> State:
        """See `Learner`."""
        return State(step, self._model.state_dict(), self._optimiser.state_dict())

    def keep(self, runs: Sequence[int]) -> "Solo":
        """See `Learner`."""
        return self


class Stack:
    """Several models as one: every parameter has a leading dimension R, and one graph computes all gradients.

    Gradients of the sum of the runs' losses are each run's own, and Adam works number by number, so that this is the
    same algorithm as training them apart; matrix products are batched, which changes the last bits. On a CPU those do
    not depend on which runs are stacked, as long as there are at least two: a single one is stacked with its copy.
    """

    def __init__(
        self, configs: Sequence[RunConfig], states: Sequence[State | None], device: torch.device = _CPU
    ) -> None:
        self._device = device
        self._runs = len(configs)
        if self._runs == 1:
            configs, states = [*configs] * 2, [*states] * 2
        self._configs = list(configs)
        shared = configs[0]
        self._template = models.build(shared.model, shared.task).to(device)
        self._objective = Objective(self._template, behaviour.sequence_losses)
        weights, moments = [], []
        for config, state in zip(configs, states, strict=True):
            solo = Solo([config], [state], device)
            weights.append({name: value.detach() for name, value in solo.model(0).named_parameters()})
            moments.append(solo.state(0, 0).optimiser)
        self._names = list(weights[0])
        self._stacked = {
            name: torch.stack([of_run[name] for of_run in weights]).requires_grad_() for name in self._names
        }
        self._optimiser = _adam(self._stacked.values(), shared)
        if moments[0]["state"]:
            self._optimiser.load_state_dict(_stack_moments(moments))

    def update(self, batches: Sequence[behaviour.Batch], step: int) -> Tensor:
        """See `Learner`."""
        if self._runs == 1:
            batches = [*batches] * 2
        xs, ys = (torch.stack(parts).to(self._device) for parts in zip(*batches, strict=True))
        training = self._configs[0].training
        with devices.matmul_precision(training.precision):
            with devices.autocast(training.precision, self._device):
                losses = vmap(self._loss)(self._stacked, xs, ys)
            self._optimiser.zero_grad()
            losses.sum().backward()
        _step(self._optimiser, learning_rate(training, step))
        return losses.detach()[: self._runs]

    def model(self, run: int) -> nn.Module:
        """See `Learner`."""
        self._template.load_state_dict(self._weights(run))
        return self._template

    def state(self, run: int, step: int) -> State:
        """See `Learner`."""
        whole = self._optimiser.state_dict()
        moments = {
            index: {name: value if name == "step" else value[run].clone() for name, value in of_parameter.items()}
            for index, of_parameter in whole["state"].items()
        }
        return State(step, self._weights(run), {"state": moments, "param_groups": whole["param_groups"]})

    def keep(self, runs: Sequence[int]) -> Learner:
        """See `Learner`."""
        return Stack([self._configs[run] for run in runs], [self.state(run, 0) for run in runs], self._device)

    def _weights(self, run: int) -> dict[str, Tensor]:
        return {name: value.detach()[run].clone() for name, value in self._stacked.items()}

    def _loss(self, parameters: dict[str, Tensor], xs: Tensor, ys: Tensor) -> Tensor:
        named = {f"model.{name}": value for name, value in parameters.items()}
        return functional_call(self._objective, named, ((xs, ys),)).mean()


def can_stack(config: RunConfig) -> bool:
    """Whether models of this kind can share a graph: other people's may do what `vmap` cannot, and buffers that a model
    carries along would be shared by mistake.
    """
    if isinstance(config.model, models.FactoryConfig):
        return False
    with torch.device("meta"):
        model = models.build(config.model, config.task)
    return not list(model.buffers())


def _adam(parameters, config: RunConfig) -> torch.optim.Adam:
    first, second = config.training.betas
    return torch.optim.Adam(parameters, betas=(first, second), fused=True)


def _step(optimiser: torch.optim.Adam, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()


def _stack_moments(moments: Sequence[dict]) -> dict:
    """Adam's states of single runs, all at one step, as that of their stack."""
    first = moments[0]
    state = {
        index: {
            name: value if name == "step" else torch.stack([of_run["state"][index][name] for of_run in moments])
            for name, value in of_parameter.items()
        }
        for index, of_parameter in first["state"].items()
    }
    return {"state": state, "param_groups": first["param_groups"]}
