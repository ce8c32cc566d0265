"""Moments of what draws show, with errors from pieces of the chains: a delete-a-piece jackknife."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats
from scipy import stats

from llc.estimate.diagnostics import INTERVAL

# A piece is so many autocorrelation times long, so that pieces are about independent, …
_TIMES = 10
# … and a chain is cut into so many at most.
_MOST_PIECES, _LEAST_PIECES = 16, 2
# Numbers that are worked on at once.
_BLOCK = 2**23


@dataclass(frozen=True)
class Cut:
    """How chains are cut.

    Attributes:
        chains: how many.
        pieces: of each chain.
        length: draws in a piece.
        effective: draws that are worth an independent one, of all chains.
    """

    chains: int
    pieces: int
    length: int
    effective: float

    @property
    def number(self) -> int:
        """Pieces in all, G."""
        return self.chains * self.pieces

    @property
    def reach(self) -> float:
        """Standard errors from the middle of a 90 % interval to its end: of Student's t with G − 1 degrees."""
        return float(stats.t.ppf(0.5 + INTERVAL / 2, self.number - 1))

    def of(self, values: np.ndarray) -> np.ndarray:
        """(chain, draw, …) as (chain, piece, length, …), float64; the first draws, which fill no piece, go."""
        kept = values[:, values.shape[1] - self.pieces * self.length :]
        return np.asarray(kept, np.float64).reshape(self.chains, self.pieces, self.length, *values.shape[2:])


def cut(*traces: np.ndarray) -> Cut:
    """Pieces as long as the slowest thing that is known of the draws asks for: each trace, and each product of two.

    Args:
        traces: (chain, draw), of mean losses.
    """
    chains, draws = traces[0].shape
    centred = [trace - trace.mean(1, keepdims=True) for trace in traces]
    products = [one * other for one, other in itertools.combinations_with_replacement(centred, 2)]
    sizes = [float(array_stats.ess(one, method="mean")) for one in (*traces, *products)]
    effective = float(np.clip(np.nanmin([*sizes, chains * draws]), 1, chains * draws))
    time = chains * draws / effective
    pieces = int(np.clip(draws / (_TIMES * time), _LEAST_PIECES, _MOST_PIECES))
    return Cut(chains, pieces, draws // pieces, effective)


@dataclass(frozen=True)
class Found:
    """Numbers with their standard errors."""

    value: np.ndarray
    se: np.ndarray

    def scaled(self, factor: float) -> "Found":
        """Times a number."""
        return Found(factor * self.value, abs(factor) * self.se)

    def cooled(self, heat: float) -> "Found":
        """A second moment without the share that step size and minibatches have added to all of them on average.

        Single ones may have got half as much or half as much again: an error of half the share.
        """
        cold = self.scaled(1 / (1 + heat))
        return Found(cold.value, np.hypot(cold.se, heat / 2 * np.abs(cold.value)))


def jackknife(whole: np.ndarray, without: np.ndarray) -> Found:
    """A statistic of all pieces, and of all but one, (G, …): its value with the bias of order 1/draws off, its error.

        θ̂ = Gθ − (G − 1) θ̄,   se² = (G − 1)/G Σ_g (θ_{−g} − θ̄)²

    Künsch (1989), The Annals of Statistics 17, 1217.
    """
    pieces = len(without)
    mean = without.mean(0)
    square = np.square(without - mean).sum(0)
    return Found(pieces * whole - (pieces - 1) * mean, np.sqrt((pieces - 1) / pieces * square))


def mean(values: np.ndarray, how: Cut) -> Found:
    """E of each of (chain, draw, …)."""
    flat = values.reshape(*values.shape[:2], -1)
    value, se = np.empty(flat.shape[2]), np.empty(flat.shape[2])
    for block in blocks(flat.shape[2], flat.shape[0] * flat.shape[1]):
        with np.errstate(invalid="ignore"):  # of losses that are not finite, whose mean is none
            of_pieces = how.of(_finite(flat[:, :, block])).mean(2).reshape(how.number, -1)
        value[block], se[block] = of_pieces.mean(0), of_pieces.std(0, ddof=1) / np.sqrt(how.number)
    return Found(value.reshape(values.shape[2:]), se.reshape(values.shape[2:]))


def covariance(
    one: np.ndarray,
    other: np.ndarray,
    how: Cut,
    *,
    minus: np.ndarray | None = None,
    pooled: bool = False,
    normalised: bool = False,
) -> Found:
    """Cov of each of one with each of the other, (chain, draw, n) and (chain, draw, m): (n, m).

    Args:
        minus: taken off all of one first, (chain, draw, 1).
        pooled: about the mean of all chains, as others define it, and no bias off; otherwise each chain's draws are
            taken about its own mean, so that chains which stand in different places add nothing.
        normalised: divided by both standard deviations (Pearson's correlation); NaN where one of them is 0.
    """
    right = _centred(how.of(_finite(other)), pooled)
    shape = one.shape[2], other.shape[2]
    value, se = np.empty(shape), np.empty(shape)
    variances = _variances(right, how, pooled) if normalised else None
    for block in blocks(shape[0], how.number * shape[1] + one.shape[0] * one.shape[1]):
        values = _finite(one[:, :, block])
        left = _centred(how.of(values if minus is None else values - minus), pooled)
        products = np.einsum("cklx,ckly->ckxy", left, right, optimize=True)
        whole, without = _left_out(products, left.sum(2), right.sum(2), how, pooled)
        if variances is not None:
            own = _variances(left, how, pooled)
            with np.errstate(invalid="ignore", divide="ignore"):
                whole, without = (
                    moments / np.sqrt(mine[..., :, None] * others[..., None, :])
                    for moments, mine, others in zip((whole, without), own, variances, strict=True)
                )
        found = jackknife(whole, without)
        value[block], se[block] = whole if pooled else found.value, found.se
    return Found(value, se)


def _finite(values: np.ndarray) -> np.ndarray:
    """NaN in place of what is infinite, which has no mean either."""
    return values if np.isfinite(values).all() else np.where(np.isfinite(values), values, np.nan)


def variances(values: np.ndarray, how: Cut) -> tuple[np.ndarray, np.ndarray]:
    """Var of each of (chain, draw, n) about its chains' means, (n,), and without each piece, (G, n)."""
    return _variances(_centred(how.of(values), pooled=False), how, pooled=False)


def blocks(number: int, of_each: int) -> Iterator[slice]:
    """Slices of a number of things, of each of which so many numbers are at work."""
    size = max(1, _BLOCK // max(1, of_each))
    return (slice(start, min(start + size, number)) for start in range(0, number, size))


def _centred(pieces: np.ndarray, pooled: bool) -> np.ndarray:
    """About the mean of all draws, or of each chain's."""
    return pieces - pieces.mean((0, 1, 2) if pooled else (1, 2), keepdims=True)


def _variances(pieces: np.ndarray, how: Cut, pooled: bool) -> tuple[np.ndarray, np.ndarray]:
    sums = pieces.sum(2)
    return _left_out(np.square(pieces).sum(2), sums, sums, how, pooled, outer=np.multiply)


def _outer(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one[..., :, None] * other[..., None, :]


def _left_out(
    products: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    how: Cut,
    pooled: bool,
    *,
    outer: Callable[[np.ndarray, np.ndarray], np.ndarray] = _outer,
) -> tuple[np.ndarray, np.ndarray]:
    """A covariance from sums over pieces of what is centred, (chain, piece, …); with all, and without each, (G, …)."""
    draws = how.number * how.length
    means = 1 if pooled else how.chains
    rest = (draws if pooled else draws // how.chains) - how.length  # of those that share the mean of the piece left out
    total = products.sum((0, 1))
    without = (total - products - outer(one, other) / rest) / (draws - how.length - means)
    return total / (draws - means), without.reshape(how.number, *total.shape)
