"""Where numbers are computed, how precisely and how fast."""

import contextlib
import time
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from llc.errors import InvalidInput, did_you_mean, shown, shown_name

Precision = Literal["float32", "tf32", "bf16"]


def available() -> list[str]:
    """The kinds of device that this machine has, the fastest first."""
    found = ["cuda"] if torch.cuda.is_available() else []
    found += ["mps"] if torch.backends.mps.is_available() else []
    return [*found, "cpu"]


def choose_device(name: str | torch.device = "auto") -> torch.device:
    """A device, or that of a name: `cpu`, `cuda`, `cuda:1`, `mps`; `auto` for the fastest there is.

    Raises:
        InvalidInput: there is none of that name here.
    """
    name = str(name) if isinstance(name, torch.device) else name
    if not isinstance(name, str):
        raise InvalidInput(f"device = {shown(name)} given, expected a torch.device or a name such as cpu or cuda:1")
    here = available()
    kind = here[0] if name == "auto" else name.partition(":")[0]
    if kind not in {"cpu", "cuda", "mps"}:
        raise InvalidInput(f"unknown device {shown_name(name)}; {did_you_mean(name, ['auto', 'cpu', 'cuda', 'mps'])}")
    if kind not in here:
        raise InvalidInput(
            f"device = {shown_name(name)} given, but PyTorch finds none on this machine; here: {', '.join(here)}"
        )
    try:
        return torch.device(kind if name == "auto" else name)
    except RuntimeError:
        raise InvalidInput(f"device = {shown_name(name)} given, expected a name such as cuda or cuda:1") from None


def count(device: torch.device) -> int:
    """How many devices of its kind work can be spread over; for the CPU, 0: its cores are counted elsewhere."""
    return torch.cuda.device_count() if device.type == "cuda" and device.index is None else int(device.type != "cpu")


def free_memory(device: torch.device) -> int:
    """Bytes of a CUDA device that PyTorch can still give out, those among them that it holds without using them."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


@contextlib.contextmanager
def matmul_precision(precision: Precision) -> Iterator[None]:
    """Matrix products with 10-bit mantissas where `tf32` is asked for and the device has them; else unchanged."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


# Sides of the matrices that `matmul_rate` multiplies: small ones take no time, large ones show the most.
_FIRST_SIDE, _LAST_SIDE = 256, 8192
_TURNS = 3


def matmul_rate(device: torch.device, precision: Precision = "float32", *, seconds: float = 1.0) -> float:
    """The best GFLOP/s of matrix products of several sizes.

    Args:
        seconds: after which no larger size is begun; what is measured takes about as long.
    """
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    side, best, until = _FIRST_SIDE, 0.0, time.perf_counter() + seconds
    while True:
        a, b = torch.randn(2, side, side, device=device).to(kind)
        with matmul_precision(precision):
            took = min(_seconds_of_product(a, b) for _ in range(_TURNS))
        best = max(best, 2 * side**3 / took / 1e9)
        # The next size takes eight times as long.
        if side == _LAST_SIDE or time.perf_counter() + 8 * _TURNS * took > until:
            return best
        side *= 2


def _seconds_of_product(a: Tensor, b: Tensor) -> float:
    _wait_for(a.device)
    started = time.perf_counter()
    torch.mm(a, b)
    _wait_for(a.device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@contextlib.contextmanager
def one_attention() -> Iterator[None]:
    """The same attention with and without gradients: without, PyTorch's own layers take another path."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """For a forward pass: bfloat16 in matrix products where `bf16` is asked for; weights and sums stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def double(numbers: Tensor) -> Tensor:
    """As float64; on the CPU where the device has none."""
    return (numbers.cpu() if numbers.device.type == "mps" else numbers).double()


@contextlib.contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Run with so many torch threads, then restore.

    Args:
        threads: how many.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
