"""Independent draws of a Gaussian well's posterior, as chains would leave them: everything is known of them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from llc.estimate.climb import Climb
from llc.estimate.conclusion import conclude
from llc.estimate.floor import Depth
from llc.estimate.pair import Pair, read, rung_of
from llc.estimate.scale import Rung
from llc.estimate.settings import SamplingConfig
from llc.sampling.traces import Chains

CURVATURES = np.array([0.0, 0.0, 0.5, 1.0, 3.0, 10.0])
MINIMUM = np.array([0.0, 0.0, 0.3, -0.2, 0.15, 0.1])  # w* is at 0
PARAMETERS = len(CURVATURES)
NBETA, GAMMA, RATIO = 80.0, 4.0, 4.0
CHAINS, WARMUP, DRAWS = 4, 50, 2000
LOSS_INIT = 7.0


def draws_of(seed: int, nbeta: float, gamma: float, minimum: np.ndarray, gone: tuple[float, float]) -> Chains:
    """What chains that draw independently leave; the loss is alike for all samples.

    Those of either kind of start have gone a share of their way along the flat directions.
    """
    rng, chains = np.random.default_rng(seed), CHAINS
    held = nbeta * CURVATURES + gamma
    steps = WARMUP + DRAWS
    w = nbeta * CURVATURES * minimum / held + rng.standard_normal((chains, steps, len(held))) / np.sqrt(held)
    w[:, :, CURVATURES == 0] *= np.array(gone)[np.arange(chains) % 2, None, None]
    difference = (CURVATURES * ((w - minimum) ** 2 - minimum**2)).sum(-1) / 2
    full_at = np.arange(0, steps, 50)
    looks = (chains, len(full_at))
    share = np.array([0.5, 1.5, 1.0])
    return Chains(
        difference=difference,
        loss=LOSS_INIT + difference,
        distance=np.sqrt((w**2).sum(-1)),
        virial=(w * (nbeta * CURVATURES * (w - minimum) + gamma * w)).sum(-1),
        acceptance=rng.uniform(0.5, 0.9, (chains, steps)),
        by_position=difference[..., None] * share,
        warmup=WARMUP,
        superchain=np.arange(chains) % 2,
        full_at=full_at,
        full_difference=difference[:, full_at],
        sample_losses=np.repeat(difference[:, full_at, None], 5, axis=2),
        gradient_noise=np.zeros(looks),
        gradient_square=np.zeros(looks),
        rounding=np.zeros(looks),
        gradients=chains * steps,
        settings=[{"step_size": 0.1 + 0.01 * chain} for chain in range(chains)],
        step_over_limit=np.full(chains, 0.2),
    )


# A sampler whose heat is what it is told, so that what is told can be seen.
KERNEL = SimpleNamespace(
    name="made-up",
    bias=lambda settings, *, square, noise: settings["step_size"] * (square + 3 * noise),
    stability_limit=lambda curvature, gamma: 40.0 / (curvature + gamma),
)


def pair_of(seed: int = 0, minimum: np.ndarray = MINIMUM, gone: tuple[float, float] = (1.0, 1.0), **changes) -> Pair:
    """At nβ and nβ/4; changes are of the cold chains."""
    target = SimpleNamespace(
        nbeta=NBETA, gamma=GAMMA, num_parameters=PARAMETERS, loss_init=LOSS_INIT, batch_size=10, num_samples=200
    )
    cold = replace(draws_of(seed, NBETA, GAMMA, minimum, gone), **changes)
    return Pair(target, cold, draws_of(seed + 1000, NBETA / RATIO, GAMMA / RATIO, minimum, gone))


def shares(nbeta=NBETA, gamma=GAMMA):
    return nbeta * CURVATURES / (nbeta * CURVATURES + gamma)


EXACT = 0.5 * shares().sum()
# nβ(L(w*) − L_0), L_0 at the minimum of L + ρ/2 ‖w‖².
HEIGHT = 0.5 * NBETA * (CURVATURES * MINIMUM**2 * (1 - (1 - shares()) ** 2)).sum()


def reading_of(pair: Pair, settled: Depth | None = None, find_warmup: bool = False):
    return read(pair, KERNEL, find_warmup=find_warmup, settled=settled)


def climb_of(pair: Pair, settled: Depth | None = None, before: tuple[Rung, ...] = (), **changes) -> Climb:
    reading = reading_of(pair, settled)
    made = Climb([*before, rung_of(pair, reading)], pair, reading, NBETA * 10.0, 12_345, "", "", "as given", "none")
    return replace(made, **changes)


def concluded(climbed: Climb, **settings):
    said = {"curvature": NBETA * 10.0, "gamma": GAMMA, "num_parameters": PARAMETERS}
    config = SamplingConfig(**{"nbeta": NBETA, "gamma": GAMMA, **settings})
    return conclude(climbed, KERNEL, settings=said, config=config)
