"""Problems whose learning coefficients are known exactly, and what the estimator and others make of them."""

from llc.validation.draws import format_draws, validate_draws
from llc.validation.known_cases import suite
from llc.validation.problems import Case, redrawn
from llc.validation.scoring import format_validation, one_a_truth, scores
from llc.validation.validation import validate

__all__ = [
    "Case",
    "format_draws",
    "format_validation",
    "one_a_truth",
    "redrawn",
    "scores",
    "suite",
    "validate",
    "validate_draws",
]
