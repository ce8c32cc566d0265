"""Linear regression in context with one question: pairs (x_1, y_1) … (x_L, y_L), then x_q, of which y_q is asked."""

import math
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from llc import predictors
from llc.predictors import Predictor, baseline
from llc.randomness import generator
from llc.tasks import fitted_references
from llc.tasks.task import Batch, Task

# Sequences of the length-generalisation test sets are so many times as long as those of training.
_LONGER = (2, 4)


class QueryRegression(Task):
    """y = wᵀx + noise with w ~ N(0, τ² I_D), the same for all of a sequence; only the last y is asked for.

    Args:
        dim: D.
        length: L, pairs before the question.
        noise_variance: σ² of every y, that of the question too unless `clean_query`.
        weight_variance: τ²; None for 1/D.
        covariates: `normal`, x ~ N(0, Σ); or `uniform`, each coordinate from [−reach, reach].
        correlation: ρ of Σ_ij = ρ^|i−j|, for normal ones.
        reach: of uniform ones.
        half: whether the loss is half the squared error.
        supports: for several outputs, the coordinates of x, from 0, that each depends on: `[[0, 1], [1, 2]]`. Its
            weights are N(0, τ²) on these, and 0 elsewhere; ys are (B, L, C) then, and targets (B, 1, C).
        fitted: references besides, with numbers under which they lose least: `gd_plus_plus`, so many `descent_steps`
            of GD++; `structured_softmax`, μ(softmax(ωXx_q) − softmax(−ωXx_q))ᵀy, what a pair of softmax heads comes to.
        descent_steps: T.
        seed: of every batch.

    Raises:
        InvalidInput: a value out of range.

    Source: He et al. (2025), arXiv 2503.12734; von Oswald et al. (2023), arXiv 2212.07677.
    """

    asked: ClassVar[int | None] = 2
    words: ClassVar[Mapping[str, str]] = {
        "id": "prompts as in training",
        "gd": "one step of gradient descent, the best such",
        "debiased_gd": "one step of gradient descent on centred x",
        "linear": "that step for as many examples as in training, however many there are",
        "preconditioned_gd": "one step of gradient descent, each direction of x at its own rate, the best such",
        "gd_plus_plus": "steps of GD++, the best such",
        "structured_softmax": "a positive and a negative softmax head, the best such pair",
        "zero": "the zero predictor",
    }
    symbols: ClassVar[Mapping[str, str]] = {
        "gd": "one GD step",
        "debiased_gd": "debiased GD",
        "linear": "linear attention",
        "preconditioned_gd": "preconditioned GD",
        "gd_plus_plus": "GD++",
        "structured_softmax": "softmax pair",
    }

    kind: Literal["query-regression"] = "query-regression"
    dim: int = Field(ge=1)
    length: int = Field(ge=1)
    noise_variance: float = Field(0.0, ge=0)
    weight_variance: float | None = Field(None, gt=0)
    covariates: Literal["normal", "uniform"] = "normal"
    correlation: float = Field(0.0, gt=-1, lt=1)
    reach: float = Field(0.5, gt=0)
    clean_query: bool = False
    half: bool = False
    supports: list[list[int]] | None = None
    fitted: tuple[Literal["gd_plus_plus", "structured_softmax"], ...] = ()
    descent_steps: int = Field(2, ge=1, le=3)
    seed: int = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.covariates == "uniform" and self.correlation:
            raise ValueError(f"correlation = {self.correlation} given, expected 0 for uniform covariates")
        if self.supports is not None and self.fitted:
            raise ValueError(f"fitted = {list(self.fitted)} given, expected [] with supports")
        if len(set(self.fitted)) < len(self.fitted):
            raise ValueError(f"fitted = {list(self.fitted)} given, expected different names")
        if self.supports is not None and self.correlation:
            raise ValueError(f"correlation = {self.correlation} given, expected 0 with supports")
        for support in self.supports if self.supports is not None else [[0]]:
            if not support or len(set(support)) < len(support) or not set(support) <= set(range(self.dim)):
                raise ValueError(f"a support {support} given, expected different numbers from 0 to {self.dim - 1}")
        if self.supports == []:
            raise ValueError("supports = [] given, expected one an output, or none of them for a single output")
        return self

    @cached_property
    def covariance_matrix(self) -> Tensor:
        """Σ of x, (D, D), float64."""
        if self.covariates == "uniform":
            return self.reach**2 / 3 * torch.eye(self.dim, dtype=torch.float64)
        places = torch.arange(self.dim, dtype=torch.float64)
        return (
            self.correlation ** (places[:, None] - places).abs()
            if self.correlation
            else torch.eye(self.dim, dtype=torch.float64)
        )

    @property
    def kurtosis(self) -> float:
        """E x⁴/(E x²)² of a coordinate: 3, or 1.8 for uniform ones."""
        return 1.8 if self.covariates == "uniform" else 3.0

    @property
    def weight_scale(self) -> float:
        """τ²."""
        return 1 / self.dim if self.weight_variance is None else self.weight_variance

    def sample(self, size: int, *, step: int = 0, stream: object = "train") -> Batch:
        """Inputs xs (B, L, D), ys (B, L) and the question (B, D); targets (B,). See `supports` for several outputs."""
        rng = generator(self.seed, "query regression", self.length, stream, step)
        outputs = 1 if self.supports is None else len(self.supports)
        weights = math.sqrt(self.weight_scale) * torch.randn(size, self.dim, outputs, generator=rng)
        if self.supports is not None:
            weights = weights * self._mask
        if self.covariates == "uniform":
            xs = self.reach * (2 * torch.rand(size, self.length + 1, self.dim, generator=rng) - 1)
        else:
            xs = torch.randn(size, self.length + 1, self.dim, generator=rng)
            if self.correlation:
                xs = xs @ torch.linalg.cholesky(self.covariance_matrix).float().T
        ys = xs @ weights
        noise = math.sqrt(self.noise_variance) * torch.randn(ys.shape, generator=rng)
        if self.clean_query:
            noise[:, -1] = 0
        ys = ys + noise
        if self.supports is None:
            ys = ys.squeeze(-1)
            return Batch((xs[:, :-1], ys[:, :-1], xs[:, -1]), ys[:, -1])
        return Batch((xs[:, :-1], ys[:, :-1], xs[:, -1]), ys[:, -1:])

    @property
    def _mask(self) -> Tensor:
        """1 where an output depends on a coordinate, (D, C)."""
        mask = torch.zeros(self.dim, len(self.supports or []))
        for output, support in enumerate(self.supports or []):
            mask[support, output] = 1
        return mask

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """(f − y_q)², summed over outputs, or half of it."""
        squares = super().losses(outputs, batch)
        return squares / 2 if self.half else squares

    def test_tasks(self) -> dict[str, Task]:
        """Prompts as in training."""
        return {"id": self}

    def shifts(self) -> dict[str, Task]:
        """Longer prompts than in training."""
        lengths = [times * self.length for times in _LONGER]
        return {f"L = {length}": self.override({"length": length}) for length in lengths}

    def predictors(self) -> dict[str, Predictor]:
        """The best single GD step; the same on centred x, and not normalised; preconditioned, for correlated x; those
        that are `fitted`; ridge (Bayes for normal w); and zero."""
        step = self.best_step
        unbiased = step * self.length / max(1, self.length - 1)
        ratio = max(self.noise_variance, 1e-9) / self.weight_scale
        found: dict[str, Predictor] = {
            "gd": partial(predictors.one_step, step=step),
            "debiased_gd": partial(predictors.one_step, step=unbiased, centred=True),
            "linear": partial(predictors.one_step, step=step, examples=self.length),
        }
        if self.correlation:
            found["preconditioned_gd"] = partial(predictors.one_step, step=1.0, preconditioner=self.best_preconditioner)
        found |= {name: partial(getattr(fitted_references, name), self) for name in self.fitted}
        return found | {
            "ridge": partial(predictors.ridge_query, strength=ratio, supports=self.supports),
            "zero": baseline(predictors.zero_query),
        }

    @property
    def best_step(self) -> float:
        """The η of (η/L) Σ y_l x_lᵀx_q with the smallest risk, for independent coordinates of variance s.

            η = 1/(s (1 + (κ + D − 2)/L) + σ²/(τ² L))

        With A = (1/L) Σ x_l x_lᵀ, E A = sI and E A² = s²(1 + (κ + D − 2)/L) I; noise adds s σ²/L to the second moment.
        For correlated x, with E tr(AΣA)/tr ΣA in place of these, by their Gaussian moments. Of several outputs, all of
        which have one η, noise counts D/(mean size of their supports) times as much.
        """
        noise = self.noise_variance / self.weight_scale
        if self.supports is not None:
            noise *= self.dim * len(self.supports) / sum(map(len, self.supports))
        sigma = self.covariance_matrix
        if self.correlation:
            first = float(torch.trace(sigma @ sigma))
            second = (1 + 1 / self.length) * float(torch.trace(sigma @ sigma @ sigma))
            second += float(torch.trace(sigma)) * first / self.length + noise * first / self.length
            return first / second
        scale = float(sigma[0, 0])
        return 1 / (scale * (1 + (self.kurtosis + self.dim - 2) / self.length) + noise / self.length)

    @property
    def best_preconditioner(self) -> Tensor:
        """The Γ of (1/L) Σ y_l x_lᵀΓx_q with the smallest risk, (D, D), for normal x.

            Γ = ((1 + 1/L) Σ + (tr Σ + σ²/τ²)/L · I)⁻¹

        With A = (1/L) Σ x_l x_lᵀ, E A = Σ and E A² = (1 + 1/L) Σ² + (tr Σ/L) Σ. For Σ = I it is `best_step` times I.
        Source: He et al. (2025), arXiv 2503.12734, without the noise.
        """
        sigma = self.covariance_matrix
        rest = (torch.trace(sigma) + self.noise_variance / self.weight_scale) / self.length
        return torch.linalg.inv((1 + 1 / self.length) * sigma + rest * torch.eye(self.dim, dtype=sigma.dtype))

    @property
    def best_gd_plus_plus(self) -> tuple[Tensor, Tensor]:
        """η_t and γ_t, (T,) each, of GD++'s `descent_steps`; see `fitted_references`."""
        return fitted_references.best_gd_plus_plus(self)

    @property
    def best_softmax_pair(self) -> tuple[Tensor, Tensor]:
        """(ω, −ω) and (μ, −μ) of a pair of softmax heads; see `fitted_references`."""
        return fitted_references.best_softmax_pair(self)

    @property
    def nats(self) -> float | None:
        """1/(2σ²), or 1/σ² where the loss is halved; None without noise."""
        if self.noise_variance == 0:
            return None
        return (1.0 if self.half else 0.5) / self.noise_variance

    @property
    def question(self) -> str:
        """See `Task.question`."""
        return (
            f"How does a network's complexity develop while it learns to answer from L = {self.length} examples in "
            f"D = {self.dim} dimensions? One step of gradient descent on the examples, and ridge regression, frame "
            "what it can learn."
        )

    @property
    def shapes(self) -> dict[str, Any]:
        """See `Task.shapes`."""
        one = {"dim": self.dim, "num_examples": self.length}
        if self.supports is None:
            return {"inputs": [(self.length, self.dim), (self.length,), (self.dim,)], "targets": (), **one}
        outputs = len(self.supports)
        inputs = [(self.length, self.dim), (self.length, outputs), (self.dim,)]
        return {"inputs": inputs, "targets": (1, outputs), "outputs": outputs, **one}
