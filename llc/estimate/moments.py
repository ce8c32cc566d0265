"""Second moments of the draws: how λ̂ would move with nβ and γ, and the variance-type estimate."""

from dataclasses import dataclass

import numpy as np

from llc.sampling import Chains

# Pieces that a chain is cut into for errors of second moments.
_PIECES = 4


@dataclass(frozen=True)
class Moments:
    """Each with its standard error.

    Attributes:
        variance: Var A.
        nbeta: ∂λ̂/∂log nβ.
        gamma: ∂λ̂/∂log γ.
    """

    variance: tuple[float, float]
    nbeta: tuple[float, float]
    gamma: tuple[float, float]


def second_moments(chains: Chains, nbeta: float, gamma: float, warmup: int, *, full_batch: bool) -> Moments:
    """With A = nβ(L_n(w) − L_n(w*)) and B = γ/2 ‖w − w*‖²,

        ∂λ̂/∂log nβ = λ̂ − Var A,   ∂λ̂/∂log γ = −Cov(A, B),

    both exact for p(w) ∝ exp(−A − B). On a plateau both vanish, and Var A is λ̂ without L_n(w*).

    Errors come from pieces of chains. From minibatches, Var A takes only the looks at the whole dataset, so that the
    minibatch's own variance is not in it; a covariance with B is free of that anyway.
    """
    kept = chains.survivors
    energy, distance = nbeta * chains.difference[kept, warmup:], chains.distance[kept, warmup:]
    _, gamma_slope = _covariance(energy, gamma / 2 * np.square(distance))
    if not full_batch:
        energy = nbeta * chains.full_difference[kept][:, chains.full_at >= warmup]
    levels, variances = _covariance(energy, energy)
    return Moments(_mean(variances), _mean(levels - variances), _mean(-gamma_slope))


def _covariance(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of pieces of chains, about the chains' own means: the mean of `one`, and the covariance, (piece,) each."""
    chains, draws = one.shape
    if chains == 0 or draws < 4:
        return np.array([]), np.array([])
    pieces = max(1, min(_PIECES, draws // 4))
    size = draws // pieces
    a, b = ((values - values.mean(1, keepdims=True))[:, : size * pieces].reshape(-1, size) for values in (one, other))
    return one[:, : size * pieces].reshape(-1, size).mean(1), draws / (draws - 1) * (a * b).mean(1)


def _mean(pieces: np.ndarray) -> tuple[float, float]:
    if not len(pieces):
        return np.nan, np.nan
    return float(pieces.mean()), float(pieces.std(ddof=1) / np.sqrt(len(pieces))) if len(pieces) > 1 else np.nan
