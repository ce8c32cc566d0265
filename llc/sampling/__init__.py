"""Sampling: the localised tempered posterior, samplers of it (one algorithm a file), and the chain engine."""

from llc.sampling import hmc, kinetic, mala, rmsprop_sgld, sgld
from llc.sampling.curvature import largest_curvature
from llc.sampling.engine import LEAST_DRAWS, SAMPLERS, Chains, needs_full_batch, run_chains, sampler_named
from llc.sampling.target import Data, Evaluation, Loss, Minibatch, Target

__all__ = [
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
    "needs_full_batch",
    "rmsprop_sgld",
    "run_chains",
    "sampler_named",
    "sgld",
]
