"""One softmax attention head of which Q alone is trained: Huang, Cheng & Liang (2023), arXiv 2310.05249."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from llc.errors import InvalidInput
from llc.models.model_config import ModelConfig
from llc.models.readout import Readout
from llc.tasks import Batch


class SoftmaxQueryConfig(ModelConfig):
    """The head begins at Q = 0, where it looks at all examples alike, whatever the seed."""

    kind: Literal["softmax-query"] = "softmax-query"

    def build(self, shapes: dict[str, Any], seed: int) -> "SoftmaxQuery":
        """See `ModelConfig.build`; for tasks with one question and one number to say."""
        if "outputs" in shapes:
            raise InvalidInput(f"this head answers with one number, {shapes['outputs']} are asked for")
        return SoftmaxQuery(shapes["dim"])


class SoftmaxQuery(nn.Module):
    """f = Σ_i y_i exp(x_iᵀQ x_q)/Σ_j exp(x_jᵀQ x_q): keys are x, values y, and Q (D, D) is all there is to learn."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(dim, dim))

    def forward(self, xs: Tensor, ys: Tensor, query: Tensor) -> Tensor:
        """xs (B, L, D), ys (B, L), query (B, D) -> (B,)."""
        scores = (xs @ (query @ self.query.T)[..., None]).squeeze(-1)
        return (torch.softmax(scores, -1) * ys).sum(-1)

    @torch.no_grad()
    def readouts(self, batch: Batch) -> dict[str, Readout]:
        """A_k = e_kᵀQe_k and B_kn = e_kᵀQe_n, n ≠ k, for features that are the coordinates; its diagonal is NaN.

        attention: a question's total weight on the examples of its own feature, mean over those about it, (D,).
        """
        xs, _, query = batch.inputs
        scores = (xs @ (query @ self.query.T)[..., None]).squeeze(-1)
        own = (torch.softmax(scores, -1) * (xs * query[:, None]).sum(-1)).sum(-1)
        asked = query.argmax(-1)
        attention = torch.stack([own[asked == k].mean() for k in range(query.shape[-1])])
        others = self.query.detach().clone().fill_diagonal_(torch.nan)
        return {
            "A": Readout(
                self.query.detach().diagonal(), ("feature",), "A_k, the score of a feature asked about with itself"
            ),
            "B": Readout(others, ("seen", "feature"), "B_kn, the score of a feature asked about with another"),
            "attention": Readout(attention, ("feature",), "attention to examples of the feature asked about"),
        }
