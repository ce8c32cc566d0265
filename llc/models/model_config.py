"""What the config of a model offers: the model, for a task's shapes."""

from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, SerializeAsAny
from torch import nn

from llc.config import Kind
from llc.randomness import generator


class ModelConfig(Kind):
    """A kind of model; subclass it anywhere with a `kind` of its own and a `build`."""

    def build(self, shapes: dict[str, Any], seed: int) -> nn.Module:
        """A freshly initialised model, a pure function of the config and these.

        Its `forward(*inputs)` gives outputs of the targets' shape. It may offer `readouts(batch)`, numbers or tensors
        by name, and `outputs(*inputs)`, all that it says at every token.

        Args:
            shapes: of a task, see `llc.tasks.Task.shapes`.
            seed: of the initial weights.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method build(shapes, seed)")


def fill_normal(model: nn.Module, spread: float, seed: int) -> None:
    """Every parameter from N(0, spread²), a pure function of its shape and place, and of the seed."""
    rng = generator(seed, "init")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(spread * torch.randn(parameter.shape, generator=rng))


AnyModel = Annotated[SerializeAsAny[ModelConfig], BeforeValidator(ModelConfig.of)]
"""A field of a config that holds a model's config of whatever kind."""
