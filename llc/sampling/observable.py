"""What may be looked at on the way: a user's observables, and how the chain engine records them."""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from llc.devices import double
from llc.errors import Interrupted, InvalidInput
from llc.sampling.data import Minibatch
from llc.sampling.ensemble import Ensemble
from llc.sampling.sampler import Evaluation
from llc.sampling.storage import Storage
from llc.sampling.target import Target

# Draws of a chain at which an observable looks that does not say how often: errors of second moments come down with the
# square root of them, and what a look costs goes with them.
LOOKS = 128


@dataclass(frozen=True)
class Draw:
    """One draw of one chain. What it holds is the engine's: read it, do not change it in place.

    Attributes:
        position: w, (P,).
        minibatch, evaluation: of the step that left it.
        target: of the chain.
        index: its number, 0 for the first after warm-up.
        chain: its chain's number.
    """

    position: Tensor
    minibatch: Minibatch
    evaluation: Evaluation
    target: Target
    index: int
    chain: int

    @property
    def model(self) -> nn.Module:
        """The model at w, in eval mode; until the observable returns."""
        return self.target.model_at(self.position)


class Observable(Protocol):
    """A number, or an array of them, that a user wants of draws: any object with these.

    It is called without gradients at every k-th draw after warm-up, and what it returns becomes float64, or what its
    attribute `dtype` says if it has one. Arrays that are large in all lie in a temporary file, not in memory.
    """

    @property
    def name(self) -> str:
        """What it is called in results."""
        ...

    @property
    def dims(self) -> tuple[str, ...]:
        """A name for each dim of what it returns; () for a number."""
        ...

    @property
    def every(self) -> int | None:
        """k ≥ 1; None for such a k that it looks at about 128 draws of each chain in a run of draws."""
        ...

    def __call__(self, draw: Draw) -> Any:
        """The value at a draw: a number, an array or a tensor, always of one shape."""
        ...


@dataclass(frozen=True)
class Draws:
    """Draws of several chains at once, one a row.

    Attributes:
        metric: what the sampler multiplies gradients with, (R, P).
        fresh: the chains' next minibatches.
    """

    ensemble: Ensemble
    position: Tensor
    minibatches: Sequence[Minibatch]
    evaluation: Evaluation
    index: Sequence[int]
    chain: Sequence[int]
    metric: Callable[[], Tensor]
    fresh: Callable[[], Sequence[Minibatch]]

    def __iter__(self) -> Iterator[Draw]:
        for row, target in enumerate(self.ensemble.targets):
            parts = (None if part is None else torch.as_tensor(part)[row] for part in self.evaluation)
            evaluation = Evaluation(*parts)  # type: ignore[arg-type]
            yield Draw(
                self.position[row],
                self.minibatches[row],
                evaluation,
                target,
                int(self.index[row]),
                int(self.chain[row]),
            )


class Observer(Protocol):
    """What the engine asks: an observable of all rows at once."""

    @property
    def name(self) -> str:
        """As of an `Observable`; the engine's own have spaces, which users' may not have."""
        ...

    @property
    def dims(self) -> tuple[str, ...]:
        """As of an `Observable`."""
        ...

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of one row; None if that is not known yet."""
        ...

    @property
    def dtype(self) -> type:
        """Of what is kept."""
        ...

    def of_rows(self, draws: Draws) -> np.ndarray:
        """(R, …)."""
        ...


class Watch(NamedTuple):
    """An observer, the steps at which it looks, and the targets, by number, at whose chains; None for all."""

    observer: Observer
    at: Sequence[int]
    places: Container[int] | None = None


class OneByOne:
    """A user's observable, called row by row; what it does wrong is an error that names it.

    Args:
        sizes: the length of each dim and who said so, shared by all observables of a run.
    """

    def __init__(self, observable: Observable, sizes: dict[str, tuple[int, str]]) -> None:
        self._observable, self._sizes = observable, sizes
        self.name, self.dims, self.shape = observable.name, tuple(observable.dims), None
        self.dtype: type = getattr(observable, "dtype", np.float64)

    def of_rows(self, draws: Draws) -> np.ndarray:
        """(R, *dims).

        Raises:
            InvalidInput: the observable raised an error, or returned a shape other than before.
        """
        return np.stack([self._value(draw) for draw in draws])

    def _value(self, draw: Draw) -> np.ndarray:
        where = f"at draw {draw.index} of chain {draw.chain}"
        try:
            with torch.no_grad():
                found = self._observable(draw)
            value = np.asarray(double(found.detach()).cpu() if isinstance(found, Tensor) else found, dtype=np.float64)
            with np.errstate(over="ignore"):  # of a chain that is about to be lost
                value = value.astype(self.dtype, copy=False)
        except (Interrupted, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever a user's code may raise
            raise InvalidInput(f"observable {self.name} failed {where} ({type(error).__name__}: {error})") from error
        if value.ndim != len(self.dims):
            raise InvalidInput(
                f"observable {self.name} returned shape {value.shape} {where}, expected one of {len(self.dims)} dims, "
                f"{self.dims}"
            )
        for dim, size in zip(self.dims, value.shape, strict=True):
            known, said_by = self._sizes.setdefault(dim, (size, self.name))
            if size != known:
                by = "before" if said_by == self.name else f"in observable {said_by}"
                raise InvalidInput(
                    f"observable {self.name} returned shape {value.shape} {where}, but {dim} had length {known} {by}"
                )
        return value


class Record:
    """What one observer saw of the rows of a run.

    Args:
        places: the number of each row's target, (R,).
        steps: of each row in all.
    """

    def __init__(self, watch: Watch, places: np.ndarray, steps: int) -> None:
        self.observer, at, watched = watch
        self._watched = np.array([watched is None or place in watched for place in places.tolist()], bool)
        self._place = np.cumsum(self._watched) - 1
        self._size = int(self._watched.sum()), len(at)
        self._slot = np.full(steps, -1)
        self._slot[list(at)] = np.arange(len(at))
        self._kept: Storage | None = None
        if self.observer.shape is not None:
            self._kept = Storage((*self._size, *self.observer.shape), self.observer.dtype)
        self._array: np.ndarray | None = None

    def due(self, rows: np.ndarray, step: np.ndarray) -> np.ndarray:
        """Which of these rows are to be looked at, given the step of each."""
        return self._watched[rows] & (self._slot[step] >= 0)

    def see(self, rows: np.ndarray, step: np.ndarray, draws: Draws) -> None:
        """Look at these rows. A chain that was taken back is looked at again."""
        found = self.observer.of_rows(draws)
        if self._kept is None:
            self._kept = Storage((*self._size, *found.shape[1:]), self.observer.dtype)
        for row, slot, values in zip(self._place[rows], self._slot[step], found, strict=True):
            self._kept.put(row, slot, values)

    def forget(self, row: int, step: int) -> None:
        """What a chain showed from this step on, which it never took."""
        if self._kept is not None and self._watched[row]:
            self._kept.forget(self._place[row], self._slot[step:][self._slot[step:] >= 0])

    def of_row(self, row: int) -> np.ndarray | None:
        """(look, *dims); None where there was no look, or the row is not watched."""
        if self._kept is None or not self._watched[row]:
            return None
        if self._array is None:
            self._array = self._kept.array()
        return self._array[self._place[row]]


def check_observables(observables: Sequence[Observable], draws: int) -> None:
    """Names, dims and intervals that results can have.

    Args:
        observables: what an estimate is asked to look at.
        draws: how many each chain keeps, the longest interval.
    Raises:
        InvalidInput: a name that is none or is there twice, a reserved dim, or an interval out of range.
    """
    if not isinstance(observables, Sequence):
        raise InvalidInput(f"observables = {observables!r} given, expected a list of them")
    names = [getattr(observable, "name", None) for observable in observables]
    for observable, name in zip(observables, names, strict=True):
        if not (callable(observable) and hasattr(observable, "dims") and hasattr(observable, "every")):
            raise InvalidInput(f"observable {observable!r} given, expected one with name, dims and every to call")
        if not isinstance(name, str) or not name.isidentifier():
            raise InvalidInput(f"an observable is called {name!r}, expected a name such as norm_of_bias")
        if names.count(name) > 1:
            raise InvalidInput(
                f"{names.count(name)} observables are called {name}, expected a name of its own for each"
            )
        dims, every = tuple(observable.dims), observable.every
        if isinstance(observable.dims, str) or len(set(dims)) < len(dims) or {"chain", "draw", name} & set(dims):
            raise InvalidInput(
                f"observable {name} has dims {observable.dims!r}, expected a tuple of names other than its own, chain "
                "and draw"
            )
        if every is not None and (not isinstance(every, Integral) or not 1 <= every <= draws):
            raise InvalidInput(f"observable {name} asks for every {every} draws, expected every 1 to {draws}")
