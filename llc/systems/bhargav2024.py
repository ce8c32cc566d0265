"""Bhargav & Gu (2024), arXiv 2410.17438: a small GPT continues affine recurrences, by copying first."""

import math

import numpy as np
import xarray as xr

from llc.models import SeriesTransformerConfig
from llc.systems.claims import Claim, Measure, NoNumber, last_of, run_at
from llc.tasks import AffineRecurrence
from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig

DEPTH = 3


def config() -> ExperimentConfig:
    """Three layers as in the paper, and one and two; series of sixteen numbers, Adam on batches of 128.

    Width, heads, length and rate are this package's choice: what was read of the paper says only how many layers.
    """
    return ExperimentConfig(
        preset="bhargav2024",
        task=AffineRecurrence(length=16),
        model=SeriesTransformerConfig(width=32, depth=DEPTH, heads=4, mlp_width=128, activation="gelu"),
        training=TrainingConfig(steps=8000, batch_size=128, learning_rate=2e-3, warmup_steps=200),
        checkpoints=CheckpointsConfig(every=500, logarithmic=40),
        behaviour=BehaviourConfig(sequences=2048),
        sweep=SweepConfig(axes={"model.depth": [1, 2, DEPTH]}),
    )


def _over(reference: str, position: int) -> Measure:
    """Loss at a position over that of a reference there, of the deepest model at the end."""

    def measure(compared: xr.Dataset) -> tuple[float, float]:
        run = last_of(compared, depth=DEPTH).sel(test_set=f"position {position}", reference=reference)
        ratio, level = float(run.loss / run.reference_loss), float(run.reference_loss)
        squares = [float(error) ** 2 for error in (run.loss_se, run.reference_loss_se, run.excess_se)]
        common = (squares[0] + squares[1] - squares[2]) / 2  # both are measured on the same series
        return ratio, math.sqrt(max(0.0, squares[0] + ratio**2 * squares[1] - 2 * ratio * common)) / level

    return measure


def _copies_first(compared: xr.Dataset) -> tuple[float, float]:
    """Distance to copying over that of Bayes to it, the least over training before position 2 beats copying."""
    run = run_at(compared, depth=DEPTH).isel(seed=0)
    second = run.sel(test_set="position 2")
    early = second.loss.values > 0.9 * float(second.reference_loss.sel(reference="copy"))
    if not early.any():
        raise NoNumber("no checkpoint before position 2 beats copying")
    own = run.isel(step=np.flatnonzero(early)).sel(test_set="id", reference="copy")
    nearest = own.isel(step=int(own.prediction_difference.argmin("step")))
    whole = float(nearest.reference_difference.sel(other="bayes"))
    return float(nearest.prediction_difference) / whole, float(nearest.prediction_difference_se) / whole


# A gradient of 256 series takes 50 ms of a core: few samples, small minibatches.
ESTIMATES = {"steps": "317,500,1000,2000,3000,5000,8000", "num_samples": 1024, "batch_size": 64, "max_gradients": 8000}

CLAIMS = (
    Claim("position 2: as good as copying", "after one transition its error is that of copying, within a tenth", 1.0,
          _over("copy", 2), 0.9, 1.1),
    Claim("position 2: as good as Bayes", "it is that of the mean over all rules that fit, within a tenth", math.nan,
          _over("bayes", 2), 0.9, 1.1),
    Claim("position 4: near least squares", "there it loses less than a twentieth of what copying does", 0.0,
          _over("copy", 4), high=0.05),
    Claim("position 8: near least squares", "there too", 0.0, _over("copy", 8), high=0.05),
    Claim("early in training: copying", "before it beats copying at position 2 it comes nearer to it than Bayes is",
          math.nan, _copies_first, high=1.0),
)  # fmt: skip
