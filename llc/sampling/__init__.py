"""Sampling: the localised tempered posterior, samplers of it (one algorithm a file), and the chain engine."""

from llc.sampling.curvature import largest_curvature
from llc.sampling.engine import SAMPLERS, Chains, run_chains, sampler_named
from llc.sampling.target import Data, Evaluation, Loss, Minibatch, Target

__all__ = [
    "SAMPLERS",
    "Chains",
    "Data",
    "Evaluation",
    "Loss",
    "Minibatch",
    "Target",
    "largest_curvature",
    "run_chains",
    "sampler_named",
]
