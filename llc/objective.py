"""A loss of a model as one module, so that `functional_call` can give it other weights; and models as they are used."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn


class Objective(nn.Module):
    """`forward(batch)` is `loss(model, batch)`; parameters are those of `model`, named `model.…`."""

    def __init__(self, model: nn.Module, loss: Callable[[nn.Module, Any], Tensor]) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, batch: Any) -> Tensor:
        """Losses of a batch."""
        return self._loss(self.model, batch)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """A model in eval mode while the block runs, and then in the modes that its parts were in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
