"""Problems with exactly known learning coefficients, one kind a file."""

from llc.validation.problems.case import Case, redrawn
from llc.validation.problems.defaults import defaults

__all__ = ["Case", "defaults", "redrawn"]
