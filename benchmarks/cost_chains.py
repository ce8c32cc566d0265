"""The chains that `cost.py` compares: ours by `llc.sampling`, theirs by devinterp's SGLD, each kept once it is made."""

import copy
import hashlib
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from llc import estimate_llc, store
from llc.behaviour import sequence_losses
from llc.randomness import generator
from llc.sampling import SAMPLERS, Target, largest_curvature, run_chains

BATCH = 256
# devinterp 2.0.1's `num_init_loss_batches`.
INIT_BATCHES = 32
# Looks at the gradient's noise in a chain of ours; `estimate_llc` makes as many in runs as short as these.
PROBES = 3

KINETIC = SAMPLERS["kinetic"]


@dataclass(frozen=True)
class Problem:
    """One posterior that both sides sample: exp(−nβ L_n(w) − γ/2 ‖w − w*‖²).

    Attributes:
        model: at w*. data: (xs, ys). cache: the folder of finished chains.
    """

    model: nn.Module
    data: tuple[Tensor, Tensor]
    nbeta: float
    gamma: float
    cache: Path

    @classmethod
    def of(cls, model: nn.Module, data: tuple[Tensor, Tensor], gamma: float | None, cache: Path) -> "Problem":
        """With nβ = n/log n and, unless another is given, the package's own γ."""
        n = len(data[0])
        center = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
        if gamma is None:  # as `estimate_llc` chooses it: the prior alone would leave chains at ‖w*‖/3 from w*
            gamma = float(f"{9 * len(center) / float(center.double().square().sum()):.3g}")
        name = hashlib.sha256(center.numpy().tobytes() + f"{n} {gamma}".encode()).hexdigest()[:10]
        return cls(model, data, n / math.log(n), gamma, cache / name)

    @property
    def n(self) -> int:
        """Samples in the data."""
        return len(self.data[0])

    @torch.no_grad()
    def baseline(self) -> Tensor:
        """ℓ_i(w*), float64, (n,)."""
        parts = zip(*(tensor.split(BATCH) for tensor in self.data), strict=True)
        return torch.cat([sequence_losses(self.model, part) for part in parts]).double()

    def target(self, batch_size: int, control_variates: bool) -> Target:
        """The posterior as our samplers see it."""
        return Target(
            self.model,
            sequence_losses,
            self.data,
            nbeta=self.nbeta,
            gamma=self.gamma,
            batch_size=batch_size,
            control_variates=control_variates,
        )


@dataclass(frozen=True)
class Ours:
    """Settings of the kinetic sampler: friction in units of √γ, step in units of 1/√(nβ h_max + γ)."""

    friction: float = 5.0
    step: float = 1.0
    control_variates: bool = True
    batch_size: int = BATCH

    def __str__(self) -> str:
        """Short, for a table."""
        variates = "" if self.control_variates else ", no control variates"
        return f"α = {self.friction:g}√γ, h = {self.step:g}/√a{variates}"

    def choose(self, target: Target) -> dict[str, float]:
        """The keyword arguments of the sampler's `update`; half the stability limit is 1/√(nβ h_max + γ)."""
        limit = KINETIC.stability_limit(largest_curvature(target), target.gamma)
        return {"step_size": self.step * limit / 2, "friction": self.friction * target.gamma**0.5}


@dataclass(frozen=True)
class Traces:
    """Chains of one setting, in units of λ̂, (chain, step).

    Attributes:
        paired: nβ(L_B(w_t) − L_B(w*)), with our control variates where they are on.
        excess: what the sampler's `bias` predicts that finite step and minibatches add, (chain,); 0 for theirs.
    """

    paired: np.ndarray
    excess: np.ndarray

    @classmethod
    def of(cls, rows: list[dict[str, np.ndarray]]) -> "Traces":
        """Chains side by side."""
        return cls(*(np.stack([row[name] for row in rows]) for name in ("paired", "excess")))


def our_chains(problem: Problem, settings: Ours, *, chains: int, steps: int, say: Callable[[str], None]) -> Traces:
    """Chains of the kinetic sampler, all of their steps; nothing is dropped yet."""
    label = "ours " + " ".join(f"{value:g}" for value in asdict(settings).values())
    made: list[Target] = []

    def make(chain: int) -> dict[str, np.ndarray | float]:
        if not made:
            made.append(problem.target(settings.batch_size, settings.control_variates))
        target = made[0]
        chosen = settings.choose(target)
        run = run_chains(
            target, KINETIC, chosen, chains=1, warmup=0, draws=steps, key=("cost", label, chain), probes=PROBES
        )
        noise, square = float(run.gradient_noise.mean()), float(run.gradient_square.mean())
        return {
            "paired": target.nbeta * run.difference[0],
            "excess": KINETIC.bias(chosen, square=square, noise=noise),
        }

    return Traces.of(_kept(problem, f"{label} {steps}", chains, make, say))


def our_estimates(problem: Problem, draws: int, *, seeds: int, say: Callable[[str], None]) -> np.ndarray:
    """`estimate_llc` as its users call it: λ̂, llc_se, gradients, and losses without a gradient, (seed, 4)."""

    def make(seed: int) -> dict[str, np.ndarray]:
        tree = estimate_llc(
            problem.model,
            sequence_losses,
            problem.data,
            gamma=problem.gamma,
            control_variates=True,
            batch_size=BATCH,
            draws=draws,
            seed=seed,
        )
        # One pass for the losses at w*, and one at each probe.
        passes = (1 + PROBES * tree.posterior.sizes["chain"]) * problem.n / BATCH
        return {"row": np.array([float(tree.llc), float(tree.llc_se), float(tree.gradients), passes])}

    return np.stack([row["row"] for row in _kept(problem, f"estimate {draws}", seeds, make, say)])


def their_chains(problem: Problem, step_size: float, *, chains: int, steps: int, say: Callable[[str], None]) -> Traces:
    """Chains of devinterp's SGLD, each with its own noise and its own order of minibatches."""
    baseline = problem.baseline()
    # Far above anything that the posterior holds.
    runaway = sum(parameter.numel() for parameter in problem.model.parameters()) / problem.nbeta

    def make(chain: int) -> dict[str, np.ndarray | float]:
        trace = np.full(steps, np.nan)
        for step, (indices, losses) in enumerate(itertools.islice(sgld(problem, step_size, chain), steps)):
            trace[step] = float((losses.double() - baseline[indices]).mean())
            if not trace[step] <= runaway:
                trace[step:] = np.nan
                break
        return {"paired": problem.nbeta * trace, "excess": 0.0}

    return Traces.of(_kept(problem, f"theirs {step_size:g} {steps}", chains, make, say))


def their_order(n: int, chain: int) -> list[Tensor]:
    """Minibatches in the order in which chain after epoch devinterp's `_make_feed` replays them, drop_last and all."""
    order = torch.randperm(n, generator=generator("cost", "their order", chain))
    return list(order[: n - n % BATCH].split(BATCH))


def sgld(problem: Problem, step_size: float, chain: int) -> Iterator[tuple[Tensor, Tensor]]:
    """devinterp's own SGLD optimiser in the loop of its `sample_single_chain`: (indices, losses), one pair a step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from devinterp.optim import SGMCMC
    sampled = copy.deepcopy(problem.model)
    optimiser = SGMCMC.sgld(sampled.parameters(), lr=step_size, nbeta=problem.nbeta, localization=problem.gamma)
    noise = generator("cost", "their noise", step_size, chain)
    for indices in itertools.cycle(their_order(problem.n, chain)):
        losses = sequence_losses(sampled, tuple(tensor[indices] for tensor in problem.data))
        losses.mean().backward()
        optimiser.step(noise_generator=noise)
        optimiser.zero_grad(set_to_none=True)
        yield indices, losses.detach()


def seconds_per_gradient(
    problem: Problem, settings: Ours, step_size: float, rounds: int = 8, steps: int = 16
) -> tuple[float, float]:
    """Ours and theirs: medians over short stretches in turn, so that whatever else the machine does strikes both."""
    target = problem.target(BATCH, settings.control_variates)
    chosen = settings.choose(target)
    theirs, seconds = sgld(problem, step_size, 0), []
    next(theirs)
    for _ in range(rounds):
        start = time.perf_counter()
        run_chains(target, KINETIC, chosen, chains=1, warmup=0, draws=steps, key=("cost", "clock"))
        middle = time.perf_counter()
        for _ in range(steps):
            next(theirs)
        seconds.append((middle - start, time.perf_counter() - middle))
    ours, other = np.median(np.array(seconds), axis=0) / steps
    return float(ours), float(other)


def _kept(problem: Problem, label: str, count: int, make: Callable, say: Callable[[str], None]) -> list[dict]:
    """What `make` gives for 0, 1, …, each from its file, or made and written there."""
    rows = []
    for number in range(count):
        path = problem.cache / label.replace(" ", "_") / f"{number}.npz"
        if not path.exists():
            say(f"{label}: {number + 1} of {count}")
            row = make(number)
            with store.atomic_path(path) as scratch, scratch.open("wb") as file:
                np.savez(file, **row)
        with np.load(path) as row:
            rows.append({name: row[name] for name in row.files})
    return rows
