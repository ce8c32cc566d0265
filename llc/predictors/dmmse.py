"""The discrete minimum-mean-squared-error predictor: Bayes-optimal when t is uniform on M known vectors."""

import torch
from torch import Tensor

from llc.errors import InvalidInput
from llc.predictors._checks import check_noise_variance, check_sequences, float_dtype

# Numbers held at once in one (sequences × tasks × positions) block of float64: 128 MiB.
_BLOCK_NUMBERS = 2**24


def dmmse(xs: Tensor, ys: Tensor, *, tasks: Tensor, noise_variance: float) -> Tensor:
    """Prediction k is t̂_kᵀx_k with

        t̂_k = Σ_m w_m t_m / Σ_m w_m,   w_m = exp(−1/(2σ²) Σ_{j<k} (y_j − t_mᵀx_j)²).

    Optimal on q_M (Raventós et al. 2023). Weights stay in log space and residuals are running sums, so it is exact in
    the tails and linear in K. Tasks and sequences are taken a block at a time, with the softmax over tasks merged
    from block to block, so memory is bounded for any M and B.

    Args:
        xs: (B, K, D).
        ys: (B, K).
        tasks: T_M, (M, D).
        noise_variance: σ² > 0.
    Returns:
        Predictions (B, K), in the dtype of ys, or of xs where ys are whole numbers; computed in float64.
    Raises:
        InvalidInput: wrong shapes or noise variance.
    """
    check_sequences("dmmse", xs, ys)
    check_noise_variance("dmmse", noise_variance)
    if tasks.ndim != 2 or tasks.shape[-1] != xs.shape[-1] or len(tasks) == 0:
        raise InvalidInput(f"dmmse: tasks {tuple(tasks.shape)} given, expected (M, {xs.shape[-1]}) with M at least 1")
    num_examples = xs.shape[1]
    task_block = min(len(tasks), 1024)
    row_block = max(1, _BLOCK_NUMBERS // (task_block * num_examples))
    rows = [
        _dmmse_rows(x.double(), y.double(), tasks.double(), noise_variance, task_block)
        for x, y in zip(xs.split(row_block), ys.split(row_block), strict=True)
    ]
    return torch.cat(rows).to(float_dtype(xs, ys))


def _dmmse_rows(x: Tensor, y: Tensor, tasks: Tensor, noise_variance: float, task_block: int) -> Tensor:
    """dMMSE of a few sequences in float64, as a softmax that is merged over blocks of tasks."""
    top = torch.full_like(y, -torch.inf)  # the largest log weight so far, (B, K)
    total = torch.zeros_like(y)  # Σ w, relative to exp(top)
    weighted = torch.zeros_like(y)  # Σ w tᵀx_k, relative to exp(top)
    for block in tasks.split(task_block):
        fitted = x @ block.T  # (B, K, m)
        squared = (y[..., None] - fitted).square()
        log_weight = (squared.cumsum(1) - squared) / (-2 * noise_variance)  # exclusive: pairs before k
        new_top = torch.maximum(top, log_weight.amax(-1))
        weight = torch.exp(log_weight - new_top[..., None])
        shrink = torch.exp(top - new_top)
        total = total * shrink + weight.sum(-1)
        weighted = weighted * shrink + (weight * fitted).sum(-1)
        top = new_top
    return weighted / total
