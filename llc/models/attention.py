"""What weights and attention heads of a transformer look like."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from llc.models.readout import Readout
from llc.tasks import Batch

if TYPE_CHECKING:
    from llc.models.transformer import Transformer


@torch.no_grad()
def transformer_readouts(model: "Transformer", batch: Batch) -> dict[str, Readout]:
    """Norms of blocks, embedding and read-out, gains of layer norms, how heads attend, the embedding's spectrum."""
    scores = attention_scores(model, batch)
    blocks = list(model.blocks)
    found = {
        "weight_norm_block": Readout(
            torch.stack([_norm(block) for block in blocks]), ("block",), "Euclidean norm of a block's parameters"
        ),
        "weight_norm_embedding": Readout(_norm(model.embedding), (), "Euclidean norm of the token embedding"),
        "weight_norm_readout": Readout(_norm(model.readout), (), "Euclidean norm of the read-out"),
        "attention_entropy": Readout(
            scores["entropy"], ("block", "head"), "entropy of attention, of its largest value"
        ),
        "attention_previous": Readout(
            scores["previous"], ("block", "head"), "share of attention on the token before"
        ),
        "embedding_spectrum": Readout(
            torch.linalg.svdvals(model.embedding.weight.double()), ("direction",),
            "singular values of the token embedding",
        ),
    }  # fmt: skip
    if model.config.layer_norm:
        gains = [[_gain(block.norm_attention), _gain(block.norm_mlp)] for block in blocks]  # type: ignore[arg-type]
        found["norm_gain"] = Readout(
            torch.tensor(gains), ("block", "norm"), "root mean square gain of a block's norms, attention's and MLP's"
        )
    return found


@torch.no_grad()
def attention_scores(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """How every head of a transformer spreads its attention, averaged over sequences and tokens.

    entropy: −Σ_s a_ts log a_ts over log of the number of tokens that t may look at, 0 for one token and 1 for all
    alike; the first token is left out. previous: a_{t,t−1}, the share that goes to the token just before.

    Returns:
        `entropy` and `previous`, (block, head).
    """
    patterns = _patterns(model, batch)
    tokens = patterns.shape[-1]
    entropy = torch.special.entr(patterns).sum(-1)[..., 1:] / torch.arange(2, tokens + 1).log()
    previous = patterns.diagonal(-1, -2, -1)
    return {"entropy": entropy.mean((1, 3)), "previous": previous.mean((1, 3))}


def _patterns(model: nn.Module, batch: Batch) -> Tensor:
    """(block, B, heads, T, T)."""
    found: list[Tensor] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(module.pattern(inputs[0]))  # type: ignore[operator]

    hooks = [block.attention.register_forward_pre_hook(look) for block in model.blocks]  # type: ignore[union-attr]
    try:
        model(*batch.inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(found)


def _norm(module: nn.Module) -> Tensor:
    return torch.stack([p.detach().double().square().sum() for p in module.parameters()]).sum().sqrt()


def _gain(norm: nn.LayerNorm) -> float:
    return float(norm.weight.detach().double().square().mean().sqrt())
