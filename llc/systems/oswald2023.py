"""von Oswald et al. (2023), arXiv 2212.07677: a layer of linear self-attention learns one step of gradient descent."""

import math
from functools import partial

import xarray as xr

from llc.models import LinearAttentionConfig
from llc.systems.claims import Claim, last_of
from llc.tasks import QueryRegression
from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig


def config(reach: float = 0.5, preset: str = "oswald2023") -> ExperimentConfig:
    """D = N = 10, no noise, half the squared error, as in the authors' code; x from U(−reach, reach).

    One and two layers, beside one step of gradient descent and two of GD++. Each range is a preset of its own: losses
    of two ranges differ so much that λ̂ at one nβ could not be compared between them.
    """
    return ExperimentConfig(
        preset=preset,
        task=QueryRegression(
            dim=10,
            length=10,
            covariates="uniform",
            reach=reach,
            weight_variance=1.0,
            half=True,
            fitted=("gd_plus_plus",),
            descent_steps=2,
        ),
        model=LinearAttentionConfig(),
        training=TrainingConfig(steps=10_000, batch_size=512, learning_rate=3e-3, schedule="triangle"),
        checkpoints=CheckpointsConfig(every=500, logarithmic=40),
        behaviour=BehaviourConfig(sequences=4096),
        sweep=SweepConfig(axes={"model.depth": [1, 2]}),
    )


# What so many layers are held against.
_OF_LAYERS = {1: "gd", 2: "gd_plus_plus"}


def _last(compared: xr.Dataset, depth: int = 1, reference: str | None = None) -> xr.Dataset:
    """A depth beside the best steps that it can be, on sequences as in training where losses are."""
    return last_of(compared, depth=depth).sel(reference=reference or _OF_LAYERS[depth], test_set="id")


def _over_optimum(compared: xr.Dataset, depth: int = 1) -> tuple[float, float]:
    run = _last(compared, depth)
    return float(run.excess / run.reference_loss), float(run.excess_se / run.reference_loss)


def _cosine(compared: xr.Dataset, depth: int = 1) -> tuple[float, float]:
    run = _last(compared, depth)
    return float(run.sensitivity_cosine), float(run.sensitivity_cosine_se)


def _between(compared: xr.Dataset, depth: int = 1) -> tuple[float, float]:
    losses = _last(compared, depth).interpolation_loss
    return float(losses.sel(share=0.5) / losses.sel(share=0.0)) - 1, 0.0


def _two_layers(compared: xr.Dataset) -> tuple[float, float]:
    one, two = _last(compared), _last(compared, 2, "gd")
    return float(two.excess - one.excess), math.hypot(float(one.excess_se), float(two.excess_se))


ESTIMATES = {"steps": "0,500,1000,1500,2000,3000,4500,6000,8000,10000"}

CLAIMS = (
    Claim("the optimum", "one layer loses within 2 % of what the best step of gradient descent does", 0.0,
          _over_optimum, -0.02, 0.02),
    Claim("sensitivities", "it reacts to the question as that step does, cosine above 0.99", 1.0, _cosine, low=0.99),
    Claim("between the weights", "half way to the step's own weights the loss changes by less than 2 %", 0.0, _between,
          -0.02, 0.02),
    Claim("two layers", "two layers lose less than one", math.nan, _two_layers, high=0.0),
    Claim("two layers: GD++", "they lose within 2 % of what two steps of GD++ do, the best such", 0.0,
          partial(_over_optimum, depth=2), -0.02, 0.02),
    Claim("two layers: sensitivities", "they react to the question as those steps do, cosine above 0.99", 1.0,
          partial(_cosine, depth=2), low=0.99),
    Claim("two layers: between the weights", "half way to those steps' own weights the loss changes by less than 2 %",
          0.0, partial(_between, depth=2), -0.02, 0.02),
)  # fmt: skip
