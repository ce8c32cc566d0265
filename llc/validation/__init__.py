"""Problems whose learning coefficients are known exactly, and what the estimator and others make of them."""

from llc.validation.known_cases import suite
from llc.validation.problems import Case, redrawn
from llc.validation.validation import format_validation, scores, validate

__all__ = ["Case", "format_validation", "redrawn", "scores", "suite", "validate"]
