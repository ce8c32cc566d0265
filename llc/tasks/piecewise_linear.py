"""Streams of pairs from a function that is linear in pieces, one piece after another."""

import math
from collections.abc import Mapping
from functools import cached_property, partial
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from llc import predictors
from llc.predictors import Predictor, baseline
from llc.randomness import generator
from llc.tasks.task import PROBE_SEQUENCES, Batch, Task

# Places next to the start and the end of segments that are tested by themselves; at most half of a segment.
_NEAR = 8
# Bandwidths and ridges tried for the references.
_BANDWIDTHS, _RIDGES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0), (0.003, 0.03, 0.3)
# Streams on which they are chosen, and of the probe.
_CHOSEN_ON = 32


class PiecewiseLinear(Task):
    """y = w_sᵀx + noise, x ~ N(c_s, I_D): in segment s the stream is in another place, where another w_s holds.

    Each stream has 2D places, ± `reach` times the columns of a random rotation, each with a w ~ N(0, I_D/D) of its own.
    It goes through them in turn, and returns after 2D segments.

    Args:
        dim: D.
        length: T, pairs of a stream.
        segment: pairs of a segment, of which T is a multiple.
        noise_variance: σ² of every y.
        reach: ‖c_s‖.
        near: which positions' losses count: None for all; s for the last of segment s, from 1, −s for its first ones.
        seed: of every batch.

    Raises:
        InvalidInput: a value out of range.

    Source: after the non-stationary test-time regression of Zuo et al. (2025), arXiv 2510.01450, whose code is not out;
    where segments lie is this package's choice.
    """

    words: ClassVar[Mapping[str, str]] = {
        "id": "streams as in training",
        "global_linear": "least squares on all pairs before",
        "segment_linear": "least squares on the segment's pairs",
        "nadaraya_watson": "Nadaraya–Watson, the best of several bandwidths",
        "local_linear": "local linear regression, the best of several",
        "zero": "the zero predictor",
    }

    symbols: ClassVar[Mapping[str, str]] = {
        "global_linear": "global least squares",
        "segment_linear": "the segment's least squares",
        "nadaraya_watson": "Nadaraya–Watson",
        "local_linear": "local linear regression",
    }

    kind: Literal["piecewise-linear"] = "piecewise-linear"
    dim: int = Field(ge=1)
    length: int = Field(ge=2)
    segment: int = Field(ge=1)
    noise_variance: float = Field(0.01, ge=0)
    reach: float = Field(3.0, ge=0)
    near: int | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.length % self.segment:
            raise ValueError(f"segment = {self.segment} given, expected one of which length = {self.length} is made up")
        if self.near is not None and not 1 <= abs(self.near) <= self.segments:
            raise ValueError(f"near = {self.near} given, expected a segment from 1 to {self.segments}, or minus one")
        return self

    @property
    def segments(self) -> int:
        """How many a stream has."""
        return self.length // self.segment

    def sample(self, size: int, *, step: int = 0, stream: object = "train") -> Batch:
        """Inputs xs (B, T, D) and ys (B, T); the ys are the targets too."""
        rng = generator(self.seed, "piecewise linear", self.segment, stream, step)
        order = torch.arange(self.segments) % (2 * self.dim)
        weights = torch.randn(size, 2 * self.dim, self.dim, generator=rng)[:, order] / math.sqrt(self.dim)
        axes = torch.linalg.qr(torch.randn(size, self.dim, self.dim, generator=rng)).Q.mT
        centres = self.reach * torch.cat([axes, -axes], 1)[:, order]
        xs = torch.randn(size, self.segments, self.segment, self.dim, generator=rng) + centres[:, :, None]
        noise = torch.randn(size, self.segments, self.segment, generator=rng)
        ys = (xs @ weights[..., None]).squeeze(-1) + math.sqrt(self.noise_variance) * noise
        xs, ys = xs.flatten(1, 2), ys.flatten(1)
        return Batch((xs, ys), ys)

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """(f_i − y_i)², (B, T); with `near`, their mean over the places that it names, at all alike."""
        squares = super().losses(outputs, batch)
        if self.near is None:
            return squares
        of_segment = squares.split(self.segment, 1)[abs(self.near) - 1]
        near = min(_NEAR, max(1, self.segment // 2))
        chosen = of_segment[:, -near:] if self.near > 0 else of_segment[:, :near]
        return chosen.mean(1, keepdim=True).expand_as(squares)

    def test_tasks(self) -> dict[str, Task]:
        """Streams as in training, and what is lost on them at the start and at the end of up to four segments."""
        found: dict[str, Task] = {"id": self}
        for segment in range(1, min(4, self.segments) + 1):
            found[f"start of segment {segment}"] = self.override({"near": -segment})
            found[f"end of segment {segment}"] = self.override({"near": segment})
        return found

    def predictors(self) -> dict[str, Predictor]:
        """Global and segment-wise least squares, Nadaraya–Watson, local linear regression, and 0."""
        bandwidth, (local_bandwidth, ridge) = self._best
        strength = max(self.noise_variance * self.dim, 1e-6)  # Bayes-optimal for one segment
        return {
            "global_linear": partial(predictors.in_double, partial(predictors.least_squares_attention, ridge=strength)),
            "segment_linear": partial(predictors.segment_least_squares, segment=self.segment, ridge=strength),
            "nadaraya_watson": partial(predictors.in_double, _smoother(bandwidth)),
            "local_linear": partial(predictors.in_double, _local(local_bandwidth, ridge)),
            "zero": baseline(predictors.zero),
        }

    @cached_property
    def _best(self) -> tuple[float, tuple[float, float]]:
        """The bandwidth of Nadaraya–Watson, and bandwidth and ridge of local linear regression, that lose least."""
        whole = self.override({"near": None})
        batch = whole.sample(_CHOSEN_ON, stream="bandwidth")

        def lost(attention: predictors.Attention) -> float:
            return float(whole.losses(predictors.in_double(attention, *batch.inputs), batch).mean())

        pairs = [(bandwidth, ridge) for bandwidth in _BANDWIDTHS for ridge in _RIDGES]
        smooth = min(_BANDWIDTHS, key=lambda bandwidth: lost(_smoother(bandwidth)))
        return smooth, min(pairs, key=lambda pair: lost(_local(*pair)))

    def probe(self, size: int = PROBE_SEQUENCES) -> Batch:
        """Streams of four segments, or one where T is no multiple of four, which runs of other segments have too."""
        segment = self.length // 4 if self.length % 4 == 0 else self.length
        if segment == self.segment:
            return super().probe(size)
        return self.override({"segment": segment, "near": None}).probe(size)

    @property
    def question(self) -> str:
        """See `Task.question`."""
        return (
            f"How does a network's complexity develop while it learns to regress on a stream whose rule changes every "
            f"{self.segment} pairs? It may fit all that came before, or only what lies near what is asked."
        )


def _smoother(bandwidth: float) -> predictors.Attention:
    return partial(predictors.softmax_attention, bandwidth=bandwidth, gaussian=True)


def _local(bandwidth: float, ridge: float) -> predictors.Attention:
    return partial(predictors.local_linear_attention, bandwidth=bandwidth, ridge=ridge, gaussian=True)
