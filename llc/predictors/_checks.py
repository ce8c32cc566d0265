"""What every predictor asks of its input."""

import math

from torch import Tensor

from llc.errors import InvalidInput


def check_sequences(predictor: str, xs: Tensor, ys: Tensor) -> None:
    """xs (B, K, D) and ys (B, K), or InvalidInput with the shapes that were given."""
    if xs.ndim != 3 or ys.shape != xs.shape[:2]:
        raise InvalidInput(
            f"{predictor}: xs {tuple(xs.shape)} and ys {tuple(ys.shape)} given, expected (B, K, D) and (B, K)"
        )


def check_noise_variance(predictor: str, noise_variance: float) -> None:
    """A finite σ² > 0, or InvalidInput."""
    if not 0 < noise_variance < math.inf:
        raise InvalidInput(f"{predictor}: noise_variance = {noise_variance} given, expected a finite number > 0")
