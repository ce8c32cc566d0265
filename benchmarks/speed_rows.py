"""What the speed benchmarks report, and how they take turns."""

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: of what is compared. ours, theirs: the medians, in `unit`.
        ratio: how many times better we are; the median of the turns' own ratios. wanted: the least it should be.
        low, high: smallest and largest ratio of a turn.
    """

    name: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    low: float
    high: float
    wanted: float | None = None

    def table(self) -> dict:
        return {key: value for key, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        wanted = f", wanted {self.wanted:g}" if self.wanted else ""
        return (
            f"{self.name}: {self.ours:.4g} against {self.theirs:.4g} {self.unit}, "
            f"{self.ratio:.2f} times ({self.low:.2f} to {self.high:.2f}{wanted})"
        )


def in_turns(
    name: str,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    *,
    unit: str,
    turns: int = 3,
    less_is_better: bool = False,
    wanted: float | None = None,
) -> Row:
    """Measure both sides in turns."""
    return compared(
        name,
        [(ours(), theirs()) for _ in range(turns)],
        unit=unit,
        less_is_better=less_is_better,
        wanted=wanted,
    )


def compared(
    name: str,
    pairs: list[tuple[float, float]],
    *,
    unit: str,
    less_is_better: bool = False,
    wanted: float | None = None,
) -> Row:
    """What turns of both sides come to."""
    ratios = [theirs / ours if less_is_better else ours / theirs for ours, theirs in pairs]
    return Row(
        name=name,
        ours=statistics.median(pair[0] for pair in pairs),
        theirs=statistics.median(pair[1] for pair in pairs),
        unit=unit,
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        wanted=wanted,
    )
