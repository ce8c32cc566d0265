"""References for pairs, each y of which is asked for after those before it: `(xs, ys) -> (B, K)`."""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from llc.errors import check_whole
from llc.extras import needed_by
from llc.predictors._checks import check_finite, check_positive, check_sequences, float_dtype


def least_squares_so_far(xs: Tensor, ys: Tensor) -> Tensor:
    """t̂_kᵀx_k with the t̂_k of least norm that fits the pairs before best; 0 at first. (B, K).

    Raises:
        InvalidInput: wrong shapes, or numbers out of range; so do all in this file.
    """
    check_sequences("least_squares_so_far", xs, ys)
    check_finite("least_squares_so_far", xs=xs, ys=ys)
    x, y = xs.double(), ys.double()
    said = [torch.zeros_like(y[:, 0])]
    for seen in range(1, x.shape[1]):
        weights = torch.linalg.pinv(x[:, :seen], rtol=_rounding(xs)) @ y[:, :seen, None]
        said.append((x[:, seen] * weights.squeeze(-1)).sum(-1))
    return torch.stack(said, 1).to(float_dtype(xs, ys))


def _rounding(xs: Tensor) -> float:
    """Singular values below this share of the largest are rounding of the data, in whatever precision they came."""
    dtype = xs.dtype if xs.is_floating_point() else torch.get_default_dtype()
    return max(xs.shape[1:]) * torch.finfo(dtype).eps


def averaging(xs: Tensor, ys: Tensor) -> Tensor:
    """t̂_kᵀx_k with t̂_k the mean of y_j x_j, j < k; 0 at first. (B, K)."""
    check_sequences("averaging", xs, ys)
    x, y = xs.double(), ys.double()
    counts = torch.arange(x.shape[1], device=x.device).clamp(min=1)[:, None]
    weights = _before(x * y[..., None]) / counts
    return (weights * x).sum(-1).to(float_dtype(xs, ys))


def nearest_neighbours(xs: Tensor, ys: Tensor, *, neighbours: int = 3) -> Tensor:
    """The mean y of the nearest x before, of all where there are fewer; 0 at first. (B, K)."""
    check_sequences("nearest_neighbours", xs, ys)
    check_whole("nearest_neighbours: neighbours", neighbours, 1)
    x, y = xs.double(), ys.double()
    said = [torch.zeros_like(y[:, 0])]
    for seen in range(1, x.shape[1]):
        apart = (x[:, :seen] - x[:, seen, None]).square().sum(-1)
        near = apart.topk(min(neighbours, seen), largest=False).indices
        said.append(y[:, :seen].gather(1, near).mean(1))
    return torch.stack(said, 1).to(float_dtype(xs, ys))


def descent(xs: Tensor, ys: Tensor, *, steps: int, preprocessed: bool = False) -> Tensor:
    """ŵ_kᵀx_k with ŵ_k after some steps of gradient descent from 0 on the mean of ½(wᵀx_j − y_j)², j < k. (B, K).

        w ← w − (G w − g)/λ_max(G),   G = (1/n) Σ x_j x_jᵀ,  g = (1/n) Σ y_j x_j

    Args:
        preprocessed: whether x is scaled to diag(g) x first, so that coordinates which tell of y go faster.

    Source: Chen et al. (2024), arXiv 2408.04532, for the scaling; the rate 1/λ_max is this package's.
    """
    check_sequences("descent", xs, ys)
    check_finite("descent", xs=xs, ys=ys)
    check_whole("descent: steps", steps, 1)
    x, y = xs.double(), ys.double()
    counts = torch.arange(x.shape[1], device=x.device).clamp(min=1)
    gram = _before(x[..., :, None] * x[..., None, :]) / counts[:, None, None]
    moment = _before(x * y[..., None]) / counts[:, None]
    scale = moment if preprocessed else torch.ones_like(moment)
    gram, moment = gram * scale[..., :, None] * scale[..., None, :], moment * scale
    rate = 1 / torch.linalg.eigvalsh(gram)[..., -1:].clamp(min=1e-300)
    weights = torch.zeros_like(moment)
    for _ in range(steps):
        weights = weights - rate * ((gram @ weights[..., None]).squeeze(-1) - moment)
    return (weights * scale * x).sum(-1).to(float_dtype(xs, ys))


def lasso(xs: Tensor, ys: Tensor, *, penalty: float) -> Tensor:
    """ŵ_kᵀx_k with the ŵ_k that minimises (1/2n) Σ (wᵀx_j − y_j)² + α‖w‖₁ over the n pairs before; 0 at first. (B, K).

    By scikit-learn.

    Args:
        penalty: α > 0.
    """
    with needed_by("lasso"):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import Lasso

    check_positive("lasso", penalty=penalty)
    # Where there are fewer pairs than coordinates the default tolerance is off by a tenth, and hardly faster.
    model = Lasso(alpha=penalty, fit_intercept=False, tol=1e-8, max_iter=20_000)
    with warnings.catch_warnings():  # of one pair of two coordinates that are all but alike, either of which will do
        warnings.simplefilter("ignore", ConvergenceWarning)
        return _fitted("lasso", xs, ys, model.fit, model.predict)


def decision_tree(xs: Tensor, ys: Tensor) -> Tensor:
    """What a regression tree says that is grown greedily on the signs of the coordinates before; 0 at first. (B, K).

    By scikit-learn; of signs, since that is what the trees of the task ask for.
    """
    with needed_by("decision_tree"):
        from sklearn.tree import DecisionTreeRegressor

    model = DecisionTreeRegressor(random_state=0)
    check_sequences("decision_tree", xs, ys)
    check_finite("decision_tree", xs=xs)  # the sign of no number is 0
    return _fitted("decision_tree", xs.sign(), ys, model.fit, model.predict)


def _fitted(
    name: str,
    xs: Tensor,
    ys: Tensor,
    fit: Callable[[np.ndarray, np.ndarray], object],
    predict: Callable[[np.ndarray], np.ndarray],
) -> Tensor:
    """Every position's answer by a model that is fitted to what came before it."""
    check_sequences(name, xs, ys)
    check_finite(name, xs=xs, ys=ys)
    x, y = xs.double().cpu().numpy(), ys.double().cpu().numpy()
    said = np.zeros_like(y)
    for row in range(len(x)):
        for seen in range(1, x.shape[1]):
            fit(x[row, :seen], y[row, :seen])
            said[row, seen] = predict(x[row, seen : seen + 1])[0]
    return torch.from_numpy(said).to(ys.device, float_dtype(xs, ys))


def _before(parts: Tensor) -> Tensor:
    """Running sums over positions, without a position's own."""
    return parts.cumsum(1) - parts
