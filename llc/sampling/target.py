"""What is sampled: the localised tempered posterior around a trained model, and its gradient."""

import contextlib
import copy
import math
from collections.abc import Iterator, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from llc.devices import Precision, double
from llc.errors import InvalidInput
from llc.heap import keep_freed_memory
from llc.microbatches import microbatch_size, pays_threads
from llc.sampling.baseline import check_baseline, check_still
from llc.sampling.compiled import agreeing_function
from llc.sampling.control_variates import corrected_partition, visits
from llc.sampling.copies import sampled_copy
from llc.sampling.data import Data, Minibatch, Samples
from llc.sampling.data_forms import check_data
from llc.sampling.gradient import Gradient, Loss, LossesAndGradient, check_losses, check_positions, mean_over_positions
from llc.sampling.sampler import Evaluation
from llc.sampling.weights import Restriction, Weights

# Of a sample: its square, and that of its gradient, are numbers of single precision.
_LARGEST_LOSS = 1e15


class Target:
    """p(w) ∝ exp(−nβ L_n(w) − γ/2 ‖w − w*‖²), with L_n the mean loss over a fixed dataset.

    Works on a copy of the model in eval mode whose parameters are views of one flat vector, so that samplers see
    plain tensors of shape (P,) and nothing of the caller's is touched.

    Args:
        model: any `nn.Module`; its current weights are w*.
        loss: `loss(model, batch) -> (B,)`, one loss a sample, or (B, K), one a position.
        data: n samples, see `check_data`.
        nbeta: nβ > 0, multiplies the mean loss; 0 samples the prior alone, as a control.
        gamma: γ ≥ 0.
        batch_size: samples looked at together, both for the baseline here and by the chains.
        control_variates: take minibatches from a fixed partition and correct each one's gradient and loss by what it
            got wrong at w* (see `llc.sampling.control_variates`). That takes most of the minibatch noise away where
            chains stay near w*, and adds some where they go far. Keeps n/B gradients at w*.
        parameters: which weights move, see `chosen_weights`; the others stay at w*, for the refined LLC (Wang et al.
            2024, arXiv 2410.02984). None for all that require a gradient.
        compile: compile the gradient for this machine: half a minute once, then faster (see `llc.sampling.compiled`).
        precision: of matrix products in the model, see `llc.devices`; positions, noise and sums are not touched by it.
            What it adds to loss differences is seen by `rounding`.
        device: where the copy lives; None for where the model is.

    Attributes:
        origin: w*, (P,), where the baseline was taken.
        center: what γ holds chains to; w* unless `at` moved it.
        weights: the parameters that move, by name, and the others.
        positions: K, or None.
        baseline: ℓ_i(w*) for all i, (n,), float64.
        exact_baseline: the same in float32 whatever the precision.
        gradients: minibatch gradients computed so far, whatever for.
        pays_threads: whether threads have something to share in a minibatch (see `llc.microbatches`).

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
        parameters: Restriction | None = None,
        compile: bool = False,
        precision: Precision = "float32",
        device: torch.device | None = None,
    ) -> None:
        keep_freed_memory()
        self.model = sampled_copy(model, device)
        self.weights = Weights(self.model, parameters)
        self.device = self.weights.flat.device
        self.samples = Samples(check_data(data), self.device)
        self.num_samples = len(self.samples)
        self.nbeta, self.gamma = self._checked(nbeta, gamma)
        if not 1 <= batch_size <= self.num_samples:
            raise InvalidInput(
                f"batch_size = {batch_size} given, expected 1 to the number of samples, {self.num_samples}"
            )
        self.batch_size = batch_size
        self.precision: Precision = precision
        self._forms = {name: Gradient(self.weights, loss, name) for name in dict.fromkeys([precision, "float32"])}
        self._compiles_for = precision if compile else None
        self._compiled: LossesAndGradient | None = None
        self.origin = self.center = self.weights.flat.clone()
        self.positions: int | None = None
        self.gradients = 0
        few = self.samples.everything[: min(8, batch_size)]
        self._microbatch = len(few)
        self._microbatch = microbatch_size(self.model, lambda: self._losses_here(few), len(few), self.device)
        self.pays_threads = pays_threads(batch_size, self._microbatch)
        by_position = self.losses_by_position(self.origin)
        self.weights.check_attached()
        self.baseline = self.exact_baseline = mean_over_positions(by_position)
        if by_position.ndim == 2:
            self.positions = by_position.shape[1]
            self.baseline_by_position = by_position
        if not bool(self.baseline.isfinite().all()):
            bad = int((~self.baseline.isfinite()).sum())
            raise InvalidInput(f"the loss at w* is not finite for {bad} of {self.num_samples} samples")
        if (largest := float(self.baseline.abs().max())) > _LARGEST_LOSS:
            raise InvalidInput(
                f"losses as large as {largest:.2g} at w* given, expected at most {_LARGEST_LOSS:g}, whose squares "
                "single precision holds; divide the loss, and multiply nbeta, by a number"
            )
        if precision != "float32":
            with self.exactly():
                self.exact_baseline = self.losses(self.origin)
        self.loss_init = float(self.exact_baseline.mean())
        with self.exactly():
            check_baseline(self.model, self.samples, self.nbeta, self._losses_here, self._losses_with_gradient)
        self.control_variates = False
        self._partition: list[Minibatch] = []
        if control_variates and batch_size < self.num_samples:
            self._take_control_variates()

    def _take_control_variates(self) -> None:
        cells = math.ceil(self.num_samples / self.batch_size)
        self.control_variates = True
        self._partition = corrected_partition(
            self.num_samples, cells, self.origin, lambda part: self.losses_and_gradient(self.origin, part)[1]
        )

    @property
    def num_parameters(self) -> int:
        """P."""
        return len(self.center)

    def at(self, *, nbeta: float | None = None, gamma: float | None = None, center: Tensor | None = None) -> Self:
        """The same target at another temperature or localisation: same model, data and baseline at w*.

        Its `gradients` start from 0. Targets that share a model may take turns, but not run in two threads.

        Args:
            nbeta: nβ.
            gamma: γ.
            center: what γ/2 ‖w − center‖² holds chains to, (P,). Each as it is, if not given.
        Raises:
            InvalidInput: a value out of range, or a center of another shape.
        """
        other = copy.copy(self)
        other.gradients = 0
        other.nbeta, other.gamma = self._checked(
            self.nbeta if nbeta is None else nbeta, self.gamma if gamma is None else gamma
        )
        if center is not None:
            if center.shape != self.origin.shape:
                raise InvalidInput(
                    f"a center of shape {tuple(center.shape)} given, expected {tuple(self.origin.shape)}"
                )
            other.center = center.detach().to(self.origin, copy=True)
        return other

    def with_control_variates(self) -> Self:
        """The same target with control variates; its `gradients` start from 0."""
        other = self.at()
        if other.batch_size < other.num_samples:
            other._take_control_variates()
        return other

    def gradient(self, precision: Precision) -> Gradient:
        """Of the loss, in the target's precision or in float32."""
        return self._forms[precision]

    def model_at(self, position: Tensor) -> nn.Module:
        """The copy of the model, moved to a position, (P,), until something else is looked at."""
        self.weights.put(position)
        return self.model

    def losses(self, position: Tensor) -> Tensor:
        """ℓ_i(w) for all n samples, averaged over positions if there are any, float64, (n,)."""
        return mean_over_positions(self.losses_by_position(position))

    def rounding(self, position: Tensor) -> float:
        """What the precision adds to L_n(w) − L_n(w*): the difference as it is computed minus that in float32."""
        if self.precision == "float32":
            return 0.0
        rounded = self.losses(position) - self.baseline
        with self.exactly():
            exact = self.losses(position) - self.exact_baseline
        return float((rounded - exact).mean())

    def check_still(self) -> None:
        """The losses at w* are what they were, now that chains have ended; or InvalidInput."""
        with self.exactly():
            check_still(self.samples, self.nbeta, self._losses_here, self.exact_baseline)

    @contextlib.contextmanager
    def exactly(self) -> Iterator[None]:
        """Everything in float32 meanwhile."""
        precision, self.precision = self.precision, "float32"
        try:
            yield
        finally:
            self.precision = precision

    def potential(self, position: Tensor) -> float:
        """U(w) − U(w*) on the whole dataset."""
        difference = float((self.losses(position) - self.baseline).mean())
        return self.nbeta * difference + self.gamma / 2 * float(double(position - self.center).square().sum())

    def minibatches(self, rng: torch.Generator) -> Iterator[Minibatch]:
        """An endless stream of minibatches, each epoch in a fresh order."""
        return visits(self._partition, rng) if self._partition else self.samples.minibatches(self.batch_size, rng)

    def evaluate(self, position: Tensor, minibatch: Minibatch) -> Evaluation:
        """Paired loss difference, loss and ∇Û at `position`, from one minibatch."""
        every, gradient = self.losses_and_gradient(position, minibatch)
        losses = mean_over_positions(every)
        gradient.mul_(self.nbeta)
        displacement = position - self.center
        difference = float((losses - self.samples.rows(self.baseline, minibatch.indices)).sum()) * minibatch.scale
        if minibatch.correction is not None:
            gradient.add_(minibatch.correction, alpha=self.nbeta)
            difference += float(minibatch.correction @ (position - self.origin))
        gradient.add_(displacement, alpha=self.gamma)
        potential = self.nbeta * difference + self.gamma / 2 * float(displacement.square().sum())
        by_position = None
        if self.positions is not None:
            paired = every - self.samples.rows(self.baseline_by_position, minibatch.indices)
            by_position = paired.sum(0) * minibatch.scale
        return Evaluation(difference, float(losses.sum()) * minibatch.scale, gradient, potential, by_position)

    def losses_and_gradient(self, position: Tensor, minibatch: Minibatch) -> tuple[Tensor, Tensor]:
        """ℓ_i(w) of a minibatch, (B,) or (B, K), float64, and ∇L_B(w)."""
        self.gradients += 1
        weight = minibatch.scale / (self.positions or 1)
        every, gradient = [], None
        for indices in self._microbatches(minibatch.indices):
            batch = self.samples.batch(indices)
            losses, of_microbatch = self._form(batch, weight)(position, self.weights.frozen, batch, weight)
            check_losses(losses, len(indices), self.positions)
            every.append(double(losses))
            gradient = of_microbatch if gradient is None else gradient.add_(of_microbatch)
        assert gradient is not None  # no minibatch is empty
        return torch.cat(every), gradient

    def hessian_product(self, vector: Tensor) -> Tensor:
        """∇²L_n(w*) v on the whole dataset, (P,), exactly; counted as three gradients of it.

        Raises:
            InvalidInput: the losses are linear in w, or something in the model cannot be differentiated twice.
        """
        weight = 1 / (self.num_samples * (self.positions or 1))
        found = torch.zeros_like(vector)
        for indices in self._microbatches(self.samples.everything):
            batch = self.samples.batch(indices)
            found += self._forms["float32"].hessian_product(self.origin, batch, weight, vector)
        self.gradients += self.price_of_a_product
        return found

    @property
    def price_of_a_product(self) -> int:
        """Minibatch gradients that `hessian_product` counts as."""
        return 3 * math.ceil(self.num_samples / self.batch_size)

    def _form(self, batch: object, weight: float) -> LossesAndGradient:
        """The gradient, compiled where that is asked for."""
        gradient = self._forms[self.precision]
        if self.precision != self._compiles_for:
            return gradient.plain
        if self._compiled is None:
            self._compiled = agreeing_function(gradient, self.origin, self.weights.frozen, batch, weight)
        return self._compiled

    @torch.no_grad()
    def losses_by_position(self, position: Tensor) -> Tensor:
        """(n,), or (n, K), float64."""
        return self._losses_of(position, self.samples.everything)

    def _losses_here(self, indices: Tensor) -> Tensor:
        """ℓ_i(w*) of some samples, as full looks compute it."""
        with torch.no_grad():
            return self._losses_of(self.origin, indices)

    def _losses_with_gradient(self, indices: Tensor) -> Tensor:
        """The same as gradients compute it."""
        found = []
        for part in self._microbatches(indices):
            batch = self.samples.batch(part)
            losses, slope = self._forms[self.precision].plain(self.origin, self.weights.frozen, batch, 1.0)
            if not bool(slope.isfinite().all()):
                raise InvalidInput(
                    "the loss at w* is finite, but its gradient is not, as at the root of 0; mend the loss"
                )
            found.append(double(losses))
        return torch.cat(found)

    def _losses_of(self, position: Tensor, indices: Tensor) -> Tensor:
        found: list[Tensor] = []
        for part in self._microbatches(indices):
            batch = self.samples.batch(part)
            losses = self._forms[self.precision].losses(position, self.weights.frozen, batch)
            check_losses(losses, len(part))
            if found:
                check_positions(losses, found[0].shape[1:])
            found.append(double(losses))
        return torch.cat(found)

    def _microbatches(self, indices: Tensor) -> Sequence[Tensor]:
        """Samples that are looked at together, of a minibatch or of the whole dataset."""
        size = min(self.batch_size, self._microbatch)
        return [indices] if len(indices) <= size else indices.split(size)

    def _checked(self, nbeta: float, gamma: float) -> tuple[float, float]:
        hint = f"; for n = {self.num_samples} sequences the usual choice is n/log n"
        check_positive("nbeta", nbeta, hint, or_zero=True)
        check_positive("gamma", gamma, " (0 switches localisation off)", or_zero=True)
        return float(nbeta), float(gamma)


def check_positive(name: str, value: float, hint: str = "", *, or_zero: bool = False) -> None:
    """A finite number > 0 (or ≥ 0), or InvalidInput."""
    is_number = isinstance(value, int | float)
    if not is_number or not (0 < value < float("inf") or (or_zero and value == 0)):
        raise InvalidInput(f"{name} = {value} given, expected a finite number {'>=' if or_zero else '>'} 0{hint}")
