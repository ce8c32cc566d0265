"""Whether a joint PCA would have come out the same with another probe, grid of checkpoints, or seed."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import subspace_angles

from llc import store
from llc.development.features import OWN_PROBE, make_features
from llc.development.rows import Rows
from llc.errors import InvalidInput, StoreError, check_whole, shown
from llc.parallel import Progress, quiet


@store.takes_experiment
def pca_robustness(
    experiment: store.Experiment,
    components: int = 2,
    *,
    sequences: Sequence[int] = (16, 64, 512),
    every: Sequence[int] = (2, 4),
    progress: Progress = quiet,
) -> pd.DataFrame:
    """How far the leading components turn when something that should not matter is changed.

    All checkpoints are projected on components fitted to the largest probe, all checkpoints and all seeds, and on those
    fitted to less: a smaller probe, every second or fourth checkpoint, one seed alone. The scores of either span a
    subspace of the space of functions of (run, step), so that fits to probes of different sizes can be compared too.

    Args:
        experiment: from `llc.open` or `llc.train`.
        components: how many, together.
        sequences: sizes of the probe.
        every: spacings of checkpoints.
        progress: told (unit, done, total, note).
    Returns:
        Columns `changed` (`sequences`, `every` or `seed`), `to`, and principal angles between the two subspaces in
        degrees, the largest first: `angle_1`, ….
    Raises:
        InvalidInput: a count out of range.
        StoreError: nothing is trained yet.
    """
    components = check_whole("components", components, 1)
    sequences, every = _whole_numbers("sequences", sequences), _whole_numbers("every", every)
    if not sequences:
        raise InvalidInput("sequences = [] given, expected at least one size of the probe")
    runs = [run for run in experiment.runs if run.recorded_steps]
    if not runs:
        raise StoreError(experiment.no_checkpoints)
    features = make_features(runs, "predictions", OWN_PROBE, max(sequences))
    each = features.columns // features.shape[0]
    seeds = sorted({run.seed for run in runs})
    variants: list[tuple[str, int, dict]] = [
        ("sequences", number, {"columns": number * each}) for number in sorted(sequences)[:-1]
    ]
    variants += [("every", number, {"every": number}) for number in every]
    found = []
    with store.folder_lock(experiment.path), Rows(runs, features, experiment.path, progress) as rows:

        def scores(fitted: list[store.Run], **less: Any) -> np.ndarray:
            fit = rows.fit(components, fitted, **less)
            return np.concatenate([fit.scores(rows.of(run)[:, : less.get("columns")]) for run in runs])

        whole = scores(runs)
        for changed, to, less in variants:
            found.append(_row(changed, to, whole, scores(runs, **less)))
        if len(seeds) > 1:
            for seed in seeds:
                found.append(_row("seed", seed, whole, scores([run for run in runs if run.seed == seed])))
    return pd.DataFrame(found)


def _whole_numbers(name: str, given: Sequence[int]) -> list[int]:
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise InvalidInput(f"{name} = {shown(given)} given, expected several whole numbers, such as (2, 4)")
    return [check_whole(f"one of {name}", one, 1) for one in given]


def _row(changed: str, to: int, one: np.ndarray, other: np.ndarray) -> dict:
    angles = np.degrees(subspace_angles(one - one.mean(0), other - other.mean(0)))
    return {"changed": changed, "to": to} | {f"angle_{i + 1}": float(angle) for i, angle in enumerate(angles)}
