"""What is sampled: the localised tempered posterior around a trained model, and its gradient."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, default_collate

from llc.errors import InvalidInput

Loss = Callable[[nn.Module, Any], Tensor]
"""`loss(model, batch) -> per-sample losses (B,)`."""

Data = Sequence[Tensor] | Dataset


# Gradients at w* that control variates may keep; with more than this they are refused.
CONTROL_VARIATE_BYTES = 2**29


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


class Evaluation(NamedTuple):
    """What one look at a minibatch tells about a position w.

    Attributes:
        difference: L_B(w) − L_B(w*), paired sample by sample; with control variates, plus c·(w − w*).
        loss: L_B(w).
        gradient: ∇Û(w) = nβ(∇L_B(w) + c) + γ(w − w*), shape (P,).
        potential: Û(w) − Û(w*) = nβ·difference + γ/2 ‖w − w*‖².
    """

    difference: float
    loss: float
    gradient: Tensor
    potential: float = math.nan


class Target:
    """p(w) ∝ exp(−nβ L_n(w) − γ/2 ‖w − w*‖²), with L_n the mean loss over a fixed dataset.

    Works on a copy of the model in eval mode whose parameters are views of one flat vector, so that samplers see
    plain tensors of shape (P,) and nothing of the caller's is touched.

    Args:
        model: any `nn.Module`; its current weights are w*.
        loss: `loss(model, batch) -> (B,)`, one loss a sample.
        data: a tuple of tensors with one first dimension n, or a map-style dataset.
        nbeta: nβ > 0, multiplies the mean loss.
        gamma: γ ≥ 0.
        batch_size: samples looked at together, both for the baseline here and by the chains.
        control_variates: take minibatches from a fixed partition and correct each one's gradient and loss by what it
            got wrong at w* (Baker et al. 2019). That leaves both unbiased; it takes most of the minibatch noise away
            where chains stay near w*, and adds some where they go far. Keeps n/B gradients at w*.

    Attributes:
        center: w*, (P,). baseline: ℓ_i(w*) for all i, (n,), float64.

    Raises:
        InvalidInput: data that is empty or shorter than a batch, weights that are not finite float32 or float64, a
            loss that does not return one finite number a sample, or a value out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        data: Data,
        *,
        nbeta: float,
        gamma: float,
        batch_size: int,
        control_variates: bool = False,
    ) -> None:
        self.data = check_data(data)
        self.num_samples = data_length(self.data)
        check_positive("nbeta", nbeta, f"; for n = {self.num_samples} sequences the usual choice is n/log n")
        check_positive("gamma", gamma, " (0 switches localisation off)", or_zero=True)
        if not 1 <= batch_size <= self.num_samples:
            raise InvalidInput(
                f"batch_size = {batch_size} given, expected 1 to the number of samples, {self.num_samples}"
            )
        self.nbeta, self.gamma, self.batch_size = float(nbeta), float(gamma), batch_size
        self.loss = loss
        self.model = copy.deepcopy(model).eval()
        self._parameters = _trainable(self.model)
        self.center = torch.cat([parameter.detach().flatten() for parameter in self._parameters])
        self._position = self.center.clone()
        _make_views(self._parameters, self._position)
        self.device = self.center.device
        self.baseline = self.losses(self.center)
        if not bool(self.baseline.isfinite().all()):
            bad = int((~self.baseline.isfinite()).sum())
            raise InvalidInput(f"the loss at w* is not finite for {bad} of {self.num_samples} samples")
        cells = math.ceil(self.num_samples / batch_size)
        self.control_variates = control_variates and cells > 1
        if self.control_variates and cells * self.center.nbytes > CONTROL_VARIATE_BYTES:
            raise InvalidInput(
                f"control variates need {cells} gradients of {self.num_parameters} numbers, more than their budget of "
                f"{CONTROL_VARIATE_BYTES >> 20} MiB; use a larger batch_size, fewer samples, or none"
            )
        self._partition = self._corrected_partition(cells) if self.control_variates else []

    @property
    def num_parameters(self) -> int:
        """P."""
        return len(self.center)

    @torch.no_grad()
    def losses(self, position: Tensor) -> Tensor:
        """ℓ_i(w) for all n samples, float64, (n,)."""
        self._position.copy_(position)
        everything = torch.arange(self.num_samples)
        parts = [self._batch_losses(indices).double() for indices in everything.split(self.batch_size)]
        return torch.cat(parts)

    def potential(self, position: Tensor) -> float:
        """U(w) − U(w*) on the whole dataset."""
        difference = float((self.losses(position) - self.baseline).mean())
        return self.nbeta * difference + self.gamma / 2 * float((position - self.center).double().square().sum())

    def minibatches(self, draw: torch.Generator) -> Iterator[Minibatch]:
        """An endless stream of minibatches, each epoch in a fresh order.

        Without control variates each epoch shuffles the samples anew; what does not fill a minibatch waits for
        another epoch. With them, the partition stays and its order is shuffled.
        """
        n, size = self.num_samples, self.batch_size
        while True:
            if self.control_variates:
                for cell in torch.randperm(len(self._partition), generator=draw).tolist():
                    yield self._partition[cell]
            elif size == n:
                yield Minibatch(torch.arange(n), 1 / n)
            else:
                order = torch.randperm(n, generator=draw)
                for indices in order[: n - n % size].split(size):
                    yield Minibatch(indices, 1 / size)

    def evaluate(self, position: Tensor, minibatch: Minibatch) -> Evaluation:
        """Paired loss difference, loss and ∇Û at `position`, from one minibatch."""
        losses, gradient = self._losses_and_gradient(position, minibatch)
        gradient.mul_(self.nbeta)
        displacement = position - self.center
        baseline = self.baseline[minibatch.indices.to(self.baseline.device)]
        difference = float((losses - baseline).sum()) * minibatch.scale
        if minibatch.correction is not None:
            gradient.add_(minibatch.correction, alpha=self.nbeta)
            difference += float(minibatch.correction @ displacement)
        gradient.add_(displacement, alpha=self.gamma)
        potential = self.nbeta * difference + self.gamma / 2 * float(displacement.double().square().sum())
        return Evaluation(difference, float(losses.sum()) * minibatch.scale, gradient, potential)

    def _losses_and_gradient(self, position: Tensor, minibatch: Minibatch) -> tuple[Tensor, Tensor]:
        """ℓ_i(w) of a minibatch, float64, and ∇L_B(w)."""
        self._position.copy_(position)
        with torch.inference_mode(False), torch.enable_grad():  # whatever the caller has switched off
            losses = self._batch_losses(minibatch.indices)
            if not losses.requires_grad:
                raise InvalidInput(
                    "loss(model, batch) does not depend on the weights of the model it is given; use that model, not "
                    "another, and do not detach the losses"
                )
            gradients = torch.autograd.grad(losses.sum() * minibatch.scale, self._parameters, allow_unused=True)
        flat = [
            torch.zeros_like(parameter).flatten() if part is None else part.flatten()
            for part, parameter in zip(gradients, self._parameters, strict=True)
        ]
        return losses.detach().double(), torch.cat(flat)

    def _corrected_partition(self, cells: int) -> list[Minibatch]:
        """The samples in near-equal minibatches, each with its control variate."""
        parts = [
            Minibatch(indices, cells / self.num_samples)
            for indices in torch.arange(self.num_samples).tensor_split(cells)
        ]
        gradients = [self._losses_and_gradient(self.center, part)[1] for part in parts]
        mean = torch.stack(gradients).mean(0)
        return [part._replace(correction=mean - gradient) for part, gradient in zip(parts, gradients, strict=True)]

    def _batch_losses(self, indices: Tensor) -> Tensor:
        losses = self.loss(self.model, self._batch(indices))
        if not isinstance(losses, Tensor) or losses.shape != (len(indices),):
            given = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise InvalidInput(
                f"loss(model, batch) returned {given}, expected one loss for each of the {len(indices)} samples, "
                f"shape ({len(indices)},); leave out the mean over the batch"
            )
        return losses

    def _batch(self, indices: Tensor) -> Any:
        if isinstance(self.data, Dataset):
            batch = default_collate([self.data[i] for i in indices.tolist()])
            return _to(batch, self.device)
        return tuple(tensor[indices.to(tensor.device)].to(self.device) for tensor in self.data)


def check_positive(name: str, value: float, hint: str = "", *, or_zero: bool = False) -> None:
    """A finite number > 0 (or ≥ 0), or InvalidInput."""
    is_number = isinstance(value, int | float)
    if not is_number or not (0 < value < float("inf") or (or_zero and value == 0)):
        raise InvalidInput(f"{name} = {value} given, expected a finite number {'>=' if or_zero else '>'} 0{hint}")


def check_data(data: Data) -> tuple[Tensor, ...] | Dataset:
    """Data in a form that `Target` takes, or InvalidInput."""
    if isinstance(data, Dataset):
        if not hasattr(data, "__len__") or isinstance(data, IterableDataset):
            raise InvalidInput(f"data is a {type(data).__name__} expected a map-style dataset with a length")
    else:
        data = (data,) if isinstance(data, Tensor) else tuple(data)
        if not data or not all(isinstance(tensor, Tensor) and tensor.ndim for tensor in data):
            raise InvalidInput("data given is neither a tuple of tensors nor a map-style torch dataset")
        lengths = {len(tensor) for tensor in data}
        if len(lengths) > 1:
            raise InvalidInput(f"the tensors in data have {sorted(lengths)} samples, expected one number")
    if data_length(data) < 2:
        raise InvalidInput(f"data has {data_length(data)} samples, expected at least 2")
    return data


def data_length(data: tuple[Tensor, ...] | Dataset) -> int:
    """n."""
    return len(data) if isinstance(data, Dataset) else len(data[0])  # type: ignore[arg-type]


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that move, after checking that they can."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise InvalidInput("the model has no parameters that require a gradient")
    kinds = {parameter.dtype for parameter in parameters}
    if len(kinds) > 1 and kinds <= {torch.float32, torch.float64}:
        raise InvalidInput("the model mixes float32 and float64 parameters; call model.float() or model.double() first")
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.dtype not in {torch.float32, torch.float64}:
            raise InvalidInput(f"parameter {name} is {parameter.dtype}, expected float32; call model.float() first")
        if not bool(parameter.isfinite().all()):
            raise InvalidInput(f"parameter {name} has values that are not finite; choose an earlier checkpoint")
    return parameters


def _make_views(parameters: list[nn.Parameter], flat: Tensor) -> None:
    start = 0
    for parameter in parameters:
        stop = start + parameter.numel()
        parameter.data = flat[start:stop].view_as(parameter)
        start = stop


def _to(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {key: _to(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_to(value, device) for value in batch))
    return type(batch)(_to(value, device) for value in batch) if isinstance(batch, list | tuple) else batch
