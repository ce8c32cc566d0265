"""The tradeoff of loss and complexity between two solutions, in plain numbers.

−log Z_n(U) = n ℓ(u) + λ(u) log n + …: of a simple, less accurate solution u and a complex, more accurate v the Bayesian
posterior prefers the simple one as long as there are few samples (Carroll et al. 2025, arXiv 2501.17745).
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import lambertw

from llc.development.boundaries import check_resamples

_ENDS = (0.05, 0.95)


def log_odds(samples: np.ndarray, delta_loss: np.ndarray, delta_llc: np.ndarray) -> np.ndarray:
    """log p(U)/p(V) = n Δℓ + Δλ log n, with Δ = (value at v) − (value at u).

    Args:
        samples: n.
        delta_loss: Δℓ, in units of the negative log-likelihood of one sample.
        delta_llc: Δλ.
    """
    return samples * delta_loss + delta_llc * np.log(samples)


def preference_turns(delta_loss: np.ndarray | float, delta_llc: np.ndarray | float) -> np.ndarray:
    """The n from which v is preferred to u: the larger root of n Δℓ + Δλ log n = 0.

    With a = −Δℓ/Δλ it is where log n / n falls to a, n = −W₋₁(−a)/a. For a ≥ 1/e the accurate solution is preferred at
    every n, and the n is 1. Where v is not both more accurate and more complex there is nothing to trade: NaN.
    """
    delta_loss, delta_llc = np.broadcast_arrays(np.asarray(delta_loss, float), np.asarray(delta_llc, float))
    trade = (delta_loss < 0) & (delta_llc > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(trade, -delta_loss / delta_llc, np.nan)
        turn = np.where(rate < 1 / np.e, -lambertw(-rate, -1).real / rate, 1.0)
    return np.where(trade, turn, np.nan)


@dataclass(frozen=True)
class Measured:
    """A number with its standard error."""

    value: float
    error: float

    def __sub__(self, other: "Measured") -> "Measured":
        return Measured(self.value - other.value, float(np.hypot(self.error, other.error)))


@dataclass(frozen=True)
class Turn:
    """The n at which preference turns, with its 90 % interval; `share` of the draws of Δℓ and Δλ have one at all."""

    value: float
    low: float
    high: float
    share: float


def turn_with_interval(loss: Measured, llc: Measured, *, resamples: int = 4000, seed: int = 0) -> Turn:
    """`preference_turns` for Δℓ and Δλ that have errors: quantiles over normal draws of both.

    Draws without a tradeoff have no n: they count as 0 where v is more accurate and simpler, so never loses, and as ∞
    where it is less accurate, so never wins. An interval that reaches there says so.
    """
    rng = np.random.default_rng(seed)
    losses = loss.value + loss.error * rng.standard_normal(resamples)
    llcs = llc.value + llc.error * rng.standard_normal(resamples)
    turns = preference_turns(losses, llcs)
    share = float(np.isfinite(turns).mean())
    turns = np.where(np.isfinite(turns), turns, np.where(losses < 0, 0.0, np.inf))
    low, high = np.quantile(turns, _ENDS, method="inverted_cdf")
    return Turn(float(preference_turns(loss.value, llc.value)), float(low), float(high), share)


def rank_correlation(
    first: np.ndarray, second: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Spearman's ρ of two quantities over runs, with its 90 % interval by bootstrap.

    NaN with fewer than four runs, or where one quantity is the same for all.

    Raises:
        InvalidInput: resamples or a seed out of range.
    """
    check_resamples(resamples, seed)
    known = np.isfinite(first) & np.isfinite(second)
    pair = (np.asarray(first, float)[known], np.asarray(second, float)[known])

    def varied(*values: np.ndarray) -> bool:
        return all(np.ptp(one) > 0 for one in values)

    def correlation(one: np.ndarray, other: np.ndarray) -> float:
        return float(stats.spearmanr(one, other).statistic) if varied(one, other) else 0.0

    if len(pair[0]) < 4 or not varied(*pair):
        return (np.nan, np.nan, np.nan)

    found = stats.bootstrap(
        pair, correlation, paired=True, vectorized=False, n_resamples=resamples, confidence_level=0.9,
        method="percentile", rng=np.random.default_rng(seed),
    )  # fmt: skip
    return correlation(*pair), float(found.confidence_interval.low), float(found.confidence_interval.high)
