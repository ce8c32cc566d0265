"""Sampling: the localised tempered posterior, samplers of it (one algorithm a file), chains and observables of them."""

from llc.sampling.chains import HOT, LEAST_DRAWS, run_chains, run_many
from llc.sampling.control_variates import CONTROL_VARIATE_BYTES
from llc.sampling.copies import check_no_other, sampled_copy
from llc.sampling.curvature import largest_curvature, largest_curvatures
from llc.sampling.data import Columns, Data, Items, Minibatch, Samples
from llc.sampling.data_forms import check_data
from llc.sampling.ensemble import Ensemble
from llc.sampling.fitting import fitted
from llc.sampling.gradient import Loss
from llc.sampling.graph import Graph, graph_where_it_pays, one_graph
from llc.sampling.hmc import HMC
from llc.sampling.kinetic import Kinetic
from llc.sampling.mala import MALA
from llc.sampling.observable import Draw, Observable, check_observables
from llc.sampling.rmsprop_sgld import RMSpropSGLD
from llc.sampling.sampler import Evaluate, Evaluation, Sampler
from llc.sampling.samplers import SAMPLERS, sampler_named
from llc.sampling.sgld import SGLD
from llc.sampling.structure import leaves_of
from llc.sampling.target import Target
from llc.sampling.traces import Chains, Observed
from llc.sampling.weights import Restriction, chosen_weights

__all__ = [
    "CONTROL_VARIATE_BYTES",
    "HMC",
    "HOT",
    "LEAST_DRAWS",
    "MALA",
    "SAMPLERS",
    "SGLD",
    "Chains",
    "Columns",
    "Data",
    "Draw",
    "Ensemble",
    "Evaluate",
    "Evaluation",
    "Graph",
    "Items",
    "Kinetic",
    "Loss",
    "Minibatch",
    "Observable",
    "Observed",
    "RMSpropSGLD",
    "Restriction",
    "Sampler",
    "Samples",
    "Target",
    "check_data",
    "check_no_other",
    "check_observables",
    "chosen_weights",
    "fitted",
    "graph_where_it_pays",
    "largest_curvature",
    "largest_curvatures",
    "leaves_of",
    "one_graph",
    "run_chains",
    "run_many",
    "sampled_copy",
    "sampler_named",
]
