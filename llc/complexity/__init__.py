"""Complexity: the LLC estimate of a model, its diagnostics and verdict, estimates over training, exact values."""

from llc.complexity.calibration import Calibration, calibrate
from llc.complexity.calibration_labels import calibration_dataset, format_calibration
from llc.complexity.estimate import estimate_llc
from llc.complexity.known_cases import suite
from llc.complexity.listing import format_estimates
from llc.complexity.measure import Point
from llc.complexity.over_training import estimate_llc_over_training
from llc.complexity.settings import SamplingConfig
from llc.complexity.study import LLCConfig, choose_steps, settings_from
from llc.complexity.study_calibration import calibrate_experiment
from llc.complexity.validation import format_validation, scores, validate

__all__ = [
    "Calibration",
    "LLCConfig",
    "Point",
    "SamplingConfig",
    "calibrate",
    "calibrate_experiment",
    "calibration_dataset",
    "choose_steps",
    "estimate_llc",
    "estimate_llc_over_training",
    "format_calibration",
    "format_estimates",
    "format_validation",
    "scores",
    "settings_from",
    "suite",
    "validate",
]
