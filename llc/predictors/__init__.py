"""Reference algorithms in closed form: `(xs, ys) -> predictions (B, K)`; prediction k uses the pairs before k only."""

from llc.predictors.dmmse import dmmse
from llc.predictors.ridge import ridge
from llc.predictors.zero import zero

__all__ = ["dmmse", "ridge", "zero"]
