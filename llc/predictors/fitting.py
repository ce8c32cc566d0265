"""References with numbers of their own: those under which it loses least."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def least_losing(losses: Callable[[Tensor], Tensor], starts: Tensor, unit: float) -> Tensor:
    """The numbers with the smallest mean loss that is found from any start, by BFGS with exact gradients.

    Args:
        losses: of the numbers, (P,) in float64, those of any number of sequences.
        starts: (S, P), of the size of the answer, for all P count alike at first.
        unit: of losses, such as what is lost by knowing nothing: in it gradients are small enough to stop.
    Returns:
        (P,), float64.
    """
    from scipy.optimize import minimize

    def with_gradient(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        at = torch.tensor(numbers, dtype=torch.float64, requires_grad=True)
        mean = losses(at).mean() / unit
        (gradient,) = torch.autograd.grad(mean, at)
        return mean.item(), gradient.numpy()

    with torch.enable_grad():
        found = [minimize(with_gradient, start.double().numpy(), jac=True, method="BFGS") for start in starts]
    return torch.tensor(min(found, key=lambda one: one.fun if np.isfinite(one.fun) else np.inf).x)
