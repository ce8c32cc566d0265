"""λ̂ at the defaults of four regressions with noisy labels, the first thing that anybody tries.

    python benchmarks/regressions.py --draws 1     # ten minutes on a slow core
    python benchmarks/regressions.py --draws 1 --batch-size 1024     # in minibatches; only prints

Linear regression at its least squares, and three deep linear networks at the truth, all with σ = 0.5 and n = 20,000;
`--draws` samples of each. λ is d/2, and Aoyagi's (2024) for the networks. Prints a table, writes
`results/regressions.toml`.
"""

import argparse
import time
from pathlib import Path

import tomli_w
import torch

import llc
from llc.validation.learning_coefficient import deep_linear
from llc.validation.problems.deep_linear import teacher
from llc.validation.problems.regression import least_squares

OUT = Path(__file__).resolve().parent / "results" / "regressions.toml"
SAMPLES, NOISE = 20_000, 0.5
NETWORKS = (((12, 7, 12), 2), ((9, 9, 9, 9), 4), ((16, 12, 16), 6))


def problems(draw: int):
    """Name, λ, and (model, loss, data) of each."""
    yield "linear regression, d = 30", 15.0, least_squares(30, 0, "none", SAMPLES, NOISE, "summed", 0, redraw=draw)
    for widths, rank in NETWORKS:
        name = f"deep linear {'-'.join(map(str, widths))}, rank {rank}"
        exact = float(deep_linear(widths, rank).value)
        yield name, exact, teacher(widths, rank, "N(0,1)", SAMPLES, NOISE, "summed", 0, redraw=draw)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--batch-size", type=int, help="samples a gradient, in place of the default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for draw in range(arguments.draws):
        for name, exact, problem in problems(draw):
            started = time.perf_counter()
            tree = llc.estimate_llc(*problem, batch_size=arguments.batch_size)
            row = {"name": name, "draw": draw, "exact": exact, "seconds": time.perf_counter() - started}
            row |= {key: float(tree[key]) for key in ("llc", "llc_low", "llc_high", "gradients")}
            row["verdict"] = tree.verdict.item()
            rows.append(row)
            if arguments.batch_size is None:
                OUT.write_text(tomli_w.dumps({"samples": SAMPLES, "noise": NOISE, "rows": rows}))
            print(
                f"{name:36s} {exact:7.2f} {row['llc']:7.2f} [{row['llc_low']:.2f}, {row['llc_high']:.2f}] "
                f"{100 * (row['llc'] / exact - 1):+.1f} % {row['verdict']}, {row['gradients']:,.0f} gradients, "
                f"{row['seconds']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
