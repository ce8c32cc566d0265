"""What the noise of the data allows: its nats, the coldest temperature, and the size of minibatches."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from llc.errors import InvalidInput
from llc.estimate.noise import choose_batch, coldest, free_nats, noise_nats, tilt_nats

DIM, SAMPLES, SIGMA = 6, 20_000, 0.5


def regression(samples: int = SAMPLES) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, the residuals at the least squares, and the Hessian of half the mean squared error."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, DIM)) * np.linspace(0.3, 3.0, DIM)
    noise = SIGMA * rng.standard_normal(samples)
    residuals = noise - x @ np.linalg.lstsq(x, noise, rcond=None)[0]
    return x, residuals, x.T @ x / samples


def sample_losses(factor: float, nbeta: float, draws: int = 64) -> np.ndarray:
    """factor·½(residual − x·δ)² less that at δ = 0, for δ whose sample covariance is exactly (nβ factor H)⁻¹."""
    x, residuals, hessian = regression()
    white = np.random.default_rng(1).standard_normal((draws, DIM))
    white -= white.mean(0)
    white = white @ np.linalg.inv(np.linalg.cholesky(np.cov(white.T))).T
    away = white @ np.linalg.inv(np.linalg.cholesky(nbeta * factor * hessian))
    moved = away @ x.T
    return factor * (moved**2 / 2 - residuals * moved)


def exact_nats(factor: float, nbeta: float) -> float:
    """nβ/(2n) tr(C H⁻¹)."""
    x, residuals, hessian = regression()
    slopes = x * residuals[:, None]
    return nbeta * factor / (2 * SAMPLES) * float(np.trace(np.linalg.solve(hessian, slopes.T @ slopes / SAMPLES)))


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_nats_are_the_trace_of_noise_over_curvature(factor):
    """From draws with the posterior's own covariance, at an nβ at which ½(x·δ)² is next to nothing beside r x·δ."""
    nbeta = 1e9
    found = noise_nats(nbeta, sample_losses(factor, nbeta), SAMPLES)
    assert found == pytest.approx(exact_nats(factor, nbeta), rel=1e-3)


def test_without_noise_there_are_next_to_none():
    """Residuals of 0: what is left is of second order in δ, d(d + 2)/(4n) or so."""
    x, _, hessian = regression()
    nbeta = SAMPLES / math.log(SAMPLES)
    away = np.random.default_rng(2).standard_normal((64, DIM)) @ np.linalg.inv(np.linalg.cholesky(nbeta * hessian))
    assert noise_nats(nbeta, (away @ x.T) ** 2 / 2, SAMPLES) < 10 * DIM**2 / SAMPLES


@pytest.mark.parametrize(("settled", "held", "expected"), [
    (0.6, 6.0, (0.4, 0.2)), (0.3, 6.0, (0.2, 0.2)), (0.0, 6.0, (0.0, 0.2)), (1.5, 6.0, (0.2, 0.2)),
    (20.0, 6.0, (0.0, 0.2)), (1.0, 10.0, (0.0, 0.0)), (1.0, 11.0, (0.0, 0.0)), (0.85, math.nan, (0.15, 0.15)),
    (0.0, 0.0, (0.5, 0.5)), (0.2, 0.5, (0.475, 0.475)), (5.0, 0.0, (0.0, 0.5)),
])  # fmt: skip
def test_noise_of_free_directions_is_given_back_at_the_truth_alone(settled, held, expected):
    """F = 1 of λ̂ = 10: as much of it as is not held; less at weights that were trained on it, none far above a floor.

    With curvatures unknown, half of a degeneracy of 0.3, give or take as much; with none to speak of, half.
    """
    assert free_nats(0.0, 0.0, llc=10.0, held=held, degeneracy=0.3) == (0.0, 0.0)
    assert free_nats(1.0, settled, llc=10.0, held=held, degeneracy=0.3) == pytest.approx(expected)


def test_noise_lowers_a_quartic_well_by_its_nats():
    """x·w² + noise at the truth, w* = 0: E[λ̂ + F] is λ̂ without noise, to second order (Watanabe 2010, Neural Netw. 23).

    By quadrature on 400 datasets, each with its noise and with the opposite one, so that the first order, which is
    five times as large, is gone; F of one dataset without noise, in closed form.
    """
    rng, grid, samples = np.random.default_rng(3), np.linspace(-2, 2, 4001), 4000
    nbeta, gaps, nats = 0.2 * samples / math.log(samples), [], []

    def under(losses: np.ndarray) -> np.ndarray:
        weights = np.exp(-nbeta * (losses - losses.min()))
        return weights / weights.sum()

    for _ in range(400):
        x, noise = rng.standard_normal(samples), SIGMA * rng.standard_normal(samples)
        clean, tilted = x @ x / samples * grid**4, -2 * (x @ noise / samples) * grid**2
        lost = [nbeta * float(under(losses) @ losses) for losses in (clean, clean + tilted, clean - tilted)]
        gaps.append(lost[0] - (lost[1] + lost[2]) / 2)
        at = under(clean)
        of_noise = 4 * SIGMA**2 * float(at @ grid**4 - (at @ grid**2) ** 2)
        of_shape = 3 * float(at @ grid**8 - (at @ grid**4) ** 2)
        nats.append(nbeta**2 / (2 * samples) * (of_noise + of_shape))
    gap, error = np.mean(gaps), np.std(gaps) / 20
    assert gap > 8 * error
    assert abs(gap - np.mean(nats)) < 4 * error + 0.05 * gap  # of second order: 2 % is σ²nβ/n, and as much its shape


@pytest.mark.parametrize("samples", [1000, 10_000])
def test_the_tilt_is_how_far_samples_move_a_well_of_a_fourth_power(samples):
    """x·w² fitted to noise at w* = 0: λ̂ of 400 datasets by quadrature, of which the tilt is told from one each."""
    rng, grid = np.random.default_rng(0), np.linspace(-2, 2, 8001)
    nbeta = 2 * samples / math.log(samples)  # n/log n of the likelihood of noise of standard deviation ½
    llcs, tilts = [], []
    for _ in range(400):
        x, noise = rng.standard_normal(samples), SIGMA * rng.standard_normal(samples)
        losses = (x @ x / samples) * grid**4 - 2 * (x @ noise / samples) * grid**2
        weights = np.exp(-nbeta * (losses - losses.min()))
        weights /= weights.sum()
        by_sample = x**2 * (weights @ grid**4) - 2 * x * noise * (weights @ grid**2)
        llcs.append(nbeta * by_sample.mean())
        tilts.append(tilt_nats(nbeta, np.stack([by_sample, by_sample])[:, None], samples))
    # Of first order in the noise: 10 %. The spread of 400 is known to 4 %.
    assert np.sqrt(np.square(tilts).mean()) == pytest.approx(np.std(llcs), rel=0.2)
    assert 0.85 < np.mean(np.abs(np.array(llcs) - 0.25) < 1.645 * np.array(tilts)) < 0.99


def test_a_well_that_is_a_square_is_not_tilted():
    """Draws about the least squares of noisy data; and the shape of samples is no noise, without which losses rise."""
    nbeta = SAMPLES / math.log(SAMPLES)
    losses = np.stack([sample_losses(1.0, nbeta), sample_losses(1.0, nbeta)[::-1]])
    assert tilt_nats(nbeta, losses, SAMPLES) < 0.01 * DIM / 2
    assert tilt_nats(nbeta, losses[:1], SAMPLES) < 0.01 * DIM / 2  # of one chain its halves
    moved = np.square(np.random.default_rng(3).standard_normal((2, 50, SAMPLES)))
    assert tilt_nats(nbeta, moved * regression()[0][:, 0] ** 2, SAMPLES) == 0.0


def test_what_draws_do_not_share_is_no_tilt():
    """Two chains with noise of their own, two of which a part is common, and the part that the floor takes off."""
    rng = np.random.default_rng(4)
    own, common = rng.standard_normal((2, 1, SAMPLES)), rng.standard_normal(SAMPLES)
    alone, shared = tilt_nats(2.0, own, SAMPLES), tilt_nats(2.0, own + common, SAMPLES)
    assert alone < 0.2 * shared
    assert shared == pytest.approx(1 / math.sqrt(SAMPLES), rel=0.03)
    assert tilt_nats(2.0, own + common, SAMPLES, floor_losses=common) < 0.2 * shared


def test_two_draws_are_the_least():
    assert noise_nats(10.0, np.zeros((1, 5)), 5) == 0.0


def test_a_negative_log_likelihood_is_sampled_at_n_over_log_n():
    """F = nβ d/(2n) and λ = d/2 give Watanabe's temperature, whatever nβ they were measured at."""
    for nbeta in (10.0, 700.0, 1e5):
        found = coldest(nbeta, nbeta * DIM / (2 * SAMPLES), DIM / 2, SAMPLES)
        assert found == pytest.approx(SAMPLES / math.log(SAMPLES))


def test_half_a_squared_error_is_sampled_one_over_its_noise_colder():
    """½(y − f)² is σ² times a negative log-likelihood, and the squared error 2σ² times one.

    n/(σ² log n) and n/(2σ² log n), within four standard errors of a trace over n samples.
    """
    x, residuals, hessian = regression()
    leverage = residuals**2 * np.einsum("ni,ni->n", x, np.linalg.solve(hessian, x.T).T)
    tolerance = 4 * leverage.std() / math.sqrt(SAMPLES) / leverage.mean()
    for factor in (1.0, 2.0):
        nbeta = 1e7
        nats = noise_nats(nbeta, sample_losses(factor, nbeta), SAMPLES)
        expected = SAMPLES / math.log(SAMPLES) / (factor * SIGMA**2)
        assert coldest(nbeta, nats, DIM / 2, SAMPLES) == pytest.approx(expected, rel=tolerance)


def test_the_units_of_the_loss_do_not_matter():
    """A loss a thousand times as large is sampled a thousand times as warm, at the same nats."""
    nbeta = 1e4
    losses = sample_losses(1.0, nbeta)
    nats, same = noise_nats(nbeta, losses, SAMPLES), noise_nats(nbeta / 1000, 1000 * losses, SAMPLES)
    assert same == pytest.approx(nats)
    assert coldest(nbeta / 1000, same, 3.0, SAMPLES) == pytest.approx(coldest(nbeta, nats, 3.0, SAMPLES) / 1000)


def test_without_noise_or_complexity_any_temperature_will_do():
    assert coldest(10.0, 0.0, 3.0, 100) == math.inf
    assert coldest(10.0, 0.1, -3.0, 100) == math.inf


def errors(model, batch):
    return (model(batch[0]) - batch[1]).square().mean(1)


def problem(width: int, samples: int):
    rng = torch.Generator().manual_seed(0)
    return nn.Linear(width, width), errors, tuple(torch.randn(samples, width, generator=rng) for _ in range(2))


def test_all_samples_are_taken_where_they_are_cheap():
    size, why = choose_batch(*problem(8, 5000), None)
    assert size == 5000
    assert "cheap" in why


def test_minibatches_are_taken_where_all_samples_are_dear():
    """100·100·2·3 operations a sample: sixteen hundred samples are a step's worth, and a quarter of that is taken."""
    size, why = choose_batch(*problem(100, 8000), None)
    assert size == 256
    assert "minibatches of 256" in why


def test_few_samples_are_all_taken_however_dear():
    assert choose_batch(*problem(1000, 200), None)[0] == 200


def test_what_is_given_is_kept_and_a_sampler_that_needs_all_gets_all():
    assert choose_batch(*problem(8, 500), 7) == (7, "as given")
    assert choose_batch(*problem(100, 8000), None, full_batch=True)[0] == 8000


def test_more_samples_than_there_are_is_named():
    with pytest.raises(InvalidInput, match="batch_size = 501 given, expected at most n = 500"):
        choose_batch(*problem(8, 500), 501)


def test_batch_norms_of_ones_model_learn_nothing():
    """Choosing a batch is a look at the model: neither its modes nor its running averages change."""
    model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    choose_batch(model, lambda model, batch: model(batch[0]).square()[:, 0], (torch.randn(100, 8),), None)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("model", "said"), [(nn.Flatten(), "has no parameters"), (3, "model is a int, expected")])
def test_what_cannot_be_sampled_is_named(model, said):
    with pytest.raises(InvalidInput, match=said):
        choose_batch(model, lambda model, x: model(x), torch.ones(5, 2), None)
