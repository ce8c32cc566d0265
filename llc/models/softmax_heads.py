"""One layer of full-width softmax attention heads, nothing else: He et al. (2025), arXiv 2503.12734."""

import math
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from llc.models.model_config import ModelConfig, fill_normal
from llc.models.readout import Readout
from llc.tasks import Batch


class SoftmaxHeadsConfig(ModelConfig):
    """Heads as wide as the tokens; no residual, MLP, norm, bias or positions.

    Args:
        heads: H. spread: standard deviation of the initial weights.
    """

    kind: Literal["softmax-heads"] = "softmax-heads"
    heads: int = Field(2, ge=1)
    spread: float = Field(0.2, gt=0)

    def build(self, shapes: dict[str, Any], seed: int) -> "SoftmaxHeads":
        """See `ModelConfig.build`; for tasks with one question."""
        model = SoftmaxHeads(self.heads, shapes["dim"])
        fill_normal(model, self.spread, seed)
        return model


class SoftmaxHeads(nn.Module):
    """f = Σ_h O_h V_h Z softmax(Zᵀ K_hᵀ Q_h z_q/√(D+1)), with tokens z_l = (x_l, y_l) and z_q = (x_q, 0)."""

    def __init__(self, heads: int, dim: int) -> None:
        super().__init__()
        width = dim + 1
        self.keys, self.queries, self.values = (nn.Parameter(torch.zeros(heads, width, width)) for _ in range(3))
        self.out = nn.Parameter(torch.zeros(heads, width))

    def forward(self, xs: Tensor, ys: Tensor, query: Tensor) -> Tensor:
        """xs (B, L, D), ys (B, L), query (B, D) -> (B,)."""
        tokens = torch.cat([xs, ys[..., None]], -1)
        asked = torch.cat([query, torch.zeros_like(query[:, :1])], -1)
        sought = torch.einsum("hji,bi->bhj", self.keys.mT @ self.queries, asked)
        shares = torch.softmax(sought @ tokens.mT / math.sqrt(tokens.shape[-1]), -1)
        outputs = torch.einsum("hkj,hk->hj", self.values, self.out)
        return ((shares @ tokens) * outputs).sum((1, 2))

    @torch.no_grad()
    def readouts(self, batch: Batch) -> dict[str, Readout]:
        """The circuits KQ_h = K_hᵀQ_h/√(D+1) and OV_h = V_hᵀO_h, and what is told of them.

        omega: mean of KQ's first D diagonal entries. mu: last entry of OV. kq_rest: norm of what of KQ is not
        omega·diag(I_D, 0), relative to KQ's. ov_rest: likewise of OV and its last entry. mu_sum: Σ μ_h over Σ |μ_h|.
        """
        width = self.out.shape[1]
        circuits = self.keys.mT @ self.queries / math.sqrt(width)
        outputs = torch.einsum("hkj,hk->hj", self.values, self.out)
        omega = circuits.diagonal(dim1=1, dim2=2)[:, :-1].mean(1)
        aligned = torch.diag_embed(
            torch.cat([omega[:, None].expand(-1, width - 1), torch.zeros_like(omega)[:, None]], 1)
        )
        mu = outputs[:, -1]
        norms = circuits.flatten(1).norm(dim=1).clamp(min=1e-12)
        rest = (circuits - aligned).flatten(1).norm(dim=1) / norms
        return {
            "omega": Readout(omega, ("head",), "mean of the first D diagonal entries of KQ"),
            "mu": Readout(mu, ("head",), "last entry of OV"),
            "kq_rest": Readout(rest, ("head",), "share of KQ that is not a multiple of diag(I, 0)"),
            "ov_rest": Readout(
                outputs[:, :-1].norm(dim=1) / outputs.norm(dim=1).clamp(min=1e-12),
                ("head",),
                "share of OV outside of its last entry",
            ),
            "mu_sum": Readout(mu.sum() / mu.abs().sum().clamp(min=1e-12), (), "sum of mu over that of its magnitudes"),
        }
