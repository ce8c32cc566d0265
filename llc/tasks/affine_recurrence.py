"""Affine recurrences s_{i+1} = c s_i + e: the next number of a series, whose rule has to be found out on the way."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from llc import predictors
from llc.predictors import Predictor
from llc.randomness import generator
from llc.tasks.task import Batch, Task

# Positions that are tested by themselves: when copying is about all that can be done, and when the rule is known.
_TESTED = (1, 2, 3, 4, 8)


class AffineRecurrence(Task):
    """s_0 and e from N(0, 1), c from U(−1, 1), without noise; every number but the first is asked for.

    Args:
        length: T, numbers that are said; position i, from 1, is s_i, which the model says after s_0 … s_{i−1}.
        position: the only one whose loss counts; None for all.
        seed: of every batch.

    Raises:
        InvalidInput: a value out of range.

    Source: Bhargav & Gu (2024), arXiv 2410.17438.
    """

    words: ClassVar[Mapping[str, str]] = {
        "id": "series as in training",
        "copy": "the number before",
        "least_squares": "c and e by least squares, of least norm",
        "bayes": "the mean over all c and e that fit",
    }
    symbols: ClassVar[Mapping[str, str]] = {"least_squares": "least squares", "bayes": "Bayes"}

    kind: Literal["affine-recurrence"] = "affine-recurrence"
    length: int = Field(ge=1)
    position: int | None = Field(None, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.position is not None and self.position > self.length:
            raise ValueError(f"position = {self.position} given, expected at most length = {self.length}")
        return self

    def sample(self, size: int, *, step: int = 0, stream: object = "train") -> Batch:
        """Input s_0 … s_{T−1}, targets s_1 … s_T, (B, T) each."""
        rng = generator(self.seed, "affine recurrence", stream, step)
        first, shift = torch.randn(2, size, generator=rng)
        factor = 2 * torch.rand(size, generator=rng) - 1
        series = [first]
        for _ in range(self.length):
            series.append(factor * series[-1] + shift)
        every = torch.stack(series, 1)
        return Batch((every[:, :-1],), every[:, 1:])

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """(f_i − s_i)², (B, T); with a `position`, what is lost there, at all of them alike."""
        squares = super().losses(outputs, batch)
        return squares if self.position is None else squares[:, self.position - 1 : self.position].expand_as(squares)

    def test_tasks(self) -> dict[str, Task]:
        """Series as in training, and what is lost on them at some positions alone."""
        tested = [position for position in _TESTED if position <= self.length]
        return {"id": self, **{f"position {position}": self.override({"position": position}) for position in tested}}

    def predictors(self) -> dict[str, Predictor]:
        """Copying, least squares, and the Bayes-optimal mean."""
        return {
            "copy": predictors.copy_last,
            "least_squares": predictors.two_parameter_least_squares,
            "bayes": predictors.recurrence_mean,
        }

    @property
    def question(self) -> str:
        """See `Task.question`."""
        return (
            "How does a network's complexity develop while it learns to continue series s' = c s + e? It may copy at "
            "first, and find c and e later."
        )
