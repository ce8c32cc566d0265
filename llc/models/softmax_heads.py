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
        model = SoftmaxHeads(self.heads, shapes["dim"])
        width, draw = shapes["dim"] + 1, generator(seed, "init")
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                reach = (self.heads * width if name.endswith("out") else width) ** -0.5
                parameter.copy_(reach * (2 * torch.rand(parameter.shape, generator=draw) - 1))
        return model


class Head(nn.Module):
    """K, Q and V, (D+1, D+1), and O, (D+1,)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.keys, self.queries, self.values = (nn.Parameter(torch.zeros(width, width)) for _ in range(3))
        self.out = nn.Parameter(torch.zeros(width))


class SoftmaxHeads(nn.Module):
    """f = Σ_h O_h V_h Z softmax(Zᵀ K_hᵀ Q_h z_q/√(D+1)), with tokens z_l = (x_l, y_l) and z_q = (x_q, 0).

    A head is a module of its own, `heads.0`, so that the patterns of a restricted estimate can name it.
    """

    def __init__(self, heads: int, dim: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head(dim + 1) for _ in range(heads))

    def circuits(self) -> tuple[Tensor, Tensor]:
        """KQ_h = K_hᵀQ_h/√(D+1), (H, D+1, D+1), and OV_h = V_hᵀO_h, (H, D+1)."""
        keys, queries, values, out = (
            torch.stack([getattr(head, name) for head in self.heads]) for name in ("keys", "queries", "values", "out")
        )
        scores = keys.mT @ queries / math.sqrt(keys.shape[-1])
        return scores, torch.einsum("hkj,hk->hj", values, out)

    def forward(self, xs: Tensor, ys: Tensor, query: Tensor) -> Tensor:
        """xs (B, L, D), ys (B, L), query (B, D) -> (B,)."""
        tokens = torch.cat([xs, ys[..., None]], -1)
        asked = torch.cat([query, torch.zeros_like(query[:, :1])], -1)
        scores, outputs = self.circuits()
        sought = torch.einsum("hji,bi->bhj", scores, asked)
        shares = torch.softmax(sought @ tokens.mT, -1)
        return ((shares @ tokens) * outputs).sum((1, 2))

    @torch.no_grad()
    def readouts(self, batch: Batch) -> dict[str, Readout]:
        """What is told of the circuits of each head.

        omega: mean of KQ's first D diagonal entries. mu: last entry of OV. kq_rest: norm of what of KQ's first D
        columns is not omega·(I_D, 0), relative to theirs; the last one multiplies the question's 0, and stays as it
        began. ov_rest: likewise of OV and its last entry. mu_sum: Σ μ_h over Σ |μ_h|.
        """
        scores, outputs = self.circuits()
        omega = scores.diagonal(dim1=1, dim2=2)[:, :-1].mean(1)
        felt = scores[:, :, :-1]
        aligned = torch.zeros_like(felt)
        aligned.diagonal(dim1=1, dim2=2)[:] = omega[:, None]
        mu = outputs[:, -1]
        rest = (felt - aligned).flatten(1).norm(dim=1) / felt.flatten(1).norm(dim=1).clamp(min=1e-12)
        return {
            "omega": Readout(omega, ("head",), "mean of the first D diagonal entries of KQ"),
            "mu": Readout(mu, ("head",), "last entry of OV"),
            "kq_rest": Readout(
                rest, ("head",), "share of KQ, where the question feels it, that is not a multiple of (I, 0)"
            ),
            "ov_rest": Readout(
                outputs[:, :-1].norm(dim=1) / outputs.norm(dim=1).clamp(min=1e-12),
                ("head",),
                "share of OV outside of its last entry",
            ),
            "mu_sum": Readout(mu.sum() / mu.abs().sum().clamp(min=1e-12), (), "sum of mu over that of its magnitudes"),
        }
