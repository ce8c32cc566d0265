"""In-context linear regression with a finite or infinite set of task vectors (Raventós et al. 2023)."""

import math
from functools import cached_property
from typing import Literal, Self

import torch
from pydantic import Field, field_validator

from llc.config import Config, NumTasks
from llc.randomness import generator

# Task vectors are drawn in blocks so that T_M is exactly the first M of one stream: a single call of `torch.randn`
# gives other numbers for another size.
_BLOCK = 1024


class LinearRegression(Config):
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

    kind: Literal["linear-regression"] = "linear-regression"
    dim: int = Field(ge=1)
    num_examples: int = Field(ge=1)
    noise_variance: float = Field(gt=0, allow_inf_nan=False)
    num_tasks: NumTasks = None
    seed: int = 0
    covariance: list[float] | list[list[float]] | None = None

    @field_validator("num_tasks")
    @classmethod
    def _at_least_one_task(cls, value: int | None) -> int | None:
        if value is not None and value < 1:
            raise ValueError("expected a whole number of tasks from 1 up, or inf for the Gaussian prior")
        return value

    @field_validator("covariance")
    @classmethod
    def _is_covariance(cls, value, info):
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

    @property
    def zero_loss(self) -> float:
        """Expected squared error of the predictor that always says 0, under t ~ N(0, I): tr Σ + σ²."""
        return float(torch.trace(self.covariance_matrix)) + self.noise_variance

    def with_num_tasks(self, num_tasks: int | None) -> Self:
        """The same task stream and covariates, with another M: q_∞ for None, q_1 (the root task) for 1."""
        return self.override({"num_tasks": num_tasks})

    def sample(self, batch_size: int, step: int = 0, stream: object = "train") -> tuple[torch.Tensor, torch.Tensor]:
        """A batch of sequences; the same (seed, M, stream, step) always gives the same one.

        Args:
            batch_size: B, the number of sequences.
            step: which batch of the stream.
            stream: names an independent stream, such as `"test"` or `("train", run_seed)`.
        Returns:
            xs of shape (B, K, D) and ys of shape (B, K), float32.
        """
        draw = generator(self.seed, "batch", self.num_tasks, stream, step)
        shape = (batch_size, self.num_examples)
        if self.tasks is None:
            tasks = torch.randn(batch_size, self.dim, generator=draw)
        else:
            tasks = self.tasks[torch.randint(len(self.tasks), (batch_size,), generator=draw)]
        xs = torch.randn(*shape, self.dim, generator=draw)
        if self._covariance_root is not None:
            xs = xs @ self._covariance_root.T
        noise = torch.randn(*shape, generator=draw)
        ys = (xs @ tasks[:, :, None]).squeeze(-1) + math.sqrt(self.noise_variance) * noise
        return xs, ys
