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
        variance: Var A. nbeta: ∂λ̂/∂log nβ. gamma: ∂λ̂/∂log γ.
    """

    variance: tuple[float, float]
    nbeta: tuple[float, float]
    gamma: tuple[float, float]


def second_moments(chains: Chains, nbeta: float, gamma: float, warmup: int, *, full_batch: bool) -> Moments:
    """With A = nβ(L_n(w) − L_n(w*)) and B = γ/2 ‖w − w*‖²,

        ∂λ̂/∂log nβ = λ̂ − Var A,   ∂λ̂/∂log γ = −Cov(A, B),

    both exact for p(w) ∝ exp(−A − B). On a plateau both vanish, and Var A is λ̂ without L_n(w*).

    Errors come from pieces of chains. From minibatches only the looks at the whole dataset are used, so that the
    minibatch's own variance is not in Var A.
    """
    kept = chains.survivors
    if full_batch:
        energy, distance = nbeta * chains.difference[kept, warmup:], chains.distance[kept, warmup:]
    else:
        late = chains.probed >= warmup
        energy, distance = nbeta * chains.full_difference[kept][:, late], chains.distance[kept][:, chains.probed[late]]
    prior = gamma / 2 * np.square(distance)
    if energy.size < 4 or energy.shape[1] < 2:
        nothing = (np.nan, np.nan)
        return Moments(nothing, nothing, nothing)
    pieces = max(1, min(_PIECES, energy.shape[1] // 8))
    size = energy.shape[1] // pieces
    a, b = (
        values[:, : size * pieces].reshape(-1, size) - values.mean(1, keepdims=True).repeat(pieces, 0)
        for values in (energy, prior)
    )
    level = energy[:, : size * pieces].reshape(-1, size).mean(1)
    longer = energy.shape[1] / max(1, energy.shape[1] - 1)
    variances, covariances = longer * (a * a).mean(1), longer * (a * b).mean(1)
    return Moments(_mean(variances), _mean(level - variances), _mean(-covariances))


def _mean(pieces: np.ndarray) -> tuple[float, float]:
    error = float(pieces.std(ddof=1) / np.sqrt(len(pieces))) if len(pieces) > 1 else np.nan
    return float(pieces.mean()), error
