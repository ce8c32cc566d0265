"""Models: `nn.Module`s whose `forward(*inputs)` gives outputs of the targets' shape, a frozen config beside each."""

from torch import nn

from llc.models.attention_heads import heads

# A line a model: importing it makes its kind known.
from llc.models.factory import FactoryConfig
from llc.models.linear_attention import LinearAttention, LinearAttentionConfig
from llc.models.model_config import AnyModel, ModelConfig
from llc.models.series_transformer import SeriesTransformer, SeriesTransformerConfig
from llc.models.softmax_heads import SoftmaxHeads, SoftmaxHeadsConfig
from llc.models.softmax_query import SoftmaxQuery, SoftmaxQueryConfig
from llc.models.state import load_state
from llc.models.stream_attention import StreamAttention, StreamAttentionConfig
from llc.models.transformer import Transformer, TransformerConfig
from llc.tasks import Task


def build(config: ModelConfig, task: Task, seed: int = 0) -> nn.Module:
    """A freshly initialised model for a task's shapes, a pure function of (config, shapes, seed).

    Args:
        config: of the model.
        task: gives the shapes.
        seed: of the initial weights. They depend on shapes alone: runs of a sweep with one seed start at one point.
    """
    return config.build(task.shapes, seed)


__all__ = [
    "AnyModel",
    "FactoryConfig",
    "LinearAttention",
    "LinearAttentionConfig",
    "ModelConfig",
    "SeriesTransformer",
    "SeriesTransformerConfig",
    "SoftmaxHeads",
    "SoftmaxHeadsConfig",
    "SoftmaxQuery",
    "SoftmaxQueryConfig",
    "StreamAttention",
    "StreamAttentionConfig",
    "Transformer",
    "TransformerConfig",
    "build",
    "heads",
    "load_state",
]
