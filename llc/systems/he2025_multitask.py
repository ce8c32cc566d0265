"""He et al. (2025), arXiv 2503.12734, two tasks at once: N + 1 heads superpose what 2N heads keep apart."""

import math

import xarray as xr

from llc.models import SoftmaxHeadsConfig
from llc.systems.claims import Claim, Measure, last_of
from llc.tasks import QueryRegression
from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig


def config() -> ExperimentConfig:
    """D = 6, two outputs of four coordinates each, two of them shared; L = 48; w ~ N(0, I), σ² = 0.4, no noise on the
    question, Adam at 1e-3 on batches of 256, as in the authors' code; two, three and four heads.
    """
    return ExperimentConfig(
        preset="he2025-multitask",
        task=QueryRegression(
            dim=6, length=48, noise_variance=0.4, weight_variance=1.0, clean_query=True,
            supports=[[0, 1, 2, 3], [2, 3, 4, 5]],
        ),
        model=SoftmaxHeadsConfig(),
        training=TrainingConfig(steps=16_000, batch_size=256, learning_rate=1e-3),
        checkpoints=CheckpointsConfig(every=500, logarithmic=40),
        behaviour=BehaviourConfig(sequences=4096),
        sweep=SweepConfig(axes={"model.heads": [2, 3, 4], "seed": [0, 1, 2]}),
    )  # fmt: skip


def _change(fewer: int, more: int) -> Measure:
    """How much fewer heads lose above more, as a share of that; on the same sequences but for the pairing of runs."""

    def measure(compared: xr.Dataset) -> tuple[float, float]:
        runs = [last_of(compared, heads=heads).sel(test_set="id", reference="gd") for heads in (fewer, more)]
        size = float(runs[1].loss)
        error = math.hypot(*(float(run.excess_se) for run in runs)) / size
        return float(runs[0].excess - runs[1].excess) / size, error

    return measure


def _zero_sum(compared: xr.Dataset) -> tuple[float, float]:
    return float(last_of(compared, heads=4).mu_sum), 0.0


ESTIMATES = {"steps": "0,500,1000,1500,3000,6000,16000"}

CLAIMS = (
    Claim("three heads: as good as four", "N + 1 heads lose within 10 % of what 2N do", 0.0, _change(3, 4), -0.1, 0.1),
    Claim("two heads: not enough", "N heads lose more than a tenth above 2N", math.nan, _change(2, 4), low=0.1),
    Claim("OV: zero sum", "for each output, the heads' entries of OV add up to nothing, |Σμ| < 0.05 Σ|μ|", 0.0,
          _zero_sum, high=0.05),
)  # fmt: skip
