"""What a reference is, and which of them know nothing."""

import functools
from collections.abc import Callable

from torch import Tensor

Predictor = Callable[..., Tensor]
"""Called like the models that it stands beside, with a batch's inputs; its outputs have the targets' shape."""


def baseline(predictor: Predictor) -> Predictor:
    """The same predictor, marked as one that knows nothing: chains whose draws do no better are `delocalised`."""

    @functools.wraps(predictor)
    def marked(*inputs: Tensor) -> Tensor:
        return predictor(*inputs)

    marked.baseline = True  # type: ignore[attr-defined]
    return marked


def is_baseline(predictor: Predictor) -> bool:
    """Whether it is marked so."""
    return bool(getattr(predictor, "baseline", False))
