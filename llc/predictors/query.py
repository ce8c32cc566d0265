"""References for one question after a list of examples: `(xs, ys, x_q) -> (B,)`, or (B, 1, C) for C outputs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from llc.errors import InvalidInput, check_whole
from llc.predictors._checks import check_inputs, check_number, check_positive, float_dtype, solved


def examples_of(predictor: str, xs: Tensor, ys: Tensor, query: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Float64, ys with a last dimension for outputs; or InvalidInput with the shapes that were given."""
    check_inputs(predictor, xs=(xs, "BLD"), ys=(ys, "BL|BLC"), query=(query, "BD"))
    return xs.double(), ys.double() if ys.ndim == 3 else ys.double()[..., None], query.double()


def answered(found: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """(B, C) as the targets are: (B,) for one output, (B, 1, C) for several."""
    return (found[:, 0] if ys.ndim == 2 else found[:, None]).to(ys.device, float_dtype(xs, ys))


def one_step(
    xs: Tensor,
    ys: Tensor,
    query: Tensor,
    *,
    step: float,
    centred: bool = False,
    examples: int | None = None,
    preconditioner: Tensor | None = None,
) -> Tensor:
    """(η/L) Σ_l y_l (x_l − c)ᵀΓx_q: one step of gradient descent from 0 on ½(wᵀx_l − y_l)², averaged over l.

    Args:
        step: η.
        centred: whether c is the mean of the x_l, or 0.
        examples: L; None for as many as there are. Linear attention has that of its training, whatever it is shown.
        preconditioner: Γ, (D, D); None for I.

    Source: von Oswald et al. (2023), arXiv 2212.07677; with c, He et al. (2025), arXiv 2503.12734.
    """
    x, y, asked = examples_of("one_step", xs, ys, query)
    check_number("one_step", step=step)
    if examples is not None:
        check_whole("one_step: examples", examples, 1)
    away = x - x.mean(1, keepdim=True) if centred else x
    weights = away.mT @ y / (examples or x.shape[1])
    if preconditioner is not None:
        check_inputs("one_step", xs=(xs, "BLD"), preconditioner=(preconditioner, "DD"))
        weights = preconditioner.to(x).mT @ weights
    return answered(step * (weights * asked[..., None]).sum(1), xs, ys)


def ridge_query(
    xs: Tensor, ys: Tensor, query: Tensor, *, strength: float, supports: Sequence[Sequence[int]] | None = None
) -> Tensor:
    """x_qᵀ(Σ x_l x_lᵀ + λI)⁻¹ Σ x_l y_l, Bayes-optimal for w ~ N(0, τ²I) and noise σ² with λ = σ²/τ².

    Args:
        strength: λ > 0.
        supports: the coordinates that each output depends on; None for all.
    """
    x, y, asked = examples_of("ridge_query", xs, ys, query)
    check_positive("ridge_query", strength=strength)
    _check_supports(supports, x.shape[2], y.shape[2])
    found = []
    for output in range(y.shape[2]):
        chosen = list(range(x.shape[2])) if supports is None else list(supports[output])
        seen = x[:, :, chosen]
        eye = strength * torch.eye(len(chosen), dtype=x.dtype, device=x.device)
        weights = solved("ridge_query", seen.mT @ seen + eye, (seen.mT @ y[:, :, output, None]).squeeze(-1))
        found.append((weights * asked[:, chosen]).sum(1))
    return answered(torch.stack(found, 1), xs, ys)


def structured_softmax(xs: Tensor, ys: Tensor, query: Tensor, *, omegas: Tensor, mus: Tensor) -> Tensor:
    """Σ_h μ_h yᵀ softmax(ω_h X x_q), what one layer of softmax heads with aligned weights computes.

    Args:
        omegas, mus: of the heads, (H,) each.

    Source: He et al. (2025), arXiv 2503.12734.
    """
    x, y, asked = examples_of("structured_softmax", xs, ys, query)
    check_inputs("structured_softmax", omegas=(omegas, "H"), mus=(mus, "H"))
    scores = (x @ asked[..., None]).squeeze(-1)
    shares = torch.softmax(omegas.to(x)[:, None, None] * scores, -1)
    return answered(torch.einsum("h,hbl,blc->bc", mus.to(x), shares, y), xs, ys)


def matching_mean(xs: Tensor, ys: Tensor, query: Tensor) -> Tensor:
    """The mean y of the examples whose x is the question's; 0 where there are none. What is said of K features."""
    x, y, asked = examples_of("matching_mean", xs, ys, query)
    same = (x == asked[:, None]).all(-1).to(y)
    return answered((same[..., None] * y).sum(1) / same.sum(1).clamp(min=1)[:, None], xs, ys)


def zero_query(xs: Tensor, ys: Tensor, query: Tensor) -> Tensor:
    """0, in the shape of the answer."""
    _, y, _ = examples_of("zero_query", xs, ys, query)
    return answered(torch.zeros_like(y[:, 0]), xs, ys)


def _check_supports(supports: Sequence[Sequence[int]] | None, dim: int, outputs: int) -> None:
    known = range(dim)
    if supports is not None and not (len(supports) == outputs and all(set(known).issuperset(one) for one in supports)):
        raise InvalidInput(
            f"ridge_query: supports = {supports} given, expected for each of the {outputs} outputs some of the "
            f"coordinates 0 to {dim - 1}"
        )


def one_query(xs: Tensor, ys: Tensor, query: Tensor) -> Tensor:
    """1, in the shape of the answer."""
    _, y, _ = examples_of("one_query", xs, ys, query)
    return answered(torch.ones_like(y[:, 0]), xs, ys)
