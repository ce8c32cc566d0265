"""The curvature of the loss at a checkpoint, to set beside λ̂: trace and largest eigenvalues of the Hessian."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

from llc.errors import InvalidInput
from llc.sampling import Data, Loss, Target, check_data


@dataclass(frozen=True)
class Curvature:
    """tr ∇²L with the standard error of its estimate, and the largest eigenvalues, (k,), the largest first."""

    trace: float
    trace_se: float
    eigenvalues: np.ndarray


def curvature(
    model: nn.Module, loss: Loss, data: Data, *, eigenvalues: int = 3, vectors: int = 16, seed: int = 0
) -> Curvature:
    """Trace and largest eigenvalues of the Hessian H of the mean loss at a model's weights.

    Trace: the mean of vᵀHv over random signs v (Hutchinson 1990), whose spread gives the error. Eigenvalues: Lanczos
    (ARPACK, by `scipy.sparse.linalg.eigsh`), largest algebraically. Products Hv are exact, by differentiating twice.

    Args:
        model: evaluated in eval mode; nothing of it is changed.
        loss, data: as for `estimate_llc`, looked at whole.
        eigenvalues: how many, 0 for none.
        vectors: random signs for the trace, at least 2.
    Raises:
        InvalidInput: a count out of range, or a model that cannot be differentiated twice.
    """
    checked = check_data(data)
    target = Target(model, loss, checked, nbeta=1.0, gamma=0.0, batch_size=len(checked))
    size, dtype = target.num_parameters, target.origin.dtype
    if vectors < 2 or not 0 <= eigenvalues < size:
        raise InvalidInput(
            f"vectors = {vectors} and eigenvalues = {eigenvalues} given, expected at least 2, and 0 to {size - 1}"
        )

    def product(vector: Tensor) -> Tensor:
        return target.hessian_product(vector.to(target.origin)).cpu()

    rng = torch.Generator().manual_seed(seed)
    signs = [torch.randint(0, 2, (size,), generator=rng).to(dtype) * 2 - 1 for _ in range(vectors)]
    traces = np.array([float(sign @ product(sign)) for sign in signs])
    found = np.empty(0)
    if eigenvalues:
        operator = LinearOperator(
            (size, size),
            matvec=lambda v: product(torch.from_numpy(np.ravel(v)).to(dtype)).double().numpy(),
            dtype=np.float64,
        )
        start = torch.randn(size, generator=rng, dtype=torch.float64).numpy()
        found = np.sort(eigsh(operator, eigenvalues, which="LA", return_eigenvectors=False, v0=start, tol=1e-4))[::-1]
    return Curvature(float(traces.mean()), float(traces.std(ddof=1) / vectors**0.5), found)
