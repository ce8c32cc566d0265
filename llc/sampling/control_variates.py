"""Control variates of minibatch gradients, fixed at w* (Baker et al. 2019).

    c_B = ∇L_n(w*) − ∇L_B(w*)

Added to ∇L_B(w), and c_B·(w − w*) to the loss, it takes away what a minibatch gets wrong at w*. Both stay unbiased
where minibatches are the cells of a fixed partition and c_B is kept for each.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from llc.errors import InvalidInput
from llc.sampling.data import Minibatch

# Gradients at w* that may be kept; with more than this they are refused.
CONTROL_VARIATE_BYTES = 2**29


def corrected_partition(
    num_samples: int, cells: int, center: Tensor, gradient_of: Callable[[Minibatch], Tensor]
) -> list[Minibatch]:
    """The samples in near-equal minibatches, each with its correction.

    Args:
        cells: how many.
        center: w*, (P,).
        gradient_of: ∇L_B(w*), (P,).
    Raises:
        InvalidInput: they would take too much memory.
    """
    if cells * center.nbytes > CONTROL_VARIATE_BYTES:
        raise InvalidInput(
            f"control variates need {cells} gradients of {len(center)} numbers, more than their budget of "
            f"{CONTROL_VARIATE_BYTES >> 20} MiB; use a larger batch_size, fewer samples, or none"
        )
    parts = [Minibatch(indices, cells / num_samples) for indices in torch.arange(num_samples).tensor_split(cells)]
    gradients = [gradient_of(part) for part in parts]
    mean = torch.stack(gradients).mean(0)
    return [part._replace(correction=mean - gradient) for part, gradient in zip(parts, gradients, strict=True)]


def visits(partition: list[Minibatch], rng: torch.Generator) -> Iterator[Minibatch]:
    """An endless stream of its cells, each epoch in a fresh order."""
    while True:
        for cell in torch.randperm(len(partition), generator=rng).tolist():
            yield partition[cell]
