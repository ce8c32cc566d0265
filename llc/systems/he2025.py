"""He et al. (2025), arXiv 2503.12734: one layer of softmax heads learns a debiased step of gradient descent."""

import math

import numpy as np
import xarray as xr

from llc.models import SoftmaxHeadsConfig
from llc.systems.claims import Claim, last_of
from llc.tasks import QueryRegression
from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig


def config() -> ExperimentConfig:
    """D = 5, L = 40, σ² = 0.1, Adam at 1e-3 on batches of 256, as in the authors' code; one, two and four heads.

    Three seeds: some pairs of heads stay with both of one sign, and lose what one head does.
    """
    return ExperimentConfig(
        preset="he2025",
        task=QueryRegression(dim=5, length=40, noise_variance=0.1),
        model=SoftmaxHeadsConfig(),
        training=TrainingConfig(steps=16_000, batch_size=256, learning_rate=1e-3),
        checkpoints=CheckpointsConfig(every=500, logarithmic=40),
        behaviour=BehaviourConfig(sequences=4096),
        sweep=SweepConfig(axes={"model.heads": [1, 2, 4], "seed": [0, 1, 2]}),
    )


# Of the best step of gradient descent at D = 5, L = 40, σ² = 0.1.
_RISK = 1.1 - 1 / (1 + (5 + 1 + 5 * 0.1) / 40)


def _risk(compared: xr.Dataset) -> tuple[float, float]:
    """The risk of gradient descent in closed form, and what two heads lose above it on the same sequences."""
    run = last_of(compared, heads=2).sel(test_set="id", reference="gd")
    return _RISK + float(run.excess), float(run.excess_se)


def _four_over_two(compared: xr.Dataset) -> tuple[float, float]:
    runs = [last_of(compared, heads=heads).sel(test_set="id", reference="gd") for heads in (4, 2)]
    change = float(runs[0].excess - runs[1].excess) / float(runs[1].loss)
    return change, math.hypot(*(float(run.excess_se) for run in runs)) / float(runs[1].loss)


def _one_over_two(compared: xr.Dataset) -> tuple[float, float]:
    runs = [last_of(compared, heads=heads).sel(test_set="id", reference="gd") for heads in (1, 2)]
    return float(runs[0].excess - runs[1].excess), math.hypot(*(float(run.excess_se) for run in runs))


def _zero_sum(compared: xr.Dataset) -> tuple[float, float]:
    return float(last_of(compared, heads=2).mu_sum), 0.0


def _same_size(compared: xr.Dataset) -> tuple[float, float]:
    omega = last_of(compared, heads=2).omega.values[:2]
    return float(abs(omega.sum()) / np.abs(omega).sum()), 0.0


def _off_diagonal(compared: xr.Dataset) -> tuple[float, float]:
    return float(last_of(compared, heads=2).kq_rest.max()), 0.0


def _longer(compared: xr.Dataset) -> tuple[float, float]:
    run = last_of(compared, heads=2)
    short, long = run.sel(test_set="id"), run.sel(test_set="L = 160")
    return float(long.loss - short.loss), math.hypot(float(long.loss_se), float(short.loss_se))


def _linear_longer(compared: xr.Dataset) -> tuple[float, float]:
    run = last_of(compared, heads=2).sel(reference="linear")
    short, long = run.sel(test_set="id"), run.sel(test_set="L = 160")
    change = float(long.reference_loss - short.reference_loss)
    return change, math.hypot(float(long.reference_loss_se), float(short.reference_loss_se))


# The heads move late.
ESTIMATES = {"steps": "0,500,1000,1500,3000,6000,16000"}

CLAIMS = (
    Claim("two heads: risk", "two heads come to the risk of a (debiased) step of gradient descent, within 2 %", 0.241,
          _risk, 0.98 * 0.241, 1.02 * 0.241),
    Claim("one head: worse than two", "one head loses more than two", math.nan, _one_over_two, low=0.0),
    Claim("four heads: no better than two", "four heads change the risk of two by less than 2 % of it", 0.0,
          _four_over_two, -0.02, 0.02),
    Claim("OV: zero sum", "the heads' last entries of OV add up to nothing, |Σμ| < 0.05 Σ|μ|", 0.0, _zero_sum,
          high=0.05),
    Claim("KQ: the same size", "KQ of both heads have one size and opposite signs, |Σω| < 0.05 Σ|ω|", 0.0, _same_size,
          high=0.05),
    Claim("KQ: a multiple of (I, 0)", "where the question feels it, not a tenth of a head's KQ is anything else", 0.0,
          _off_diagonal, high=0.1),
    Claim("longer prompts: better", "softmax heads lose less on prompts four times as long as in training", math.nan,
          _longer, high=0.0),
    Claim("longer prompts: linear attention overshoots", "a step that is not normalised loses more there", math.nan,
          _linear_longer, low=0.0, already="of references alone"),
)  # fmt: skip
