"""Complexity: the LLC estimate of a model, its diagnostics and verdict, and estimates over training."""

from llc.complexity.estimate import estimate_llc
from llc.complexity.over_training import LLCConfig, choose_steps, estimate_llc_over_training

__all__ = ["LLCConfig", "choose_steps", "estimate_llc", "estimate_llc_over_training"]
