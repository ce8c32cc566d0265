"""What is sampled: the localised tempered posterior around a trained model, and its gradient."""

import contextlib
import copy
import fnmatch
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, default_collate

from llc import devices
from llc.devices import Precision
from llc.errors import InvalidInput, did_you_mean
from llc.heap import keep_freed_memory
from llc.pieces import piece_size
from llc.sampling import compiled

Loss = Callable[[nn.Module, Any], Tensor]
"""`loss(model, batch) -> per-sample losses (B,)`, or (B, K): one a position, of which the mean is sampled."""

Data = Sequence[Tensor] | Dataset


# Gradients at w* that control variates may keep; with more than this they are refused.
CONTROL_VARIATE_BYTES = 2**29
# How far from w*, relative to ‖w*‖, a compiled gradient is compared with one that is not.
_AWAY = 0.01


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

    Of R chains that are looked at together (`llc.sampling.stack`), every number is a tensor (R,), float64 on the CPU,
    and tensors have R rows.

    Attributes:
        difference: L_B(w) − L_B(w*), paired sample by sample; with control variates, plus c·(w − w*).
        loss: L_B(w).
        gradient: ∇Û(w) = nβ(∇L_B(w) + c) + γ(w − w*), shape (P,).
        potential: Û(w) − Û(w*) = nβ·difference + γ/2 ‖w − w*‖².
        by_position: the paired difference of each position, (K,), for losses that have positions; without control
            variates, which are kept for the mean only.
    """

    difference: float | Tensor
    loss: float | Tensor
    gradient: Tensor
    potential: float | Tensor = math.nan
    by_position: Tensor | None = None


class Target:
    """p(w) ∝ exp(−nβ L_n(w) − γ/2 ‖w − w*‖²), with L_n the mean loss over a fixed dataset.

    Works on a copy of the model in eval mode whose parameters are views of one flat vector, so that samplers see
    plain tensors of shape (P,) and nothing of the caller's is touched.

    Args:
        model: any `nn.Module`; its current weights are w*.
        loss: `loss(model, batch) -> (B,)`, one loss a sample, or (B, K), one a position.
        data: a tuple of tensors with one first dimension n, or a map-style dataset.
        nbeta: nβ > 0, multiplies the mean loss; 0 samples the prior alone, as a control.
        gamma: γ ≥ 0.
        batch_size: samples looked at together, both for the baseline here and by the chains.
        control_variates: take minibatches from a fixed partition and correct each one's gradient and loss by what it
            got wrong at w* (Baker et al. 2019). That leaves both unbiased; it takes most of the minibatch noise away
            where chains stay near w*, and adds some where they go far. Keeps n/B gradients at w*.
        parameters: shell-style patterns of the names of the parameters that move (`blocks.0.*`); the others stay at
            w*, for the refined LLC (Wang et al. 2024, arXiv 2410.02984). None for all that require a gradient.
        compile: compile the gradient for this machine: half a minute once, then faster (see `llc.sampling.compiled`).
        precision: of matrix products in the model, see `llc.devices`; positions, noise and sums are not touched by it.
            What it adds to loss differences is seen by `rounding`.
        device: where the copy lives; None for where the model is.

    Attributes:
        center: w*, (P,). moving: the parameters that it holds, by name. positions: K, or None.
        baseline: ℓ_i(w*) for all i, (n,), float64. exact_baseline: the same in float32 whatever the precision.
        gradients: minibatch gradients computed so far, whatever for.

    Raises:
        InvalidInput: data that is empty or shorter than a batch, weights that are not finite float32 or float64, a
            pattern that matches no parameter, a loss that does not return one finite number a sample (and position),
            or a value out of range.
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
        parameters: Sequence[str] | None = None,
        compile: bool = False,
        precision: Precision = "float32",
        device: torch.device | None = None,
    ) -> None:
        _check_model(model)
        keep_freed_memory()
        self.data = check_data(data)
        self.num_samples = data_length(self.data)
        hint = f"; for n = {self.num_samples} sequences the usual choice is n/log n"
        check_positive("nbeta", nbeta, hint, or_zero=True)
        check_positive("gamma", gamma, " (0 switches localisation off)", or_zero=True)
        if not 1 <= batch_size <= self.num_samples:
            raise InvalidInput(
                f"batch_size = {batch_size} given, expected 1 to the number of samples, {self.num_samples}"
            )
        self.nbeta, self.gamma, self.batch_size = float(nbeta), float(gamma), batch_size
        self.loss = loss
        self.precision: Precision = precision
        self._compile, self._compiles_for = compile, precision
        self._compiled: compiled.Gradient | None = None
        self._still: dict[str, Tensor] = {}
        self.model = copy.deepcopy(model).eval().to(device)
        self.moving = moving_parameters(self.model, parameters)
        self._parameters = list(self.moving.values())
        _check_weights(self.model, self._parameters)
        for fixed in set(self.model.parameters()) - set(self._parameters):
            fixed.requires_grad_(False)
        self.center = torch.cat([parameter.detach().flatten() for parameter in self._parameters])
        self._position = self.center.clone()
        _make_views(self._parameters, self._position)
        self.device = self.center.device
        self.positions: int | None = None
        self.gradients = 0
        self._everything = torch.arange(self.num_samples)
        few = self._everything[: min(8, batch_size)]
        self._piece = piece_size(self.model, lambda: loss(self.model, self._batch(few)), len(few), self.device)
        by_position = self._losses_by_position(self.center)
        self.baseline = self.exact_baseline = mean_over_positions(by_position)
        if by_position.ndim == 2:
            self.positions = by_position.shape[1]
            self.baseline_by_position = by_position
        if not bool(self.baseline.isfinite().all()):
            bad = int((~self.baseline.isfinite()).sum())
            raise InvalidInput(f"the loss at w* is not finite for {bad} of {self.num_samples} samples")
        self.loss_init = float(self.baseline.mean())
        if precision != "float32":
            with self.exactly():
                self.exact_baseline = self.losses(self.center)
            self.loss_init = float(self.exact_baseline.mean())
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

    def at_nbeta(self, nbeta: float) -> Self:
        """The same target at another temperature. It shares the model, so the two must not be used at the same time."""
        other = copy.copy(self)
        other.nbeta = nbeta
        return other

    def losses(self, position: Tensor) -> Tensor:
        """ℓ_i(w) for all n samples, averaged over positions if there are any, float64, (n,)."""
        return mean_over_positions(self._losses_by_position(position))

    def rounding(self, position: Tensor) -> float:
        """What the precision adds to L_n(w) − L_n(w*): the difference as it is computed minus that in float32."""
        if self.precision == "float32":
            return 0.0
        rounded = self.losses(position) - self.baseline
        with self.exactly():
            exact = self.losses(position) - self.exact_baseline
        return float((rounded - exact).mean())

    @contextlib.contextmanager
    def exactly(self) -> Iterator[None]:
        """Everything in float32 meanwhile."""
        precision, self.precision = self.precision, "float32"
        try:
            yield
        finally:
            self.precision = precision

    @torch.no_grad()
    def _losses_by_position(self, position: Tensor) -> Tensor:
        """(n,), or (n, K), float64."""
        self._position.copy_(position)
        return torch.cat([double(self._batch_losses(indices)) for indices in self._pieces(self._everything)])

    def potential(self, position: Tensor) -> float:
        """U(w) − U(w*) on the whole dataset."""
        difference = float((self.losses(position) - self.baseline).mean())
        return self.nbeta * difference + self.gamma / 2 * float(double(position - self.center).square().sum())

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
                yield Minibatch(self._everything, 1 / n)
            else:
                order = torch.randperm(n, generator=draw)
                for indices in order[: n - n % size].split(size):
                    yield Minibatch(indices, 1 / size)

    def evaluate(self, position: Tensor, minibatch: Minibatch) -> Evaluation:
        """Paired loss difference, loss and ∇Û at `position`, from one minibatch."""
        every, gradient = self.losses_and_gradient(position, minibatch)
        losses = mean_over_positions(every)
        gradient.mul_(self.nbeta)
        displacement = position - self.center
        difference = float((losses - self._at(self.baseline, minibatch)).sum()) * minibatch.scale
        if minibatch.correction is not None:
            gradient.add_(minibatch.correction, alpha=self.nbeta)
            difference += float(minibatch.correction @ displacement)
        gradient.add_(displacement, alpha=self.gamma)
        potential = self.nbeta * difference + self.gamma / 2 * float(displacement.square().sum())
        by_position = None
        if self.positions is not None:
            by_position = (every - self._at(self.baseline_by_position, minibatch)).sum(0) * minibatch.scale
        return Evaluation(difference, float(losses.sum()) * minibatch.scale, gradient, potential, by_position)

    def _at(self, baseline: Tensor, minibatch: Minibatch) -> Tensor:
        """The rows of a baseline that belong to a minibatch."""
        return baseline if minibatch.indices is self._everything else baseline[minibatch.indices.to(baseline.device)]

    def losses_and_gradient(self, position: Tensor, minibatch: Minibatch) -> tuple[Tensor, Tensor]:
        """ℓ_i(w) of a minibatch, (B,) or (B, K), float64, and ∇L_B(w)."""
        self._position.copy_(position)
        self.gradients += 1
        every, gradient = [], None
        for indices in self._pieces(minibatch.indices):
            losses, of_piece = self._piece_gradient(indices, minibatch.scale)
            every.append(losses)
            gradient = of_piece if gradient is None else gradient.add_(of_piece)
        assert gradient is not None  # no minibatch is empty
        return torch.cat(every), gradient

    def _piece_gradient(self, indices: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        if self._compile and self.precision == self._compiles_for:
            return self._compiled_piece(indices, scale)
        return self._piece_step_by_step(indices, scale)

    def _compiled_piece(self, indices: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """By the compiled function."""
        if self._compiled is None:
            self._compiled = self._agreeing_function(indices, scale)
        gradient, losses = compiled.call(self._compiled, *self._arguments(self._position, indices, scale))
        return double(losses), gradient

    def _arguments(self, position: Tensor, indices: Tensor, scale: float) -> tuple:
        weight = torch.tensor(scale / (self.positions or 1), dtype=position.dtype, device=self.device)
        return position.clone(), self._still, self._batch(indices), weight

    def _agreeing_function(self, indices: Tensor, scale: float) -> compiled.Gradient:
        """One that gives what is computed step by step, a little away from w*, where losses may all be 0."""
        moving = {id(parameter) for parameter in self._parameters}
        named = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        self._still = {f"model.{name}": value.detach() for name, value in named.items() if id(value) not in moving}
        before = self._position.clone()
        draw = torch.Generator().manual_seed(0)
        direction = torch.randn(before.shape, generator=draw, dtype=before.dtype).to(before.device)
        size = _AWAY * float(self.center.norm().clamp(min=1e-3)) / float(direction.norm())
        self._position.add_(direction, alpha=size)
        away = self._position.clone()
        expected = self._piece_step_by_step(indices, scale)
        self._position.copy_(before)
        key = self._compiled_for()
        for _ in range(2):
            function = compiled.compiled_gradient(self.model, self.loss, self.moving, self.precision, key=key)
            gradient, losses = compiled.call(function, *self._arguments(away, indices, scale))
            if compiled.same((double(losses), gradient), expected, self.precision):
                return function
            compiled.forget(key)  # it was compiled for another model of these shapes
        raise InvalidInput(
            "compile = True given, but the compiled gradient of this model and loss differs from the one that is "
            "computed step by step; leave it out"
        )

    def _compiled_for(self) -> tuple:
        """What targets that share a compiled function have in common."""
        named = [*self.model.named_parameters(), *self.model.named_buffers()]
        shapes = tuple((name, tensor.shape, tensor.dtype) for name, tensor in named)
        return (
            type(self.model),
            compiled.name_of(self.loss),
            shapes,
            tuple(self.moving),
            self.precision,
            str(self.device),
        )

    def _piece_step_by_step(self, indices: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        with torch.inference_mode(False), torch.enable_grad():  # whatever the caller has switched off
            losses = self._batch_losses(indices)
            if not losses.requires_grad:
                raise InvalidInput(
                    "loss(model, batch) does not depend on the weights of the model it is given; use that model, not "
                    "another, and do not detach the losses"
                )
            total = losses.sum() * (scale / (self.positions or 1))
            with devices.matmul_precision(self.precision):
                gradients = torch.autograd.grad(total, self._parameters, allow_unused=True)
        flat = [
            torch.zeros_like(parameter).flatten() if part is None else part.flatten()
            for part, parameter in zip(gradients, self._parameters, strict=True)
        ]
        return double(losses.detach()), torch.cat(flat)

    def _pieces(self, indices: Tensor) -> Sequence[Tensor]:
        """Samples that are looked at together, of a minibatch or of the whole dataset."""
        size = min(self.batch_size, self._piece)
        return [indices] if len(indices) <= size else indices.split(size)

    def _corrected_partition(self, cells: int) -> list[Minibatch]:
        """The samples in near-equal minibatches, each with its control variate."""
        parts = [
            Minibatch(indices, cells / self.num_samples)
            for indices in torch.arange(self.num_samples).tensor_split(cells)
        ]
        gradients = [self.losses_and_gradient(self.center, part)[1] for part in parts]
        mean = torch.stack(gradients).mean(0)
        return [part._replace(correction=mean - gradient) for part, gradient in zip(parts, gradients, strict=True)]

    def _batch_losses(self, indices: Tensor) -> Tensor:
        batch = self._batch(indices)
        with devices.matmul_precision(self.precision), devices.autocast(self.precision, self.device):
            losses = self.loss(self.model, batch)
        if not isinstance(losses, Tensor) or losses.ndim not in {1, 2} or len(losses) != len(indices):
            given = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise InvalidInput(
                f"loss(model, batch) returned {given}, expected one loss for each of the {len(indices)} samples, "
                f"shape ({len(indices)},), or one a position, shape ({len(indices)}, K); leave out the mean over the "
                "batch"
            )
        return losses

    def _batch(self, indices: Tensor) -> Any:
        if isinstance(self.data, Dataset):
            batch = default_collate([self.data[i] for i in indices.tolist()])
            return _to(batch, self.device)
        if indices is self._everything:
            return tuple(tensor.to(self.device) for tensor in self.data)
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
            raise InvalidInput(f"data is a {type(data).__name__}, expected a map-style dataset with a length")
    else:
        data = (data,) if isinstance(data, Tensor) else tuple(data) if isinstance(data, Iterable) else ()
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


def moving_parameters(model: nn.Module, patterns: Sequence[str] | None = None) -> dict[str, nn.Parameter]:
    """Parameters that require a gradient and, where patterns are given, whose name matches one, by name.

    Raises:
        InvalidInput: there are none, or a pattern matches none; the names there are are shown.
    """
    _check_model(model)
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not trainable:
        raise InvalidInput("the model has no parameters that require a gradient")
    if patterns is None:
        return trainable
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in patterns or [""]:
        if not fnmatch.filter(trainable, pattern):
            raise InvalidInput(f"no parameter matches {pattern!r}; {did_you_mean(pattern, trainable)}")
    return {
        name: parameter
        for name, parameter in trainable.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }


def _check_model(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise InvalidInput(f"model is a {type(model).__name__}, expected a torch.nn.Module")


def _check_weights(model: nn.Module, moving: list[nn.Parameter]) -> None:
    """Every weight finite, and those that move of one floating type that can be sampled."""
    ids = {id(parameter) for parameter in moving}
    for name, parameter in model.named_parameters():
        if id(parameter) in ids and parameter.dtype not in {torch.float32, torch.float64}:
            raise InvalidInput(f"parameter {name} is {parameter.dtype}, expected float32; call model.float() first")
        if not bool(parameter.isfinite().all()):
            raise InvalidInput(f"parameter {name} has values that are not finite; choose an earlier checkpoint")
    if len({parameter.dtype for parameter in moving}) > 1:
        raise InvalidInput("the model mixes float32 and float64 parameters; call model.float() or model.double() first")


def double(numbers: Tensor) -> Tensor:
    """As float64; on the CPU where the device has none."""
    return (numbers.cpu() if numbers.device.type == "mps" else numbers).double()


def mean_over_positions(losses: Tensor, dims: int = 1) -> Tensor:
    """(n,) from (n,) or (n, K); with more `dims` of samples, likewise from those."""
    return losses if losses.ndim == dims else losses.mean(-1)


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
