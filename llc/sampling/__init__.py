"""Sampling: the localised tempered posterior, samplers of it (one algorithm a file), chains and observables of them."""

from llc.sampling.apart import check_apart
from llc.sampling.chains import HOT, LEAST_DRAWS, run_chains, run_many
from llc.sampling.control_variates import CONTROL_VARIATE_BYTES
from llc.sampling.copies import sampled_copy
from llc.sampling.curvature import largest_curvature, largest_curvatures
from llc.sampling.data import Columns, Data, Items, Minibatch, Samples
from llc.sampling.data_forms import check_data
from llc.sampling.devinterp_sampler import DevInterp
from llc.sampling.ensemble import Ensemble
from llc.sampling.fitting import fitted, try_loss
from llc.sampling.gradient import Loss
from llc.sampling.graph import Graph, graph_where_it_pays, one_graph
from llc.sampling.hmc import HMC
from llc.sampling.kinetic import Kinetic
from llc.sampling.losses import Look, Losses, Positions
from llc.sampling.mala import MALA
from llc.sampling.observable import LOOKS, Draw, Observable, check_observables
from llc.sampling.rmsprop_sgld import RMSpropSGLD
from llc.sampling.sampler import Evaluate, Evaluation, Sampler
from llc.sampling.samplers import SAMPLERS, known_samplers, sampler_named, sent_samplers, take_samplers
from llc.sampling.sgld import SGLD
from llc.sampling.storage import Storage, chosen, is_large
from llc.sampling.structure import leaves_of
from llc.sampling.target import Target
from llc.sampling.traces import Chains, Observed
from llc.sampling.weights import Restriction, chosen_weights

__all__ = [
    "CONTROL_VARIATE_BYTES",
    "HMC",
    "HOT",
    "LEAST_DRAWS",
    "LOOKS",
    "MALA",
    "SAMPLERS",
    "SGLD",
    "Chains",
    "Columns",
    "Data",
    "DevInterp",
    "Draw",
    "Ensemble",
    "Evaluate",
    "Evaluation",
    "Graph",
    "Items",
    "Kinetic",
    "Look",
    "Loss",
    "Losses",
    "Minibatch",
    "Observable",
    "Observed",
    "Positions",
    "RMSpropSGLD",
    "Restriction",
    "Sampler",
    "Samples",
    "Storage",
    "Target",
    "check_apart",
    "check_data",
    "check_observables",
    "chosen",
    "chosen_weights",
    "fitted",
    "graph_where_it_pays",
    "is_large",
    "known_samplers",
    "largest_curvature",
    "largest_curvatures",
    "leaves_of",
    "one_graph",
    "run_chains",
    "run_many",
    "sampled_copy",
    "sampler_named",
    "sent_samplers",
    "take_samplers",
    "try_loss",
]
