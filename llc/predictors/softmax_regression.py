"""References for softmax regression with one question: `(xs, ys, x_q) -> (B,)`, ys in units of 1/L."""

import torch
from torch import Tensor

from llc.errors import check_whole
from llc.predictors._checks import check_inputs, check_number, float_dtype
from llc.predictors.query import examples_of


def softmax_regression_gradient(xs: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
    """Aᵀ(diag f − ffᵀ)(f − b), the gradient of ½‖f − b‖² for f = softmax(Aw). (B, D).

    Args:
        xs: A, (B, L, D), an example a row.
        shares: b, (B, L).
        weights: w, (B, D).

    Source: Li et al. (2023), arXiv 2304.13276.
    """
    check_inputs(
        "softmax_regression_gradient", alike=True, xs=(xs, "BLD"), shares=(shares, "BL"), weights=(weights, "BD")
    )
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
    check_inputs("softmax_descent", xs=(xs, "BLD"), ys=(ys, "BL"), query=(query, "BD"))
    check_whole("softmax_descent: steps", steps, 1)
    check_number("softmax_descent", step=step)
    x, y, asked = examples_of("softmax_descent", xs, ys, query)
    shares, weights = y.squeeze(-1) / x.shape[1], torch.zeros_like(asked)
    for _ in range(steps):
        weights = weights - step * softmax_regression_gradient(x, shares, weights)
    return softmax_answer(x, asked, weights).to(ys.device, float_dtype(xs, ys))


def softmax_answer(xs: Tensor, query: Tensor, weights: Tensor) -> Tensor:
    """L exp(wᵀx_q)/Σ_j exp(wᵀx_j), (B,)."""
    check_inputs("softmax_answer", alike=True, xs=(xs, "BLD"), query=(query, "BD"), weights=(weights, "BD"))
    logits = (xs @ weights[..., None]).squeeze(-1)
    return xs.shape[1] * torch.exp((query * weights).sum(-1) - torch.logsumexp(logits, -1))
