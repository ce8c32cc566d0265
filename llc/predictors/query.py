"""References for one question after a list of examples: `(xs, ys, x_q) -> (B,)`."""

import torch
from torch import Tensor

from llc.errors import InvalidInput


def _check(xs: Tensor, ys: Tensor, query: Tensor) -> None:
    if xs.ndim != 3 or ys.shape != xs.shape[:2] or query.shape != (len(xs), xs.shape[2]):
        raise InvalidInput(
            f"xs {tuple(xs.shape)}, ys {tuple(ys.shape)} and query {tuple(query.shape)} given, expected (B, L, D), "
            "(B, L) and (B, D)"
        )


def one_step(
    xs: Tensor, ys: Tensor, query: Tensor, *, step: float, centred: bool = False, examples: int | None = None
) -> Tensor:
    """(η/L) Σ_l y_l (x_l − c)ᵀx_q: one step of gradient descent from 0 on ½(wᵀx_l − y_l)², averaged over l.

    Args:
        step: η. centred: whether c is the mean of the x_l, or 0.
        examples: L; None for as many as there are. Linear attention has that of its training, whatever it is shown.

    Source: von Oswald et al. (2023), arXiv 2212.07677; with c, He et al. (2025), arXiv 2503.12734.
    """
    _check(xs, ys, query)
    x, y = xs.double(), ys.double()
    away = x - x.mean(1, keepdim=True) if centred else x
    weights = (away * y[..., None]).mean(1)
    factor = step * (1 if examples is None else xs.shape[1] / examples)
    return (factor * (weights * query.double()).sum(1)).to(ys)


def ridge_query(xs: Tensor, ys: Tensor, query: Tensor, *, strength: float) -> Tensor:
    """x_qᵀ(Σ x_l x_lᵀ + λI)⁻¹ Σ x_l y_l, Bayes-optimal for w ~ N(0, τ²I) and noise σ² with λ = σ²/τ².

    Args:
        strength: λ > 0.
    """
    _check(xs, ys, query)
    x, y = xs.double(), ys.double()
    eye = strength * torch.eye(x.shape[2], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(x.mT @ x + eye, (x.mT @ y[..., None])).squeeze(-1)
    return (weights * query.double()).sum(1).to(ys)


def structured_softmax(xs: Tensor, ys: Tensor, query: Tensor, *, omegas: Tensor, mus: Tensor) -> Tensor:
    """Σ_h μ_h yᵀ softmax(ω_h X x_q), what one layer of softmax heads with aligned weights computes.

    Args:
        omegas, mus: of the heads, (H,) each.

    Source: He et al. (2025), arXiv 2503.12734.
    """
    _check(xs, ys, query)
    scores = (xs.double() @ query.double()[..., None]).squeeze(-1)
    shares = torch.softmax(omegas.double()[:, None, None] * scores, -1)
    return (mus.double()[:, None] * (shares * ys.double()).sum(-1)).sum(0).to(ys)


def zero_query(xs: Tensor, ys: Tensor, query: Tensor) -> Tensor:
    """0, (B,)."""
    return torch.zeros_like(query[:, 0])
