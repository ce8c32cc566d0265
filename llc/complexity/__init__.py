"""Complexity: the LLC estimate of a model, its diagnostics and verdict, estimates over training, exact values."""

from llc.complexity.estimate import estimate_llc
from llc.complexity.over_training import LLCConfig, choose_steps, estimate_llc_over_training
from llc.complexity.validation import format_validation, scores, suite, validate

__all__ = [
    "LLCConfig",
    "choose_steps",
    "estimate_llc",
    "estimate_llc_over_training",
    "format_validation",
    "scores",
    "suite",
    "validate",
]
