"""Losses of a batch and their gradient, as one pure function of a flat position; whatever is sampled comes from it.

    losses_and_gradient(w, frozen, batch, weight) = ℓ(w),  ∇_w Σ weight·ℓ(w)

It has three forms, which agree up to rounding: step by step (`Gradient.plain`), of many rows at once
(`Gradient.by_row`), and compiled (`llc.sampling.compiled`).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from llc.devices import Precision, autocast, matmul_precision, one_attention
from llc.errors import EstimateFailed, InvalidInput, LLCError, ended_by
from llc.objective import Objective
from llc.sampling.weights import Frozen, Weights

Loss = Callable[[nn.Module, Any], Tensor]
"""`loss(model, batch) -> per-sample losses (B,)`, or (B, K): one a position, of which the mean is sampled."""

LossesAndGradient = Callable[[Tensor, Frozen, Any, Tensor | float], tuple[Tensor, Tensor]]
"""(position (P,), what does not move, batch, weight) -> losses, (B,) or (B, K), and ∇ Σ weight·losses, (P,)."""


class Gradient:
    """The function for one model and loss.

    Args:
        weights: of the model; `plain` moves it.
        precision: of matrix products, see `llc.devices`.
    """

    def __init__(self, weights: Weights, loss: Loss, precision: Precision) -> None:
        self.weights, self.loss, self.precision = weights, loss, precision
        self.device = weights.flat.device
        objective = Objective(weights.model, loss)
        self._losses = functional_losses(objective, weights, precision, self.device)

    def losses(self, position: Tensor, frozen: Frozen, batch: Any) -> Tensor:
        """ℓ(w) of a batch, (B,) or (B, K)."""
        with _one_way(self.precision):
            if frozen is not self.weights.frozen:
                return self._losses(position, frozen, batch)
            self.weights.put(position)
            return self._losses_here(batch)

    def plain(self, position: Tensor, frozen: Frozen, batch: Any, weight: Tensor | float) -> tuple[Tensor, Tensor]:
        """Step by step. What the model holds itself, `weights.frozen`, needs no swapping, which small models feel.

        Raises:
            InvalidInput: the losses do not depend on the position, or are no tensor.
        """
        # Whatever the caller has switched off.
        with torch.inference_mode(False), torch.enable_grad(), _one_way(self.precision):
            leaves: list[Tensor]
            if frozen is self.weights.frozen:
                leaves = [*self.weights.put(position)]
                losses = self._losses_here(batch)
            else:
                leaves = [position.detach().clone().requires_grad_()]
                losses = self._losses(leaves[0], frozen, batch)
            _check_dependence(losses)
            parts = torch.autograd.grad(losses.sum() * weight, leaves, allow_unused=True)
        _check_dependence(losses, parts)
        if frozen is self.weights.frozen:
            return losses.detach(), self.weights.moving(parts)
        assert parts[0] is not None  # the only leaf, on which the losses depend
        return losses.detach(), parts[0]

    def hessian_product(self, position: Tensor, batch: Any, weight: float, vector: Tensor) -> Tensor:
        """∇²(Σ weight·ℓ(w)) v, (P,), exactly, by differentiating twice.

        Raises:
            InvalidInput: the losses are linear in w, or something in the model cannot be differentiated twice.
        """
        with torch.inference_mode(False), torch.enable_grad(), _one_way(self.precision):
            leaves = [*self.weights.put(position)]
            losses = self._losses_here(batch)
            _check_dependence(losses)
            try:
                slopes = torch.autograd.grad(losses.sum() * weight, leaves, create_graph=True, allow_unused=True)
                along = [
                    (slope * part).sum()
                    for slope, part in zip(slopes, self.weights.parts(vector), strict=True)
                    if slope is not None and slope.requires_grad
                ]
                found = torch.autograd.grad(torch.stack(along).sum(), leaves, allow_unused=True) if along else None
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                found = None
        if found is None:
            raise InvalidInput(
                "the loss is linear in the weights, or cannot be differentiated twice: it has no Hessian"
            )
        return self.weights.moving(found)

    def _losses_here(self, batch: Any) -> Tensor:
        try:
            with autocast(self.precision, self.device):
                return self.loss(self.weights.model, batch)
        except (LLCError, torch.OutOfMemoryError):
            raise
        except SystemExit as error:
            raise EstimateFailed(ended_by(error)) from None
        except Exception as error:  # whatever a user's code may raise, at weights where it had not been
            raise EstimateFailed(
                f"the loss failed at weights that a chain or a search came to ({type(error).__name__}: {error}), not "
                "at w*; let it return a large loss there, or hold chains closer by a larger gamma"
            ) from error

    def losses_by_row(self, position: Tensor, frozen: Frozen, batch: Any, *, shared: bool = False) -> Tensor:
        """`losses` of every row, (R, B) or (R, B, K), in one graph; see `by_row`."""
        alike = None if shared else 0
        with _one_way(self.precision):
            return vmap(self._losses, in_dims=(0, alike, alike))(position, frozen, batch)

    def by_row(
        self, position: Tensor, frozen: Frozen, batch: Any, weight: Tensor, *, shared: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Every row in one graph: arguments and results have R rows, `weight` is (R,).

        Rows do not meet, so that the gradient of their sum is every row's own.

        Args:
            shared: `frozen` and `batch` are those of all rows and have no rows themselves, which saves copies.
        """
        with torch.inference_mode(False), torch.enable_grad(), _one_way(self.precision):
            leaf = position.detach().clone().requires_grad_()
            losses = self.losses_by_row(leaf, frozen, batch, shared=shared)
            total = (losses.flatten(1).sum(1) * weight.to(losses.dtype)).sum()
            (gradient,) = torch.autograd.grad(total, leaf)
        return losses.detach(), gradient


def functional_losses(
    objective: Objective, weights: Weights, precision: Precision, device: torch.device
) -> Callable[[Tensor, Frozen, Any], Tensor]:
    """(position, frozen, batch) -> ℓ(w), without touching the objective's own weights."""

    def losses(position: Tensor, frozen: Frozen, batch: Any) -> Tensor:
        with autocast(precision, device):
            return functional_call(objective, weights.named(position, frozen), (batch,))

    return losses


def check_losses(losses: Any, samples: int, positions: int | None = None) -> None:
    """One loss a sample, or one a sample and position (of a known number of them), or InvalidInput."""
    if positions is not None and isinstance(losses, Tensor):
        check_positions(losses, torch.Size([positions]))
    if not isinstance(losses, Tensor) or losses.ndim not in {1, 2} or len(losses) != samples:
        given = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise InvalidInput(
            f"loss(model, batch) returned {given}, expected one loss for each of the {samples} samples, "
            f"shape ({samples},), or one a position, shape ({samples}, K); leave out the mean over the batch"
        )


def check_positions(losses: Tensor, others: torch.Size) -> None:
    """Raise InvalidInput where losses of a batch have other positions, (K,) or (), than those of another batch."""
    if losses.shape[1:] == others:
        return
    if losses.ndim == 2 and losses.shape[1] == len(losses):
        raise InvalidInput(
            f"loss(model, batch) returned {tuple(losses.shape)} for {len(losses)} samples, one loss for every pair of "
            "them: outputs of shape (B, 1) minus targets of shape (B,) for one; give both the same shape"
        )
    raise InvalidInput(
        f"loss(model, batch) returned {losses.shape[1:].numel()} positions for some samples and {others.numel()} for "
        "others; pad them to one length, or return one loss a sample"
    )


def mean_over_positions(losses: Tensor, dims: int = 1) -> Tensor:
    """(n,) from (n,) or (n, K); with more `dims` of samples, likewise from those."""
    return losses if losses.ndim == dims else losses.mean(-1)


@contextlib.contextmanager
def _one_way(precision: Precision) -> Iterator[None]:
    """As losses and gradients are computed here, wherever they are."""
    with one_attention(), matmul_precision(precision):
        yield


def _check_dependence(losses: Any, parts: Sequence[Tensor | None] = ()) -> None:
    if not isinstance(losses, Tensor) or not losses.requires_grad or (parts and all(part is None for part in parts)):
        raise InvalidInput(
            "loss(model, batch) does not depend on the weights of the model it is given; use that model, not another, "
            "and do not detach the losses"
        )
