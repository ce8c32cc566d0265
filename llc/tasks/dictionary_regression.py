"""In-context regression over a dictionary: every x is one of K orthonormal features, some of them rare."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator

from llc import predictors
from llc.predictors import Predictor, baseline
from llc.randomness import generator
from llc.tasks.task import Batch, Task


class DictionaryRegression(Task):
    """y = wᵀx with w ~ N(0, I) and x = e_k with probability p_k, without noise; the last y is asked for.

    The features are the coordinates themselves: a rotation of x rotates Q(0) = 0 and its gradients along.

    Args:
        features: K, also the dimension of x.
        length: N, pairs before the question.
        dominant: p_1 of the first feature, the others share the rest: 1/K for a balanced dictionary.
        asked_feature: the number, from 1, of the only feature that is asked about; None for p_k there too.
        seed: of every batch.

    Raises:
        InvalidInput: a value out of range.

    Source: Huang, Cheng & Liang (2023), arXiv 2310.05249, with the loss ½(f − y)².
    """

    asked: ClassVar[int | None] = None
    words: ClassVar[Mapping[str, str]] = {
        "id": "questions as frequent as in the prompt",
        "match": "the mean of what was said of the question's own feature",
        "zero": "the zero predictor",
        "dominant": "probability of the dominant feature",
    }
    symbols: ClassVar[Mapping[str, str]] = {"match": "own feature's mean", "dominant": "p₁"}

    kind: Literal["dictionary-regression"] = "dictionary-regression"
    features: int = Field(ge=2)
    length: int = Field(ge=1)
    dominant: float = Field(gt=0, lt=1)
    asked_feature: int | None = Field(None, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.asked_feature is not None and self.asked_feature > self.features:
            raise ValueError(f"asked_feature = {self.asked_feature} given, expected at most features = {self.features}")
        return self

    @property
    def probabilities(self) -> torch.Tensor:
        """p_k, (K,), float64."""
        rest = (1 - self.dominant) / (self.features - 1)
        return torch.tensor([self.dominant] + [rest] * (self.features - 1), dtype=torch.float64)

    def sample(self, size: int, *, step: int = 0, stream: object = "train") -> Batch:
        """Inputs xs (B, N, K), ys (B, N) and the question (B, K); targets (B,)."""
        rng = generator(self.seed, "dictionary regression", stream, step)
        seen = torch.multinomial(self.probabilities, size * (self.length + 1), replacement=True, generator=rng)
        seen = seen.view(size, self.length + 1)
        if self.asked_feature is not None:
            seen[:, -1] = self.asked_feature - 1
        ys = torch.randn(size, self.features, generator=rng).gather(1, seen)
        xs = torch.nn.functional.one_hot(seen, self.features).float()
        return Batch((xs[:, :-1], ys[:, :-1], xs[:, -1]), ys[:, -1])

    def losses(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """½(f − y_q)²."""
        return super().losses(outputs, batch) / 2

    def test_tasks(self) -> dict[str, Task]:
        """Questions as in training, and those about each feature, by its number from 1."""
        of_each = {f"feature {k}": self.override({"asked_feature": k}) for k in range(1, self.features + 1)}
        return {"id": self, **of_each}

    def predictors(self) -> dict[str, Predictor]:
        """What attention to the question's own feature comes to, and zero."""
        return {"match": predictors.matching_mean, "zero": baseline(predictors.zero_query)}

    @property
    def question(self) -> str:
        """See `Task.question`."""
        return (
            f"How does a network's complexity develop while one attention head learns K = {self.features} features "
            "from prompts in which some of them are rare? Each is learned in a phase of its own."
        )

    @property
    def shapes(self) -> dict[str, Any]:
        """See `Task.shapes`."""
        inputs = [(self.length, self.features), (self.length,), (self.features,)]
        return {"inputs": inputs, "targets": (), "dim": self.features, "num_examples": self.length}
