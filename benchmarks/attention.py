"""Peak memory and time of local linear attention against the length: all at once, and blockwise.

    python benchmarks/attention.py --out benchmarks/results/attention.toml

Each length is a process of its own, forward and backward, in single precision on one core; memory is the growth of its
largest resident set over the inputs', which is what the operating system counts.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import tomli_w

LENGTHS, DIM, BLOCK = (256, 512, 1024, 2048, 4096), 8, 64


def once(length: int, block: int | None) -> tuple[float, float]:
    """Mebibytes and seconds of one forward and backward pass."""
    import torch

    from llc.predictors import local_linear_attention

    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(0)

    def passes(size: int) -> None:
        parts = [torch.randn(1, size, DIM, generator=rng).requires_grad_() for _ in range(3)]
        local_linear_attention(*parts, bandwidth=3.0, ridge=0.1, block=block).square().sum().backward()

    passes(2 * BLOCK)  # what the library loads at its first call
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    passes(length)
    took = time.perf_counter() - began
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, took


def main() -> None:
    """Measure every length in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--one", nargs=2, type=int, metavar=("LENGTH", "BLOCK"), help="Measure one; a block of 0 is all."
    )
    given = parser.parse_args()
    if given.one:
        print(*once(given.one[0], given.one[1] or None))
        return
    rows = []
    for length in LENGTHS:
        row: dict[str, float] = {"length": length}
        for name, block in (("whole", 0), ("blockwise", BLOCK)):
            command = [sys.executable, __file__, "--one", str(length), str(block)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            mebibytes, seconds = map(float, answer.stdout.split())
            row |= {f"{name}_mebibytes": round(mebibytes, 1), f"{name}_seconds": round(seconds, 3)}
        print(row, flush=True)
        rows.append(row)
    if given.out:
        given.out.write_text(tomli_w.dumps({"dim": DIM, "block": BLOCK, "rows": rows}))


if __name__ == "__main__":
    main()
