"""Named random streams: the library never touches a global generator."""

import hashlib
import numbers
from collections.abc import Sequence

import torch
from torch import Tensor

Rng = torch.Generator | Sequence[torch.Generator]
"""Where random numbers come from: one generator, or one for each row."""


def generator(*key: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that is a pure function of its key, such as `(seed, "train", num_tasks, step)`.

    The seed is the first 8 bytes of SHA-256 over the key's printed parts, so that streams of different purpose never
    overlap by accident (seeds 0, 1, 2… added to one another would) and do not depend on how work is split over
    processes or devices. Numbers are drawn on the CPU and moved, so that devices agree too; only the noise of chains on
    a CUDA device is drawn there.
    """
    key = tuple(int(part) if isinstance(part, numbers.Integral) else part for part in key)  # NumPy's print otherwise
    digest = hashlib.sha256(repr(key).encode()).digest()
    # torch takes seeds below 2^63
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def normal_like(numbers: Tensor, rng: Rng) -> Tensor:
    """Standard normal numbers of a tensor's shape, type and device; row by row where there are many generators."""
    if isinstance(rng, Sequence):
        return torch.stack([normal_like(row, of_row) for row, of_row in zip(numbers, rng, strict=True)])
    device = getattr(rng, "device", None)
    return torch.randn(numbers.shape, generator=rng, dtype=numbers.dtype, device=device).to(numbers.device)


def uniform(rng: Rng) -> Tensor:
    """One number from [0, 1), or one a row, float64, on the CPU."""
    if isinstance(rng, Sequence):
        return torch.stack([_uniform(of_row) for of_row in rng]).cpu()
    return _uniform(rng).cpu()


def whole(low: int, high: int, rng: Rng) -> Tensor:
    """One whole number from low … high − 1, or one a row, on the CPU."""
    if isinstance(rng, Sequence):
        return torch.stack([_whole(low, high, of_row) for of_row in rng]).cpu()
    return _whole(low, high, rng).cpu()


def _uniform(rng: torch.Generator) -> Tensor:
    return torch.rand((), generator=rng, dtype=torch.float64, device=getattr(rng, "device", None))


def _whole(low: int, high: int, rng: torch.Generator) -> Tensor:
    return torch.randint(low, high, (), generator=rng, device=getattr(rng, "device", None))
