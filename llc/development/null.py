"""What principal components of trajectories show by themselves: those of random walks."""

import numpy as np

# Rows that the null is computed from, at most; more are thinned out evenly.
MOST_ROWS = 1500


def random_walk_variances(runs: list[np.ndarray], components: int, *, walks: int = 20, seed: int = 0) -> np.ndarray:
    """Explained variance that the leading components of random walks reach, (walk, component).

    Each run's increments keep their lengths and directions in feature space but get random signs, so that each walk is
    as long, as fast and as high-dimensional as the run, and goes nowhere in particular; all runs start where they did.
    Smooth curves and a large share in few components come out of such walks too: their components are cosines
    (Antognini & Sohl-Dickstein 2018, arXiv 1806.08805; Shinn 2023, PNAS 120, e2311420120).

    Only inner products of increments are needed: F = C S Δ with C the cumulative sum and S the signs, so that
    F Fᵀ = C S (Δ Δᵀ) S Cᵀ.

    Args:
        runs: rows of each run in order of their steps, (T_run, columns) each.
        walks: how many.
        seed: of the signs.
    """
    starts = np.stack([rows[0] for rows in runs]).astype(np.float64)
    steps = [np.diff(rows.astype(np.float64), axis=0) for rows in runs]
    every = np.concatenate([starts, *steps])
    inner = every @ every.T
    # Row t of run r is its start and the sum of its first t signed increments.
    sums = np.zeros((sum(len(rows) for rows in runs), len(every)))
    row, column = 0, len(runs)
    for number, increments in enumerate(steps):
        length = len(increments) + 1
        sums[row : row + length, number] = 1
        sums[row + 1 : row + length, column : column + length - 1] = np.tri(length - 1)
        row, column = row + length, column + length - 1
    sums -= sums.mean(0)
    rng = np.random.default_rng(seed)
    found = np.empty((walks, components))
    for walk in range(walks):
        signs = np.concatenate([np.ones(len(runs)), rng.choice([-1.0, 1.0], len(every) - len(runs))])
        signed = sums * signs
        sizes = np.linalg.eigvalsh(signed @ inner @ signed.T)[::-1]
        found[walk] = sizes[:components] / sizes.sum()
    return found
