"""Steps of GD++: gradient descent on the examples, whose x are transformed from step to step."""

import torch
from torch import Tensor

from llc.predictors._checks import check_inputs
from llc.predictors.query import answered, examples_of


def gd_plus_plus(xs: Tensor, ys: Tensor, query: Tensor, *, steps: Tensor, gammas: Tensor) -> Tensor:
    """T steps of gradient descent from w = 0, after each of which every x, the question's too, is transformed.

        f_q ← f_q + (η_t/L) Σ_l r_l x_lᵀx_q,   r_j ← r_j − (η_t/L) Σ_l r_l x_lᵀx_j,   x ← (I − (γ_t/L) Σ_l x_l x_lᵀ) x

    with residuals r that begin as y, and answers f that begin as 0. Without γ these are T steps of gradient descent on
    ½(wᵀx_l − y_l)², averaged over l; γ makes the examples' second moment nearer to a multiple of I.

    Args:
        xs, ys, query: (B, L, D), (B, L) or (B, L, C), (B, D).
        steps: η_t, (T,).
        gammas: γ_t, (T,); the last has no effect.
    Returns:
        (B,), or (B, 1, C).
    Raises:
        InvalidInput: other shapes, or what are no real numbers.

    Source: von Oswald et al. (2023), arXiv 2212.07677, appendix A.10.
    """
    x, y, asked = examples_of("gd_plus_plus", xs, ys, query)
    check_inputs("gd_plus_plus", steps=(steps, "T"), gammas=(gammas, "T"))
    moment, gradient = x.mT @ x / x.shape[1], x.mT @ y / x.shape[1]
    return answered(steps_of_moments(moment, gradient, asked, steps.to(x), gammas.to(x)), xs, ys)


def steps_of_moments(moment: Tensor, gradient: Tensor, asked: Tensor, steps: Tensor, gammas: Tensor) -> Tensor:
    """`gd_plus_plus` of M = Σ_l x_l x_lᵀ/L and g = Σ_l r_l x_l/L, which is all of the examples that it depends on.

        f_q ← f_q + η gᵀx_q,   g ← P (I − ηM) g,   x_q ← P x_q,   M ← P M P,   P = I − γM

    Args:
        moment, gradient, asked: (B, D, D), (B, D, C), (B, D).
        steps, gammas: (T,) each.
    Returns:
        (B, C).
    """
    answer = torch.zeros_like(gradient[:, 0])
    for step, gamma in zip(steps, gammas, strict=True):
        answer = answer + step * (asked[:, None] @ gradient)[:, 0]
        gradient = gradient - step * (moment @ gradient)
        gradient, asked = gradient - gamma * (moment @ gradient), asked - gamma * (moment @ asked[..., None])[..., 0]
        half = moment - gamma * (moment @ moment)
        moment = half - gamma * (half @ moment)
    return answer
