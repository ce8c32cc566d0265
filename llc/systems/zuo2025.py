"""Zuo et al. (2025), arXiv 2510.01450: local linear attention beside its neighbours on streams that change."""

import math

import xarray as xr

from llc.models import StreamAttentionConfig
from llc.systems.claims import Claim, Measure, last_of
from llc.tasks import PiecewiseLinear
from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig

SEGMENT, SEGMENTS = 64, 3
KINDS = ["softmax", "local-linear", "least-squares", "linear", "normalised-linear"]


def config() -> ExperimentConfig:
    """d = 4, noise 0.1, segments of 64 and of 32 pairs in streams of 192; one layer of each of five attentions.

    Rate, batch and initial weights are this package's choice.
    """
    return ExperimentConfig(
        preset="zuo2025",
        task=PiecewiseLinear(dim=4, length=SEGMENT * SEGMENTS, segment=SEGMENT, noise_variance=0.01),
        model=StreamAttentionConfig(),
        training=TrainingConfig(steps=1500, batch_size=32, learning_rate=5e-3, warmup_steps=50),
        checkpoints=CheckpointsConfig(every=100, logarithmic=30),
        behaviour=BehaviourConfig(sequences=1024),
        sweep=SweepConfig(axes={"model.attention": KINDS, "task.segment": [SEGMENT // 2, SEGMENT]}),
    )


def _over_run(other: str, segments: range) -> Measure:
    """Loss of local linear attention at segments' ends over that of a run of another kind: the largest ratio.

    Both are measured on the same streams; that this makes the ratio's error smaller is not counted.
    """

    def measure(compared: xr.Dataset) -> tuple[float, float]:
        own, its = (last_of(compared, attention=kind, segment=SEGMENT) for kind in ("local-linear", other))
        return _largest((own.loss, own.loss_se), (its.loss, its.loss_se), segments)

    return measure


def _over_reference(reference: str, segments: range) -> Measure:
    """The same over a reference."""

    def measure(compared: xr.Dataset) -> tuple[float, float]:
        own = last_of(compared, attention="local-linear", segment=SEGMENT)
        its = own.sel(reference=reference)
        return _largest((own.loss, own.loss_se), (its.reference_loss, its.reference_loss_se), segments)

    return measure


def _largest(
    own: tuple[xr.DataArray, xr.DataArray], its: tuple[xr.DataArray, xr.DataArray], segments: range
) -> tuple[float, float]:
    found = []
    for segment in segments:
        (top, top_se), (bottom, bottom_se) = (
            [float(values.sel(test_set=f"end of segment {segment}")) for values in pair] for pair in (own, its)
        )
        found.append((top / bottom, top / bottom * math.hypot(top_se / top, bottom_se / bottom)))
    return max(found)


_EVERY, _LATER = range(1, SEGMENTS + 1), range(2, SEGMENTS + 1)

# A gradient of 64 streams takes 80 ms of a core, and there are ten runs: few streams, few steps.
ESTIMATES = {"steps": "200,400,700,1000,1500", "num_samples": 512, "batch_size": 16, "max_gradients": 1500}

CLAIMS = (
    Claim("below softmax attention", "at every segment's end local linear attention loses less than softmax does",
          math.nan, _over_run("softmax", _EVERY), high=1.0),
    Claim("below global least squares", "after the first segment it loses less than least squares on all pairs before",
          math.nan, _over_reference("global_linear", _LATER), high=1.0),
    Claim("below least-squares attention", "then too than a trained layer that fits all pairs before, as a MesaNet's",
          math.nan, _over_run("least-squares", _LATER), high=1.0, already="untrained too"),
    Claim("below linear attention", "at every segment's end it loses less than un-normalised linear attention",
          math.nan, _over_run("linear", _EVERY), high=1.0, already="untrained too"),
)  # fmt: skip
