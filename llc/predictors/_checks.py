"""What every predictor asks of its input."""

import math

import torch
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


def float_dtype(xs: Tensor, ys: Tensor) -> torch.dtype:
    """The dtype of predictions: that of ys; where ys are whole numbers, which predictions are not, that of xs."""
    for given in (ys, xs):
        if given.is_floating_point():
            return given.dtype
    return torch.get_default_dtype()
