"""Ridge regression on the pairs so far: the Bayes-optimal predictor under t ~ N(0, I)."""

import torch
from torch import Tensor

from llc.predictors._checks import check_noise_variance, check_sequences, float_dtype, solved


def ridge(xs: Tensor, ys: Tensor, *, noise_variance: float) -> Tensor:
    """Prediction k is t̂_kᵀx_k with

        t̂_k = (Σ_{j<k} x_j x_jᵀ + σ²I)⁻¹ Σ_{j<k} x_j y_j,   t̂_1 = 0.

    Optimal on q_∞ for any distribution of x (Raventós et al. 2023). Computed in float64 from running sums, so the
    cost is linear in K; memory is O(B K D²).

    Args:
        xs: (B, K, D).
        ys: (B, K).
        noise_variance: σ² > 0.
    Returns:
        Predictions (B, K), in the dtype of ys, or of xs where ys are whole numbers.
    Raises:
        InvalidInput: wrong shapes, or a noise variance that is none or lost in rounding.
    """
    check_sequences("ridge", xs, ys)
    check_noise_variance("ridge", noise_variance)
    x, y = xs.double(), ys.double()
    # Exclusive running sums: what has been seen before position k.
    outer = x[..., :, None] * x[..., None, :]
    gram = outer.cumsum(1) - outer
    moment = x * y[..., None]
    moment = moment.cumsum(1) - moment
    eye = noise_variance * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    estimate = solved("ridge", gram + eye, moment)
    return (estimate * x).sum(-1).to(float_dtype(xs, ys))
