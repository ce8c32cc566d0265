"""The dataset that is sampled on: the forms it may have, and minibatches of it."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, default_collate

from llc.errors import InvalidInput

Data = Sequence[Tensor] | Dataset
"""Tensors with one first dimension n, or a map-style dataset of n samples."""


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


class Samples:
    """n samples, of which a model is given some at a time.

    Args:
        data: checked by `check_data`. device: where batches go.

    Attributes:
        everything: 0 … n − 1; a batch of just these indices is the data as they are.
    """

    def __init__(self, data: Data, device: torch.device) -> None:
        self.data = check_data(data)
        self.device = device
        self.everything = torch.arange(data_length(self.data))

    def __len__(self) -> int:
        return len(self.everything)

    def batch(self, indices: Tensor) -> Any:
        """What a loss is given, in the structure of the data."""
        if isinstance(self.data, Dataset):
            return _to(default_collate([self.data[i] for i in indices.tolist()]), self.device)
        if indices is self.everything:
            return tuple(tensor.to(self.device) for tensor in self.data)
        return tuple(tensor[indices.to(tensor.device)].to(self.device) for tensor in self.data)

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


def check_data(data: Data) -> tuple[Tensor, ...] | Dataset:
    """Data in a form that `Target` takes, or InvalidInput."""
    if isinstance(data, Dataset):
        if not hasattr(data, "__len__") or isinstance(data, IterableDataset):
            raise InvalidInput(f"data is a {type(data).__name__}, expected a map-style dataset with a length")
    else:
        given = data
        data = (data,) if isinstance(data, Tensor) else tuple(data) if isinstance(data, Sequence) else ()
        if not data or not all(isinstance(tensor, Tensor) and tensor.ndim for tensor in data):
            raise InvalidInput(
                f"data is {_described(given)}, expected tensors of n samples each, or a map-style dataset"
            )
        lengths = {len(tensor) for tensor in data}
        if len(lengths) > 1:
            raise InvalidInput(f"the tensors in data have {sorted(lengths)} samples, expected one number")
    if data_length(data) < 2:
        raise InvalidInput(f"data has {data_length(data)} samples, expected at least 2")
    return data


def data_length(data: tuple[Tensor, ...] | Dataset) -> int:
    """n."""
    return len(data) if isinstance(data, Dataset) else len(data[0])  # type: ignore[arg-type]


def _described(given: object) -> str:
    """What somebody gave as data, as far as its type says."""
    if isinstance(given, Sequence) and not isinstance(given, str):
        kinds = ", ".join(dict.fromkeys(f"0-d {type(one).__name__}" if isinstance(one, Tensor) and not one.ndim
                                        else type(one).__name__ for one in given))  # fmt: skip
        return f"a {type(given).__name__} of {kinds}" if kinds else f"an empty {type(given).__name__}"
    return f"of type {type(given).__name__}"


def _to(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: _to(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_to(value, device) for value in batch))
    return type(batch)(_to(value, device) for value in batch) if isinstance(batch, list | tuple) else batch
