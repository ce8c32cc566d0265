"""A loss and data that fit each other: one tensor alone or in a tuple, floats of the model's type, weights."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llc.devices import one_attention
from llc.errors import InvalidInput, LLCError, ended_by
from llc.sampling.data import Columns, Data, Items, Samples
from llc.sampling.data_forms import check_data
from llc.sampling.gradient import Loss, check_losses
from llc.sampling.structure import leaves_of


def fitted(model: nn.Module, loss: Loss, data: Data, weights: Any = None) -> tuple[Loss, Columns | Items]:
    """A loss, and data in a form that it takes.

    One tensor of samples may be given alone or in a tuple: where the loss cannot take it as it was given, the other way
    is tried. Arrays of floats come in the type that the model's weights have. With weights the loss is

        ℓ'_ik = w_ik ℓ_ik / (Σ_ik w_ik / nK),   of which the mean is Σ w ℓ / Σ w

    Args:
        model: a copy in eval mode.
        loss: `loss(model, batch) -> (B,)`, one loss a sample, or (B, K), one a position.
        data: as for `check_data`.
        weights: (n,), one a sample, or (n, K), one a position, 0 for padding.

    Raises:
        InvalidInput: data or weights of another form.
    """
    found = check_data(data)
    if isinstance(found, Columns) and found.of_numpy:
        kind = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
        leaves = [
            _as_torch_has_it(leaf, kind) if place in found.of_numpy else leaf for place, leaf in enumerate(found.leaves)
        ]
        found = Columns(leaves, found.template)
    loss = _taking(model, loss, found)
    return (loss, found) if weights is None else _weighted(loss, found, weights)


def _as_torch_has_it(leaf: Tensor, kind: torch.dtype) -> Tensor:
    """Floats of NumPy in the type of the weights, whole numbers in that which PyTorch's losses ask of labels."""
    if leaf.is_floating_point():
        return leaf.to(kind)
    whole = not leaf.is_complex() and leaf.dtype not in {torch.bool, torch.uint8}
    return leaf.to(torch.int64) if whole else leaf


def try_loss(loss: Loss, model: nn.Module, batch: Any) -> Tensor:
    """The losses of a batch.

    Args:
        loss: called as `loss(model, batch)`.
        model: what it is called with.
        batch: samples, in the structure of the data.
    Raises:
        InvalidInput: it fails on it; what it was given is told.
    """
    try:
        found = loss(model, batch)
    except (LLCError, torch.OutOfMemoryError):
        raise
    except SystemExit as error:
        raise InvalidInput(ended_by(error)) from None
    except Exception as error:  # whatever a user's code may raise
        given = ", ".join(_said(leaf) for leaf in leaves_of(batch)) or "nothing"
        hint = ""
        if "dtype" in str(error) or "type" in str(error):
            kind = next((str(p.dtype) for p in model.parameters() if p.is_floating_point()), "torch.float32")
            hint = f"; the model's weights are {kind}, and labels are torch.int64 as a rule"
            if kind in {"torch.float16", "torch.bfloat16"}:
                hint = f"; the model's weights are {kind}, expected float32; call model.float() first"
        raise InvalidInput(
            f"the loss failed on a batch of samples with {given} ({type(error).__name__}: {error}); it is called as "
            f"loss(model, batch), with batch in the structure of data, whose first dimension is of samples{hint}"
        ) from error
    if not isinstance(found, Tensor) or found.layout != torch.strided:
        what = f"a tensor of layout {found.layout}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise InvalidInput(
            f"loss(model, batch) returned {what}, expected a dense tensor with one loss for each sample, or one a "
            "position; does it end with `return`?"
        )
    return found


def _said(leaf: Any) -> str:
    return f"{leaf.dtype} {tuple(leaf.shape)}" if isinstance(leaf, Tensor) else type(leaf).__name__


def _taking(model: nn.Module, loss: Loss, data: Columns | Items) -> Loss:
    """The loss, or where it cannot take a single tensor as it was given, the loss of that the other way."""
    samples = Samples(data, next(model.parameters()).device)
    few = samples.everything[: min(7, len(samples))]
    batch = samples.batch(few)
    if _repacked(batch) is None:
        return loss

    def losses(form: Loss) -> None:
        with torch.no_grad(), one_attention():
            check_losses(form(model, batch), len(few))

    try:
        losses(loss)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        other = Repacked(loss)
        try:
            losses(other)
        except Exception:
            try_loss(loss, model, batch)  # which says what it was given
            raise error from None
        return other
    return loss


def _repacked(batch: Any) -> Any:
    """A tensor out of its tuple or list of one, or into one; None where there is more than one."""
    if isinstance(batch, Tensor):
        return (batch,)
    if isinstance(batch, tuple | list) and len(batch) == 1 and isinstance(batch[0], Tensor):
        return batch[0]
    return None


@dataclass(frozen=True)
class Repacked:
    """A loss that is given its one tensor in a tuple where that comes alone, or the other way round."""

    loss: Loss

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """ℓ of a batch."""
        return self.loss(model, _repacked(batch))


@dataclass(frozen=True)
class Weighted:
    """A loss whose batches come with a weight for every loss."""

    loss: Loss

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """w·ℓ of a batch, 0 where w is, if ℓ and its gradient are finite there."""
        inner, weights = batch
        losses = self.loss(model, inner)
        check_losses(losses, len(weights))
        if weights.ndim == 1 and losses.ndim == 2:
            weights = weights[:, None]
        elif weights.shape != losses.shape:
            raise InvalidInput(
                f"sample_weights of shape (n, {', '.join(map(str, weights.shape[1:]))}) given for a loss of shape "
                f"{tuple(losses.shape)}, expected one weight for each loss, or one a sample"
            )
        return torch.where(weights > 0, losses, 0) * weights


class _WithWeights:
    """Items, each with its weights."""

    def __init__(self, items: Items, weights: Tensor) -> None:
        self._items, self._weights = items, weights

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: int) -> tuple[int, Tensor]:
        return number, self._weights[number]

    def collate(self, samples: list) -> tuple:
        """(the items' own batch, their weights)."""
        return self._items.batch(torch.tensor([number for number, _ in samples])), torch.stack([w for _, w in samples])


def _weighted(loss: Loss, data: Columns | Items, given: Any) -> tuple[Loss, Columns | Items]:
    expected = "expected a dense array of real numbers, (n,) or (n, K)"
    try:
        weights = torch.as_tensor(given).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"sample_weights of type {type(given).__name__} given, {expected}") from error
    if weights.layout != torch.strided or weights.is_nested or weights.is_complex():
        raise InvalidInput(f"sample_weights of {weights.dtype}, {weights.layout} given, {expected}")
    kind = torch.get_default_dtype() if not weights.is_floating_point() else weights.dtype
    if weights.ndim not in {1, 2} or len(weights) != len(data):
        raise InvalidInput(
            f"sample_weights of shape {tuple(weights.shape)} given, expected ({len(data)},), one a sample, or "
            f"({len(data)}, K), one a position"
        )
    weights = weights.to(kind)
    if not bool(weights.isfinite().all()) or bool((weights < 0).any()) or not bool(weights.sum() > 0):
        raise InvalidInput("sample_weights given that are negative, not finite or all 0, expected numbers >= 0")
    weights = weights / weights.double().mean().to(kind)
    if isinstance(data, Columns):
        leaves = (*data.leaves, weights)
        return Weighted(loss), Columns(leaves, (data.template, len(data.leaves)), data.of_numpy)
    items = _WithWeights(data, weights)
    return Weighted(loss), Items(items, items.collate, data.of)
