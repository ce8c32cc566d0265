"""The decoder-only transformer of the in-context regression literature, with the options its papers differ in."""

import math
from collections.abc import Callable
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from llc.errors import InvalidInput
from llc.models.ablation import head_ablation
from llc.models.attention import transformer_readouts
from llc.models.model_config import ModelConfig
from llc.models.readout import Readout
from llc.randomness import generator
from llc.tasks import Batch

_EVERY = slice(None)

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class TransformerConfig(ModelConfig):
    """Options of `Transformer`; the defaults are Hoogland et al.'s model but for its doubled residual.

    Args:
        width: d, of the residual stream.
        depth: number of blocks.
        heads: number of attention heads; divides `width`.
        mlp_width: hidden width of the MLP.
        attention_projection: mix the heads' outputs with a d × d matrix (Carroll et al. do not).
        attention_bias, mlp_bias, embedding_bias: biases of those linear maps.
        residual_scale: c in x ← c·x + attention + MLP; Hoogland et al.'s code adds the residual twice, c = 2.
        activation: of the MLP.
        layer_norm: pre-layer norms and the final one; False leaves all of them out.
        head_ablation: whether read-outs tell what is lost without each head, one pass a head.
    """

    kind: Literal["transformer"] = "transformer"
    width: int = Field(64, ge=1)
    depth: int = Field(2, ge=1, le=1000)
    heads: int = Field(4, ge=1)
    mlp_width: int = Field(64, ge=1)
    attention_projection: bool = True
    attention_bias: bool = False
    mlp_bias: bool = True
    embedding_bias: bool = False
    residual_scale: float = 1.0
    activation: Literal["relu", "gelu"] = "relu"
    layer_norm: bool = True
    head_ablation: bool = False

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"model.heads = {self.heads} given, expected a divisor of model.width = {self.width}")
        return self

    def build(self, shapes: dict[str, Any], seed: int) -> "Transformer":
        """See `ModelConfig.build`; for tasks of (x, y) pairs."""
        if len(shapes["targets"]) != 1:
            raise InvalidInput(f"a transformer answers every example; targets of shape {shapes['targets']} given")
        # On the meta device nothing is drawn, so that torch's global generator stays untouched.
        with torch.device("meta"):
            model = Transformer(self, dim=shapes["dim"], num_examples=shapes["num_examples"])
        model.to_empty(device="cpu")
        initialise(model, generator(seed, "init"))
        return model


class Attention(nn.Module):
    """Causal multi-head softmax attention, (B, T, d) -> (B, T, d)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=config.attention_bias)
        self.projection = (
            nn.Linear(config.width, config.width, bias=config.attention_bias)
            if config.attention_projection
            else nn.Identity()
        )

    def forward(self, x: Tensor, asking: slice = _EVERY) -> Tensor:
        """(B, T, d) -> (B, S, d), for the S tokens that ask, all of them unless told otherwise."""
        pattern, v = self._pattern_and_values(x, asking)
        batch, heads, length, width = (*pattern.shape[:3], v.shape[-1])
        return self.projection((pattern @ v).transpose(1, 2).reshape(batch, length, heads * width))

    def pattern(self, x: Tensor) -> Tensor:
        """How much each token attends to which, (B, heads, T, T); rows sum to 1, and nothing looks ahead."""
        return self._pattern_and_values(x, _EVERY)[0]

    def _pattern_and_values(self, x: Tensor, asking: slice) -> tuple[Tensor, Tensor]:
        length, size = x.shape[1], x.shape[2] // self.heads
        weights = self.qkv.weight.chunk(3)
        biases = (None,) * 3 if self.qkv.bias is None else self.qkv.bias.chunk(3)
        # Spelled out: at these lengths it is faster than the fused kernels on a CPU, and can be differentiated twice.
        q, k, v = (
            F.linear(tokens, weight, bias).unflatten(-1, (self.heads, size)).transpose(1, 2).flatten(0, 1)
            for tokens, weight, bias in zip((x[:, asking], x, x), weights, biases, strict=True)
        )  # each (B · heads, T, d/heads)
        future = torch.full((length, length), -math.inf, dtype=x.dtype, device=x.device).triu(1)
        scores = torch.baddbmm(future[asking], q, k.transpose(1, 2), alpha=size**-0.5)
        split = (-1, self.heads)
        return torch.softmax(scores, -1).unflatten(0, split), v.unflatten(0, split)


class Block(nn.Module):
    """x ← c·x + a + m with a = attention(LN x), m = MLP(LN(x + a))."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.residual_scale = config.residual_scale
        self.activation: Callable[[Tensor], Tensor] = ACTIVATIONS[config.activation]
        self.norm_attention = nn.LayerNorm(config.width) if config.layer_norm else nn.Identity()
        self.attention = Attention(config)
        self.norm_mlp = nn.LayerNorm(config.width) if config.layer_norm else nn.Identity()
        self.mlp_in = nn.Linear(config.width, config.mlp_width, bias=config.mlp_bias)
        self.mlp_out = nn.Linear(config.mlp_width, config.width, bias=config.mlp_bias)

    def forward(self, x: Tensor, asking: slice = _EVERY) -> Tensor:
        """(B, T, d) -> (B, S, d), at the S tokens that ask."""
        attention, x = self.attention(self.norm_attention(x), asking), x[:, asking]
        attended = x + attention
        out = attended + self.mlp_out(self.activation(self.mlp_in(self.norm_mlp(attended))))
        return out if self.residual_scale == 1 else out + (self.residual_scale - 1) * x


class Transformer(nn.Module):
    """Predicts every y_k of a sequence from the pairs before it.

    2K tokens of width D+1: (0, x_k), then (y_k, 0 … 0); learned positions; pre-layer-norm blocks; final layer norm;
    linear read-out. The prediction of y_k is the first output coordinate at the token of x_k.

    Source: Raventós et al. (2023); Hoogland et al. (2024), arXiv 2402.02364; Carroll et al. (2025).
    """

    def __init__(self, config: TransformerConfig, *, dim: int, num_examples: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Linear(dim + 1, config.width, bias=config.embedding_bias)
        self.positions = nn.Parameter(torch.empty(2 * num_examples, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width) if config.layer_norm else nn.Identity()
        self.readout = nn.Linear(config.width, dim + 1)

    def forward(self, xs: Tensor, ys: Tensor) -> Tensor:
        """xs (B, K, D), ys (B, K) -> predictions (B, K); prediction k sees x_1, y_1, …, y_{k-1}, x_k."""
        return self.readout(self.norm(self._residual(xs, ys, slice(None, None, 2))))[..., 0]

    def outputs(self, xs: Tensor, ys: Tensor) -> Tensor:
        """The read-out at every token, (B, 2K, D+1), of which the predictions are a part."""
        return self.readout(self.norm(self._residual(xs, ys, _EVERY)))

    def readouts(self, batch: Batch) -> dict[str, Readout]:
        """See `llc.models.attention` and, where that is asked for, `llc.models.ablation`."""
        found = transformer_readouts(self, batch)
        if self.config.head_ablation:
            found |= head_ablation(self, [block.attention for block in self.blocks], batch)  # type: ignore[misc]
        return found

    def _residual(self, xs: Tensor, ys: Tensor, wanted: slice) -> Tensor:
        """The residual stream after the last block at the wanted tokens; of the others only what those look at."""
        batch, num_examples, _ = xs.shape
        x_tokens = F.pad(xs, (1, 0))
        y_tokens = F.pad(ys[..., None], (0, xs.shape[-1]))
        tokens = torch.stack((x_tokens, y_tokens), dim=2).view(batch, 2 * num_examples, -1)
        x = self.embedding(tokens) + self.positions[: 2 * num_examples]
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        return last(x, wanted)


@torch.no_grad()
def initialise(model: nn.Module, rng: torch.Generator) -> None:
    """PyTorch's default for linear maps, U(±1/√fan_in), unit layer norms, N(0, 0.02²) positions."""
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            nn.init.uniform_(module.weight, -bound, bound, generator=rng)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound, generator=rng)
    nn.init.normal_(model.positions, std=0.02, generator=rng)  # type: ignore[arg-type]
