"""Models: `nn.Module`s whose `forward(xs, ys)` gives predictions (B, K), a frozen config beside each."""

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from llc.models import factory
from llc.models.factory import FactoryConfig
from llc.models.transformer import Transformer, TransformerConfig
from llc.randomness import generator
from llc.tasks import AnyTask

# The two lines to add for a new model: its config joins the union (`kind` tells them apart), its class the table.
AnyModelConfig = Annotated[TransformerConfig | FactoryConfig, Field(discriminator="kind")]
_MODELS = {TransformerConfig: Transformer}


def build(config: AnyModelConfig, task: AnyTask, seed: int = 0) -> nn.Module:
    """A freshly initialised model for a task's shapes, a pure function of (config, shapes, seed).

    Args:
        config: such as `TransformerConfig`.
        task: gives `dim` (D) and `num_examples` (K).
        seed: of the initial weights. They do not depend on M: runs of a sweep with one seed start at one point.
    """
    if isinstance(config, FactoryConfig):
        return factory.make(config, seed)
    # On the meta device nothing is drawn, so that torch's global generator stays untouched.
    with torch.device("meta"):
        model = _MODELS[type(config)](config, dim=task.dim, num_examples=task.num_examples)
    model.to_empty(device="cpu")
    model.initialise(generator(seed, "init"))
    return model


__all__ = ["AnyModelConfig", "FactoryConfig", "Transformer", "TransformerConfig", "build"]
