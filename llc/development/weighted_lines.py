"""Weighted straight lines through stretches of a curve, and the best partition into such, by `ruptures`."""

import numpy as np

from llc.extras import needed_by

with needed_by("a partition into straight lines"):
    import ruptures
    from ruptures.base import BaseCost


class WeightedLines(BaseCost):  # type: ignore[misc]
    """Sums of squares about weighted straight lines through stretches of a curve, in the form ruptures asks for."""

    model, min_size = "weighted lines", 3

    def __init__(self, places: np.ndarray, values: np.ndarray, errors: np.ndarray) -> None:
        self.signal = np.column_stack([places, values])
        self._weights = 1 / errors**2
        moments = np.column_stack([np.ones_like(places), places, values, places**2, places * values, values**2])
        self._sums = np.concatenate([np.zeros((1, 6)), np.cumsum(moments * self._weights[:, None], 0)])

    def fit(self, _signal: np.ndarray) -> "WeightedLines":
        """Nothing to do: sums are there."""
        return self

    def error(self, start: int, end: int) -> float:
        """Σ (y_i − line(u_i))²/σ_i² over one stretch."""
        return self._line(start, end)[2]

    def best_partition(self, most: int) -> list[int]:
        """Ends of the stretches of the partition with the smallest criterion, the last being T."""
        search = ruptures.Dynp(custom_cost=self, jump=1).fit(self.signal)
        found, total = [len(self.signal)], self.error(0, len(self.signal))
        price = 3 * np.log(len(self.signal))
        least = total
        for number in range(1, most + 1):
            ends = search.predict(n_bkps=number)
            criterion = search.cost.sum_of_costs(ends) + price * number
            if criterion < least:
                found, least = ends, criterion
        return found

    def quick_partition(self, most: int) -> list[int]:
        """The same from arrays of all stretches at once: ruptures' own search takes seconds for a hundred curves."""
        total = len(self.signal)
        lengths = np.arange(total + 1)[None] - np.arange(total + 1)[:, None]
        costs = np.where(lengths >= self.min_size, self._all_errors(), np.inf)  # [start, end]
        # The best cost of everything before each end in one stretch more each time, and where the last one starts.
        best, starts = [costs[0]], []
        for _ in range(most):
            together = best[-1][:, None] + costs
            starts.append(together.argmin(0))
            best.append(together.min(0))
        price = 3 * np.log(total)
        number = int(np.argmin([of_number[total] + price * k for k, of_number in enumerate(best)]))
        ends = [total]
        for of_number in reversed(starts[:number]):
            ends.append(int(of_number[ends[-1]]))
        return ends[::-1]

    def _all_errors(self) -> np.ndarray:
        """`error` of every stretch, (T + 1, T + 1) by start and end; NaN or nonsense where it holds no points."""
        w, u, y, uu, uy, yy = np.moveaxis(self._sums[None] - self._sums[:, None], -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            spread, covariance = uu - u * u / w, uy - u * y / w
            slope = np.where(spread > 0, covariance / spread, 0.0)
            return np.maximum(0.0, yy - y * y / w - slope * covariance)

    def meetings(self, ends: list[int]) -> list[float]:
        """Where the lines on both sides of each boundary meet."""
        places, starts, found = self.signal[:, 0], [0, *ends[:-1]], []
        for before, here, after in zip(starts, ends, ends[1:], strict=False):
            (slope, height, _), (next_slope, next_height, _) = self._line(before, here), self._line(here, after)
            left, right = places[here - 1], places[here]
            meeting = (height - next_height) / (next_slope - slope) if slope != next_slope else np.inf
            found.append(float(meeting if left <= meeting <= right else (left + right) / 2))
        return found

    def fitted(self, ends: list[int]) -> np.ndarray:
        """The lines at the places, (T,)."""
        lines = np.empty(len(self.signal))
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            slope, height, _ = self._line(start, end)
            lines[start:end] = height + slope * self.signal[start:end, 0]
        return lines

    def _line(self, start: int, end: int) -> tuple[float, float, float]:
        w, u, y, uu, uy, yy = self._sums[end] - self._sums[start]
        spread = uu - u * u / w
        slope = (uy - u * y / w) / spread if spread > 0 else 0.0
        height = (y - slope * u) / w
        rest = yy - y * y / w - slope * (uy - u * y / w)
        return float(slope), float(height), max(0.0, float(rest))
