"""Li et al. (2023), arXiv 2304.13276: a softmax attention layer on softmax regression, beside a step of descent."""

import math

import xarray as xr

from llc.models import SoftmaxHeadsConfig
from llc.systems.claims import Claim, last_of, run_at
from llc.tasks import SoftmaxRegression
from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig


def config() -> ExperimentConfig:
    """n = 25 examples in d = 5 dimensions; one layer of one and of two heads.

    Of the paper only the sizes and the loss were read; rate, batch and the law of w are this package's choice.
    """
    return ExperimentConfig(
        preset="li2023",
        task=SoftmaxRegression(dim=5, length=25),
        model=SoftmaxHeadsConfig(),
        training=TrainingConfig(steps=10_000, batch_size=256, learning_rate=2e-3),
        checkpoints=CheckpointsConfig(every=500, logarithmic=40),
        behaviour=BehaviourConfig(sequences=4096),
        sweep=SweepConfig(axes={"model.heads": [1, 2]}),
    )


def _last(compared: xr.Dataset) -> xr.Dataset:
    return last_of(compared, heads=1).sel(reference="gd", test_set="id")


def _over_step(compared: xr.Dataset) -> tuple[float, float]:
    run = _last(compared)
    return float(run.excess / run.reference_loss), float(run.excess_se / run.reference_loss)


def _cosine(compared: xr.Dataset) -> tuple[float, float]:
    run = _last(compared)
    return float(run.sensitivity_cosine), float(run.sensitivity_cosine_se)


def _nearer(compared: xr.Dataset) -> tuple[float, float]:
    """Distance of the model's answers from the step's over that of the untrained model's, as mean norms."""
    run = last_of(compared, heads=1).sel(test_set="id")
    first = run_at(compared, heads=1, seed=int(run.seed), step=0).sel(test_set="id", reference="gd")
    last = run.sel(reference="gd")
    ratio = float(last.prediction_difference / first.prediction_difference)
    errors = (float(one.prediction_difference_se / one.prediction_difference) for one in (last, first))
    return ratio, ratio * math.hypot(*errors)


ESTIMATES = {"steps": "log:6"}

CLAIMS = (
    Claim("as good as a step", "a layer loses no more than the best step of gradient descent does, within a tenth",
          math.nan, _over_step, high=0.1),
    Claim("its answers come near the step's", "trained, they are a quarter as far from them as untrained or less",
          math.nan, _nearer, high=0.25),
    Claim("sensitivities", "it reacts to the question as that step does, cosine above 0.9", 1.0, _cosine, low=0.9),
)  # fmt: skip
