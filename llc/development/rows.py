"""The features of every checkpoint of a sweep, on disk for as long as they are needed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from llc import store
from llc.development import principal
from llc.development.features import Features, steps_of
from llc.development.null import MOST_ROWS
from llc.development.principal import Components
from llc.parallel import Progress


class Rows:
    """f(w) of every checkpoint, (checkpoint, columns), in a scratch file beside the runs.

    At paper scale they are gigabytes; a pass over them holds one run at a time.
    """

    def __init__(self, runs: list[store.Run], features: Features, folder: Path, progress: Progress) -> None:
        self._runs, self._features, self._progress = runs, features, progress
        self._counts = {run.name: len(steps_of(run, features.kind)) for run in runs}
        self._folder = folder

    def __enter__(self) -> Self:
        done, total = 0, sum(self._counts.values())
        with store.scratch_file(self._folder) as self._file:
            for run in self._runs:
                self._progress("pca", done, total, run.name)
                for step in steps_of(run, self._features.kind):
                    self._features.of(run, step).tofile(self._file)
                done += self._counts[run.name]
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def fit(
        self,
        components: int,
        runs: list[store.Run],
        *,
        weighting: str = "checkpoints",
        every: int = 1,
        columns: int | None = None,
    ) -> Components:
        """Principal components of some runs' rows.

        Args:
            weighting: whether every row counts alike (`checkpoints`), or every run (`runs`).
            every: only every so many rows of each run.
            columns: only so many, the first.
        """
        counts = [-(-self._counts[run.name] // every) for run in runs]
        rows = sum(counts)
        weights = [1.0 if weighting == "checkpoints" else rows / len(runs) / count for count in counts]

        def chunks() -> Iterator[np.ndarray]:
            for run in runs:
                yield self.of(run)[::every, :columns]

        return principal.fit(chunks, (rows, columns or self._features.columns), components, weights=weights)

    def of(self, run: store.Run) -> np.ndarray:
        """Those of one run, float64."""
        names = [other.name for other in self._runs]
        before = sum(self._counts[name] for name in names[: names.index(run.name)])
        columns = self._features.columns
        self._file.seek(4 * before * columns)
        numbers = np.fromfile(self._file, np.float32, self._counts[run.name] * columns)
        return numbers.reshape(-1, columns).astype(np.float64)

    def thinned(self, run: store.Run, runs: int) -> np.ndarray:
        """Rows of a run spread evenly over its steps, few enough for the null of so many runs."""
        rows = self.of(run)
        kept = np.linspace(0, len(rows) - 1, min(len(rows), max(2, MOST_ROWS // runs))).round().astype(int)
        return rows[np.unique(kept)]
