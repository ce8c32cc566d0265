"""The dataset that is sampled on: minibatches of whatever somebody has, in the structure that it has."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llc.errors import InvalidInput
from llc.sampling.structure import mapped

Data = Any
"""n samples in one of the forms that `llc.sampling.check_data` knows."""


class Minibatch(NamedTuple):
    """Samples looked at together.

    Attributes:
        indices: which samples, (B,).
        scale: turns a sum over them into an unbiased estimate of the mean over all n.
        correction: control variate c = ∇L_n(w*) − ∇L_B(w*), (P,), or None without.
    """

    indices: Tensor
    scale: float
    correction: Tensor | None = None


class Columns:
    """Tensors of one first dimension n, in a structure of tuples, lists and dicts.

    Args:
        leaves: the tensors.
        template: the structure, with the place of its tensor for each leaf.
        of_numpy: places whose floats have the type that the model has, whatever they came in.
    """

    def __init__(self, leaves: Sequence[Tensor], template: Any, of_numpy: Iterable[int] = ()) -> None:
        self.leaves, self.template, self.of_numpy = tuple(leaves), template, frozenset(of_numpy)

    def __len__(self) -> int:
        return len(self.leaves[0])

    def structured(self, leaves: Sequence[Tensor]) -> Any:
        """Other tensors in the same structure."""
        return mapped(lambda place: None if place is None else leaves[place], self.template)

    def batch(self, indices: Tensor | None) -> Any:
        """Some of the samples, or all."""
        if indices is None:
            return self.structured(self.leaves)
        return self.structured([leaf[indices.to(leaf.device)] for leaf in self.leaves])


class Items:
    """Anything with a length that is asked for its samples one by one.

    Args:
        items: `items[i]` is sample i.
        collate: makes a batch of a list of them.
        of: what it is, for errors.
    """

    def __init__(self, items: Any, collate: Callable[[list], Any], of: str) -> None:
        self.items, self.collate, self.of = items, collate, of

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, indices: Tensor | None) -> Any:
        """Some of the samples, or all.

        Raises:
            InvalidInput: a sample cannot be had, or they cannot be made one batch.
        """
        numbers = range(len(self)) if indices is None else indices.tolist()
        return self.collate([self.item(number) for number in numbers])

    def item(self, number: int) -> Any:
        """One sample.

        Raises:
            InvalidInput: it cannot be had.
        """
        try:
            return self.items[number]
        except Exception as error:  # whatever a user's code may raise
            raise InvalidInput(
                f"sample {number} of data, {self.of}, cannot be had: data[{number}] failed "
                f"({type(error).__name__}: {error})"
            ) from error


class Samples:
    """n samples, of which a model is given some at a time.

    Args:
        data: as `llc.sampling.check_data` gives them.
        device: where batches go.

    Attributes:
        everything: 0 … n − 1; a batch of just these indices is the data as they are.
    """

    def __init__(self, data: Columns | Items, device: torch.device) -> None:
        self.data, self.device = data, device
        self.everything = torch.arange(len(data))

    def __len__(self) -> int:
        return len(self.everything)

    @property
    def tensors(self) -> tuple[Tensor, ...] | None:
        """The data's columns, each (n, …); None where samples are asked for one by one."""
        return self.data.leaves if isinstance(self.data, Columns) else None

    def structured(self, tensors: Sequence[Tensor]) -> Any:
        """A batch of other columns than the data's own."""
        assert isinstance(self.data, Columns)
        return self.data.structured(tensors)

    def batch(self, indices: Tensor) -> Any:
        """What a loss is given, in the structure of the data."""
        found = self.data.batch(None if indices is self.everything else indices)
        return mapped(lambda leaf: leaf.to(self.device) if isinstance(leaf, Tensor) else leaf, found)

    def rows(self, numbers: Tensor, indices: Tensor) -> Tensor:
        """The rows of what is known of every sample, (n, …), that belong to some of them."""
        return numbers if indices is self.everything else numbers[indices.to(numbers.device)]

    def minibatches(self, size: int, rng: torch.Generator) -> Iterator[Minibatch]:
        """An endless stream; each epoch shuffles the samples anew, and what fills no minibatch waits for another."""
        n = len(self)
        while True:
            if size == n:
                yield Minibatch(self.everything, 1 / n)
            else:
                order = torch.randperm(n, generator=rng)
                for indices in order[: n - n % size].split(size):
                    yield Minibatch(indices, 1 / size)
