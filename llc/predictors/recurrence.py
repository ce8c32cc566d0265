"""References for affine recurrences s_{i+1} = c s_i + e: what is known of s_{i+1} after s_0 … s_i."""

import math

import torch
from torch import Tensor

from llc.predictors._checks import check_finite, check_inputs, float_dtype


def copy_last(series: Tensor) -> Tensor:
    """s_{i+1} = s_i. series (B, T) -> (B, T)."""
    check_inputs("copy_last", series=(series, "BT"))
    return series


def two_parameter_least_squares(series: Tensor) -> Tensor:
    """c and e of least norm among those that fit all transitions so far best; 0 before the first. (B, T) -> (B, T)."""
    check_inputs("two_parameter_least_squares", series=(series, "BT"))
    check_finite("two_parameter_least_squares", series=series)
    s = series.double()
    answers = [torch.zeros_like(s[:, 0])]
    for seen in range(1, s.shape[1]):
        before = torch.stack([s[:, :seen], torch.ones_like(s[:, :seen])], -1)
        fitted = (torch.linalg.pinv(before, rtol=1e-9) @ s[:, 1 : seen + 1, None]).squeeze(-1)
        answers.append(fitted[:, 0] * s[:, seen] + fitted[:, 1])
    return torch.stack(answers, 1).to(series.device, float_dtype(series, series))


def recurrence_mean(series: Tensor) -> Tensor:
    """E[s_{i+1} | s_0 … s_i] for c ~ U(−1, 1) and e ~ N(0, 1), the Bayes-optimal prediction. (B, T) -> (B, T).

    Before any transition it is E[c] s_0 + E[e] = 0. After one, e = s_1 − c s_0 and c has the density of N(s_1/s_0,
    1/s_0²) on (−1, 1), so that s_2 = s_1 + c (s_1 − s_0) with the mean of that truncated normal in place of c. After
    two, c = (s_2 − s_1)/(s_1 − s_0) is known, and with it everything.
    """
    check_inputs("recurrence_mean", series=(series, "BT"))
    s = series.double()
    answer = torch.zeros_like(s)
    if s.shape[1] > 1:
        answer[:, 1] = s[:, 1] + _truncated_mean(s[:, 0], s[:, 1]) * (s[:, 1] - s[:, 0])
    if s.shape[1] > 2:
        step = s[:, 1] - s[:, 0]
        factor = ((s[:, 2] - s[:, 1]) / torch.where(step == 0, torch.ones_like(step), step)).clamp(-1, 1)
        answer[:, 2:] = s[:, 2:] + factor[:, None] * (s[:, 2:] - s[:, 1:-1])
    return answer.to(series.device, float_dtype(series, series))


def _truncated_mean(first: Tensor, second: Tensor) -> Tensor:
    """Mean of N(s_1/s_0, 1/s_0²) on (−1, 1); s_0 s_1/3 where s_0 is so small that the density is all but flat."""
    flat = first.abs() < _FLAT
    nonzero = torch.where(flat, torch.full_like(first, _FLAT), first)
    spread, center = 1 / nonzero.abs(), second / nonzero
    low, high = (-1 - center) / spread, (1 - center) / spread
    # φ(low) − φ(high) over Φ(high) − Φ(low); on the far side of 0 the difference of two tails keeps its digits.
    flip = low > 0
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    mass = torch.special.ndtr(high) - torch.special.ndtr(low)
    density = (torch.exp(-(low**2) / 2) - torch.exp(-(high**2) / 2)) / math.sqrt(2 * math.pi)
    shift = torch.where(flip, -1.0, 1.0) * density / mass.clamp(min=1e-300)
    return torch.where(flat, first * second / 3, (center + spread * shift).clamp(-1, 1))


# Below this s_0 the first order is exact to eight digits.
_FLAT = 1e-4
