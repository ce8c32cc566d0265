"""Softmax regression with one question: Li et al. (2023), arXiv 2304.13276."""

import math
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from llc import predictors
from llc.predictors import Predictor, baseline
from llc.randomness import generator
from llc.tasks.task import Batch, Task

# Sequences on which the references' step sizes are chosen, and how many logarithms of them are tried first.
_CHOSEN_ON, _TRIED = 2000, 16
_MANY = 10


class SoftmaxRegression(Task):
    """y_l = L exp(wᵀx_l)/Σ_j exp(wᵀx_j) over the examples, x ~ N(0, I); y of one more x is asked for.

    The sum is over the L examples alone: with the question in it, what is asked for would be what they leave of one.
    w is uniform on a sphere: y is log-normal, all of whose moments there are; of a normal w of variance ¼ or more the
    square of y would have no mean.

    Args:
        dim: D.
        length: L.
        norm: ‖w‖.
        seed: of every batch.

    Raises:
        InvalidInput: a value out of range.
    """

    asked: ClassVar[int | None] = 2
    words: ClassVar[Mapping[str, str]] = {
        "id": "prompts as in training",
        "gd": "one step of gradient descent, the best such",
        "gd_many": f"{_MANY} steps of gradient descent, the best such",
        "one": "the answer 1, as if all were alike",
    }
    symbols: ClassVar[Mapping[str, str]] = {"gd": "one GD step", "gd_many": f"{_MANY} GD steps"}

    kind: Literal["softmax-regression"] = "softmax-regression"
    dim: int = Field(ge=1)
    length: int = Field(ge=1)
    norm: float = Field(0.7, gt=0, le=2)
    seed: int = 0

    def sample(self, size: int, *, step: int = 0, stream: object = "train") -> Batch:
        """Inputs xs (B, L, D), ys (B, L) and the question (B, D); targets (B,)."""
        rng = generator(self.seed, "softmax regression", stream, step)
        weights = torch.randn(size, self.dim, generator=rng)
        weights = self.norm * weights / weights.norm(dim=-1, keepdim=True)
        xs, query = torch.randn(size, self.length, self.dim, generator=rng), torch.randn(size, self.dim, generator=rng)
        ys = self.length * torch.softmax((xs @ weights[..., None]).squeeze(-1), -1)
        return Batch((xs, ys, query), predictors.softmax_answer(xs, query, weights))

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """½(f − y_q)², (B,)."""
        return super().losses(outputs, batch) / 2

    def predictors(self) -> dict[str, Predictor]:
        """One and ten steps of gradient descent, each of the best size, and the answer 1."""
        one, many = self._steps
        return {
            "gd": partial(predictors.softmax_descent, step=one),
            "gd_many": partial(predictors.softmax_descent, step=many, steps=_MANY),
            "one": baseline(predictors.one_query),
        }

    @cached_property
    def _steps(self) -> tuple[float, float]:
        """The sizes of one step and of each of ten that lose least on sequences of training."""
        from scipy import optimize

        batch = self.sample(_CHOSEN_ON, stream="chosen on")

        def lost(log_step: float, steps: int) -> float:
            said = predictors.softmax_descent(*batch.inputs, step=math.exp(log_step), steps=steps)
            return min(1e9, float(self.losses(said, batch).mean()))  # steps that are too large end in infinity

        def best(steps: int) -> float:
            grid = np.linspace(-3, math.log(100 * self.length), _TRIED)
            near = min(grid, key=lambda log_step: lost(log_step, steps))
            bounds = (near - (grid[1] - grid[0]), near + (grid[1] - grid[0]))
            return math.exp(optimize.minimize_scalar(lost, bounds=bounds, args=(steps,), method="bounded").x)

        return best(1), best(_MANY)

    @property
    def question(self) -> str:
        """See `Task.question`."""
        return (
            f"How does a network's complexity develop while it learns softmax regression from L = {self.length} "
            f"examples in D = {self.dim} dimensions? One step of gradient descent is what it is compared with."
        )

    @property
    def shapes(self) -> dict[str, Any]:
        """See `Task.shapes`."""
        inputs = [(self.length, self.dim), (self.length,), (self.dim,)]
        return {"inputs": inputs, "targets": (), "dim": self.dim, "num_examples": self.length}
