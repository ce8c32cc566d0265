"""Raventós et al. (2023), arXiv 2306.15063: above a diversity of tasks, in-context regression is ridge; a small one."""

import math

import numpy as np
import xarray as xr

from llc.models import TransformerConfig
from llc.systems.claims import Claim, NoNumber, last_of
from llc.tasks import LinearRegression
from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig

# Task diversities; the claims are of the smallest and of the largest that is finite.
DIVERSITIES = [4, 16, 64, 256, 1024]


def config() -> ExperimentConfig:
    """D = 4, K = 8, σ² = 0.25 and two layers, where the paper has D = 8, K = 16 and eight (the preset `raventos`)."""
    return ExperimentConfig(
        preset="raventos2023",
        task=LinearRegression(dim=4, num_examples=8, noise_variance=0.25),
        model=TransformerConfig(width=64, depth=2, heads=2, mlp_width=128, activation="gelu"),
        training=TrainingConfig(steps=6000, batch_size=128, learning_rate=3e-3, schedule="triangle"),
        checkpoints=CheckpointsConfig(every=500, logarithmic=30),
        behaviour=BehaviourConfig(sequences=2048),
        sweep=SweepConfig(axes={"task.num_tasks": [*DIVERSITIES, None]}),
    )


def _place(compared: xr.Dataset, num_tasks: int) -> tuple[float, float]:
    """What a model loses more on new tasks than that of M = ∞, as a share of what dMMSE_M loses more than ridge.

    Not more than ridge: what all models are short of it for want of training grows beside dMMSE_M − ridge as M does.
    """
    run, limit = (last_of(compared, num_tasks=m).sel(test_set="ood") for m in (num_tasks, math.inf))
    ridge, dmmse = (run.sel(reference=name) for name in ("ridge", "dmmse"))
    whole = float(dmmse.reference_loss - ridge.reference_loss)
    its = limit.sel(reference="ridge")
    place = float(ridge.excess - its.excess) / whole
    of_whole = place * math.hypot(float(dmmse.reference_loss_se), float(ridge.reference_loss_se))  # apart: no less
    return place, math.hypot(float(ridge.excess_se), float(its.excess_se), of_whole) / whole


def _low(compared: xr.Dataset) -> tuple[float, float]:
    return _place(compared, DIVERSITIES[0])


def _high(compared: xr.Dataset) -> tuple[float, float]:
    """Excess over ridge on new tasks, as a share of ridge's loss: with many tasks dMMSE_M is all but ridge itself."""
    run = last_of(compared, num_tasks=DIVERSITIES[-1]).sel(test_set="ood", reference="ridge")
    return float(run.excess / run.reference_loss), float(run.excess_se / run.reference_loss)


def _threshold(compared: xr.Dataset) -> tuple[float, float]:
    """log₂ of the M at which the place is one half, on a straight line in log M between the two around it."""
    places, errors = zip(*(_place(compared, num_tasks) for num_tasks in DIVERSITIES), strict=True)
    below = [place < 0.5 for place in places]
    after = below.index(True) if True in below else 0
    if not after or not all(below[after:]):
        raise NoNumber("the way from dMMSE to ridge is not half gone between two M, once and for all")
    fall = places[after - 1] - places[after]
    share = (places[after - 1] - 0.5) / fall
    logs = np.log2(DIVERSITIES)
    width = float(logs[after] - logs[after - 1])
    error = math.hypot((1 - share) * errors[after - 1], share * errors[after]) / fall
    return float(logs[after - 1]) + share * width, error * width


def _better_at_home(compared: xr.Dataset) -> tuple[float, float]:
    run = last_of(compared, num_tasks=DIVERSITIES[0]).sel(test_set="id", reference="ridge")
    return float(run.excess), float(run.excess_se)


# Six runs: few samples, small minibatches.
ESTIMATES = {
    "steps": "500,1000,2000,3000,3500,4000,4500,5000,5500,6000",
    "num_samples": 1024,
    "batch_size": 64,
    "max_gradients": 8000,
}

CLAIMS = (
    Claim("few tasks: dMMSE", "of 4 tasks it knows only those: on others it loses more than with M = ∞, by half or "
          "more of what dMMSE_M loses more than ridge", 1.0, _low, 0.5, 1.5),
    Claim("many tasks: ridge", "of 1,024 it generalises: on others it loses a tenth more than ridge at most", 0.0,
          _high, high=0.1),
    Claim("a threshold in M", "that is a half at one M between 8 and 512, and less from there on, by log2 M", math.nan,
          _threshold, 3.0, 9.0),
    Claim("few tasks: better at home", "on the tasks that it knows it loses less than ridge", math.nan, _better_at_home,
          high=0.0),
)  # fmt: skip
