"""Principal components of rows that need not fit in memory together."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from sklearn.decomposition import PCA

from llc.errors import InvalidInput

# Numbers up to which rows are held in memory and decomposed by an SVD: half a gigabyte in float64.
_IN_MEMORY = 2**26


@dataclass(frozen=True)
class Components:
    """What a fit found.

    Attributes:
        mean: of the rows, (columns,). axes: leading right singular vectors of the centred rows, (component, columns);
            in each the entry of largest magnitude is positive.
        explained_variance_ratio: share of the rows' variance along each, (component,).
    """

    mean: np.ndarray
    axes: np.ndarray
    explained_variance_ratio: np.ndarray

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Projections of rows, whether they were fitted or not, (rows, component)."""
        return (rows - self.mean) @ self.axes.T


def fit(
    chunks: Callable[[], Iterable[np.ndarray]], shape: tuple[int, int], components: int, *, in_memory: int = _IN_MEMORY
) -> Components:
    """Principal components of the rows that `chunks` goes through.

    Rows that fit in memory are decomposed by scikit-learn's exact SVD. Of more of them only the smaller matrix is
    kept: the covariance of the columns, gathered in float64 about the first row, whose leading eigenvectors are the
    same axes. Its eigenvalues are squares of singular values, so that of components smaller than 10⁻⁸ of the largest
    nothing is known.

    Args:
        chunks: called for each pass, gives the rows in pieces, (some, columns). shape: of all of them together.
        components: how many to keep.
        in_memory: numbers up to which rows are held in memory.
    Raises:
        InvalidInput: fewer rows or columns than components, or rows that are not finite.
    """
    most = min(shape)
    if not 1 <= components <= most:
        raise InvalidInput(
            f"components = {components} given, expected 1 to {most} for {shape[0]} checkpoints and {shape[1]} "
            "predictions"
        )
    if shape[0] * shape[1] <= in_memory:
        rows = np.concatenate([_finite(chunk) for chunk in chunks()])
        found = PCA(components, svd_solver="full").fit(rows)
        return Components(found.mean_, found.components_, found.explained_variance_ratio_)
    mean, covariance = _moments(chunks(), shape[1])
    total = float(np.trace(covariance))
    kept = [shape[1] - components, shape[1] - 1]
    sizes, vectors = linalg.eigh(covariance, subset_by_index=kept, overwrite_a=True, check_finite=False)
    axes = vectors.T[::-1]
    signs = np.sign(axes[np.arange(components), np.abs(axes).argmax(1)])
    return Components(mean, axes * signs[:, None], sizes[::-1] / total)


def _moments(chunks: Iterable[np.ndarray], columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (columns,) and scatter matrix about it (columns, columns)."""
    scatter, first, total, count = np.zeros((columns, columns)), None, np.zeros(columns), 0
    for chunk in chunks:
        first = _finite(chunk)[0].copy() if first is None else first
        away = _finite(chunk) - first
        scatter += away.T @ away
        total += away.sum(0)
        count += len(away)
    mean = total / count
    scatter -= count * np.outer(mean, mean)
    return (0 if first is None else first) + mean, scatter


def _finite(rows: np.ndarray) -> np.ndarray:
    if not np.isfinite(rows).all():
        raise InvalidInput("some predictions are not finite; a run of this experiment diverged")
    return rows.astype(np.float64, copy=False)
