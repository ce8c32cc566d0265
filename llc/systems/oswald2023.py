"""von Oswald et al. (2023), arXiv 2212.07677: a layer of linear self-attention learns one step of gradient descent."""

import math

import xarray as xr

from llc.development.claims import Claim, last_of
from llc.models import LinearAttentionConfig
from llc.tasks import QueryRegression
from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig


def config() -> ExperimentConfig:
    """D = N = 10, no noise, half the squared error, as in the authors' code; x from U(−½, ½) and from U(−1, 1).

    One and two layers.
    """
    return ExperimentConfig(
        preset="oswald2023",
        task=QueryRegression(dim=10, length=10, covariates="uniform", weight_variance=1.0, half=True),
        model=LinearAttentionConfig(),
        training=TrainingConfig(steps=10_000, batch_size=512, learning_rate=3e-3, schedule="triangle"),
        checkpoints=CheckpointsConfig(every=500, logarithmic=40),
        behaviour=BehaviourConfig(sequences=4096),
        sweep=SweepConfig(axes={"model.depth": [1, 2], "task.reach": [0.5, 1.0]}),
    )


def _last(compared: xr.Dataset, reach: float) -> xr.Dataset:
    """One layer, beside the best step of gradient descent."""
    return last_of(compared, depth=1, reach=reach).sel(reference="gd")


def _over_optimum(reach: float):
    def measure(compared: xr.Dataset) -> tuple[float, float]:
        run = _last(compared, reach).sel(test_set="id")
        return float(run.excess / run.reference_loss), float(run.excess_se / run.reference_loss)

    return measure


def _cosine(reach: float):
    def measure(compared: xr.Dataset) -> tuple[float, float]:
        run = _last(compared, reach)
        return float(run.sensitivity_cosine), float(run.sensitivity_cosine_se)

    return measure


def _between(compared: xr.Dataset) -> tuple[float, float]:
    losses = _last(compared, 0.5).interpolation_loss
    return float(losses.sel(share=0.5) / losses.sel(share=0.0)) - 1, 0.0


def _two_layers(compared: xr.Dataset) -> tuple[float, float]:
    runs = [last_of(compared, depth=depth, reach=0.5).sel(reference="gd", test_set="id") for depth in (2, 1)]
    return float(runs[0].excess - runs[1].excess), math.hypot(*(float(run.excess_se) for run in runs))


CLAIMS = (
    Claim("U(−½, ½): the optimum", "one layer loses within 2 % of what the best step of gradient descent does", 0.0,
          _over_optimum(0.5), -0.02, 0.02),
    Claim("U(−1, 1): the optimum", "the same on another range", 0.0, _over_optimum(1.0), -0.02, 0.02),
    Claim("U(−½, ½): sensitivities", "it reacts to the question as that step does, cosine above 0.99", 1.0,
          _cosine(0.5), low=0.99),
    Claim("U(−1, 1): sensitivities", "the same on another range", 1.0, _cosine(1.0), low=0.99),
    Claim("between the weights", "half way to the step's own weights the loss changes by less than 2 %", 0.0, _between,
          -0.02, 0.02),
    Claim("two layers", "two layers lose less than one", math.nan, _two_layers, high=0.0),
)  # fmt: skip
