"""Estimates over the runs and checkpoints of an experiment, with one setting."""

from llc.study.calibration import calibrate_experiment
from llc.study.listing import format_estimates
from llc.study.over_checkpoints import estimate_llc_over_checkpoints
from llc.study.over_training import estimate_llc_over_training
from llc.study.points import CurveConfig, LLCConfig, choose_steps, settings_from
from llc.study.responses import susceptibilities_over_checkpoints

__all__ = [
    "CurveConfig",
    "LLCConfig",
    "calibrate_experiment",
    "choose_steps",
    "estimate_llc_over_checkpoints",
    "estimate_llc_over_training",
    "format_estimates",
    "settings_from",
    "susceptibilities_over_checkpoints",
]
