"""Principal components of rows that need not fit in memory together."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from llc.errors import InvalidInput

# Numbers up to which rows are held in memory and decomposed by an SVD: half a gigabyte in float64.
_IN_MEMORY = 2**26
# The larger matrix that is kept where rows are not: two gigabytes in float64.
_MOST_SIDE = 2**14
# Columns looked at together where there are more columns than rows.
_BLOCK = 2**16


@dataclass(frozen=True)
class Components:
    """What a fit found.

    Attributes:
        mean: of the rows, (columns,).
        axes: leading right singular vectors of the centred rows, (component, columns); in each the entry of largest
            magnitude is positive.
        explained_variance_ratio: share of the rows' variance along each, (component,).
    """

    mean: np.ndarray
    axes: np.ndarray
    explained_variance_ratio: np.ndarray

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Projections of rows, whether they were fitted or not, (rows, component)."""
        return (rows - self.mean) @ self.axes.T


def fit(
    chunks: Callable[[], Iterable[np.ndarray]],
    shape: tuple[int, int],
    components: int,
    *,
    weights: Sequence[float] | None = None,
    in_memory: int = _IN_MEMORY,
) -> Components:
    """Principal components of the rows that `chunks` goes through.

    Rows that fit in memory are decomposed by an exact SVD. Of more of them only the smaller matrix is kept, in float64
    about the first row: the covariance of the columns, whose leading eigenvectors are the axes, or the inner products
    of the rows, whose leading eigenvectors are the scores. Eigenvalues are squares of singular values, so that of
    components smaller than 10⁻⁸ of the largest nothing is known.

    Args:
        chunks: called for each pass, gives the rows in pieces, (some, columns).
        shape: of all of them together.
        components: how many to keep.
        weights: how much each row of a piece counts, a number a piece; None for alike.
        in_memory: numbers up to which rows are held in memory.
    Raises:
        InvalidInput: fewer rows or columns than components, rows that are not finite, or more of both than a matrix
            of inner products can hold.
    """
    most = min(shape)
    if not 1 <= components <= most:
        raise InvalidInput(
            f"components = {components} given, expected 1 to {most} for {shape[0]} checkpoints and {shape[1]} "
            "numbers at each"
        )
    if shape[0] * shape[1] <= in_memory:
        return _in_memory(_weighted(chunks(), weights), components)
    if most > _MOST_SIDE:
        raise InvalidInput(
            f"{shape[0]} checkpoints of {shape[1]} numbers are too many; expected at most {_MOST_SIDE} of one of them: "
            "a smaller probe, or fewer runs"
        )
    if shape[1] <= shape[0]:
        return _from_columns(_weighted(chunks(), weights), shape[1], components)
    return _from_rows(lambda: _weighted(chunks(), weights), shape, components)


def _weighted(chunks: Iterable[np.ndarray], weights: Sequence[float] | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pieces with a weight a row."""
    for number, chunk in enumerate(chunks):
        if not np.isfinite(chunk).all():
            raise InvalidInput("some checkpoints give numbers that are not finite; a run of this experiment diverged")
        weight = 1.0 if weights is None else weights[number]
        yield chunk.astype(np.float64, copy=False), np.full(len(chunk), weight)


def _in_memory(pieces: Iterable[tuple[np.ndarray, np.ndarray]], components: int) -> Components:
    chunks, weights = zip(*pieces, strict=True)
    rows, weight = np.concatenate(chunks), np.concatenate(weights)
    mean = np.average(rows, axis=0, weights=weight)
    _, sizes, right = linalg.svd((rows - mean) * np.sqrt(weight)[:, None], full_matrices=False, overwrite_a=True)
    return _components(mean, right[:components], sizes[:components] ** 2 / (sizes**2).sum())


def _from_columns(pieces: Iterable[tuple[np.ndarray, np.ndarray]], columns: int, components: int) -> Components:
    """From the scatter matrix of the columns, (columns, columns)."""
    scatter, first, total, count = np.zeros((columns, columns)), None, np.zeros(columns), 0.0
    for chunk, weight in pieces:
        first = chunk[0].copy() if first is None else first
        away = (chunk - first) * np.sqrt(weight)[:, None]
        scatter += away.T @ away
        total += np.sqrt(weight) @ away
        count += weight.sum()
    mean = total / count
    scatter -= count * np.outer(mean, mean)
    whole = float(np.trace(scatter))
    kept = (columns - components, columns - 1)
    sizes, vectors = linalg.eigh(scatter, subset_by_index=kept, overwrite_a=True, check_finite=False)
    return _components((0 if first is None else first) + mean, vectors.T[::-1], sizes[::-1] / whole)


def _from_rows(
    pieces: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]], shape: tuple[int, int], components: int
) -> Components:
    """From the inner products of the rows, (rows, rows), gathered a block of columns at a time."""
    rows, columns = shape
    inner, mean = np.zeros((rows, rows)), np.empty(columns)
    blocks = [slice(start, min(start + _BLOCK, columns)) for start in range(0, columns, _BLOCK)]

    def centred(block: slice) -> np.ndarray:
        parts, weights = zip(*((chunk[:, block], weight) for chunk, weight in pieces()), strict=True)
        every, weight = np.concatenate(parts), np.concatenate(weights)
        mean[block] = np.average(every, axis=0, weights=weight)
        return (every - mean[block]) * np.sqrt(weight)[:, None]

    for block in blocks:
        away = centred(block)
        inner += away @ away.T
    whole = float(np.trace(inner))
    sizes, vectors = linalg.eigh(inner, subset_by_index=(rows - components, rows - 1), check_finite=False)
    axes = np.empty((components, columns))
    for block in blocks:
        axes[:, block] = vectors.T[::-1] @ centred(block)
    return _components(mean, axes / np.linalg.norm(axes, axis=1, keepdims=True), sizes[::-1] / whole)


def _components(mean: np.ndarray, axes: np.ndarray, shares: np.ndarray) -> Components:
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])
    return Components(mean, axes * signs[:, None], shares)
