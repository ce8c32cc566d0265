"""References for streams of pairs, every y of which is asked for: `(xs, ys) -> (B, T)`, from the pairs before it."""

import torch
from torch import Tensor

from llc.errors import check_whole
from llc.predictors._checks import check_inputs, check_positive, float_dtype
from llc.predictors.attention import Attention, least_squares_attention


def after(attention: Attention, xs: Tensor, ys: Tensor) -> Tensor:
    """What an attention says of y_i with query x_i, keys x_j and values y_j, j < i; 0 of the first. (B, T)."""
    check_inputs("after", xs=(xs, "BTD"), ys=(ys, "BT"))
    first = torch.zeros_like(ys[:, :1])
    if xs.shape[1] == 1:
        return first
    return torch.cat([first, attention(xs[:, 1:], xs[:, :-1], ys[:, :-1, None]).squeeze(-1)], 1)


def in_double(attention: Attention, xs: Tensor, ys: Tensor) -> Tensor:
    """The same computed in float64, for references: covariances of streams that go far lose digits in single."""
    return after(attention, xs.double(), ys.double()).to(ys.device, float_dtype(xs, ys))


def segment_least_squares(xs: Tensor, ys: Tensor, *, segment: int, ridge: float) -> Tensor:
    """Ridge regression on the pairs since the last change, for one who knows when things change. (B, T)."""
    check_inputs("segment_least_squares", xs=(xs, "BTD"), ys=(ys, "BT"))
    check_whole("segment_least_squares: segment", segment, 1)
    check_positive("segment_least_squares", ridge=ridge)
    parts = zip(xs.split(segment, 1), ys.split(segment, 1), strict=True)

    def fitted(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return least_squares_attention(queries, keys, values, ridge=ridge)

    return torch.cat([in_double(fitted, x, y) for x, y in parts], 1)
