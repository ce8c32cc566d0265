"""Chen et al. (2024), arXiv 2408.04532: attention layers learn sparse regression by scaling its coordinates first."""

import math
from functools import partial

import numpy as np
import xarray as xr

from llc.models import TransformerConfig
from llc.systems.claims import Claim, Measure, last_of
from llc.tasks import FunctionClass
from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig

DIM, HEADS, DEPTH = 16, 4, 3


def config() -> ExperimentConfig:
    """d = 16 with s = 4 coordinates that count, three layers of one and of four heads.

    The noise of y, the MLPs, widths, rate and batch are this package's choice.
    """
    return ExperimentConfig(
        preset="chen2024",
        task=FunctionClass(family="sparse", dim=DIM, length=24, sparsity=4, noise_variance=0.1),
        model=TransformerConfig(
            width=48, depth=DEPTH, heads=HEADS, mlp_width=48, activation="gelu", head_ablation=True
        ),
        training=TrainingConfig(steps=8000, batch_size=64, learning_rate=2e-3, warmup_steps=200),
        checkpoints=CheckpointsConfig(every=500, logarithmic=30),
        behaviour=BehaviourConfig(sequences=512),
        sweep=SweepConfig(axes={"model.heads": [1, HEADS]}),
    )


def _against(reference: str, other: str, examples: int) -> Measure:
    """What one reference loses more than another after so many examples, on the same sequences."""

    def measure(compared: xr.Dataset) -> tuple[float, float]:
        run = last_of(compared, heads=HEADS).sel(test_set=f"{examples} examples")
        one, two = (run.sel(reference=name) for name in (reference, other))
        return float(one.reference_loss - two.reference_loss), float(one.reference_excess_se.sel(other=other))

    return measure


def _trained(reference: str, examples: int) -> Measure:
    """What the trained model of four heads loses more than a reference."""

    def measure(compared: xr.Dataset) -> tuple[float, float]:
        run = last_of(compared, heads=HEADS).sel(test_set=f"{examples} examples", reference=reference)
        return float(run.excess), float(run.excess_se)

    return measure


def _first_layer(compared: xr.Dataset) -> tuple[float, float]:
    """Effective number of heads of the first layer less the largest of the later ones, on one set of sequences."""
    effective = last_of(compared, heads=HEADS).effective_heads.values
    later = effective[1:][np.isfinite(effective[1:])]  # none of whose heads matter has no effective number
    return float(effective[0] - later.max(initial=0.0)), 0.0


# Prompts are long: few samples, small minibatches.
ESTIMATES = {
    "steps": "500,1000,1500,2000,3000,4000,5000,6500,8000",
    "num_samples": 1024,
    "batch_size": 64,
    "max_gradients": 6000,
}

_OfReferences = partial(Claim, already="of references alone")

CLAIMS = (
    _OfReferences("preprocessed GD: below GD, 8 examples", "scaled by its correlation with y, x is learned from faster",
                  math.nan, _against("preprocessed_gd", "gd", 8), high=0.0),
    _OfReferences("preprocessed GD: below GD, 16 examples", "there too", math.nan,
                  _against("preprocessed_gd", "gd", 16), high=0.0),
    _OfReferences("preprocessed GD: below ridge, 8 examples", "and faster than by ridge regression", math.nan,
                  _against("preprocessed_gd", "ridge", 8), high=0.0),
    _OfReferences("preprocessed GD: below ridge, 16 examples", "there too", math.nan,
                  _against("preprocessed_gd", "ridge", 16), high=0.0),
    _OfReferences("preprocessed GD: above Lasso, 8 examples", "Lasso is better still", math.nan,
                  _against("preprocessed_gd", "lasso", 8), low=0.0),
    Claim("trained: below ridge, 8 examples", "the trained model does better than ridge with few examples", math.nan,
          _trained("ridge", 8), high=0.0),
    Claim("heads by layer", "most heads matter in the first layer", math.nan, _first_layer, low=0.0),
)  # fmt: skip
