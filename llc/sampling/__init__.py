"""Sampling: the localised tempered posterior, samplers of it (one algorithm a file), and the chain engine."""

from llc.sampling import hmc, kinetic, mala, rmsprop_sgld, sgld
from llc.sampling.curvature import largest_curvature, largest_curvatures
from llc.sampling.engine import (
    HOT,
    LEAST_DRAWS,
    SAMPLERS,
    Chains,
    needs_full_batch,
    run_chains,
    run_many,
    sampler_named,
)
from llc.sampling.stack import Graph, Stack, graph_where_it_pays, one_graph
from llc.sampling.target import Data, Evaluation, Loss, Minibatch, Target, moving_parameters

__all__ = [
    "HOT",
    "LEAST_DRAWS",
    "SAMPLERS",
    "Chains",
    "Data",
    "Evaluation",
    "Graph",
    "Loss",
    "Minibatch",
    "Stack",
    "Target",
    "graph_where_it_pays",
    "hmc",
    "kinetic",
    "largest_curvature",
    "largest_curvatures",
    "mala",
    "moving_parameters",
    "needs_full_batch",
    "one_graph",
    "rmsprop_sgld",
    "run_chains",
    "run_many",
    "sampler_named",
    "sgld",
]
