"""Would control variates at an anchor that moves with the chain be worth it? Two minutes.

    python benchmarks/anchors.py

At draws on a transformer of `tiny`, trained for a while on M = ∞: the variance of minibatch gradients corrected
at w*, at where the chain was so many steps ago, and at the mean of its draws so far, as a share of the uncorrected one.
A new anchor costs one gradient on all samples, n/B minibatches; SVRG has one every epoch or less often.
"""

import math
import statistics

import torch

from llc import behaviour, presets
from llc.estimate.settings import SamplingConfig, choose_gamma
from llc.randomness import generator
from llc.sampling import Target, largest_curvature, run_chains, sampler_named
from llc.training.learner import learner

STEPS, SAMPLES, BATCH = 1500, 2048, 256
LAGS = (8, 32, 128)
WARMUP, DRAWS, EVERY = 200, 400, 8


class Positions:
    """Where a chain is, every few draws."""

    name, dims, every = "position", ("parameter",), EVERY

    def __call__(self, draw):
        return draw.position.clone()


def main() -> None:
    run = presets.tiny().runs()[-1]
    learned = learner([run], [None], ensemble=False)
    for step in range(STEPS):
        learned.update([run.task.sample(run.training.batch_size, step=step)], step)
    model, data = learned.model(0), run.task.sample(SAMPLES, stream="llc").flat
    kernel = sampler_named("kinetic")
    nbeta = SAMPLES / math.log(SAMPLES)
    for radius in (1.0, 1 / 3):
        gamma = choose_gamma([model], SamplingConfig(radius=radius))
        target = Target(model, behaviour.flat_loss(run.task), data, nbeta=nbeta, gamma=gamma, batch_size=BATCH)
        settings = kernel.default_settings(largest_curvature(target), gamma, WARMUP + DRAWS)
        chains = run_chains(
            target,
            kernel,
            settings,
            chains=1,
            warmup=WARMUP,
            draws=DRAWS,
            key=(0,),
            adapt=True,
            look=True,
            observables=[Positions()],
        )
        path = torch.as_tensor(chains.observed["position"].values[0], dtype=torch.float32)
        shares: dict[str, list[float]] = {}
        for place in range(max(LAGS) // EVERY, len(path), 6):
            anchors = {"w*": target.origin, "the mean so far": path[: place + 1].mean(0)}
            anchors |= {f"{lag} steps ago": path[place - lag // EVERY] for lag in LAGS}
            for name, share in variance_shares(target, path[place], anchors).items():
                shares.setdefault(name, []).append(share)
        print(f"radius {radius:.2g}, nbeta {nbeta:.4g}, gamma {gamma:.3g}; variance beside plain minibatches:")
        for name, found in shares.items():
            print(f"  anchor at {name}: {statistics.median(found):.3g}")


def variance_shares(target: Target, position: torch.Tensor, anchors: dict[str, torch.Tensor]) -> dict[str, float]:
    """tr Cov of corrected minibatch gradients over that of plain ones, the same minibatches for all."""
    minibatches = target.minibatches(generator(0, "anchors"))
    chosen = [next(minibatches) for _ in range(SAMPLES // BATCH)]

    def gradients(at: torch.Tensor) -> torch.Tensor:
        return torch.stack([target.losses_and_gradient(at, one)[1] for one in chosen])

    here = gradients(position)
    plain = float(here.var(0).sum())
    return {name: float((here - gradients(anchor)).var(0).sum()) / plain for name, anchor in anchors.items()}


if __name__ == "__main__":
    main()
