"""Checkpoints of anyone's training: weights by step, and what is estimated at each of them."""

import pickle
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import cloudpickle
import torch
from torch import Tensor, nn

from llc import store
from llc.errors import InvalidInput, LLCError, StoreError, shown
from llc.estimate.measure import Point
from llc.models import load_state
from llc.sampling import Columns, Items, Loss, Restriction, Samples, leaves_of, sampled_copy
from llc.study.points import chosen_steps, listed_steps

# Two computations of one loss differ by no more than this share.
_SAME_LOSS = 1e-4

State = nn.Module | Mapping[str, Tensor] | str | Path
"""A model, a `state_dict`, or a file or folder that holds one."""

Checkpoints = Mapping[int, State] | str | Path | Callable[[int], State]
"""By step: in a mapping, as a folder of files whose names hold the step, or as a function."""


@dataclass(frozen=True)
class Source:
    """Where the weights of each step come from.

    Attributes:
        of: a state by step, or a function of the step.
        steps: those there are, ascending.
        left_out: files whose names have no step.
    """

    of: Mapping[int, Any] | Callable[[int], Any]
    steps: list[int]
    left_out: Sequence[Path] = ()

    def __call__(self, step: int) -> Any:
        """The state of a step."""
        if isinstance(self.of, Mapping):
            found = self.of[step]
        else:
            try:
                found = self.of(step)
            except LLCError:
                raise
            except Exception as error:  # whatever a user's code may raise
                raise InvalidInput(f"checkpoints({step}) failed: {type(error).__name__}: {error}") from error
        return pickle.loads(found.path.read_bytes()) if isinstance(found, _Sent) else found

    def chosen(self, steps: str | Sequence[int]) -> list[int]:
        """The steps that a choice names.

        Raises:
            InvalidInput: one that there is not.
        """

        def check(step: int) -> None:
            if step not in self.steps:
                near = " and ".join(map(str, sorted(self.steps, key=lambda one: abs(one - step))[:2]))
                raise InvalidInput(f"there is no checkpoint at step {step}; nearest are {near}")

        return chosen_steps(steps, self.steps, check)

    def sent(self, steps: Sequence[int], scratch: Path) -> Self:
        """One that another process on this machine can use: states that are held in memory lie in files, one a step."""
        if not isinstance(self.of, Mapping):
            return self
        there: dict[int, Any] = {}
        for step in steps:
            there[step] = self.of[step]
            if not isinstance(self.of[step], str | Path):
                path = scratch / f"{step}.pkl"
                path.write_bytes(cloudpickle.dumps(self.of[step]))
                there[step] = _Sent(path)
        return replace(self, of=there)


@dataclass(frozen=True)
class _Sent:
    """A state in a file of ours."""

    path: Path


def source_of(checkpoints: Checkpoints, steps: str | Sequence[int]) -> Source:
    """The weights by step, in whichever form they were given.

    Raises:
        InvalidInput: none, keys that are no steps, or a function without a list of steps.
    """
    if isinstance(checkpoints, str | Path):
        files, without = store.checkpoints_in(Path(checkpoints))
        return Source(files, list(files), without)
    if isinstance(checkpoints, Mapping):
        whole = [isinstance(step, Integral) and not isinstance(step, bool) for step in checkpoints]
        by_step = {int(step): state for step, state in checkpoints.items()} if whole and all(whole) else {}
        if not by_step or min(by_step) < 0 or max(by_step) >= 2**63 or len(by_step) < len(checkpoints):
            raise InvalidInput(
                f"checkpoints by {', '.join(map(shown, list(checkpoints)[:4])) or 'nothing'} given, expected them by "
                "step, a whole number from 0, each once"
            )
        _check_apart(by_step)
        return Source(by_step, sorted(by_step))
    if not callable(checkpoints):
        raise InvalidInput(
            f"checkpoints of type {type(checkpoints).__name__} given, expected weights by step, a folder, or a "
            "function of the step"
        )
    if isinstance(steps, str):
        raise InvalidInput(f"steps = {steps!r} given with a function, expected a list of the steps that it knows")
    return Source(checkpoints, listed_steps(steps))


def _check_apart(by_step: Mapping[int, State]) -> None:
    """Refuse states of two steps that lie in the same memory altogether: both are the model as it is now."""
    step_at: dict[frozenset[int], int] = {}
    for step, state in by_step.items():
        held = state.parameters() if isinstance(state, nn.Module) else _values(state)
        memory = frozenset(
            one.data_ptr() for one in held if isinstance(one, Tensor) and one.layout == torch.strided and one.numel()
        )
        other = step_at.setdefault(memory, step)
        if other != step and memory - {0}:
            raise InvalidInput(
                f"the checkpoints of steps {other} and {step} are the same tensors, which hold the model as it is now; "
                "keep copies: copy.deepcopy(model.state_dict())"
            )


def _values(state: State) -> Iterable[Any]:
    return state.values() if isinstance(state, Mapping) else ()


@dataclass(frozen=True)
class CheckpointStudy:
    """What is the same at every step.

    Attributes:
        source: of the weights.
        template: takes them, where they are no models. loss, data, sample_weights,
        reference_losses: as for `estimate_llc`.
        masks: of the weights that move, where there are any.
    """

    source: Source
    template: nn.Module | None
    loss: Loss
    data: Columns | Items
    sample_weights: Any
    reference_losses: Mapping[str, float]
    masks: Mapping[str, Any] | None = None

    def point(self, step: int) -> Point:
        """What is estimated at a step."""
        known = self.reference_losses
        how = self.loss, self.data, known, self.sample_weights, self.masks
        return Point(f"step {step}", self.model(step), *how)

    def model(self, step: int) -> nn.Module:
        """The model at a step.

        Raises:
            InvalidInput: weights that do not fit it.
            StoreError: a file that cannot be read.
        """
        state, where = self.source(step), f"the checkpoint of step {step}"
        if isinstance(state, nn.Module):
            return state
        if isinstance(state, str | Path):
            state, where = store.read_foreign(Path(state)), str(state)
        if not isinstance(state, Mapping):
            raise InvalidInput(f"{where} is a {type(state).__name__}, expected a model or a state_dict")
        state = store.state_in(state, where)
        if self.template is None:
            raise InvalidInput(f"{where} is a state_dict, and model is None; give the model that it is of")
        model = sampled_copy(self.template)
        load_state(model, state, where)
        return model

    def with_source(self, source: Source) -> Self:
        """The same with weights from somewhere else."""
        return replace(self, source=source)

    def about(self) -> dict[str, Any]:
        """What tells this study from one of other data, weights of samples, losses that are known, or loss."""
        weights = self.sample_weights
        return {
            "data": fingerprint_of(self.data),
            "sample_weights": "none" if weights is None else crc([torch.as_tensor(weights)]),
            "reference_losses": dict(self.reference_losses),
            "loss": getattr(self.loss, "__qualname__", type(self.loss).__name__),
        }


def moving(parameters: Restriction | None) -> str:
    """Which weights move, in a few words: a mask is a checksum."""
    if parameters is None:
        return "all"
    if isinstance(parameters, Mapping):
        masks = {
            name: mask if isinstance(mask, str | None) else torch.as_tensor(mask) for name, mask in parameters.items()
        }
        return ", ".join(f"{name} by mask {crc([mask])}" for name, mask in masks.items())
    return ", ".join([parameters] if isinstance(parameters, str) else parameters)


def folder_named(name: str, given: Any) -> Path:
    """A folder that may be there or be made, or InvalidInput."""
    if not isinstance(given, str | Path) or not str(given):
        raise InvalidInput(f"{name} = {shown(given)} given, expected a folder's name, or None")
    folder = Path(given)
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return folder  # to be made; what is in the way is told then
    except (OSError, ValueError) as error:  # a name too long, or with what no name can hold, or not to be looked at
        raise InvalidInput(f"{name} = {shown(given)} given, which cannot be looked at ({error})") from error
    if not folder.is_dir():
        raise InvalidInput(f"{name} = {given} given, which is a file; expected a folder, or none")
    return folder


def fingerprint_of(data: Columns | Items) -> str:
    """Of all data, or of a dataset that is too large to keep a few samples."""
    samples = Samples(data, torch.device("cpu"))
    few = samples.everything[:: max(1, len(samples) // 16)] if isinstance(data, Items) else samples.everything
    return f"{len(samples)} samples, {crc(leaves_of(samples.batch(few)))}"


def crc(leaves: Sequence[Any]) -> str:
    """A checksum of tensors and whatever else there is, eight hex digits."""
    found = 0
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            found = zlib.crc32(leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data, found)
        else:
            found = zlib.crc32(repr(leaf).encode(), found)
    return f"{found:08x}"


def template_of(model: nn.Module | Callable[[], nn.Module] | None) -> nn.Module | None:
    """The model that takes weights, or None; or InvalidInput."""
    made = model
    if callable(model) and not isinstance(model, nn.Module):
        try:
            made = model()
        except LLCError:
            raise
        except Exception as error:  # whatever a user's code may raise
            name = getattr(model, "__qualname__", type(model).__name__)
            raise InvalidInput(
                f"model = {name} given, which failed when it was called without arguments, to make a model: "
                f"{type(error).__name__}: {error}"
            ) from error
    if made is not None and not isinstance(made, nn.Module):
        raise InvalidInput(f"model is a {type(made).__name__}, expected a torch.nn.Module or a function that makes one")
    return made


def weights_of(model: nn.Module) -> dict[str, str]:
    """What tells a model's weights from others."""
    return {"crc32": crc([*model.state_dict().values()])}


def check_same_loss(step: int, path: Path, before: float, now: float, otherwise: str) -> None:
    """Refuse to go on where a checkpoint's mean loss is another than when what lies at `path` was made.

    That tells a loss, model or `collate_fn` that has changed under the same name.

    Args:
        otherwise: what to do.
    Raises:
        StoreError: it is.
    """
    if abs(now - before) > _SAME_LOSS * max(abs(before), abs(now)):
        raise StoreError(
            f"the loss at step {step} is {now:.6g}, and was {before:.6g} when {path} was made: the loss, the model or "
            f"collate_fn has changed; {otherwise}"
        )
