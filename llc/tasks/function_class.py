"""Functions of a class, learned in context from pairs: Garg et al. (2022), arXiv 2208.01066."""

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
from llc.tasks.functions import FAMILIES, Family, Prompt, bent
from llc.tasks.task import PROBE_SEQUENCES, Batch, Task

_BENT = ("quadrants", "orthogonal", "overlapping")
# Penalties of Lasso, and numbers of descent steps, of which the best on a few sequences is the reference.
_PENALTIES, _STEPS = (0.1, 0.03, 0.01, 0.003), (1, 4, 16, 64, 256)
_CHOSEN_ON = 16
# A stage of the curriculum adds a dimension and so many pairs.
_MORE_PAIRS = 2


class FunctionClass(Task):
    """x ~ N(0, I_D), y = f(x) + noise for an f of a family that is drawn afresh for each sequence.

    Args:
        family: see `llc.tasks.functions`.
        dim: D.
        length: K, pairs of a sequence.
        sparsity, hidden, depth: of the families that have them.
        noise_variance: σ².
        pool: so many functions in all, from which each sequence has one; None for endlessly many.
        start_dim, start_length, grow_every: the curriculum of training: at first only so many coordinates are not 0 and
            sequences have so many pairs; every so many steps there are one and two more. None for all from the start.
        prompt: how xs are drawn, see `llc.tasks.functions.bent`.
        x_scale, y_scale: what they are multiplied by.
        examples: the only question whose loss counts is that after so many pairs; None for all questions.
        seed: of every batch.

    Raises:
        InvalidInput: a value out of range.
    """

    words: ClassVar[Mapping[str, str]] = {
        "id": "sequences as in training",
        "least_squares": "least squares of least norm",
        "averaging": "the mean of y x, as weights",
        "nearest": "mean of the three nearest",
        "gd": "gradient descent, the best number of steps",
        "preprocessed_gd": "gradient descent on x scaled by its correlation with y",
        "lasso": "Lasso, the best penalty",
        "tree": "a decision tree, greedily grown",
        "zero": "the zero predictor",
    }
    symbols: ClassVar[Mapping[str, str]] = {
        "least_squares": "least squares",
        "nearest": "3 nearest neighbours",
        "gd": "GD",
        "preprocessed_gd": "preprocessed GD",
    }

    kind: Literal["function-class"] = "function-class"
    family: Family = "linear"
    dim: int = Field(ge=1)
    length: int = Field(ge=1)
    sparsity: int = Field(3, ge=1)
    hidden: int = Field(100, ge=1)
    depth: int = Field(4, ge=1, le=20)
    noise_variance: float = Field(0.0, ge=0)
    pool: int | None = Field(None, ge=1)
    start_dim: int | None = Field(None, ge=1)
    start_length: int | None = Field(None, ge=1)
    grow_every: int | None = Field(None, ge=1)
    prompt: Prompt = "standard"
    x_scale: float = Field(1.0, gt=0)
    y_scale: float = Field(1.0, gt=0)
    examples: int | None = Field(None, ge=0)
    seed: int = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.family == "sparse" and self.sparsity > self.dim:
            raise ValueError(f"sparsity = {self.sparsity} given, expected at most dim = {self.dim}")
        if self.examples is not None and self.examples >= self.length:
            raise ValueError(f"examples = {self.examples} given, expected less than length = {self.length}")
        starts = (self.start_dim or self.dim) < self.dim or (self.start_length or self.length) < self.length
        if starts and self.grow_every is None:
            raise ValueError("start_dim or start_length given, expected grow_every with it")
        for name, most in (("start_dim", self.dim), ("start_length", self.length)):
            if (getattr(self, name) or 0) > most:
                raise ValueError(f"{name} = {getattr(self, name)} given, expected at most {most}")
        if self.examples is not None and self.start_length is not None and self.examples >= self.start_length:
            raise ValueError(f"examples = {self.examples} given, expected less than start_length = {self.start_length}")
        if self.prompt in _BENT and not self.examples:
            raise ValueError(f"prompt = {self.prompt} given, expected with it examples, the pairs before its question")
        if self.prompt == "orthogonal" and (self.examples or 0) >= self.dim:
            raise ValueError(f"examples = {self.examples} given, expected less than dim = {self.dim} for orthogonal")
        return self

    def stage(self, step: int) -> tuple[int, int]:
        """Coordinates that are not 0, and pairs, of training's batches at a step."""
        grown = step // self.grow_every if self.grow_every else 0
        dim = self.dim if self.start_dim is None else min(self.dim, self.start_dim + grown)
        if self.start_length is None:
            return dim, self.length
        return dim, min(self.length, self.start_length + _MORE_PAIRS * grown)

    def sample(self, size: int, *, step: int = 0, stream: object = "train") -> Batch:
        """Inputs xs (B, K, D) and ys (B, K); the ys are the targets too. The curriculum is that of streams `train…`."""
        name = stream[0] if isinstance(stream, tuple) and stream else stream
        dim, length = self.stage(step) if name == "train" else (self.dim, self.length)
        rng = generator(self.seed, "function class", self.family, stream, step)
        xs = torch.randn(size, length, self.dim, generator=rng)
        xs = self.x_scale * bent(xs, self.prompt, self.examples, rng)
        xs[..., dim:] = 0
        ys = self._values(xs, rng)
        noise = math.sqrt(self.noise_variance) * torch.randn(size, length, generator=rng)
        ys = self.y_scale * ys + noise
        return Batch((xs, ys), ys)

    def _values(self, xs: Tensor, rng: torch.Generator) -> Tensor:
        family = FAMILIES[self.family]
        if self.pool is None:
            return family(xs, self, rng)
        which = torch.randint(self.pool, (len(xs),), generator=rng)
        ys = torch.empty(xs.shape[:2])
        for function in which.unique().tolist():
            rows = which == function
            own = generator(self.seed, "function class", self.family, "pool", function)
            # All its sequences as one, so that they have one function.
            ys[rows] = family(xs[rows].flatten(0, 1)[None], self, own).reshape(-1, xs.shape[1])
        return ys

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """(f_k − y_k)², (B, K); with `examples`, what is lost there, at all of them alike."""
        squares = super().losses(outputs, batch)
        return squares if self.examples is None else squares[:, self.examples, None].expand_as(squares)

    def test_tasks(self) -> dict[str, Task]:
        """Sequences as in training, and what is lost on them after half of D, D and 2 D examples."""
        counts = [count for count in (self.dim // 2, self.dim, 2 * self.dim) if 0 < count < self.length]
        return {"id": self, **{f"{count} examples": self._tested(examples=count) for count in counts}}

    def _tested(self, **settings: Any) -> Task:
        """With other settings and no curriculum, which test sets have none of."""
        return self.override({"start_dim": None, "start_length": None, "grow_every": None, **settings})

    def shifts(self) -> dict[str, Task]:
        """Of linear functions the prompts of Garg et al.: bent questions after D or D/2 examples, others after 2D."""
        seen, few, late = (min(most, self.length - 1) for most in (self.dim, max(1, self.dim // 2), 2 * self.dim))
        after = {"quadrants": seen, "overlapping": seen, "orthogonal": few}
        found = {}
        for name, settings in self._prompts().items():
            examples = after.get(settings.get("prompt", ""), late)
            if self._askable(settings, examples):
                found[name] = self._tested(**settings, examples=examples)
        return found

    def curves(self) -> dict[str, dict[int, Task]]:
        """Sequences as in training and, of linear functions, every prompt, after each number of examples there is."""
        return {
            name: {
                examples: self._tested(**settings, examples=examples)
                for examples in range(self.length)
                if self._askable(settings, examples)
            }
            for name, settings in {"as in training": {}, **self._prompts()}.items()
        }

    def _prompts(self) -> dict[str, dict[str, Any]]:
        """The settings of the prompts of Garg et al. (§4), which are of linear functions."""
        if self.family != "linear":
            return {}
        found: dict[str, dict[str, Any]] = {
            "random quadrants": {"prompt": "quadrants"},
            "question seen before": {"prompt": "overlapping"},
        }
        if self.dim > 1:
            found["orthogonal question"] = {"prompt": "orthogonal"}
            found["skewed"] = {"prompt": "skewed"}
            found["half subspace"] = {"prompt": "half-subspace"}
        for scale in (1 / 3, 3.0):
            found[f"x times {scale:.2g}"] = {"x_scale": scale * self.x_scale}
            found[f"y times {scale:.2g}"] = {"y_scale": scale * self.y_scale}
        return found | {"noise of variance 1": {"noise_variance": 1.0}}

    def _askable(self, settings: dict[str, Any], examples: int) -> bool:
        """Whether a prompt has a question after so many examples: a bent one needs some, and room beside them."""
        prompt = settings.get("prompt", self.prompt)
        return (examples > 0 or prompt not in _BENT) and (examples < self.dim or prompt != "orthogonal")

    def predictors(self) -> dict[str, Predictor]:
        """Least squares (ridge with noise), averaging, three nearest neighbours, 0; and what suits the family."""
        found: dict[str, Predictor] = {"least_squares": predictors.least_squares_so_far}
        if self.noise_variance and self.family in {"linear", "sparse"}:
            weights = 1.0 if self.family == "linear" else self.sparsity / self.dim  # their variance
            found["ridge"] = partial(predictors.ridge, noise_variance=self.noise_variance / weights)
        found |= {"averaging": predictors.averaging, "nearest": partial(predictors.nearest_neighbours, neighbours=3)}
        if self.family == "sparse":
            steps, scaled_steps, penalty = self._best
            found |= {
                "gd": partial(predictors.descent, steps=steps),
                "preprocessed_gd": partial(predictors.descent, steps=scaled_steps, preprocessed=True),
                "lasso": partial(predictors.lasso, penalty=penalty),
            }
        if self.family == "tree":
            found["tree"] = predictors.decision_tree
        return {**found, "zero": baseline(predictors.zero)}

    def probe(self, size: int = PROBE_SEQUENCES) -> Batch:
        """Noiseless sequences of linear functions, which runs of other families have too."""
        plain = {"family": "linear", "noise_variance": 0.0, "pool": None, "prompt": "standard", "examples": None}
        changed = {key: value for key, value in plain.items() if getattr(self, key) != value}
        return self._tested(**changed).probe(size) if changed else super().probe(size)

    @cached_property
    def _best(self) -> tuple[int, int, float]:
        """Steps of descent, plain and on scaled x, and the penalty of Lasso that lose least on training's sequences."""
        plain = self.override({"prompt": "standard", "examples": None})
        batch = plain.sample(_CHOSEN_ON, stream="chosen on")

        def lost(predictor: Predictor, **settings: Any) -> float:
            return float(plain.losses(predictor(*batch.inputs, **settings), batch).mean())

        plain_steps, scaled_steps = (
            min(_STEPS, key=lambda steps: lost(predictors.descent, steps=steps, preprocessed=preprocessed))
            for preprocessed in (False, True)
        )
        return plain_steps, scaled_steps, min(_PENALTIES, key=lambda penalty: lost(predictors.lasso, penalty=penalty))

    @property
    def nats(self) -> float | None:
        """K/(2σ²), or 1/(2σ²) where one question counts; None without noise."""
        if self.noise_variance == 0:
            return None
        return (self.length if self.examples is None else 1) / (2 * self.noise_variance)

    @property
    def question(self) -> str:
        """See `Task.question`."""
        return (
            f"How does a network's complexity develop while it learns {self.family} functions of D = {self.dim} "
            f"coordinates in context, from up to K = {self.length} pairs?"
        )

    @property
    def shapes(self) -> dict[str, Any]:
        """See `Task.shapes`."""
        positions = (self.length,)
        inputs = [(self.length, self.dim), positions]
        return {"inputs": inputs, "targets": positions, "dim": self.dim, "num_examples": self.length}
