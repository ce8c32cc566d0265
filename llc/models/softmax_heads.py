"""One layer of full-width softmax attention heads, nothing else: He et al. (2025), arXiv 2503.12734."""

import math
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from llc.models.model_config import ModelConfig
from llc.models.readout import Readout
from llc.randomness import generator
from llc.tasks import Batch


class SoftmaxHeadsConfig(ModelConfig):
    """Heads as wide as the tokens; no residual, MLP, norm, bias or positions.

    Weights begin uniform in ±1/√(inputs of the map), as those of `nn.Linear`, which the authors' models are made of.

    Args:
        heads: H.
    """

    kind: Literal["softmax-heads"] = "softmax-heads"
    heads: int = Field(2, ge=1)

    def build(self, shapes: dict[str, Any], seed: int) -> "SoftmaxHeads":
        """See `ModelConfig.build`; for tasks with one question."""
        model = SoftmaxHeads(self.heads, shapes["dim"], shapes.get("outputs"))
        width, draw = shapes["dim"] + (shapes.get("outputs") or 1), generator(seed, "init")
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                reach = (self.heads * width if name.endswith("out") else width) ** -0.5
                parameter.copy_(reach * (2 * torch.rand(parameter.shape, generator=draw) - 1))
        return model


class Head(nn.Module):
    """K, Q and V, (D+C, D+C), and O, (C, D+C)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.keys, self.queries, self.values = (nn.Parameter(torch.zeros(width, width)) for _ in range(3))
        self.out = nn.Parameter(torch.zeros(outputs, width))


class SoftmaxHeads(nn.Module):
    """f = Σ_h O_h V_h Z softmax(Zᵀ K_hᵀ Q_h z_q/√(D+C)), with tokens z_l = (x_l, y_l) and z_q = (x_q, 0), y in R^C.

    A head is a module of its own, `heads.0`, so that the patterns of a restricted estimate can name it.
    """

    def __init__(self, heads: int, dim: int, outputs: int | None = None) -> None:
        """With `outputs` None there is one, and answers are (B,)."""
        super().__init__()
        self.dim, self.outputs_given = dim, outputs is not None
        self.heads = nn.ModuleList(Head(dim + (outputs or 1), outputs or 1) for _ in range(heads))

    def circuits(self) -> tuple[Tensor, Tensor]:
        """KQ_h = K_hᵀQ_h/√(D+C), (H, D+C, D+C), and OV_h = O_hV_h, (H, C, D+C)."""
        keys, queries, values, out = (
            torch.stack([getattr(head, name) for head in self.heads]) for name in ("keys", "queries", "values", "out")
        )
        scores = keys.mT @ queries / math.sqrt(keys.shape[-1])
        return scores, out @ values

    def forward(self, xs: Tensor, ys: Tensor, query: Tensor) -> Tensor:
        """xs (B, L, D), ys (B, L), query (B, D) -> (B,); with several outputs ys (B, L, C) -> (B, 1, C)."""
        tokens = torch.cat([xs, ys if self.outputs_given else ys[..., None]], -1)
        asked = torch.nn.functional.pad(query, (0, tokens.shape[-1] - self.dim))
        scores, outputs = self.circuits()
        sought = torch.einsum("hji,bi->bhj", scores, asked)
        shares = torch.softmax(sought @ tokens.mT, -1)
        answers = torch.einsum("bhj,hcj->bc", shares @ tokens, outputs)
        return answers[:, None] if self.outputs_given else answers[:, 0]

    @torch.no_grad()
    def readouts(self, batch: Batch) -> dict[str, Readout]:
        """What is told of the circuits of each head.

        omega: mean of KQ's first D diagonal entries. mu: OV from an output's y to that output, (H,), or (H, C) of
        several. kq_rest: norm of what of KQ's first D columns is not diagonal in their first D rows (for one output:
        not omega·(I_D, 0)), relative to theirs; the columns after multiply the question's 0.
        ov_rest: likewise of OV and mu. mu_sum: |Σ_h μ_h| over Σ_h |μ_h|, the largest of the outputs.
        """
        scores, out = self.circuits()
        felt = scores[:, :, : self.dim]
        diagonal = felt.diagonal(dim1=1, dim2=2)
        omega = diagonal.mean(1)
        aligned = torch.zeros_like(felt)
        aligned.diagonal(dim1=1, dim2=2)[:] = diagonal if self.outputs_given else omega[:, None]
        mu = out[:, :, self.dim :].diagonal(dim1=1, dim2=2)
        others = out.clone()
        others[:, :, self.dim :].diagonal(dim1=1, dim2=2)[:] = 0
        dims = ("head", "output") if self.outputs_given else ("head",)
        rest = "share of KQ, where the question feels it, that is not as claimed"
        balance = (mu.sum(0).abs() / mu.abs().sum(0).clamp(min=1e-12)).max()
        found = {
            "omega": Readout(omega, ("head",), "mean of the first D diagonal entries of KQ"),
            "mu": Readout(mu if self.outputs_given else mu[:, 0], dims, "OV from an output's y to that output"),
            "kq_rest": Readout(_share(felt - aligned, felt), ("head",), rest),
            "ov_rest": Readout(_share(others, out), ("head",), "share of OV that is not mu"),
            "mu_sum": Readout(balance, (), "sum of mu over the heads beside that of its magnitudes"),
        }
        if self.outputs_given:
            found["kq_diagonal"] = Readout(diagonal, ("head", "coordinate"), "diagonal of KQ")
        return found


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Norm of a part of each head's matrix over that of the whole."""
    return part.flatten(1).norm(dim=1) / whole.flatten(1).norm(dim=1).clamp(min=1e-12)
