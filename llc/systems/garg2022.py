"""Garg et al. (2022), arXiv 2208.01066: a small GPT learns function classes in context, with a curriculum."""

import math

import xarray as xr

from llc.models import TransformerConfig
from llc.systems.claims import Claim, Measure, last_of
from llc.tasks import FunctionClass
from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig

DIM = 5


def config() -> ExperimentConfig:
    """D = 5 and K = 2D + 1, the authors' smallest GPT (3 layers, width 64, 2 heads), five families.

    Where they begin with 5 of 20 dimensions and 11 of 41 pairs and add to these every 2,000 of 500,000 steps, here it
    is 2 of 5, 5 of 11 and every 200 of 3,000.
    """
    return ExperimentConfig(
        preset="garg2022",
        task=FunctionClass(
            dim=DIM, length=2 * DIM + 1, sparsity=2, hidden=20, depth=3, start_dim=2, start_length=5, grow_every=200
        ),
        model=TransformerConfig(width=64, depth=3, heads=2, mlp_width=256, activation="gelu"),
        training=TrainingConfig(steps=3000, batch_size=64, learning_rate=2e-3, warmup_steps=200),
        checkpoints=CheckpointsConfig(every=500, logarithmic=30),
        behaviour=BehaviourConfig(sequences=1024),
        sweep=SweepConfig(axes={"task.family": ["linear", "sparse", "quadratic", "relu", "tree"]}),
    )


def _excess(family: str, reference: str, test_set: str) -> Measure:
    """What a family's model loses more than a reference, per dimension as in the paper."""

    def measure(compared: xr.Dataset) -> tuple[float, float]:
        run = last_of(compared, family=family).sel(test_set=test_set, reference=reference)
        return float(run.excess) / DIM, float(run.excess_se) / DIM

    return measure


def _of_zero(family: str, test_set: str) -> Measure:
    """What a family's model loses, as a share of what 0 does."""

    def measure(compared: xr.Dataset) -> tuple[float, float]:
        run = last_of(compared, family=family).sel(test_set=test_set, reference="zero")
        zero = float(run.reference_loss)
        return float(run.loss) / zero, float(run.loss_se) / zero

    return measure


def _worse(test_set: str, plain: str) -> Measure:
    """How much larger that share is on a shift than on other prompts of as many examples, for linear functions."""

    def measure(compared: xr.Dataset) -> tuple[float, float]:
        (shifted, error), (usual, its) = (_of_zero("linear", name)(compared) for name in (test_set, plain))
        return shifted - usual, math.hypot(error, its)

    return measure


_ALL, _D, _HALF = f"{2 * DIM} examples", f"{DIM} examples", f"{DIM // 2} examples"

# Five families, and prompts that are long: few samples, small minibatches, few steps.
ESTIMATES = {"steps": "1000,2000,3000", "num_samples": 1024, "batch_size": 64, "max_gradients": 5000}

CLAIMS = (
    Claim("linear: like least squares", f"after {2 * DIM} examples it loses less than a tenth of what 0 does", 0.0,
          _of_zero("linear", _ALL), high=0.1),
    Claim("linear: like least squares, few examples", "after half of D it loses at most 0.05 a dimension more", 0.0,
          _excess("linear", "least_squares", _HALF), high=0.05),
    Claim("linear: below averaging", "and less than averaging", math.nan, _excess("linear", "averaging", _ALL),
          high=0.0),
    Claim("linear: below nearest neighbours", "and than three nearest neighbours", math.nan,
          _excess("linear", "nearest", _ALL), high=0.0),
    Claim("sparse: below least squares", "with half of D examples it uses that few coordinates count", math.nan,
          _excess("sparse", "least_squares", _HALF), high=0.0),
    Claim("tree: below a greedy tree", "it learns trees better than growing one does", math.nan,
          _excess("tree", "tree", _ALL), high=0.0),
    Claim("relu: below least squares", "it learns two-layer networks better than a linear fit", math.nan,
          _excess("relu", "least_squares", _ALL), high=0.0),
    Claim("random quadrants: holds", "in another orthant than the examples it loses no more of what 0 does, by a "
          "twentieth", math.nan, _worse("random quadrants", _D), high=0.05),
    Claim("orthogonal question: holds", "of a question orthogonal to all examples it says 0, within a tenth", 1.0,
          _of_zero("linear", "orthogonal question"), 0.9, 1.1),
    Claim("question seen before: holds", "it says again what it saw, to a fifth of what 0 loses", math.nan,
          _of_zero("linear", "question seen before"), high=0.2),
    Claim("skewed: breaks", f"after {2 * DIM} skewed examples it loses more of what 0 does, by a twentieth", math.nan,
          _worse("skewed", _ALL), low=0.05),
    Claim("half subspace: holds", "of x in half of the dimensions it loses at most a tenth of what 0 does", math.nan,
          _of_zero("linear", "half subspace"), high=0.1),
    Claim("x times 3: breaks", "of x three times as large it loses more of what 0 does, by a twentieth", math.nan,
          _worse("x times 3", _ALL), low=0.05),
    Claim("y times 3: breaks", "of y three times as large too", math.nan, _worse("y times 3", _ALL), low=0.05),
    Claim("noise: near least squares", "of y with noise it loses at most a tenth of the noise more a dimension",
          math.nan, _excess("linear", "least_squares", "noise of variance 1"), high=0.1),
)  # fmt: skip
