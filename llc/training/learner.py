"""What the optimiser loop trains: one model, or an ensemble of one shape in one graph."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_map

from llc import devices, models, own_code, store
from llc.behaviour import TaskLoss
from llc.microbatches import microbatch_size
from llc.objective import Objective, evaluating
from llc.tasks import Batch, Task
from llc.training.average import Average
from llc.training.config import RunConfig
from llc.training.recorder import State
from llc.training.schedules import learning_rate

_CPU = torch.device("cpu")


class Learner(Protocol):
    """Models of one shape, and their optimiser."""

    def update(self, batches: Sequence[Batch], step: int) -> Tensor:
        """One update of every run on its own batch; returns the losses before it, (R,)."""

    def model(self, run: int) -> nn.Module:
        """One run's model as it is now, with averaged weights where they are; not to be changed or kept."""

    def trained(self, run: int) -> nn.Module | None:
        """The model with the weights that are trained, where `model` has averaged ones."""

    def state(self, run: int, step: int) -> State:
        """One run's state, in the same form whichever learner made it."""

    def keep(self, runs: Sequence[int]) -> "Learner":
        """A learner of only these runs."""


def learner(
    configs: Sequence[RunConfig], states: Sequence[State | None], *, ensemble: bool, device: torch.device = _CPU
) -> Learner:
    """A learner of runs that all stand at one step.

    Args:
        configs: of one kind, see `kind_of`.
        states: to go on from; None to begin with the initial weights.
        ensemble: in one graph, as several have to be. One that was in one before stays so, for the sake of its bits.
    """
    return (Ensemble if ensemble else Solo)(configs, states, device)


class Solo:
    """One model, trained as anybody would."""

    def __init__(
        self, configs: Sequence[RunConfig], states: Sequence[State | None], device: torch.device = _CPU
    ) -> None:
        (self._config,), (state,) = configs, states
        self._device = device
        self._model = models.build(self._config.model, self._config.task, self._config.seed).to(device)
        self._optimiser = _optimiser(self._model.parameters(), self._config)
        self._loss = TaskLoss(self._config.task)
        self._microbatch: int | None = None
        if state:
            self._model.load_state_dict(state.model)
            self._optimiser.load_state_dict(state.optimiser)
        self._average = _average(self._config, self._parameters, state and state.average)
        self._averaged = models.build(self._config.model, self._config.task).to(device) if self._average else None

    def update(self, batches: Sequence[Batch], step: int) -> Tensor:
        """See `Learner`."""
        batch = batches[0].to(self._device)
        training = self._config.training
        if self._microbatch is None:
            # Of full length, whatever stage of a curriculum this is: a run that goes on has the same parts.
            one = self._config.task.sample(1, stream="microbatch").to(self._device).inputs
            with evaluating(self._model):
                self._microbatch = microbatch_size(self._model, lambda: self._model(*one), 1, self._device)
        self._optimiser.zero_grad()
        losses = []
        with devices.matmul_precision(training.precision):
            for start in range(0, batch.size, self._microbatch):
                microbatch = batch.take(slice(start, start + self._microbatch))
                with devices.autocast(training.precision, self._device):
                    loss = self._loss(self._model, microbatch).mean() * (microbatch.size / batch.size)
                loss.backward()
                losses.append(loss.detach())
        _step(self._optimiser, learning_rate(training, step))
        if self._average:
            self._average.update(self._parameters, step)
        return torch.stack(losses).sum()[None]

    def model(self, run: int) -> nn.Module:
        """See `Learner`."""
        if self._average is None or self._averaged is None:
            return self._model
        self._averaged.load_state_dict({**self._model.state_dict(), **self._average.weights})  # buffers as they are
        return self._averaged

    def trained(self, run: int) -> nn.Module | None:
        """See `Learner`."""
        return self._model if self._average else None

    @property
    def _parameters(self) -> dict[str, Tensor]:
        # By every name that a state has for it: tied weights have several.
        return dict(self._model.named_parameters(remove_duplicate=False))

    def state(self, run: int, step: int) -> State:
        """See `Learner`."""
        average = self._average.weights if self._average else None
        return State(step, self._model.state_dict(), self._optimiser.state_dict(), average)

    def keep(self, runs: Sequence[int]) -> "Solo":
        """See `Learner`."""
        return self


class Ensemble:
    """Several models as one: every parameter has a leading dimension R, and one graph computes all gradients.

    Gradients of the sum of the runs' losses are each run's own, and optimisers work number by number, so that this is
    the same algorithm as training them apart; matrix products are batched, which changes the last bits. On a CPU those
    do not depend on which runs are in it, as long as there are at least two: a single one is joined by its copy.
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
        self._objective = Objective(self._template, TaskLoss(shared.task))
        solos = [Solo([config], [state], device).state(0, 0) for config, state in zip(configs, states, strict=True)]
        moments = [of_run.optimiser for of_run in solos]
        stacked = _stack([of_run.model for of_run in solos])
        self._parameters = {name: value.requires_grad_() for name, value in stacked.items()}
        averages = [of_run.average for of_run in solos if of_run.average]
        self._average = _average(shared, self._parameters, _stack(averages) if averages else None)
        self._optimiser = _optimiser(self._parameters.values(), shared)
        if moments[0]["state"]:
            self._optimiser.load_state_dict(_stack_moments(moments))

    def update(self, batches: Sequence[Batch], step: int) -> Tensor:
        """See `Learner`."""
        if self._runs == 1:
            batches = [*batches] * 2
        together = tree_map(lambda *parts: torch.stack(parts).to(self._device), *batches)
        training = self._configs[0].training
        with devices.matmul_precision(training.precision):
            with devices.autocast(training.precision, self._device):
                losses = vmap(self._loss)(self._parameters, together)
            self._optimiser.zero_grad()
            losses.sum().backward()
        _step(self._optimiser, learning_rate(training, step))
        if self._average:
            self._average.update(self._parameters, step)
        return losses.detach()[: self._runs]

    def model(self, run: int) -> nn.Module:
        """See `Learner`."""
        averaged = _of_run(self._average.weights, run) if self._average else _of_run(self._parameters, run)
        self._template.load_state_dict(averaged)
        return self._template

    def trained(self, run: int) -> nn.Module | None:
        """See `Learner`."""
        if self._average is None:
            return None
        self._template.load_state_dict(_of_run(self._parameters, run))
        return self._template

    def state(self, run: int, step: int) -> State:
        """See `Learner`."""
        whole = self._optimiser.state_dict()
        moments = {
            index: {name: value if name == "step" else value[run].clone() for name, value in of_parameter.items()}
            for index, of_parameter in whole["state"].items()
        }
        average = _of_run(self._average.weights, run) if self._average else None
        optimiser = {"state": moments, "param_groups": whole["param_groups"]}
        return State(step, _of_run(self._parameters, run), optimiser, average)

    def keep(self, runs: Sequence[int]) -> Learner:
        """See `Learner`."""
        return Ensemble([self._configs[run] for run in runs], [self.state(run, 0) for run in runs], self._device)

    def _loss(self, parameters: dict[str, Tensor], batch: Batch) -> Tensor:
        named = {f"model.{name}": value for name, value in parameters.items()}
        return functional_call(self._objective, named, (batch,)).mean()


def fits_ensemble(config: RunConfig) -> bool:
    """Whether models of this kind can share a graph: other people's may do what `vmap` cannot, and buffers that a model
    carries along would be shared by mistake.
    """
    ours = own_code.is_ours(type(config.model)) and not isinstance(config.model, models.FactoryConfig)
    if not ours or type(config.task).losses is not Task.losses:
        return False
    with torch.device("meta"):
        model = models.build(config.model, config.task)
    return not list(model.buffers()) and getattr(model, "can_be_mapped", True)


def kind_of(config: RunConfig) -> str:
    """What runs have in common that can be trained as one graph: all but seed, place and the task's own numbers.

    The losses of an ensemble are all those of one task, so tasks with losses of their own have to be alike in
    their numbers too.
    """
    own_losses = type(config.task).losses is not Task.losses
    task = config.task.to_table() if own_losses else {"kind": config.task.kind, "shapes": str(config.task.shapes)}
    table = {**config.to_table(), "task": task}
    return store.table_hash({key: value for key, value in table.items() if key not in ("seed", "place")})


def _optimiser(parameters: Iterable[Tensor], config: RunConfig) -> torch.optim.Optimizer:
    if config.training.optimiser == "sgd":
        return torch.optim.SGD(parameters, lr=0.0)
    first, second = config.training.betas
    return torch.optim.Adam(parameters, betas=(first, second), fused=True)


def _step(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()


def _average(config: RunConfig, weights: Mapping[str, Tensor], before: Mapping[str, Tensor] | None) -> Average | None:
    """The average that a config asks for, gone on with where there was one before."""
    steps = config.training.average_steps
    return Average(steps, before or weights) if steps else None


def _stack(weights: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([of_run[name].detach() for of_run in weights]) for name in weights[0]}


def _of_run(weights: Mapping[str, Tensor], run: int) -> dict[str, Tensor]:
    return {name: value.detach()[run].clone() for name, value in weights.items()}


def _stack_moments(moments: Sequence[dict]) -> dict:
    """Adam's states of single runs, all at one step, as that of their ensemble."""
    first = moments[0]
    state = {
        index: {
            name: value if name == "step" else torch.stack([of_run["state"][index][name] for of_run in moments])
            for name, value in of_parameter.items()
        }
        for index, of_parameter in first["state"].items()
    }
    return {"state": state, "param_groups": first["param_groups"]}
