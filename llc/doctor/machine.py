"""Processor, cores, threads and GPUs, and how fast they multiply matrices."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import torch

from llc import devices
from llc.doctor.finding import Finding, Status
from llc.parallel import available_cores

# GFLOP/s in float32 of a core: a current one does 30 to 150.
_SLOW_CORE = 10.0
_CGROUP = Path("/sys/fs/cgroup/cpu.max")


def processor() -> str:
    """The CPU's model, as the operating system calls it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    named = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")
    if not named and platform.system() == "Darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        named = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return named or platform.processor() or platform.machine()


def cores() -> list[Finding]:
    """The processor, its cores, and how many of them this process may use and PyTorch does."""
    visible, there, threads = available_cores(), os.cpu_count() or 1, torch.get_num_threads()
    said = f"{processor()}, {visible} of {there} cores for this process"
    numbers: dict[str, float] = {"cores_visible": visible, "cores_of_machine": there}
    found = [Finding("processor", "CPU", said, numbers=numbers)]
    if (time := _time_allowed()) is not None and time < visible:
        advice = f"give --jobs {max(1, int(time))}, or let the container have more"
        found.append(Finding("processor", "CPU time", f"of {time:g} cores, by the container", "slow", advice))
    asked = os.environ.get("OMP_NUM_THREADS")
    said = f"{threads} of PyTorch" + (f", OMP_NUM_THREADS={asked}" if asked else "")
    status: Status = "ok"
    advice = ""
    if threads > visible:
        status, advice = "slow", f"set OMP_NUM_THREADS={visible}: more threads than cores wait for one another"
    elif threads < visible and asked:
        status, advice = "slow", f"unset OMP_NUM_THREADS: single estimates use {threads} of {visible} cores"
    return [*found, Finding("processor", "threads", said, status, advice, {"threads": threads})]


def _time_allowed() -> float | None:
    """Cores whose time a container may use; None where that is not limited."""
    try:
        quota, period = _CGROUP.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def cpu_speed(seconds: float) -> list[Finding]:
    """GFLOP/s of matrix products on the CPU."""
    cpu, threads = torch.device("cpu"), torch.get_num_threads()
    full, half = (devices.matmul_rate(cpu, precision, seconds=seconds) for precision in ("float32", "bf16"))
    found = []
    slow = full < _SLOW_CORE * min(threads, available_cores())
    advice = "end what else uses the cores, or see the lines above; if there is nothing, install PyTorch anew"
    name, said = "float32 matrix product", f"{full:,.0f} GFLOP/s on {threads} threads"
    found.append(_rated(name, said, full, advice if slow else ""))
    advice = f"leave --precision at float32 on this CPU, which does {full / half:.1f} times as much in it"
    return [*found, _rated("bfloat16 matrix product", f"{half:,.0f} GFLOP/s", half, advice if half < full else "")]


def _rated(name: str, said: str, rate: float, advice: str) -> Finding:
    return Finding("speed", name, said, "slow" if advice else "ok", advice, {"gflop_per_s": rate})


def gpus(seconds: float) -> list[Finding]:
    """Each GPU with its memory and what it does in a second; why there is none."""
    found = [_gpu(torch.device("cuda", index), seconds) for index in range(_cuda_count())]
    if torch.backends.mps.is_available():
        found.append(_gpu(torch.device("mps"), seconds))
    if found:
        return found
    if shutil.which("nvidia-smi"):
        advice = "install a PyTorch that is built for the GPU's driver: https://pytorch.org/get-started/locally/"
        said = f"PyTorch {torch.__version__} finds none, though this machine has NVIDIA's driver"
        return [Finding("GPU", "GPU", said, "missing", advice)]
    return [Finding("GPU", "GPU", "none; the CPU does all the work")]


def _cuda_count() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _gpu(device: torch.device, seconds: float) -> Finding:
    name = str(device)
    try:
        rates = [devices.matmul_rate(device, precision, seconds=seconds) for precision in ("float32", "bf16")]
        said = f"{rates[0]:,.0f} GFLOP/s in float32, {rates[1]:,.0f} in bfloat16"
        numbers = {"gflop_per_s": rates[0], "bfloat16_gflop_per_s": rates[1]}
        if device.type == "cuda":
            free, total = torch.cuda.mem_get_info(device)
            said = f"{torch.cuda.get_device_name(device)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free, {said}"
            numbers |= {"memory_bytes": total, "memory_free_bytes": free}
    except RuntimeError as error:  # such as a GPU that this PyTorch has no code for
        reason = str(error).strip().splitlines()[:1]
        advice = (
            "give --device cpu, or install a PyTorch that is built for it: https://pytorch.org/get-started/locally/"
        )
        return Finding("GPU", name, f"PyTorch fails on it ({''.join(reason)[:200]})", "missing", advice)
    return Finding("GPU", name, said, numbers=numbers)
