"""What losses along the draws cost beyond their forward passes, and how much memory they take.

    python benchmarks/observables.py     # five minutes on two cores

Time: an estimate of a network with 10,000 weights at its defaults, with and without the losses of a dataset, in turn;
and so many forward passes of that dataset by themselves. What is left is the cost of looking. Memory: of processes that
keep the losses of 4,000 samples at 250 draws a chain and at 2,000, at every draw. Writes `results/observables.toml`.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tomli_w
import torch

import llc
from llc.parallel import quiet

OUT = Path(__file__).resolve().parent / "results" / "observables.toml"
MEMORY = """
import resource, sys
sys.path.insert(0, {folder!r})
from observables import problem, squares
import llc
model, data, test = problem(40, 4000)
tree = llc.estimate_llc(model, squares, data, nbeta=50.0, gamma=1.0, draws={draws}, warmup=50,
                        observables=[llc.Losses("test", test, every=1)], progress=lambda *_: None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, tree["losses/test"].difference.nbytes / 2**20)
"""


def problem(width: int, samples: int):
    """A network of two hidden layers, its data, and other data to look at."""
    torch.manual_seed(0)
    layers = torch.nn.Linear(8, width), torch.nn.Tanh(), torch.nn.Linear(width, width), torch.nn.Tanh()
    model = torch.nn.Sequential(*layers, torch.nn.Linear(width, 1))
    rng = torch.Generator().manual_seed(1)
    xs, others = torch.randn(512, 8, generator=rng), torch.randn(samples, 8, generator=rng)
    with torch.no_grad():
        ys, other_ys = (model(x)[:, 0] + 0.1 * torch.randn(len(x), generator=rng) for x in (xs, others))
    return model, (xs, ys), (others, other_ys)


def squares(model, batch):
    return (model(batch[0])[:, 0] - batch[1]).square()


def seconds(call) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def times(repeats: int) -> dict:
    """Seconds of an estimate without and with the losses, and of the forward passes that these take."""
    model, data, test = problem(96, 512)
    looks: dict = {}

    def estimate(observables) -> None:
        tree = llc.estimate_llc(model, squares, data, max_gradients=10_000, observables=observables, progress=quiet)
        if observables:
            looks["number"] = tree["losses/test"].sizes["draw"] * tree["losses/test"].sizes["chain"]

    estimate([])  # the first one takes what is done once
    without, with_losses, passes = [], [], []
    for _ in range(repeats):
        without.append(seconds(lambda: estimate([])))
        with_losses.append(seconds(lambda: estimate([llc.Losses("test", test)])))

        def forward() -> None:
            with torch.no_grad():
                for _look in range(looks["number"]):
                    squares(model, test)

        passes.append(seconds(forward))
    extra = float(np.median(np.array(with_losses) - np.array(without) - np.array(passes)))
    found = {"without": without, "with_losses": with_losses, "forward_passes": passes}
    return {name: float(np.median(values)) for name, values in found.items()} | {
        "looks": looks["number"],
        "beyond_forward_passes": extra / float(np.median(without)),
    }


def memory() -> dict:
    """Peak MiB of a process, by draws a chain."""
    found = {}
    for draws in (250, 1000, 2000):
        code = MEMORY.format(folder=str(Path(__file__).resolve().parent), draws=draws)
        said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        peak, kept = map(float, said.split())
        found[str(draws)] = {"peak_mib": peak, "losses_mib": kept}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    found = {"time": times(asked.repeats), "memory": memory()}
    OUT.write_text(tomli_w.dumps(found))
    print(tomli_w.dumps(found))


if __name__ == "__main__":
    main()
