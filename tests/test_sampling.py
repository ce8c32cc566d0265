import math

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats
from scipy.linalg import solve_discrete_lyapunov
from wells import GAMMA, NBETA, correlated_hessian, settings_for

from llc.randomness import generator
from llc.sampling import (
    SAMPLERS,
    Evaluation,
)


def quadratic(precision: torch.Tensor):
    """evaluate() for U = ½ wᵀAw, A symmetric, of one chain or of a row a chain."""

    def evaluate(w: torch.Tensor) -> Evaluation:
        gradient = w @ precision
        return Evaluation(0.0, 0.0, gradient, (w * gradient).sum(-1) / 2)

    return evaluate


def stationary_covariance(name: str, precision: torch.Tensor, settings: dict[str, float], state) -> torch.Tensor:
    """The covariance a sampler's own discretisation has on exp(−½ wᵀAw), in closed form.

    SGLD: w ← (I − εGA/2)w + √(εG) ξ, a linear recursion whose covariance solves Σ = BΣBᵀ + εG; for G = I it is
    A⁻¹(1 − εA/4)⁻¹. BAOAB with joined kicks, and the Metropolis samplers: exactly A⁻¹.
    """
    inverse, step_size = torch.linalg.inv(precision), settings["step_size"]
    eye = torch.eye(len(precision), dtype=precision.dtype)
    if name == "sgld":
        return inverse @ torch.linalg.inv(eye - step_size / 4 * precision)
    if name == "rmsprop-sgld":
        root = (state.squares / (1 - SAMPLERS["rmsprop-sgld"].decay ** state.steps))[0].sqrt()
        scale = root.square().mean().sqrt()
        preconditioner = torch.diag(scale / (root + SAMPLERS["rmsprop-sgld"].damping * scale))
        step = eye - step_size / 2 * preconditioner @ precision
        return torch.from_numpy(solve_discrete_lyapunov(step.numpy(), (step_size * preconditioner).numpy()))
    return inverse


def chains_of(name: str, precision: torch.Tensor, settings: dict[str, float], *, warmup: int, draws: int):
    """Sixteen chains, a row each as `run_chains` steps them: positions (chain, draw, P), their state and acceptance."""
    sampler, evaluate, rngs = SAMPLERS[name], quadratic(precision), [generator(0, name, row) for row in range(16)]
    state = sampler.init(torch.zeros(len(rngs), len(precision), dtype=torch.float64))
    for _ in range(warmup):
        state, _ = sampler.step(state, evaluate, rngs, **settings)
    if hasattr(sampler, "freeze"):  # in one metric, so that all have one stationary covariance
        state = sampler.freeze(state)._replace(squares=state.squares[:1].repeat(len(rngs), 1))
    positions, accepted = np.empty((len(rngs), draws, len(precision))), []
    for step in range(draws):
        state, seen = sampler.step(state, evaluate, rngs, **settings)
        positions[:, step] = state.position
        accepted.append(seen.accepted)
    return positions, state, accepted


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_has_the_moments_of_a_correlated_gaussian(name):
    """Mean and covariance of a dense four-dimensional Gaussian, each entry within four Monte Carlo standard errors."""
    precision = NBETA * correlated_hessian() + GAMMA * torch.eye(4, dtype=torch.float64)
    settings = settings_for(name, NBETA * 8.0)
    length = {"warmup": 50, "draws": 250} if name == "hmc" else {"warmup": 500, "draws": 1000}
    positions, state, _ = chains_of(name, precision, settings, **length)
    expected = stationary_covariance(name, precision, settings, state)
    for i in range(4):
        mean = positions[..., i]
        assert abs(mean.mean()) < 4 * array_stats.mcse(mean, method="mean")
        for j in range(i + 1):
            product = positions[..., i] * positions[..., j]
            error = array_stats.mcse(product, method="mean")
            assert abs(product.mean() - float(expected[i, j])) < 4 * error, (name, i, j)


@pytest.mark.parametrize("name", ["mala", "hmc"])
def test_metropolis_samplers_are_exact_at_large_steps(name):
    """Many proposals fail near the stability limit; a Gaussian's variance still comes out within four errors."""
    sampler, precision = SAMPLERS[name], torch.diag(torch.tensor([1.0, 9.0], dtype=torch.float64))
    settings = {**sampler.default_settings(9.0, 0.0, 200), "step_size": 0.7 * sampler.stability_limit(9.0, 0.0)}
    draws = 320 if name == "hmc" else 1250
    positions, _, accepted = chains_of(name, precision, settings, warmup=50, draws=draws)
    assert float(torch.stack(accepted).mean()) < 0.9
    for i, exact in enumerate((1.0, 1 / 9)):
        squares = np.square(positions[..., i])
        assert abs(squares.mean() - exact) < 4 * array_stats.mcse(squares, method="mean")


@pytest.mark.parametrize("name", SAMPLERS)
def test_without_gradient_and_noise_a_chain_stays_where_it_is(name):
    start = torch.tensor([1.0, -2.0, 3.0])
    state, _ = SAMPLERS[name].step(
        SAMPLERS[name].init(start),
        lambda w: Evaluation(0.0, 0.0, torch.zeros_like(w), 0.0),
        _Silent(),
        **settings_for(name, 10.0),
    )
    assert torch.equal(state.position, start)


@pytest.mark.parametrize("name", ["sgld", "kinetic"])
def test_without_gradient_a_chain_at_rest_only_diffuses(name):
    """∇U = 0: SGLD takes √ε ξ; the kinetic sampler h/2 √(1 − e^{−2αh}) ξ in its first step. (GLE: see its equation.)"""
    sampler, settings = SAMPLERS[name], settings_for(name, 10.0)
    start = torch.full((1000,), 3.0, dtype=torch.float64)
    state, _ = sampler.step(
        sampler.init(start), lambda w: Evaluation(0.0, 0.0, torch.zeros_like(w)), generator(1), **settings
    )
    h = settings["step_size"]
    size = math.sqrt(h) if name == "sgld" else h / 2 * math.sqrt(1 - math.exp(-2 * settings["friction"] * h))
    expected = start + size * torch.randn(1000, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(state.position, expected)


def gle_drift(friction: float, slow_friction: float, crossover: float, h: float) -> torch.Tensor:
    """T = e^{−hA} by PyTorch's matrix exponential."""
    off = math.sqrt(crossover * (friction - slow_friction))
    return torch.linalg.matrix_exp(-h * torch.tensor([[friction, off], [off, crossover]], dtype=torch.float64))


@pytest.mark.parametrize(
    "settings",
    [
        {"friction": 3.0, "slow_friction": 0.5, "crossover": 2.0},
        {"friction": 40.0, "slow_friction": 1e-3, "crossover": 0.2},
        {"friction": 1.0, "slow_friction": 1.0, "crossover": 0.7},
        {"friction": 2.0, "slow_friction": 2.0, "crossover": 2.0},
    ],
)
def test_gle_is_its_equation_to_the_last_term(settings):
    """From any (w, v, s) with given noise: (v, s) ← T(v, s) + S(ξ, η), T by `matrix_exp` and S the root of 1 − T².

    Far apart and equal frictions among them, where A's eigenvalues are equal or one of them is 0.
    """
    h, sampler = 0.1, SAMPLERS["gle"]
    drift = gle_drift(**settings, h=h)
    rates, axes = torch.linalg.eigh(torch.eye(2, dtype=torch.float64) - drift @ drift.T)
    root = axes @ torch.diag(rates.clamp(min=0).sqrt()) @ axes.T
    draw = generator("state")
    start, velocity, slow, slope = torch.randn(4, 7, generator=draw, dtype=torch.float64)
    state = sampler.init(start)._replace(velocity=velocity.clone(), slow=slow.clone())
    found, _ = sampler.step(state, lambda w: Evaluation(0.0, 0.0, slope), generator("noise"), step_size=h, **settings)
    again = generator("noise")
    noise = torch.stack([torch.randn(7, generator=again, dtype=torch.float64) for _ in range(2)])
    kicked = velocity - h * slope
    after = drift @ torch.stack([kicked, slow]) + root @ noise
    torch.testing.assert_close(found.velocity, after[0])
    torch.testing.assert_close(found.slow, after[1])
    torch.testing.assert_close(found.position, start + h / 2 * kicked + h / 2 * after[0])


def test_gle_has_the_friction_it_says_at_each_frequency():
    """The memory kernel's transform α₀ + (α − α₀) ω²/(ω² + c²), from A itself: Re of a − b²/(c + iω)."""
    settings = settings_for("gle", 1e4)
    alpha, alpha_0, c = (settings[name] for name in ("friction", "slow_friction", "crossover"))
    square = c * (alpha - alpha_0)
    for omega in np.geomspace(0.01, 1e4, 13) * c:
        felt = (alpha - square / (c + 1j * omega)).real
        assert felt == pytest.approx(alpha_0 + (alpha - alpha_0) * omega**2 / (omega**2 + c**2))
    assert alpha_0 == pytest.approx(2 * math.sqrt(GAMMA))


@pytest.mark.parametrize("name", SAMPLERS)
def test_with_the_noise_off_the_update_is_its_equation(name):
    """On a linear U, where no Metropolis proposal is refused."""
    sampler, h = SAMPLERS[name], 0.1
    gle = {"friction": 3.0, "slow_friction": 0.5, "crossover": 2.0}
    more = {"kinetic": {"friction": 3.0}, "gle": gle, "hmc": {"leapfrog_steps": 1}}
    settings = {"step_size": h} | more.get(name, {})
    start, slope = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 4.0])
    state, seen = sampler.step(
        sampler.init(start), lambda w: Evaluation(1.0, 2.0, slope, float(slope @ w)), _Silent(), **settings
    )
    scale = float(slope.square().mean().sqrt())
    moved = {
        "sgld": h / 2 * slope,
        "mala": h / 2 * slope,
        "rmsprop-sgld": h / 2 * scale / (slope + SAMPLERS["rmsprop-sgld"].damping * scale) * slope,
        "kinetic": h * h / 2 * (1 + math.exp(-3.0 * h)) * slope,
        "gle": h * h / 2 * (1 + float(gle_drift(**gle, h=h)[0, 0])) * slope,
        "hmc": h * h / 2 * slope,
    }
    torch.testing.assert_close(state.position, start - moved[name])
    assert (seen.difference, seen.loss) == (1.0, 2.0)


def test_a_frozen_preconditioner_does_not_move():
    sampler = SAMPLERS["rmsprop-sgld"]
    evaluate = quadratic(torch.diag(torch.tensor([1.0, 100.0], dtype=torch.float64)))
    state, noise = sampler.init(torch.ones(2, dtype=torch.float64)), generator(0)
    for _ in range(20):
        state, _ = sampler.step(state, evaluate, noise, step_size=1e-3)
    adapted = state.squares
    assert not torch.equal(adapted, sampler.step(state, evaluate, noise, step_size=1e-3)[0].squares)
    state = sampler.freeze(state)
    for _ in range(5):
        state, _ = sampler.step(state, evaluate, noise, step_size=1e-3)
    assert torch.equal(state.squares, adapted)


class _Silent:
    """Stands in for a generator: normal draws are zero, uniform ones a half, whole numbers the smallest."""


@pytest.fixture(autouse=True)
def _silence(monkeypatch):
    def quieten(name, silent):
        real = getattr(torch, name)

        def draw(*arguments, generator=None, **more):
            if isinstance(generator, _Silent):
                return silent(*arguments, **more)
            return real(*arguments, generator=generator, **more)

        monkeypatch.setattr(torch, name, draw)

    quieten("randn", torch.zeros)
    quieten("rand", lambda *shape, **more: torch.full(*shape, 0.5, **more))
    quieten("randint", lambda low, high, shape, **more: torch.full(shape, low, **more))


def test_the_help_names_every_sampler():
    from llc.estimate.settings import SamplingConfig

    said = SamplingConfig.__doc__.partition("sampler: ")[2].partition("chains: ")[0]
    assert all(name in said for name in SAMPLERS)
