"""A decoder-only transformer over series of numbers, each of which is a token."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from llc.errors import InvalidInput
from llc.models.ablation import head_ablation
from llc.models.readout import Readout
from llc.models.transformer import Block, TransformerConfig, initialise
from llc.randomness import generator
from llc.tasks import Batch


class SeriesTransformerConfig(TransformerConfig):
    """The options of `TransformerConfig`."""

    kind: Literal["series-transformer"] = "series-transformer"  # type: ignore[assignment]

    def build(self, shapes: dict[str, Any], seed: int) -> "SeriesTransformer":  # type: ignore[override]
        """See `ModelConfig.build`; for tasks of which an input of T numbers has T targets."""
        (series, *others), targets = shapes["inputs"], shapes["targets"]
        if others or series != targets or len(targets) != 1:
            raise InvalidInput(
                f"a series transformer says the next number of one series; inputs {shapes['inputs']} and targets "
                f"{targets} given"
            )
        # On the meta device nothing is drawn, so that torch's global generator stays untouched.
        with torch.device("meta"):
            model = SeriesTransformer(self, length=series[0])
        model.to_empty(device="cpu")
        initialise(model, generator(seed, "init"))
        return model


class SeriesTransformer(nn.Module):
    """s_0 … s_{T−1} -> what is said of s_1 … s_T, (B, T) each; learned positions, blocks of `Transformer`, read-out."""

    def __init__(self, config: TransformerConfig, *, length: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Linear(1, config.width, bias=config.embedding_bias)
        self.positions = nn.Parameter(torch.empty(length, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width) if config.layer_norm else nn.Identity()
        self.readout = nn.Linear(config.width, 1)

    def forward(self, series: Tensor) -> Tensor:
        """(B, T) -> (B, T); number i sees those before it and itself."""
        x = self.embedding(series[..., None]) + self.positions[: series.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.readout(self.norm(x)).squeeze(-1)

    def readouts(self, batch: Batch) -> dict[str, Readout]:
        """See `llc.models.ablation`."""
        return head_ablation(self, [block.attention for block in self.blocks], batch)  # type: ignore[misc]
