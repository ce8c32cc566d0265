"""What a reference is, and which of them know nothing."""

import functools
from collections.abc import Callable
from typing import Protocol

from torch import Tensor


class Predictor(Protocol):
    """Called like the models that it stands beside; its outputs have the targets' shape."""

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Outputs."""


def baseline(predictor: Callable[..., Tensor]) -> Predictor:
    """The same predictor, marked as one that knows nothing: chains whose draws do no better are `delocalised`."""

    @functools.wraps(predictor)
    def marked(*inputs: Tensor) -> Tensor:
        return predictor(*inputs)

    marked.baseline = True  # type: ignore[attr-defined]
    return marked


def is_baseline(predictor: Predictor) -> bool:
    """Whether it is marked so."""
    return bool(getattr(predictor, "baseline", False))
