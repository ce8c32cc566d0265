"""Weights averaged over recent steps, beside those that are trained."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Average:
    """v_t = v_{t−1} + (w_t − v_{t−1})/min(t + 1, n), of weights w_t after t updates, v_0 = w_0.

    The plain mean of all weights so far for the first n steps, and from then on the mean with weights that fall off as
    e^{−age/n}: what a constant learning rate's noise moves from step to step, averages out, and what training moves
    within n steps, lags behind by so many.

    Args:
        steps: n.
        weights: of step t by name, which are copied, or the average as it was left.
    """

    def __init__(self, steps: int, weights: Mapping[str, Tensor]) -> None:
        self._steps = steps
        self.weights = {name: value.detach().clone() for name, value in weights.items()}

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor], step: int) -> None:
        """Take up the weights after update number `step`, counted from 0."""
        recent = min(step + 2, self._steps)
        values = [weights[name].detach() for name in self.weights]
        torch._foreach_lerp_(list(self.weights.values()), values, 1 / recent)
