"""References for softmax regression with one question: `(xs, ys, x_q) -> (B,)`, ys in units of 1/L."""

import torch
from torch import Tensor

from llc.errors import InvalidInput
from llc.predictors.query import _examples


def softmax_regression_gradient(xs: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
    """Aᵀ(diag f − ffᵀ)(f − b), the gradient of ½‖f − b‖² for f = softmax(Aw). (B, D).

    Args:
        xs: A, (B, L, D), an example a row.
        shares: b, (B, L).
        weights: w, (B, D).

    Source: Li et al. (2023), arXiv 2304.13276.
    """
    f = torch.softmax((xs @ weights[..., None]).squeeze(-1), -1)
    apart = f - shares
    pulled = f * (apart - (f * apart).sum(-1, keepdim=True))
    return (xs * pulled[..., None]).sum(1)


def softmax_descent(xs: Tensor, ys: Tensor, query: Tensor, *, step: float, steps: int = 1) -> Tensor:
    """L exp(wᵀx_q)/Σ_j exp(wᵀx_j) with w after some steps of gradient descent from 0, each −η times the gradient. (B,).

    Args:
        ys: L times the share of each example, so that they average to one.
        step: η.
    Raises:
        InvalidInput: wrong shapes, or less than one step.
    """
    x, y, asked = _examples(xs, ys, query)
    if y.shape[2] != 1 or steps < 1:
        raise InvalidInput(f"ys {tuple(ys.shape)} and steps = {steps} given, expected (B, L) and 1 or more")
    shares, weights = y.squeeze(-1) / x.shape[1], torch.zeros_like(asked)
    for _ in range(steps):
        weights = weights - step * softmax_regression_gradient(x, shares, weights)
    return softmax_answer(x, asked, weights).to(ys)


def softmax_answer(xs: Tensor, query: Tensor, weights: Tensor) -> Tensor:
    """L exp(wᵀx_q)/Σ_j exp(wᵀx_j), (B,)."""
    logits = (xs @ weights[..., None]).squeeze(-1)
    return xs.shape[1] * torch.exp((query * weights).sum(-1) - torch.logsumexp(logits, -1))
