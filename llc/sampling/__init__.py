"""Sampling: the localised tempered posterior, samplers of it (one algorithm a file), and the chain engine."""

from llc.sampling import hmc, kinetic, mala, rmsprop_sgld, sgld
from llc.sampling.curvature import largest_curvature
from llc.sampling.engine import HOT, LEAST_DRAWS, SAMPLERS, Chains, needs_full_batch, run_chains, sampler_named
from llc.sampling.target import Data, Evaluation, Loss, Minibatch, Target, moving_parameters

__all__ = [
    "HOT",
    "LEAST_DRAWS",
    "SAMPLERS",
    "Chains",
    "Data",
    "Evaluation",
    "Loss",
    "Minibatch",
    "Target",
    "hmc",
    "kinetic",
    "largest_curvature",
    "mala",
    "moving_parameters",
    "needs_full_batch",
    "rmsprop_sgld",
    "run_chains",
    "sampler_named",
    "sgld",
]
