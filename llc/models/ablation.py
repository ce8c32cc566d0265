"""Which attention heads of a transformer matter: what it loses without each."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from llc.models.readout import Readout
from llc.tasks import Batch

if TYPE_CHECKING:
    from llc.models.transformer import Attention


@torch.no_grad()
def head_ablation(model: nn.Module, attentions: Iterable["Attention"], batch: Batch) -> dict[str, Readout]:
    """Rise of the mean squared error where one head says the same in every sequence, and how many heads that leaves.

    What a head says is replaced by its mean over sequences, position by position. With rises r_h of a block, negative
    ones counted as 0, the effective number is exp(−Σ p_h log p_h), p_h = r_h/Σ r: 1 where one head does it all, and the
    number of heads where each matters as much, NaN where none does.

    Args:
        attentions: a block each, with `heads` and a `projection` of all heads' outputs side by side.
    """
    whole = _error(model, batch)
    rises = []
    for attention in attentions:
        of_block = []
        for head in range(attention.heads):
            with attention.projection.register_forward_pre_hook(_mean_of(head, attention.heads)):
                of_block.append(_error(model, batch) - whole)
        rises.append(torch.stack(of_block))
    ablated = torch.stack(rises)
    shares = ablated.clamp(min=0)
    shares = shares / shares.sum(1, keepdim=True)
    return {
        "ablation": Readout(ablated, ("block", "head"), "rise of the mean squared error without a head", "loss"),
        "effective_heads": Readout(
            torch.special.entr(shares).sum(1).exp(), ("block",), "effective number of a block's heads"
        ),
    }


def _error(model: nn.Module, batch: Batch) -> Tensor:
    return (model(*batch.inputs) - batch.targets).double().square().mean()


def _mean_of(head: int, heads: int) -> Callable[..., tuple[Tensor, ...]]:
    """A hook on a projection: one head's part of its input as its mean over sequences."""

    def replace(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        parts = list(inputs[0].chunk(heads, -1))
        parts[head] = parts[head].mean(0, keepdim=True).expand_as(parts[head])
        return (torch.cat(parts, -1),)

    return replace
