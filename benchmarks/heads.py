"""λ̂ of single heads of softmax attention, active and idle, and along the flat valley of small KQ (He et al. 2025).

    llc train --preset he2025 --out runs/he2025
    python benchmarks/heads.py runs/he2025 --workers 2     # about an hour on one core

Prints a table and writes `results/heads.toml`:

- every head of the four-head run with the lowest loss, moved alone;
- two heads at the structure of the paper, (ω, μ) = ±(0.13, 3.45), and a third with O = 0, each moved alone. As n → ∞ an
  active head has λ = (D(D+1) + D+1)/2 = 18, for it says D(D+1) numbers in KQ that the question feels and D+1 in OV; the
  idle one 3, that of a linear network of widths 6, 6, 1 at rank 0 (Aoyagi 2024);
- two such heads as ω → 0 with ωμ as it is, where the paper finds the loss flat.
"""

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import tomli_w
import torch

import llc
from llc.behaviour import flat_loss
from llc.models import SoftmaxHeadsConfig
from llc.tasks import QueryRegression

OUT = Path(__file__).resolve().parent / "results" / "heads.toml"
OMEGA, MU = 0.13, 3.45


def structured(task: QueryRegression, heads: int, omega: float) -> torch.nn.Module:
    """Two heads of the paper's structure at one ωμ, and others whose O is 0."""
    model = SoftmaxHeadsConfig(heads=heads).build(task.shapes, 0)
    with torch.no_grad():
        for number, head in enumerate(model.heads):
            head.out.zero_()
            if number < 2:
                sign = 1.0 - 2.0 * number
                for parameter in (head.keys, head.queries, head.values):
                    parameter.zero_()
                # K and Q alike in size, O and V too: in other splits chains only get about more slowly.
                size = (omega * (task.dim + 1) ** 0.5) ** 0.5
                head.keys.diagonal()[: task.dim] = size
                head.queries.diagonal()[: task.dim] = sign * size
                head.values[-1, -1] = head.out[0, -1] = (OMEGA * MU / omega) ** 0.5
                head.out.mul_(sign)
    return model


def problems(folder: Path) -> Iterator[tuple[str, torch.nn.Module, QueryRegression, list[str] | None]]:
    """Name, model, task and the parameters that move, of every row."""
    experiment = llc.open(folder)
    losses = experiment.metrics.loss.sel(heads=4, test_set="id").isel(step=-1).values
    run = experiment.run(heads=4, seed=int(experiment.metrics.seed[losses.argmin()]))
    model, task = run.model(run.steps[-1]), run.task
    told = model.readouts(task.sample(2))
    for head in range(4):
        omega, mu = float(told["omega"].values[head]), float(told["mu"].values[head])
        yield f"trained, head {head}: omega {omega:.3f}, mu {mu:.2f}", model, task, [f"heads.{head}.*"]
    three = structured(task, 3, OMEGA)
    yield "structured, an active head", three, task, ["heads.0.*"]
    yield "structured, a head with O = 0", three, task, ["heads.2.*"]
    yield "structured, all three", three, task, None
    for omega in (0.13, 0.065, 0.0325, 0.013):
        yield f"two heads, omega {omega}", structured(task, 2, omega), task, None


def row(folder: Path, number: int, samples: int) -> dict:
    """λ̂ with its interval and verdict, of the problem of that number."""
    torch.set_num_threads(1)
    name, model, task, parameters = list(problems(folder))[number]
    data = task.sample(samples, stream="llc").flat
    tree = llc.estimate_llc(model, flat_loss(task), data, parameters=parameters, max_gradients=30_000)
    found = {key: float(tree[key]) for key in ("llc", "llc_se", "llc_low", "llc_high", "floor_nats", "gradients")}
    settings = {key: tree.attrs[key] for key in ("nbeta", "gamma")}
    return {"name": name, **found, **settings, "verdict": tree.verdict.item(), "reason": tree.reason.item()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=3000)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    rows: list[dict] = []
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        count = len(list(problems(arguments.folder)))
        told = [pool.submit(row, arguments.folder, number, arguments.samples) for number in range(count)]
        for future in told:
            rows.append(future.result())
            OUT.write_text(tomli_w.dumps({"samples": arguments.samples, "rows": rows}))
            print(f"{rows[-1]['name']:52s} {rows[-1]['llc']:8.2f} ± {rows[-1]['llc_se']:.2f} {rows[-1]['verdict']}")


if __name__ == "__main__":
    main()
