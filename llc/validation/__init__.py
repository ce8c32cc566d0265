"""Problems whose learning coefficients are known exactly, and what the estimator and others make of them."""

from llc.validation.known_cases import suite
from llc.validation.validation import format_validation, scores, validate

__all__ = ["format_validation", "scores", "suite", "validate"]
