"""Deep linear networks, whose learning coefficients are known exactly."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llc.errors import InvalidInput


class DeepLinear(nn.Module):
    """x ↦ W_L ⋯ W_1 x, (B, H_1) -> (B, H_{L+1}), without biases.

    Args:
        widths: H_1 (input), …, H_{L+1} (output).
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(torch.zeros(out, into) for into, out in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H_1) -> (B, H_{L+1})."""
        for weight in self.weights:
            x = x @ weight.T
        return x

    @torch.no_grad()
    def set_to_rank(self, rank: int, generator: torch.Generator) -> None:
        """Weights whose every factor has just this rank, and so has their product: the lowest stratum of the true set.

        W_l = Q_{l+1} diag(s_l) Q_lᵀ with orthonormal Q_l (H_l × r) shared by neighbours and s_l uniform in [½, 3/2].

        Raises:
            InvalidInput: a rank above the smallest width.
        """
        widths = [self.weights[0].shape[1], *(weight.shape[0] for weight in self.weights)]
        if not 0 <= rank <= min(widths):
            raise InvalidInput(f"rank = {rank} given, expected 0 to the smallest width, {min(widths)}")
        bases = [torch.linalg.qr(torch.randn(width, max(1, rank), generator=generator))[0] for width in widths]
        for weight, into, out in zip(self.weights, bases[:-1], bases[1:], strict=True):
            sizes = 0.5 + torch.rand(rank, generator=generator)
            weight.copy_(out[:, :rank] @ torch.diag(sizes) @ into[:, :rank].T)
