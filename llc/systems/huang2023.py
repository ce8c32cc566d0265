"""Huang, Cheng & Liang (2023), arXiv 2310.05249: one softmax head learns the features of a dictionary in phases."""

import math

import numpy as np
import xarray as xr

from llc.models import SoftmaxQueryConfig
from llc.systems.claims import Claim, Measure, NoNumber, run_at
from llc.tasks import DictionaryRegression
from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig

FEATURES, DOMINANT = 8, 0.5


def config() -> ExperimentConfig:
    """K = 8 features, prompts of N = 64, gradient descent from Q = 0 on half the squared error; p_1 = 1/2 or 1/K.

    The paper descends on the mean over all prompts; here that is over 512 fresh ones a step.
    """
    return ExperimentConfig(
        preset="huang2023",
        task=DictionaryRegression(features=FEATURES, length=64, dominant=DOMINANT),
        model=SoftmaxQueryConfig(),
        training=TrainingConfig(steps=10_000, batch_size=512, learning_rate=0.1, optimiser="sgd"),
        checkpoints=CheckpointsConfig(every=500, logarithmic=60),
        behaviour=BehaviourConfig(sequences=2048),
        sweep=SweepConfig(axes={"task.dominant": [1 / FEATURES, DOMINANT]}),
    )


def _half_times(compared: xr.Dataset, dominant: float) -> tuple[np.ndarray, np.ndarray]:
    """log of the steps after which questions about each feature lose half of what they do at first, with its error.

    Between two checkpoints log loss is taken to be straight in log step.
    """
    run = run_at(compared, dominant=dominant).isel(seed=0)
    steps = np.log(np.maximum(run.step.values, 1))
    logs, errors = [], []
    for feature in range(1, FEATURES + 1):
        of_it = run.sel(test_set=f"feature {feature}")
        losses, spread = of_it.loss.values, (of_it.loss_se / of_it.loss).values
        below = np.flatnonzero(losses < losses[0] / 2)
        if not below.size:
            raise NoNumber(f"feature {feature} is not half learned")
        after, before = below[0], below[0] - 1
        slope = (math.log(losses[after]) - math.log(losses[before])) / (steps[after] - steps[before])
        logs.append(steps[before] + (math.log(losses[0] / 2) - math.log(losses[before])) / slope)
        errors.append(math.hypot(spread[0], spread[after]) / abs(slope))
    return np.array(logs), np.array(errors)


def _earlier(compared: xr.Dataset) -> tuple[float, float]:
    """Half-time of the first of the rare features over that of the dominant one."""
    logs, errors = _half_times(compared, DOMINANT)
    first = 1 + int(logs[1:].argmin())
    ratio = math.exp(logs[first] - logs[0])
    return ratio, ratio * math.hypot(errors[first], errors[0])


def _together(compared: xr.Dataset) -> tuple[float, float]:
    """Half-time of the last over that of the first of the balanced features, less 1."""
    logs, errors = _half_times(compared, 1 / FEATURES)
    first, last = int(logs.argmin()), int(logs.argmax())
    ratio = math.exp(logs[last] - logs[first])
    return ratio - 1, ratio * math.hypot(errors[first], errors[last])


def _falls_first(compared: xr.Dataset) -> tuple[float, float]:
    """−B_k1/A_k, the least over rare k, at the last checkpoint at which each has lost less than a tenth."""
    run = run_at(compared, dominant=DOMINANT).isel(seed=0)
    found = []
    for feature in range(2, FEATURES + 1):
        losses = run.loss.sel(test_set=f"feature {feature}").values
        early = np.flatnonzero(losses > 0.9 * losses[0])
        at = run.isel(step=early[-1], feature=feature - 1)
        found.append(float(-at.B.isel(seen=0) / at.A))
    return min(found), 0.0


def _left(dominant: float) -> Measure:
    """What questions about each feature lose in the end, as a share of what they did at first: the largest."""

    def measure(compared: xr.Dataset) -> tuple[float, float]:
        run = run_at(compared, dominant=dominant).isel(seed=0)
        of_each = run.sel(test_set=[f"feature {feature}" for feature in range(1, FEATURES + 1)])
        first, last = of_each.isel(step=0), of_each.isel(step=-1)
        shares = (last.loss / first.loss).values
        worst = int(shares.argmax())
        relative = math.hypot(*(float((one.loss_se / one.loss).values[worst]) for one in (first, last)))
        return float(shares[worst]), float(shares[worst]) * relative

    return measure


ESTIMATES = {"steps": "log:10"}

CLAIMS = (
    Claim("the dominant feature first", "it is half learned three times as early as any rare one", math.nan, _earlier,
          low=3.0),
    Claim("balanced features together", "the last is half learned at most a fifth later than the first", 0.0, _together,
          high=0.2),
    Claim("rare features: first the dominant one's score falls",
          "when they have lost a tenth, −B_k1 is larger than A_k", math.nan, _falls_first, low=1.0),
    Claim("in the end: imbalanced", "no question loses a twentieth of what it did at first", 0.0, _left(DOMINANT),
          high=0.05),
    Claim("in the end: balanced", "the same", 0.0, _left(1 / FEATURES), high=0.05),
)  # fmt: skip
