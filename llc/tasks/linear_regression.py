"""In-context linear regression with a finite or infinite set of task vectors (Raventós et al. 2023)."""

import math
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, ValidationInfo, field_validator

from llc import predictors
from llc.config import NumTasks
from llc.predictors import Predictor, baseline
from llc.randomness import generator
from llc.tasks.task import PROBE_SEQUENCES, Batch, Task

# Task vectors are drawn in blocks so that T_M is exactly the first M of one stream: a single call of `torch.randn`
# gives other numbers for another size.
_BLOCK = 1024
# Of all task vectors together.
_MOST_NUMBERS = 10**9


class LinearRegression(Task):
    """Sequences x_1, y_1, …, x_K, y_K with x_k ~ N(0, Σ) and y_k ~ N(tᵀx_k, σ²).

    Task vectors t_1, t_2, … are one fixed i.i.d. N(0, I_D) stream; T_M is its first M (nested, so t_1 is in every
    T_M). q_M draws t uniformly from T_M; q_∞ (`num_tasks=None`) draws t ~ N(0, I_D) afresh for each sequence.

    Args:
        dim: D, the dimension of x and t.
        num_examples: K, the number of (x, y) pairs in a sequence.
        noise_variance: σ² > 0 (the reference predictors divide by it).
        num_tasks: M ≥ 1, or None for the Gaussian prior, M = ∞.
        seed: of the task vectors and of every batch.
        covariance: Σ as D variances or as D rows of D; None for the identity.

    Raises:
        InvalidInput: a value out of range, or a covariance that is not D × D, symmetric and positive definite.

    Source: Raventós et al. (2023), arXiv 2306.15063; Carroll et al. (2025), arXiv 2501.17745, for the nesting.
    """

    headline: ClassVar[str | None] = "ood"
    pair: ClassVar[tuple[str, str] | None] = ("ridge", "dmmse")
    words: ClassVar[Mapping[str, str]] = {
        "num_tasks": "task diversity M (inf: Gaussian prior)",
        "id": "in distribution, q_M",
        "ood": "out of distribution, q_inf",
        "root": "root task, q_1",
        "dmmse": "dMMSE_M",
        "zero": "the zero predictor",
    }
    symbols: ClassVar[Mapping[str, str]] = {"num_tasks": "M", "dmmse": "dMMSE_M"}

    kind: Literal["linear-regression"] = "linear-regression"
    dim: int = Field(ge=1)
    num_examples: int = Field(ge=1)
    noise_variance: float = Field(gt=0, allow_inf_nan=False)
    num_tasks: NumTasks = None
    seed: int = 0
    covariance: list[float] | list[list[float]] | None = None

    @field_validator("num_tasks")
    @classmethod
    def _as_many_tasks_as_fit(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value < 1:
            raise ValueError("expected a whole number of tasks from 1 up, or inf for the Gaussian prior")
        if value is not None and value * info.data.get("dim", 1) > _MOST_NUMBERS:
            raise ValueError(f"expected at most {_MOST_NUMBERS:,} / dim, whose vectors take 4 GB, or inf")
        return value

    @field_validator("covariance")
    @classmethod
    def _is_covariance(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None or "dim" not in info.data:
            return value
        matrix = torch.tensor(value, dtype=torch.float64)
        dim = info.data["dim"]
        if matrix.shape not in {(dim,), (dim, dim)}:
            raise ValueError(f"expected {dim} variances or {dim} rows of {dim} for dim = {dim}")
        matrix = torch.diag(matrix) if matrix.ndim == 1 else matrix
        if not torch.equal(matrix, matrix.T) or torch.linalg.cholesky_ex(matrix).info != 0:
            raise ValueError("expected a symmetric, positive definite covariance")
        return value

    @cached_property
    def tasks(self) -> torch.Tensor | None:
        """T_M, shape (M, D), float32; None for M = ∞."""
        if self.num_tasks is None:
            return None
        blocks = [
            torch.randn(_BLOCK, self.dim, generator=generator(self.seed, "tasks", block))
            for block in range(math.ceil(self.num_tasks / _BLOCK))
        ]
        return torch.cat(blocks)[: self.num_tasks]

    @cached_property
    def covariance_matrix(self) -> torch.Tensor:
        """Σ, shape (D, D), float64."""
        if self.covariance is None:
            return torch.eye(self.dim, dtype=torch.float64)
        matrix = torch.tensor(self.covariance, dtype=torch.float64)
        return torch.diag(matrix) if matrix.ndim == 1 else matrix

    @cached_property
    def _covariance_root(self) -> torch.Tensor | None:
        return None if self.covariance is None else torch.linalg.cholesky(self.covariance_matrix).float()

    def with_num_tasks(self, num_tasks: int | None) -> Self:
        """The same task stream and covariates, with another M: q_∞ for None, q_1 (the root task) for 1."""
        return self.override({"num_tasks": num_tasks})

    def sample(self, size: int, *, step: int = 0, stream: object = "train") -> Batch:
        """A batch of sequences; the same (seed, M, stream, step) always gives the same one.

        Args:
            size: B, the number of sequences.
            step: which batch of the stream.
            stream: names an independent stream, such as `"test"` or `("train", run_seed)`.
        Returns:
            Inputs xs of shape (B, K, D) and ys of shape (B, K), float32; the ys are the targets too.
        """
        rng = generator(self.seed, "batch", self.num_tasks, stream, step)
        shape = (size, self.num_examples)
        if self.tasks is None:
            tasks = torch.randn(size, self.dim, generator=rng)
        else:
            tasks = self.tasks[torch.randint(len(self.tasks), (size,), generator=rng)]
        xs = torch.randn(*shape, self.dim, generator=rng)
        if self._covariance_root is not None:
            xs = xs @ self._covariance_root.T
        noise = torch.randn(*shape, generator=rng)
        ys = (xs @ tasks[:, :, None]).squeeze(-1) + math.sqrt(self.noise_variance) * noise
        return Batch((xs, ys), ys)

    def test_tasks(self) -> dict[str, Task]:
        """q_M, q_∞ and q_1; those of q_∞ and q_1 are the same for every M."""
        return {"id": self, "ood": self.with_num_tasks(None), "root": self.with_num_tasks(1)}

    def shifts(self) -> dict[str, Task]:
        """Covariates x ~ N(0, c² Σ), another noise, and other tasks than those of q_M, one at a time."""
        found: dict[str, Task] = {}
        for scale in (0.5, 2.0):
            covariance = (scale**2 * self.covariance_matrix).tolist()
            found[f"x scaled by {scale:g}"] = self.override({"covariance": covariance})
        for factor in (0.25, 4.0):
            noise = {"noise_variance": factor * self.noise_variance}
            found[f"noise variance times {factor:g}"] = self.override(noise)
        return found | {"M' = 1": self.with_num_tasks(1), "M' = inf": self.with_num_tasks(None)}

    def predictors(self) -> dict[str, Predictor]:
        """Ridge, the task's own dMMSE_M (whose limit, dMMSE_∞, is ridge), and the predictor that always says 0."""
        ridge = partial(predictors.ridge, noise_variance=self.noise_variance)
        dmmse = ridge
        if self.tasks is not None:
            dmmse = partial(predictors.dmmse, tasks=self.tasks, noise_variance=self.noise_variance)
        return {"ridge": ridge, "dmmse": dmmse, "zero": baseline(predictors.zero)}

    def probe(self, size: int = PROBE_SEQUENCES) -> Batch:
        """Sequences of the root task q_1, which every M has."""
        return super().probe(size) if self.num_tasks == 1 else self.with_num_tasks(1).probe(size)

    @property
    def shapes(self) -> dict[str, Any]:
        """See `Task.shapes`."""
        positions = (self.num_examples,)
        return {
            "inputs": [(*positions, self.dim), positions],
            "targets": positions,
            "dim": self.dim,
            "num_examples": self.num_examples,
        }

    @property
    def nats(self) -> float:
        """K/(2σ²)."""
        return self.num_examples / (2 * self.noise_variance)

    @property
    def question(self) -> str:
        """See `Task.question`."""
        return (
            "How does a network's complexity develop while it learns to regress in context? Sequences have "
            f"K = {self.num_examples} examples in D = {self.dim} dimensions (noise variance {self.noise_variance:g}), "
            "and their task vectors come from a set of M. Two ideal predictors frame what can be learned: ridge "
            "regression, which fits any task and knows none, and dMMSE_M, which knows the M training tasks by heart. "
            "On the training distribution the second is better, and the more tasks it knows, the more complex it is; "
            "a run that is like ridge for a while and then leaves it shows a tradeoff of loss and complexity."
        )
