"""Losses (B,) of the problems, by the names that cases give them."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def squared_errors(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """(B,): squared error summed over outputs."""
    x, y = batch
    return (model(x) - y).square().sum(-1)


def half_squared_errors(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """(B,): half the squared error."""
    x, y = batch
    return (model(x) - y).square().sum(-1) / 2


def mean_squared_errors(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """(B,): squared error averaged over outputs."""
    x, y = batch
    return (model(x) - y).square().mean(-1)


def coin_losses(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """(B,): −log p of labels 0 or 1, from one logit."""
    x, y = batch
    return functional.binary_cross_entropy_with_logits(model(x)[:, 0], y.to(x.dtype), reduction="none")


def choice_losses(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """(B,): −log p of labels 0 … C − 1, from C logits."""
    x, y = batch
    return functional.cross_entropy(model(x), y, reduction="none")


SQUARED: dict[str, Callable[..., Tensor]] = {
    "summed": squared_errors,
    "half": half_squared_errors,
    "mean": mean_squared_errors,
}


def squared_loss(residuals: Tensor, name: str) -> float:
    """The mean loss of residuals (n, K) under one of `SQUARED`."""
    share = {"summed": 1.0, "half": 0.5, "mean": 1 / residuals.shape[-1]}[name]
    return share * float(residuals.double().square().sum()) / len(residuals)


@torch.no_grad()
def mean_loss(model: nn.Module, loss: Callable[..., Tensor], data: Any) -> float:
    """The mean loss over all data, in float64 whatever the model's type is."""
    wide = copy.deepcopy(model).double()
    return float(loss(wide, tuple(part.double() if part.is_floating_point() else part for part in data)).mean())
