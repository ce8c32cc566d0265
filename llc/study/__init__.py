"""Estimates over the runs and checkpoints of an experiment, with one setting."""

from llc.study.calibration import calibrate_experiment
from llc.study.listing import format_estimates
from llc.study.over_training import estimate_llc_over_training
from llc.study.points import LLCConfig, choose_steps, settings_from

__all__ = [
    "LLCConfig",
    "calibrate_experiment",
    "choose_steps",
    "estimate_llc_over_training",
    "format_estimates",
    "settings_from",
]
