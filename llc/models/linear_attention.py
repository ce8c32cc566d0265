"""Linear self-attention, whose weights can be made a step of gradient descent: von Oswald et al. (2023), 2212.07677."""

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from llc.errors import InvalidInput
from llc.models.model_config import ModelConfig, fill_normal
from llc.models.readout import Readout
from llc.tasks import Batch, QueryRegression, Task

# One, or one a layer.
Numbers = float | Sequence[float] | Tensor


class LinearAttentionConfig(ModelConfig):
    """Layers of linear self-attention with a residual, nothing else.

    Args:
        depth: L.
        heads: a layer.
        shared: whether all layers have the same weights.
        spread: standard deviation of the initial weights.
    """

    kind: Literal["linear-attention"] = "linear-attention"
    depth: int = Field(1, ge=1, le=1000)
    heads: int = Field(1, ge=1)
    shared: bool = False
    spread: float = Field(0.1, gt=0)

    def build(self, shapes: dict[str, Any], seed: int) -> "LinearAttention":
        """See `ModelConfig.build`; for tasks with one question."""
        if "outputs" in shapes:
            raise InvalidInput(f"linear attention answers with one number, {shapes['outputs']} are asked for")
        model = LinearAttention(self, shapes["dim"])
        fill_normal(model, self.spread, seed)
        return model


class LinearAttention(nn.Module):
    """e_j ← e_j + Σ_h P_h V_h Σ_i (e_iᵀ K_hᵀ Q_h e_j) e_i, i over the examples; the answer is −(last entry of e_q).

    Tokens are (x_l, y_l), and (x_q, 0) for the question, which asks and is not looked at.
    """

    def __init__(self, config: LinearAttentionConfig, dim: int) -> None:
        super().__init__()
        self.config = config
        layers = 1 if config.shared else config.depth
        shape = (layers, config.heads, dim + 1, dim + 1)
        self.keys, self.queries, self.values, self.projections = (nn.Parameter(torch.zeros(shape)) for _ in range(4))

    def forward(self, xs: Tensor, ys: Tensor, query: Tensor) -> Tensor:
        """xs (B, L, D), ys (B, L), query (B, D) -> (B,)."""
        asked = torch.cat([query, torch.zeros_like(query[:, :1])], -1)[:, None]
        tokens = torch.cat([torch.cat([xs, ys[..., None]], -1), asked], 1)
        for layer in range(self.config.depth):
            tokens = tokens + self._attend(tokens, 0 if self.config.shared else layer)
        return -tokens[:, -1, -1]

    def _attend(self, tokens: Tensor, layer: int) -> Tensor:
        examples = tokens[:, :-1]
        memory = examples.mT @ examples  # Σ_i e_i e_iᵀ: what a head sees of the examples
        circuits = self.keys[layer].mT @ self.queries[layer]
        outputs = self.projections[layer] @ self.values[layer]
        maps = torch.einsum("hij,bjk,hkl->bil", outputs, memory, circuits)
        return tokens @ maps.mT

    @torch.no_grad()
    def set_to_descent(self, step: Numbers, gamma: Numbers = 0.0) -> None:
        """Weights that make each layer one step of gradient descent on the examples, from w = 0.

        y_j ← y_j − ΔW x_j with ΔW x_j = (η/L) Σ_i y_i x_iᵀ x_j, so that after one layer the answer is that of
        `llc.predictors.one_step`, and after more that of as many steps. With γ, x_j ← (I − (γ/L) Σ_i x_i x_iᵀ) x_j
        besides: `llc.predictors.gd_plus_plus`.

        Args:
            step: η/L, the factor of the sum over the examples; one, or one for each layer's own weights.
            gamma: γ/L, likewise.
        Raises:
            InvalidInput: another number of them.

        Source: von Oswald et al. (2023), proposition 1 and appendix A.10.
        """
        layers = len(self.values)
        factors = [torch.as_tensor(given, dtype=torch.float64, device="cpu") for given in (step, gamma)]
        for name, factor in zip(("step", "gamma"), factors, strict=True):
            if factor.shape not in {(), (layers,)}:
                raise InvalidInput(f"{name} of shape {tuple(factor.shape)} given, expected a number or ({layers},)")
        for parameter in self.parameters():
            parameter.zero_()
        dim = self.keys.shape[-1] - 1
        for weights in (self.keys, self.queries):
            weights[:, 0, :dim, :dim] = torch.eye(dim)
        self.projections[:, 0] = torch.eye(dim + 1)
        steps, gammas = (-factor.expand(layers).to(self.values) for factor in factors)
        self.values[:, 0, dim, dim] = steps
        self.values[:, 0, range(dim), range(dim)] = gammas[:, None]

    @torch.no_grad()
    def interpolated(self, task: Task, reference: str, share: float) -> "LinearAttention | None":
        """The model with weights (1 − share)·its own + share·those that are the reference.

        Both in the same form, K = P = I in every layer, with Σ_h KQ scaled so that the mean of its first D diagonal
        entries is 1 and PV by the inverse: factors that cancel in what a layer computes would else make what lies
        between meaningless.

        Returns:
            None where there is no such construction: one layer of one head is the best step of gradient descent, `gd`,
            and as many layers as the task's GD++ has steps, with weights of their own, are `gd_plus_plus`.
        """
        target = copy.deepcopy(self)
        if self.config.heads > 1 or not target._set_to(task, reference):
            return None
        between = copy.deepcopy(self)
        eye = torch.eye(self.keys.shape[-1]).to(self.keys)
        for layer in range(len(self.keys)):
            circuits, outputs = self._circuits(layer)
            scale = circuits.diagonal()[:-1].mean()
            goals = target._circuits(layer)
            between.queries[layer, 0] = (1 - share) * circuits / scale + share * goals[0]
            between.values[layer, 0] = (1 - share) * outputs * scale + share * goals[1]
            between.keys[layer, 0] = between.projections[layer, 0] = eye
        return between

    def _circuits(self, layer: int) -> tuple[Tensor, Tensor]:
        """KQ and PV of the first head."""
        return self.keys[layer, 0].mT @ self.queries[layer, 0], self.projections[layer, 0] @ self.values[layer, 0]

    def _set_to(self, task: Task, reference: str) -> bool:
        """Give it a reference's weights; whether there are any."""
        if reference == "gd" and self.config.depth == 1 and hasattr(task, "best_step"):
            self.set_to_descent(task.best_step / task.shapes["num_examples"])
            return True
        if reference != "gd_plus_plus" or not isinstance(task, QueryRegression):
            return False
        if task.descent_steps == len(self.keys) == self.config.depth:
            self.set_to_descent(*(numbers / task.shapes["num_examples"] for numbers in task.best_gd_plus_plus))
            return True
        return False

    @torch.no_grad()
    def readouts(self, batch: Batch) -> dict[str, Readout]:
        """What each layer's circuits are, beside those of a step of gradient descent.

        kq: mean of the first D diagonal entries of Σ_h KQ; kq_rest: what of it is not a multiple of diag(I_D, 0), as a
        share; step_of_descent: its last entry times that of PV, which is the step.
        """
        circuits = (self.keys.mT @ self.queries).sum(1)
        outputs = (self.projections @ self.values).sum(1)
        dim = circuits.shape[-1] - 1
        mean = circuits.diagonal(dim1=1, dim2=2)[:, :dim].mean(1)
        aligned = torch.zeros_like(circuits)
        aligned[:, range(dim), range(dim)] = mean[:, None]
        rest = (circuits - aligned).flatten(1).norm(dim=1) / circuits.flatten(1).norm(dim=1).clamp(min=1e-12)
        return {
            "kq": Readout(mean, ("layer",), "mean of the first D diagonal entries of KQ"),
            "kq_rest": Readout(rest, ("layer",), "share of KQ that is not a multiple of diag(I, 0)"),
            "step_of_descent": Readout(-mean * outputs[:, dim, dim], ("layer",), "the step that KQ and PV stand for"),
        }
