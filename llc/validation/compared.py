"""Numbers that were found beside what they should be."""

from dataclasses import dataclass

import numpy as np
import xarray as xr


@dataclass(frozen=True)
class Compared:
    """Numbers found, with errors and intervals, and what they should be."""

    found: np.ndarray
    se: np.ndarray
    low: np.ndarray
    high: np.ndarray
    exact: np.ndarray
    believed: bool

    @property
    def scores(self) -> dict[str, float]:
        """What is kept of them, see `validate_draws`."""
        off = np.abs(self.found - self.exact) / self.se
        return {
            "believed": float(self.believed),
            "held": float(np.mean((self.low <= self.exact) & (self.exact <= self.high))),
            "within_3": float(np.mean(off < 3)),
            "worst": float(off.max()),
            "slope": float((self.found * self.exact).sum() / np.square(self.exact).sum()),
        }


def compared_with(found: xr.Dataset, name: str, exact: np.ndarray | float) -> Compared:
    """Quantities of that name, and the exact ones."""
    value, se, low, high = (found[key].values for key in (name, f"{name}_se", f"{name}_low", f"{name}_high"))
    return Compared(value, se, low, high, np.asarray(exact), found.attrs["verdict"] in {"converged", "scale-dependent"})
