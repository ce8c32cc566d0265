"""One layer of attention over a stream of pairs, of five kinds: Zuo et al. (2025), arXiv 2510.01450."""

import math
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from llc import predictors
from llc.errors import InvalidInput
from llc.models.model_config import ModelConfig
from llc.models.readout import Readout
from llc.randomness import generator
from llc.tasks import Batch

Kind = Literal["softmax", "local-linear", "linear", "normalised-linear", "least-squares"]
_RIDGED = ("local-linear", "least-squares")


class StreamAttentionConfig(ModelConfig):
    """y_i is asked for with query W_q x_i, keys W_k x_j and values a·y_j, j < i.

    Args:
        attention: `softmax`, `local-linear`, `linear`, `normalised-linear`, or `least-squares` as in a MesaNet; see
            `llc.predictors`.
        spread: standard deviation of the initial W_q and W_k beside half the identity.
        ridge: λ at first, of the two that have one; it is learned.
        block: of local linear attention, so many queries and keys at a time; None for all.
    """

    kind: Literal["stream-attention"] = "stream-attention"
    attention: Kind = "local-linear"
    spread: float = Field(0.1, ge=0)
    ridge: float = Field(1.0, gt=0)
    block: int | None = Field(None, ge=1)

    def build(self, shapes: dict[str, Any], seed: int) -> "StreamAttention":
        """See `ModelConfig.build`; for tasks of pairs, every y of which is asked for."""
        if len(shapes["inputs"]) != 2 or shapes["targets"] != tuple(shapes["inputs"][1]):
            raise InvalidInput(
                f"this attention says every y of a stream of pairs; inputs {shapes['inputs']} and targets "
                f"{shapes['targets']} given"
            )
        return StreamAttention(self, shapes["dim"], shapes["num_examples"], seed)


class StreamAttention(nn.Module):
    """The attention of `StreamAttentionConfig.attention`, with W_q, W_k, a, and log λ where there is one, to learn.

    Un-normalised linear attention divides by the T of training, whatever it is shown.
    """

    def __init__(self, config: StreamAttentionConfig, dim: int, length: int, seed: int) -> None:
        super().__init__()
        self.config, self.length = config, length
        self.can_be_mapped = config.block is None  # over the models of an ensemble
        rng = generator(seed, "init")
        self.queries, self.keys = (
            nn.Parameter(torch.eye(dim) / 2 + config.spread * torch.randn(dim, dim, generator=rng)) for _ in range(2)
        )
        self.scale = nn.Parameter(torch.ones(()))
        if config.attention in _RIDGED:
            self.log_ridge = nn.Parameter(torch.tensor(math.log(config.ridge)))

    def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
        """xs (B, T, D), ys (B, T) -> (B, T); what is said of y_i does not depend on it or on what follows x_i."""
        return predictors.after(self._attend, xs, ys)

    def _attend(self, asking: Tensor, seen: Tensor, values: Tensor) -> Tensor:
        queries, keys, values = asking @ self.queries.T, seen @ self.keys.T, self.scale * values
        match self.config.attention:
            case "softmax":
                return predictors.softmax_attention(queries, keys, values, bandwidth=1.0)
            case "local-linear":
                ridge = self.log_ridge.exp()
                return predictors.local_linear_attention(
                    queries, keys, values, bandwidth=1.0, ridge=ridge, block=self.config.block
                )
            case "least-squares":
                return predictors.least_squares_attention(queries, keys, values, ridge=self.log_ridge.exp())
            case "linear":
                return predictors.linear_attention(queries, keys, values) / self.length
            case "normalised-linear":
                return predictors.linear_attention(queries, keys, values, normalised=True)

    @torch.no_grad()
    def readouts(self, batch: Batch) -> dict[str, Readout]:
        """How much W_qᵀW_k, W_q and W_k stretch, how near W_q is to W_k, a, and λ where there is one."""
        score = self.queries.T @ self.keys
        apart = (self.queries - self.keys).norm() / (self.queries.norm() * self.keys.norm()).sqrt().clamp(min=1e-12)
        found = {
            "score_spectrum": Readout(
                torch.linalg.svdvals(score.double()), ("direction",), "singular values of W_q^T W_k"
            ),
            "query_key_distance": Readout(apart, (), "distance of W_q and W_k over the mean of their norms"),
            "value_scale": Readout(self.scale.detach(), (), "what values are multiplied by"),
        }
        if self.config.attention in _RIDGED:
            found["ridge"] = Readout(self.log_ridge.detach().exp(), (), "ridge penalty of the attention")
        return found
