"""Attention as regression: what a query is told by the keys and values before it."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from llc.errors import check_whole
from llc.predictors._checks import check_inputs, check_positive

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(queries, keys, values) -> answers: (B, T, D), (B, T, D), (B, T, C) -> (B, T, C), query i from keys j ≤ i."""


def softmax_attention(
    queries: Tensor, keys: Tensor, values: Tensor, *, bandwidth: float, gaussian: bool = False
) -> Tensor:
    """Σ_j p_ij v_j, p_ij ∝ exp(q_iᵀk_j/h): the Nadaraya–Watson estimate.

    Args:
        bandwidth: h > 0.
        gaussian: whether weights are ∝ exp(−‖q_i − k_j‖²/2h) instead.
    Raises:
        InvalidInput: wrong shapes, or a bandwidth that is not positive.
    """
    _check("softmax_attention", queries, keys, values, bandwidth=bandwidth)
    return shares(queries, keys, bandwidth=bandwidth, gaussian=gaussian) @ values


def local_linear_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    bandwidth: float,
    ridge: float | Tensor,
    gaussian: bool = False,
    block: int | None = None,
) -> Tensor:
    """b of the line b + W(k − q_i) that fits values best near q_i.

        minimise ½ Σ_j p_ij ‖v_j − b − W(k_j − q_i)‖² + ½ λ‖W‖²,    p_ij as in `softmax_attention`
        b = v̄ − C_vk (C_kk + λI)⁻¹ (k̄ − q_i)

    with means and covariances under p_i. It is Σ_j s_ij v_j, see `local_linear_weights`. As λ → 0 it is exact where
    values are linear in keys of which enough have been seen; as λ → ∞ it is softmax attention.

    Args:
        bandwidth, gaussian: see `softmax_attention`.
        ridge: λ > 0; that of the paper is Σ_j exp(q_iᵀk_j/h) times it.
        block: queries and keys at a time, for memory O(T·(D² + block)) in place of O(T² + T·D²), also in the backward
            pass, which then computes everything again; None for all at once.
    Raises:
        InvalidInput: wrong shapes, or a bandwidth, ridge or block that is not positive.

    Source: Zuo et al. (2025), arXiv 2510.01450, whose algorithm holds more; by completing squares it comes to this.
    """
    _check("local_linear_attention", queries, keys, values, bandwidth=bandwidth, ridge=ridge)
    if block is not None:
        check_whole("local_linear_attention: block", block, 1)
    # Covariances stay as they are when keys and queries move together, and near 0 they keep their digits.
    middle = keys[:, :1]
    if block is None:
        p = shares(queries, keys, bandwidth=bandwidth, gaussian=gaussian)
        sums = p @ _moments(keys - middle, values)
        return _from_moments(sums, queries - middle, values.shape[-1], ridge)
    single = torch.promote_types(queries.dtype, torch.float32)
    parts = [part.to(single) for part in (queries, keys, values, middle)]
    strength = torch.as_tensor(ridge, dtype=single, device=queries.device)
    return _Blockwise.apply(block, bandwidth, gaussian, *parts, strength)


def local_linear_weights(
    queries: Tensor, keys: Tensor, *, bandwidth: float, ridge: float | Tensor, gaussian: bool = False
) -> Tensor:
    """s_ij = p_ij (1 − (k_j − k̄)ᵀ(C_kk + λI)⁻¹(k̄ − q_i)), which sum to one over j. (B, T, T); some are negative."""
    _check("local_linear_weights", queries, keys, keys, bandwidth=bandwidth, ridge=ridge)
    eye = torch.eye(keys.shape[1]).to(keys).expand(len(keys), -1, -1)
    return local_linear_attention(queries, keys, eye, bandwidth=bandwidth, ridge=ridge, gaussian=gaussian)


def least_squares_attention(queries: Tensor, keys: Tensor, values: Tensor, *, ridge: float | Tensor) -> Tensor:
    """(Σ_j v_j k_jᵀ)(Σ_j k_j k_jᵀ + λI)⁻¹ q_i: ridge regression on all that came before.

    Source: MesaNet, von Oswald et al. (2025), arXiv 2506.05233, without forgetting.
    """
    _check("least_squares_attention", queries, keys, values, ridge=ridge)
    squares = (keys[..., :, None] * keys[..., None, :]).cumsum(1)
    products = (keys[..., :, None] * values[..., None, :]).cumsum(1)
    weights = _solve(squares, products, ridge)
    return (queries[..., None, :] @ weights).squeeze(-2)


def linear_attention(queries: Tensor, keys: Tensor, values: Tensor, *, normalised: bool = False) -> Tensor:
    """Σ_j (q_iᵀk_j) v_j; or Σ_j φ(q_i)ᵀφ(k_j) v_j / Σ_j φ(q_i)ᵀφ(k_j), φ = 1 + elu, whose weights sum to one.

    Source: Katharopoulos et al. (2020), arXiv 2006.16236.
    """
    _check("linear_attention", queries, keys, values)
    if normalised:
        queries, keys = _positive(queries), _positive(keys)
    scores = (queries @ keys.mT).tril()
    return (scores / scores.sum(-1, keepdim=True) if normalised else scores) @ values


def _positive(x: Tensor) -> Tensor:
    """1 + elu(x), which in that form is 0 in single precision from −17 on."""
    return torch.where(x > 0, 1 + x, x.clamp(max=0).exp())


def shares(queries: Tensor, keys: Tensor, *, bandwidth: float, gaussian: bool = False) -> Tensor:
    """p_ij, (B, T, T); see `softmax_attention`."""
    scores = _scores(queries, keys, bandwidth, gaussian)
    future = torch.full(scores.shape[-2:], -math.inf, dtype=scores.dtype, device=scores.device).triu(1)
    return torch.softmax(scores + future, -1)


def _scores(queries: Tensor, keys: Tensor, bandwidth: float, gaussian: bool) -> Tensor:
    scores = queries @ keys.mT
    if gaussian:  # what a query's own length adds is the same for all keys
        scores = scores - keys.square().sum(-1)[..., None, :] / 2
    return scores / bandwidth


def _moments(keys: Tensor, values: Tensor) -> Tensor:
    """k, v, kkᵀ and vkᵀ side by side, (B, T, D + C + D² + CD): their means are all that is needed."""
    squares = (keys[..., :, None] * keys[..., None, :]).flatten(-2)
    products = (values[..., :, None] * keys[..., None, :]).flatten(-2)
    return torch.cat([keys, values, squares, products], -1)


def _from_moments(means: Tensor, queries: Tensor, outputs: int, ridge: float | Tensor) -> Tensor:
    """The answers from the means of `_moments` under each query's weights."""
    dim = queries.shape[-1]
    k, v, kk, vk = means.split([dim, outputs, dim * dim, outputs * dim], -1)
    kk = kk.unflatten(-1, (dim, dim)) - k[..., :, None] * k[..., None, :]
    vk = vk.unflatten(-1, (outputs, dim)) - v[..., :, None] * k[..., None, :]
    return v - (vk @ _solve(kk, (k - queries)[..., None], ridge)).squeeze(-1)


def _solve(matrix: Tensor, right: Tensor, ridge: float | Tensor) -> Tensor:
    """(A + λI)⁻¹ B for A of no negative eigenvalues."""
    dtype = torch.promote_types(matrix.dtype, torch.float32)  # no other is solved in
    eye = torch.eye(matrix.shape[-1]).to(matrix.device, dtype)
    # Where λ is so small that rounding leaves nothing to invert, an answer that is not finite: a lost chain, no error.
    return torch.linalg.solve_ex(matrix.to(dtype) + ridge * eye, right.to(dtype))[0].to(right.dtype)


class _Blockwise(torch.autograd.Function):
    """Blocks of answers one after another, of which no graph is kept: the backward pass makes each block's again.

    Checkpoints of torch keep a graph without its numbers, which for many blocks is more than the numbers.
    """

    @staticmethod
    def forward(ctx: Any, block: int, bandwidth: float, gaussian: bool, *parts: Tensor) -> Tensor:
        ctx.save_for_backward(*parts)
        ctx.how = block, bandwidth, gaussian
        with torch.autocast(parts[0].device.type, enabled=False):
            return torch.cat(
                [_answer_block(parts, places, block, bandwidth, gaussian) for places in _places(parts, block)], 1
            )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        block, bandwidth, gaussian = ctx.how
        wanted = [i for i, needed in enumerate(ctx.needs_input_grad[3:]) if needed]
        totals: list[Tensor | None] = [None] * len(ctx.saved_tensors)
        again = torch.is_grad_enabled()  # for a second derivative
        with torch.enable_grad(), torch.autocast(gradients[0].device.type, enabled=False):
            parts = ctx.saved_tensors
            if not again:
                parts = tuple(part.detach().requires_grad_(i in wanted) for i, part in enumerate(parts))
            for places in _places(parts, block):
                answer = _answer_block(parts, places, block, bandwidth, gaussian)
                by = [parts[i] for i in wanted]
                found = torch.autograd.grad(answer, by, gradients[0][:, places], create_graph=again)
                for i, part in zip(wanted, found, strict=True):
                    before = totals[i]
                    totals[i] = part if before is None else before + part
        return (None, None, None, *totals)


def _places(parts: Sequence[Tensor], block: int) -> list[slice]:
    """Of queries, so many at a time."""
    length = parts[0].shape[1]
    return [slice(start, min(start + block, length)) for start in range(0, length, block)]


def _answer_block(parts: Sequence[Tensor], places: slice, block: int, bandwidth: float, gaussian: bool) -> Tensor:
    """Answers to the queries of some places, over blocks of keys, each rescaled to the largest score so far."""
    queries, keys, values, middle, ridge = parts
    start, stop = places.start, places.stop
    asking = queries[:, start:stop]
    highest = asking.new_full((*asking.shape[:2], 1), -math.inf)
    total, sums = torch.zeros_like(highest), torch.zeros_like(highest)
    for first in range(0, stop, block):
        last = min(first + block, stop)
        scores = _scores(asking, keys[:, first:last], bandwidth, gaussian)
        ahead = torch.arange(first, last, device=keys.device) > torch.arange(start, stop, device=keys.device)[:, None]
        scores = scores.masked_fill(ahead, -math.inf)
        higher = torch.maximum(highest, scores.detach().amax(-1, keepdim=True))
        weights, kept = torch.exp(scores - higher), torch.exp(highest - higher)
        total = total * kept + weights.sum(-1, keepdim=True)
        sums = sums * kept + weights @ _moments(keys[:, first:last] - middle, values[:, first:last])
        highest = higher
    return _from_moments(sums / total, asking - middle, values.shape[-1], ridge)


def _check(attention: str, queries: Tensor, keys: Tensor, values: Tensor, **numbers: float | Tensor) -> None:
    check_inputs(attention, alike=True, queries=(queries, "BTD"), keys=(keys, "BTD"), values=(values, "BTC"))
    check_positive(attention, **numbers)
