"""Losses of datasets at draws: what they show of every sample, paired with the same sample's loss at w*."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llc.devices import double
from llc.errors import InvalidInput, check_flag
from llc.microbatches import microbatch_size
from llc.sampling.baseline import check_baseline
from llc.sampling.data import Data, Samples
from llc.sampling.data_forms import check_data
from llc.sampling.fitting import Weighted, fitted, try_loss
from llc.sampling.gradient import Gradient, Loss, check_losses, check_positions
from llc.sampling.observable import Draw
from llc.sampling.target import Target


@dataclass(frozen=True)
class Losses:
    """ℓ_i(w) − ℓ_i(w*) of every sample i of a dataset, and position if the loss has them, at draws w.

    Given to `estimate_llc(…, observables=[…])`, which puts what was seen into the group `losses/<name>` of its tree:
    `difference` (chain, draw, sample[, position]) and `baseline`, ℓ_i(w*), (sample[, position]). What they say is read
    by `llc.per_sample_llc`, `llc.loss_kernel`, `llc.influence`, `llc.susceptibility` and `llc.waic`.

    Args:
        name: what the dataset is called, a word.
        data: samples in any form that `estimate_llc` takes; None for the data that are sampled.
        loss: of these samples, as for `estimate_llc`; None for the loss that is sampled.
        every: look at every k-th draw; None for about 128 draws of each chain.
        collate_fn: as for `estimate_llc`.
        mean: keep only the mean over samples and positions.

    Raises:
        InvalidInput: a name that is none, or an interval that is none.
    """

    name: str
    data: Data = None
    loss: Loss | None = None
    every: int | None = None
    collate_fn: Callable[[list[Any]], Any] | None = None
    mean: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise InvalidInput(f"losses of a dataset called {self.name!r} asked for, expected a word such as test")
        check_flag(f"mean of the losses of {self.name}", self.mean)
        numbered = isinstance(self.every, Integral) and not isinstance(self.every, bool)
        if self.every is not None and (not numbered or self.every < 1):
            raise InvalidInput(f"losses of {self.name} asked for at every {self.every} draws, expected 1 or more")


class Look:
    """`Losses` as an `Observable` of chains on certain targets.

    Args:
        losses: what is asked for.
        targets: of every w* at which it will look, one for each w* and model.
        own: the loss and the data that are sampled, as they were given.

    Attributes:
        losses, name, every: as asked for.
        dims: of what is returned.
        weighted: whether losses are times their weights, as they are sampled.

    Raises:
        InvalidInput: losses that are not what `check_losses` expects, or that are no function of weights and sample.
    """

    dtype = np.float32

    def __init__(self, losses: Losses, targets: Sequence[Target], own: tuple[Loss, Data]) -> None:
        self.losses, self.name, self.every = losses, losses.name, losses.every
        self._of = {id(target.weights): _Dataset(losses, target, own) for target in targets}
        shapes = {dataset.baseline.shape for dataset in self._of.values()}
        if len(shapes) > 1:
            raise InvalidInput(f"losses of {self.name} have the shapes {shapes}, expected one")
        self.weighted = (
            losses.data is None and losses.loss is None and isinstance(targets[0].gradient("float32").loss, Weighted)
        )
        names = (f"sample_{self.name}", f"position_{self.name}")
        self.dims = () if losses.mean else names[: len(shapes.pop())]

    def __call__(self, draw: Draw) -> Tensor:
        """ℓ_i(w) − ℓ_i(w*), (n,) or (n, K); or their mean."""
        return self.at(draw.target, draw.position)

    def at(self, target: Target, position: Tensor) -> Tensor:
        """The same at any w, (P,)."""
        dataset = self._of[id(target.weights)]
        difference = dataset.at(position, target) - dataset.baseline
        return difference.mean() if self.losses.mean else difference

    def baseline(self, target: Target) -> Tensor:
        """ℓ_i(w*), (n,) or (n, K), float64; or their mean."""
        found = self._of[id(target.weights)].baseline
        return found.mean() if self.losses.mean else found


class _Dataset:
    """One dataset's losses of the model of one target."""

    def __init__(self, losses: Losses, target: Target, own: tuple[Loss, Data]) -> None:
        self._mine = losses.data is None and losses.loss is None
        if self._mine:
            everything = target.baseline if target.positions is None else target.baseline_by_position
            self.baseline = everything.cpu()
            return
        try:
            given = own[1] if losses.data is None else losses.data
            loss, data = fitted(target.model, losses.loss or own[0], check_data(given, losses.collate_fn, least=1))
            self._samples = Samples(data, target.device)
            self._form = Gradient(target.weights, loss, target.precision)
            few = self._samples.everything[: min(8, target.batch_size)]
            self._size = len(few)
            here = partial(self._losses, target.origin, target)
            target.model_at(target.origin)
            grows = try_loss(loss, target.model, self._samples.batch(few)).requires_grad
            widest = microbatch_size(target.model, partial(here, few), len(few), target.device)
            self._size = max(1, min(widest, target.batch_size))
            self.baseline = here(self._samples.everything)
            with_gradient = partial(self._with_gradient, target) if grows else here
            check_baseline(target.model, self._samples, target.nbeta, here, with_gradient)
        except InvalidInput as error:
            raise InvalidInput(f"losses of {losses.name}: {error}") from error
        if not bool(self.baseline.isfinite().all()):
            raise InvalidInput(f"losses of {losses.name} at w* are not all finite")

    def at(self, position: Tensor, target: Target) -> Tensor:
        """ℓ_i(w), float64."""
        if self._mine:
            return target.losses_by_position(position).cpu()
        return self._losses(position, target, self._samples.everything)

    @torch.no_grad()
    def _losses(self, position: Tensor, target: Target, indices: Tensor) -> Tensor:
        found: list[Tensor] = []
        for part in self._parts(indices):
            losses = self._form.losses(position, target.weights.frozen, self._samples.batch(part))
            check_losses(losses, len(part))
            if found:
                check_positions(losses, found[0].shape[1:])
            found.append(double(losses).cpu())
        return torch.cat(found)

    def _with_gradient(self, target: Target, indices: Tensor) -> Tensor:
        """The same as gradients compute it."""
        found = []
        for part in self._parts(indices):
            batch = self._samples.batch(part)
            found.append(double(self._form.plain(target.origin, target.weights.frozen, batch, 1.0)[0]).cpu())
        return torch.cat(found)

    def _parts(self, indices: Tensor) -> Sequence[Tensor]:
        return [indices] if len(indices) <= self._size else indices.split(self._size)


class Positions:
    """Where draws are, as an `Observable`: what losses are read from once the last rung of a ladder is known."""

    name, every = "_positions", None
    dims = ("weight",)

    def __init__(self, target: Target) -> None:
        self.dtype: type = np.float64 if target.origin.dtype == torch.float64 else np.float32

    def __call__(self, draw: Draw) -> Tensor:
        """w, (P,)."""
        return draw.position
