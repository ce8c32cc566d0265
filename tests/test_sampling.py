import math

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats
from torch import nn
from wells import GAMMA, NBETA, Well, correlated_hessian, data, diagonal_well, well_loss

from llc.errors import InvalidInput
from llc.randomness import generator
from llc.sampling import SAMPLERS, Evaluation, Target, largest_curvature, run_chains, sampler_named


def settings_for(name: str, curvature: float) -> dict[str, float]:
    return sampler_named(name).default_settings(curvature, GAMMA)


def stationary_covariance(name: str, precision: torch.Tensor, settings: dict[str, float]) -> torch.Tensor:
    """The covariance a sampler's own discretisation has on exp(−½ wᵀAw), in closed form.

    SGLD: A⁻¹(1 − εA/4)⁻¹. BAOAB, and with joined kicks at the same points: exactly A⁻¹.
    """
    inverse = torch.linalg.inv(precision)
    if name == "sgld":
        eye = torch.eye(len(precision), dtype=precision.dtype)
        return inverse @ torch.linalg.inv(eye - settings["step_size"] / 4 * precision)
    return inverse


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_has_the_moments_of_a_correlated_gaussian(name):
    """Mean and covariance of a dense four-dimensional Gaussian, each entry within four Monte Carlo standard errors."""
    sampler, precision = SAMPLERS[name], NBETA * correlated_hessian() + GAMMA * torch.eye(4, dtype=torch.float64)
    settings = settings_for(name, NBETA * 8.0)
    noise, chains, draws = generator(0, name), 4, 8000
    positions = np.empty((chains, draws, 4))
    for chain in range(chains):
        state = sampler.init(torch.zeros(4, dtype=torch.float64))
        for step in range(-500, draws):
            state, _ = sampler.update(state, lambda w: Evaluation(0.0, 0.0, precision @ w), noise, **settings)
            if step >= 0:
                positions[chain, step] = state.position
    expected = stationary_covariance(name, precision, settings)
    for i in range(4):
        mean = positions[..., i]
        assert abs(mean.mean()) < 4 * array_stats.mcse(mean, method="mean")
        for j in range(i + 1):
            product = positions[..., i] * positions[..., j]
            error = array_stats.mcse(product, method="mean")
            assert abs(product.mean() - float(expected[i, j])) < 4 * error, (name, i, j)


@pytest.mark.parametrize("name", SAMPLERS)
def test_without_gradient_a_chain_at_rest_only_diffuses(name):
    """∇U = 0: SGLD takes √ε ξ; the kinetic sampler h/2 √(1 − e^{−2αh}) ξ in its first step."""
    sampler, settings = SAMPLERS[name], settings_for(name, 10.0)
    start = torch.full((1000,), 3.0, dtype=torch.float64)
    state, _ = sampler.update(
        sampler.init(start), lambda w: Evaluation(0.0, 0.0, torch.zeros_like(w)), generator(1), **settings
    )
    h = settings["step_size"]
    size = math.sqrt(h) if name == "sgld" else h / 2 * math.sqrt(1 - math.exp(-2 * settings["friction"] * h))
    expected = start + size * torch.randn(1000, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(state.position, expected)


@pytest.mark.parametrize("name", SAMPLERS)
def test_with_the_noise_off_the_update_is_its_equation(name):
    sampler, h, friction = SAMPLERS[name], 0.1, 3.0
    settings = {"step_size": h} | ({"friction": friction} if name == "kinetic" else {})
    start, slope = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 4.0])
    state, seen = sampler.update(sampler.init(start), lambda w: Evaluation(1.0, 2.0, slope), _Silent(), **settings)
    if name == "sgld":
        expected = start - h / 2 * slope
    else:
        velocity = -h * slope
        expected = start + h / 2 * velocity + h / 2 * math.exp(-friction * h) * velocity
    torch.testing.assert_close(state.position, expected)
    assert (seen.difference, seen.loss) == (1.0, 2.0)


class _Silent:
    """Stands in for a generator: makes every normal draw zero."""


@pytest.fixture(autouse=True)
def _silence(monkeypatch):
    real = torch.randn

    def randn(*shape, generator=None, **more):
        if isinstance(generator, _Silent):
            return torch.zeros(*shape, **more)
        return real(*shape, generator=generator, **more)

    monkeypatch.setattr(torch, "randn", randn)


def regression(samples: int = 23):
    draw = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw, dtype=torch.float64))
    xs = torch.randn(samples, 3, generator=draw, dtype=torch.float64)
    ys = torch.randn(samples, generator=draw, dtype=torch.float64)
    return model, (xs, ys)


def squared_errors(model, batch):
    xs, ys = batch
    return (model(xs).squeeze(-1) - ys) ** 2


def make_target(**settings) -> Target:
    model, batch = regression()
    return Target(model, squared_errors, batch, **{"nbeta": 7.0, "gamma": 0.3, "batch_size": 5, **settings})


@pytest.mark.parametrize("control_variates", [False, True])
def test_the_gradient_is_that_of_the_potential(control_variates):
    """Averaged over an epoch, ∇Û and the paired difference equal finite differences of the exact U."""
    target = make_target(control_variates=control_variates, batch_size=23 if not control_variates else 5)
    position = target.center + 0.1 * torch.randn(target.num_parameters, generator=generator(5), dtype=torch.float64)

    def potential(w):
        return 7.0 * target.losses(w).mean() + 0.15 * (w - target.center).square().sum()

    expected = torch.empty_like(position)
    for i in range(len(position)):
        step = torch.zeros_like(position)
        step[i] = 1e-5
        expected[i] = (potential(position + step) - potential(position - step)) / 2e-5
    cells = 5 if control_variates else 1
    stream = target.minibatches(generator(6))
    seen = [target.evaluate(position, next(stream)) for _ in range(cells)]
    torch.testing.assert_close(sum(s.gradient for s in seen) / cells, expected, rtol=1e-6, atol=1e-6)
    difference = float((target.losses(position) - target.baseline).mean())
    assert sum(s.difference for s in seen) / cells == pytest.approx(difference, rel=1e-9)


def test_control_variates_make_every_minibatch_exact_at_the_centre():
    target = make_target(control_variates=True)
    stream = target.minibatches(generator(0))
    gradients = [target.evaluate(target.center, next(stream)).gradient for _ in range(5)]
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-10, atol=1e-10)


def test_minibatches_cover_the_data_and_differ_between_epochs_and_chains():
    target = make_target()
    stream = target.minibatches(generator(0))
    epochs = [torch.cat([next(stream).indices for _ in range(4)]) for _ in range(3)]
    for epoch in epochs:
        assert len(epoch.unique()) == 20  # 23 samples, four minibatches of five; three wait
    assert not torch.equal(epochs[0], epochs[1])
    other = target.minibatches(generator(1))
    assert not torch.equal(epochs[0], torch.cat([next(other).indices for _ in range(4)]))


def test_nothing_passed_in_is_touched():
    model, batch = regression()
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = [tensor.clone() for tensor in batch]
    state = torch.random.get_rng_state()
    target = Target(model, squared_errors, batch, nbeta=7.0, gamma=0.3, batch_size=5)
    run_chains(target, SAMPLERS["sgld"], {"step_size": 1e-3}, chains=2, warmup=2, draws=3, key=(0,))
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(old, new) for old, new in zip(inputs, batch, strict=True))
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_dataset_is_as_good_as_tensors():
    model, (xs, ys) = regression()
    as_dataset = Target(
        model, squared_errors, torch.utils.data.TensorDataset(xs, ys), nbeta=7.0, gamma=0.3, batch_size=5
    )
    torch.testing.assert_close(as_dataset.baseline, make_target().baseline)


@pytest.mark.parametrize("name", SAMPLERS)
def test_chains_are_a_pure_function_of_their_key(name):
    target = make_target()
    settings = settings_for(name, 100.0)

    def traces(chains, key):
        return run_chains(target, SAMPLERS[name], settings, chains=chains, warmup=3, draws=5, key=key).difference

    three = traces(3, (0, "a"))
    np.testing.assert_array_equal(three[:2], traces(2, (0, "a")))  # chain 1 does not depend on how many there are
    assert not np.array_equal(three, traces(3, (1, "a")))
    assert not np.array_equal(three[0], three[1])
    assert (three[:, 0] == 0).all()  # every chain starts at w*, where the paired difference is nothing


def test_the_largest_curvature_is_the_hessians():
    target = Target(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, batch_size=8)
    assert largest_curvature(target) == pytest.approx(NBETA * 10.0, rel=0.01)
    dense = Target(Well(correlated_hessian()), well_loss, data(), nbeta=NBETA, gamma=GAMMA, batch_size=8)
    assert largest_curvature(dense) == pytest.approx(NBETA * 8.0, rel=0.01)


def test_a_chain_above_the_stability_limit_is_recorded_as_diverged():
    target = Target(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, batch_size=8)
    limit = 4 / (NBETA * 10 + GAMMA)
    hot = run_chains(target, SAMPLERS["sgld"], {"step_size": 3 * limit}, chains=2, warmup=0, draws=2000, key=(0,))
    assert set(hot.diverged) == {0, 1}
    assert hot.survivors == []
    first = hot.diverged[0]
    assert np.isfinite(hot.difference[0, :first]).all()
    assert np.isnan(hot.difference[0, first:]).all()


def bad_half(model, batch):
    return squared_errors(model, batch).mean()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"nbeta": 0.0}, "nbeta = 0.0 given, expected a finite number > 0"),
        ({"nbeta": -1.0}, "nbeta = -1.0 given"),
        ({"gamma": -1.0}, "gamma = -1.0 given, expected a finite number >= 0"),
        ({"batch_size": 24}, "batch_size = 24 given, expected 1 to the number of samples, 23"),
    ],
)
def test_bad_settings_are_named(settings, said):
    with pytest.raises(InvalidInput) as error:
        make_target(**settings)
    assert said in str(error.value)


def test_bad_models_losses_and_data_are_named():
    model, batch = regression()
    rest = {"nbeta": 7.0, "gamma": 0.3, "batch_size": 5}
    with pytest.raises(InvalidInput, match=r"returned \(\), expected one loss for each of the 5 samples"):
        Target(model, bad_half, batch, **rest)
    with pytest.raises(InvalidInput, match="data has 0 samples"):
        Target(model, squared_errors, (batch[0][:0], batch[1][:0]), **rest)
    with pytest.raises(InvalidInput, match=r"have \[3, 23\] samples"):
        Target(model, squared_errors, (batch[0], batch[1][:3]), **rest)
    with pytest.raises(InvalidInput, match=r"is torch.float16, expected float32"):
        Target(nn.Linear(3, 1).half(), squared_errors, batch, **rest)
    broken = nn.Linear(3, 1).double()
    broken.weight.data[0, 0] = math.nan
    with pytest.raises(InvalidInput, match="parameter weight has values that are not finite"):
        Target(broken, squared_errors, batch, **rest)
    with pytest.raises(InvalidInput, match=r"unknown sampler slgd; did you mean sgld\?"):
        sampler_named("slgd")
