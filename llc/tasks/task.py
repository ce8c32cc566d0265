"""What every task offers: batches, losses, test sets, references, and the words for them."""

import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import torch
from pydantic import BeforeValidator, SerializeAsAny
from torch import Tensor

from llc.config import Kind
from llc.errors import InvalidInput, beyond_memory, check_whole
from llc.predictors import Predictor

# Of the probe, whose outputs are kept where weights are not: a smaller probe is the first so many of these.
PROBE_SEQUENCES = 512
# Of a batch: no machine's addresses reach over more numbers.
_MOST_SEQUENCES = 10**15


class Batch(NamedTuple):
    """Sequences, or whatever a task is made of.

    Attributes:
        inputs: what a model is called with, `model(*inputs)`; each has the batch as its first dimension.
        targets: what it is to say: (B,), one prediction a sequence; (B, K), one a position; (B, K, C), vectors.
    """

    inputs: tuple[Tensor, ...]
    targets: Tensor

    def to(self, where: torch.device | str) -> "Batch":
        """On another device."""
        return Batch(tuple(tensor.to(where) for tensor in self.inputs), self.targets.to(where))

    def double(self) -> "Batch":
        """With its floating-point numbers in float64."""
        return Batch(tuple(_as(tensor, torch.float64) for tensor in self.inputs), _as(self.targets, torch.float64))

    def float(self) -> "Batch":
        """With its floating-point numbers in float32."""
        return Batch(tuple(_as(tensor, torch.float32) for tensor in self.inputs), _as(self.targets, torch.float32))

    def take(self, which: slice) -> "Batch":
        """Some of the sequences."""
        return Batch(tuple(tensor[which] for tensor in self.inputs), self.targets[which])

    @property
    def size(self) -> int:
        """B."""
        return len(self.targets)

    @property
    def flat(self) -> tuple[Tensor, ...]:
        """The inputs, then the targets."""
        return (*self.inputs, self.targets)


def _checked(sample: Callable[..., Batch]) -> Callable[..., Batch]:
    """The method of a task, of whatever file, with its arguments looked at first."""

    @functools.wraps(sample)
    def checked(self: "Task", size: int, *, step: int = 0, stream: object = "train") -> Batch:
        check_whole("size", size, 1, _MOST_SEQUENCES)
        check_whole("step", step, 0)
        try:
            return sample(self, size, step=step, stream=stream)
        except (MemoryError, RuntimeError) as error:
            if said := beyond_memory(error):
                raise InvalidInput(f"{type(self).__name__}.sample({size}) {said}") from error
            raise

    return checked


def _as(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


class Task(Kind):
    """A distribution of batches, and what can be asked of a model of it. Subclass it anywhere with a `kind` of its own.

    Only `sample` has to be given. Names of test sets and references label every result.

    Attributes:
        headline: the test set whose smallest loss is t_crit; None where that notion makes no sense.
        pair: the references that a tradeoff is between, the simple one first; None where there is none. It needs losses
            in `nats`, and a run in whose task both say the same.
        asked: the number of the input by which models and references are differentiated to compare them; or None.
        words: what settings, test sets and references are, for the axes of figures, the report's list of names and the
            attributes of datasets: `{"num_tasks": "diversity M"}`.
        symbols: the same in a figure's legend: `{"num_tasks": "M"}`.
    """

    headline: ClassVar[str | None] = None
    pair: ClassVar[tuple[str, str] | None] = None
    asked: ClassVar[int | None] = None
    words: ClassVar[Mapping[str, str]] = {}
    symbols: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **how: Any) -> None:
        super().__pydantic_init_subclass__(**how)
        if "sample" in vars(cls):
            cls.sample = _checked(cls.sample)  # type: ignore[method-assign]

    def sample(self, size: int, *, step: int = 0, stream: object = "train") -> Batch:
        """A batch, a pure function of the task and these; that of a subclass need not check them.

        Args:
            size: B ≥ 1.
            step: which batch of the stream, from 0.
            stream: names an independent one, such as `"test"`.
        Raises:
            InvalidInput: a size or step that is no whole number or too small.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method sample(size, *, step, stream)")

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """A loss for every prediction, (B,) or (B, K): squared errors, summed over the coordinates of vectors.

        Args:
            outputs: of a model, in the shape of `batch.targets`; float64 where test sets are evaluated.
        Raises:
            InvalidInput: outputs of another shape, which would be spread over the targets unseen.
        """
        if outputs.shape != batch.targets.shape:
            raise InvalidInput(
                f"outputs {tuple(outputs.shape)} given, expected the shape of the targets, {tuple(batch.targets.shape)}"
            )
        squares = (outputs - batch.targets).square()
        return squares if squares.ndim < 3 else squares.flatten(2).sum(-1)

    def test_tasks(self) -> dict[str, "Task"]:
        """Where test sets come from, by name."""
        return {"id": self}

    def shifts(self) -> dict[str, "Task"]:
        """Inputs that training does not show, by name."""
        return {}

    def curves(self) -> dict[str, dict[int, "Task"]]:
        """Kinds of prompts by name, and of each, by the number of examples, the task whose loss is of what is asked
        after so many."""
        return {}

    def predictors(self) -> dict[str, Predictor]:
        """Reference algorithms by name, `predictor(*inputs) -> outputs`; see `llc.predictors.baseline`."""
        return {}

    def probe(self, size: int = PROBE_SEQUENCES) -> Batch:
        """Fixed inputs on which the runs of a sweep are compared; fewer than 512 are the first of those."""
        return self.sample(max(size, PROBE_SEQUENCES), stream="probe").take(slice(size))

    @property
    def shapes(self) -> dict[str, Any]:
        """What models are built from.

        `inputs`, `targets`: shapes without the batch; where they have them, `dim` (D, of the first input), and
        `num_examples` (K) and `outputs` (C) of the targets.
        """
        one = self.sample(1, stream="shapes")
        inputs, targets = [tuple(tensor.shape[1:]) for tensor in one.inputs], tuple(one.targets.shape[1:])
        found: dict[str, Any] = {"inputs": inputs, "targets": targets}
        if inputs and inputs[0]:
            found["dim"] = inputs[0][-1]
        return found | dict(zip(("num_examples", "outputs"), targets, strict=False))

    @property
    def nats(self) -> float | None:
        """The factor that makes a mean loss the negative log-likelihood of a sequence; None where it is none."""
        return None

    @property
    def question(self) -> str:
        """What a study of this task asks, for the report."""
        return f"How does a network's complexity develop while it learns the task {self.kind}?"

    def said(self, name: str) -> str:
        """What a setting, test set or reference is, in words; its name where there are none."""
        return self.words.get(name, name.replace("_", " "))

    def symbol(self, name: str) -> str:
        """The same, in a legend."""
        return self.symbols.get(name, name.replace("_", " "))

    def override(self, settings: dict[str, Any]) -> Self:
        """See `Config.override`."""
        return super().override(settings)


AnyTask = Annotated[SerializeAsAny[Task], BeforeValidator(Task.of)]
"""A field of a config that holds a task of whatever kind."""
