"""Second moments in a Gaussian well, where all of them are known."""

from types import SimpleNamespace

import numpy as np
import pytest
from wells import CURVATURES, GAMMA, NBETA, data, diagonal_well, well_loss

import llc
from llc.estimate.moments import Moments, second_moments

# x_i = nβh_i/(nβh_i + γ)
SHARES = NBETA * np.array(CURVATURES) / (NBETA * np.array(CURVATURES) + GAMMA)
EXACT = {
    "variance": 0.5 * float(np.square(SHARES).sum()),
    "nbeta": 0.5 * float((SHARES * (1 - SHARES)).sum()),
    "gamma": -0.5 * float((SHARES * (1 - SHARES)).sum()),
}


def gaussian_draws(seed: int, chains: int = 4, draws: int = 2000):
    """Independent draws of the well's posterior, as chains would leave them."""
    curvatures = np.array(CURVATURES)
    scale = 1 / np.sqrt(NBETA * curvatures + GAMMA)
    position = scale * np.random.default_rng(seed).standard_normal((chains, draws, len(curvatures)))
    full_at = np.arange(9, draws, 10)
    difference = 0.5 * (curvatures * position**2).sum(-1)
    return SimpleNamespace(
        survivors=list(range(chains)),
        difference=difference,
        distance=np.sqrt((position**2).sum(-1)),
        full_at=full_at,
        full_difference=difference[:, full_at],
    )


def moments(chains, *, full_batch: bool = True, warmup: int = 0) -> Moments:
    return second_moments(chains, NBETA, GAMMA, warmup, full_batch=full_batch)


@pytest.mark.parametrize("full_batch", [True, False])
@pytest.mark.parametrize("name", EXACT)
def test_moments_of_exact_draws_are_the_closed_forms(name, full_batch):
    """Var A = ½Σx², ∂λ̂/∂log nβ = ½Σx(1 − x) = −∂λ̂/∂log γ, within four of the stated errors.

    From minibatches only the looks at the whole dataset count.
    """
    value, error = getattr(moments(gaussian_draws(0, draws=20_000), full_batch=full_batch), name)
    assert abs(value - EXACT[name]) < 4 * error
    assert error < 0.15 * abs(EXACT["variance"])


@pytest.mark.parametrize("name", EXACT)
def test_the_stated_errors_are_the_spread(name):
    """Over 200 repetitions; each error has 15 degrees of freedom, and the spread's own error is a twentieth."""
    found = [getattr(moments(gaussian_draws(seed, draws=400)), name) for seed in range(200)]
    values, errors = np.array(found).T
    spread = np.sqrt(np.mean((values - EXACT[name]) ** 2))
    assert abs(spread / np.sqrt(np.mean(errors**2)) - 1) < 4 / np.sqrt(2 * 200)


def test_warm_up_and_lost_chains_are_left_out():
    chains = gaussian_draws(0)
    clean = moments(SimpleNamespace(**{**vars(chains), "survivors": [0, 2]}), warmup=100)
    chains.difference[:, :100] = 1e9
    chains.difference[1] = np.nan
    chains.survivors = [0, 2]
    assert moments(chains, warmup=100) == clean


def test_too_few_draws_are_no_number():
    found = moments(gaussian_draws(0, chains=1, draws=3))
    assert all(np.isnan(value) for pair in vars(found).values() for value in pair)


def test_an_estimates_slopes_are_those_of_its_well():
    """The same numbers from chains of the sampler, within four stated errors."""
    tree = llc.estimate_llc(
        diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, draws=900, warmup=100, chains=2
    )
    for name, exact in (
        ("llc_variance", EXACT["variance"]),
        ("slope_nbeta", EXACT["nbeta"]),
        ("slope_gamma", EXACT["gamma"]),
    ):
        assert abs(float(tree[name]) - exact) < 4 * float(tree[f"{name}_se"]), name
