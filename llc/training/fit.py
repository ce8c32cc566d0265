"""A look at a run before anything is written: whether its task and its model are what a run needs, and fit."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from llc import behaviour, models
from llc.errors import InvalidInput, LLCError, beyond_memory, did_you_mean
from llc.objective import evaluating
from llc.tasks import Batch, Task
from llc.training.config import RunConfig

# Sequences that are looked at.
_FEW = 2


def check_fit(run: RunConfig, *, references: bool = False) -> None:
    """Try one batch of the task on the model: other people's classes say what is wrong with them here, in a sentence.

    Args:
        references: whether to try the task's references too.
    Raises:
        InvalidInput: of the task, its batches, test sets, headline or pair are none, or differ from call to call; or
            the model has no weights to train, or cannot take the batch; or losses or outputs have other shapes.
    """
    task = run.task
    batch = _batch(task)
    if task.asked is not None and not 0 <= task.asked < len(batch.inputs):
        raise InvalidInput(
            f"asked = {task.asked} of {type(task).__name__} given, expected None or the number of one of its "
            f"{len(batch.inputs)} inputs, from 0"
        )
    _check_names(task)
    if references:
        _tried(lambda: behaviour.reference_outputs(task, batch), f"a reference of the task {task.kind} failed")
    model = models.build(run.model, task, run.seed)
    name = type(model).__name__
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InvalidInput(f"{name} has no parameters to train")
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in batch.inputs)
    with evaluating(model), torch.no_grad():
        asked = f"forward{inspect.signature(model.forward)}"
        _tried(
            lambda: model(*batch.inputs),
            f"{name}.{asked} cannot take inputs of shapes {shapes} of the task {task.kind}, and has to give outputs of "
            f"the shape {tuple(batch.targets.shape)}",
        )
        _tried(lambda: behaviour.TaskLoss(task)(model, batch), f"{type(task).__name__}.losses failed")
        _check_losses(task, model)


def _batch(task: Task) -> Batch:
    """Two sequences, which have to come out the same again."""
    name = type(task).__name__
    first, again = (_tried(lambda: task.sample(_FEW, stream="fit"), f"{name}.sample failed") for _ in range(2))
    if not isinstance(first, Batch):
        raise InvalidInput(
            f"{name}.sample returned a {type(first).__name__}, expected an llc.tasks.Batch(inputs=(…), targets=…)"
        )
    if not all(torch.equal(one, other) for one, other in zip(first.flat, again.flat, strict=True)):
        raise InvalidInput(
            f"{name}.sample gave another batch when it was called again with the same arguments; draw from "
            "llc.randomness.generator(seed, stream, step)"
        )
    for tensor in first.flat:
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InvalidInput(f"{name}.sample gave numbers that are not finite")
    return first


def _check_names(task: Task) -> None:
    """Of test sets, the headline and the pair."""
    name = type(task).__name__
    sets = _tried(task.test_tasks, f"{name}.test_tasks failed")
    shifts = _tried(task.shifts, f"{name}.shifts failed")
    for of, found in (("test_tasks", sets), ("shifts", shifts)):
        if not isinstance(found, Mapping):
            raise InvalidInput(f"{name}.{of}() is a {type(found).__name__}, expected tasks by name")
        kinds = {type(one).__name__ for one in found.values() if not isinstance(one, Task)}
        if kinds:
            raise InvalidInput(f"{name}.{of}() holds a {', '.join(kinds)}, expected tasks by name")
    if not sets:
        raise InvalidInput(f"{name}.test_tasks() holds none, expected at least one")
    if both := sorted(set(sets) & set(shifts)):
        raise InvalidInput(f"{name} has test sets and shifts of one name, {', '.join(both)}; call the shifts otherwise")
    if task.headline is not None and task.headline not in sets:
        raise InvalidInput(f"headline = {task.headline} of {name} is none of its test sets, {', '.join(sets)}")
    known = task.predictors()
    for reference in task.pair or ():
        if reference not in known:
            hint = did_you_mean(reference, known)
            raise InvalidInput(f"pair = {task.pair} of {name} has no reference {reference}; {hint}")


def _check_losses(task: Task, model: nn.Module) -> None:
    """Of every test set in one shape."""
    shapes = {}
    for name, source in task.test_tasks().items():
        failed = f"the test set {name} of the task {task.kind} failed"
        shapes[name] = _tried(partial(_shape_of_losses, source, model), failed)
    if len(set(shapes.values())) > 1:
        said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InvalidInput(f"test sets of {type(task).__name__} have losses of several shapes, {said}; expected one")


def _shape_of_losses(source: Task, model: nn.Module) -> tuple[int, ...]:
    batch = source.sample(_FEW, stream="fit")
    return tuple(behaviour.checked_losses(source, model(*batch.inputs), batch).shape)


def _tried(call: Callable[[], Any], failed: str) -> Any:
    try:
        return call()
    except LLCError:
        raise
    except Exception as error:
        if said := beyond_memory(error):
            raise InvalidInput(f"this {said}") from error
        raise InvalidInput(f"{failed}: {type(error).__name__}: {error}") from error
