"""Bhargav & Gu 2024: the task, its references, the transformer of series and what it loses without a head."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import integrate, stats

from llc import predictors
from llc.errors import InvalidInput
from llc.models import SeriesTransformer, SeriesTransformerConfig, build
from llc.models.ablation import head_ablation
from llc.systems import bhargav2024, preset
from llc.tasks import AffineRecurrence, LinearRegression

TASK = AffineRecurrence(length=6)
SMALL = SeriesTransformerConfig(width=8, depth=2, heads=2, mlp_width=8)


def test_a_series_goes_by_its_rule():
    """c and e told from the first two transitions give all others; they are from U(−1, 1) and N(0, 1), at 4 se."""
    batch = TASK.sample(4000).double()
    s = torch.cat([batch.inputs[0], batch.targets[:, -1:]], 1)
    assert torch.equal(s[:, 1:], batch.targets)
    c = (s[:, 2] - s[:, 1]) / (s[:, 1] - s[:, 0])
    e = s[:, 1] - c * s[:, 0]
    told = (s[:, 1] - s[:, 0]).abs() > 0.1
    assert torch.allclose((c[:, None] * s[:, 1:-1] + e[:, None])[told], s[:, 2:][told], atol=1e-4)
    c, e = c[told], e[told]
    assert (c.abs() < 1 + 1e-4).all()
    first = s[:, 0]
    for numbers, variance in ((first, 1.0), (e, 1.0)):
        assert abs(float(numbers.var()) / variance - 1) < 4 * math.sqrt(2 / len(numbers)) + 0.02
    again, other = TASK.sample(4, step=3), TASK.sample(4, step=4)
    assert torch.equal(again.targets, TASK.sample(4, step=3).targets)
    assert not torch.equal(again.targets, other.targets)


def test_losses_are_squares_and_may_be_of_one_position():
    batch = TASK.sample(5)
    squares = TASK.losses(torch.zeros(5, 6), batch)
    assert torch.equal(squares, batch.targets.square())
    sets = TASK.test_tasks()
    assert list(sets) == ["id", "position 1", "position 2", "position 3", "position 4"]
    assert torch.equal(sets["position 3"].losses(torch.zeros(5, 6), batch), squares[:, 2:3].expand(5, 6))


@pytest.mark.parametrize("settings", [{"length": 0}, {"position": 0}, {"position": 7}])
def test_bad_settings_are_named(settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(InvalidInput, match=f"{name} = {value} given"):
        AffineRecurrence(**{"length": 6, **settings})


def test_least_squares_is_scipys_and_exact_from_the_third_position_on():
    series = TASK.sample(50).double().inputs[0]
    found = predictors.two_parameter_least_squares(series)
    assert (found[:, 0] == 0).all()
    for row in range(50):
        for seen in range(1, 4):
            before = np.stack([series[row, :seen], np.ones(seen)], 1)
            c, e = np.linalg.lstsq(before, series[row, 1 : seen + 1].numpy(), rcond=1e-9)[0]
            assert float(found[row, seen]) == pytest.approx(c * float(series[row, seen]) + e, abs=1e-6)
    batch = TASK.sample(500).double()
    errors = (predictors.two_parameter_least_squares(*batch.inputs) - batch.targets)[:, 2:].abs()
    assert float(errors.median()) < 1e-5


def test_the_mean_over_all_rules_is_that_of_quadrature():
    """E[s_2 | s_0, s_1] by integrating c over its density, near and far from where it is cut off."""
    series = torch.tensor([[0.5, 0.3], [2.0, -1.7], [-0.1, 2.5], [1.5, 4.0], [-3.0, -0.2], [1e-9, 0.7], [0.02, 3.0]])
    found = predictors.recurrence_mean(series.double())
    assert (found[:, 0] == 0).all()
    for (first, second), answer in zip(series.double().tolist(), found[:, 1].tolist(), strict=True):

        def density(c, first=first, second=second):
            return stats.norm.pdf(second - c * first)

        mass = integrate.quad(density, -1, 1)[0]
        mean = integrate.quad(lambda c, density=density: c * density(c), -1, 1)[0] / mass
        assert answer == pytest.approx(second + mean * (second - first), abs=1e-6)
    still = predictors.recurrence_mean(torch.tensor([[1.0, 1.0, 1.0, 1.0]]))
    assert torch.equal(still[0, 1:], torch.ones(3))


def test_no_reference_does_better_than_the_bayesian_mean():
    """At the second position by more than four standard errors; from the third on it is exact, as least squares is."""
    batch = AffineRecurrence(length=8).sample(5000).double()
    losses = {
        name: (call(*batch.inputs) - batch.targets).square() for name, call in TASK.predictors().items()
    }  # fmt: skip
    for name in ("copy", "least_squares"):
        gap = (losses[name] - losses["bayes"])[:, 1]
        assert float(gap.mean()) > 4 * float(gap.std()) / math.sqrt(len(gap))
    assert float(losses["bayes"][:, 2:].median()) < 1e-10
    assert torch.equal(predictors.copy_last(batch.inputs[0]), batch.inputs[0])


def test_the_transformer_does_not_look_ahead():
    model = build(SMALL, TASK, seed=1)
    series = TASK.sample(3).inputs[0]
    changed = series.clone()
    changed[:, 4:] += 1
    assert torch.allclose(model(series)[:, :4], model(changed)[:, :4], atol=1e-6)
    assert not torch.allclose(model(series)[:, 4:], model(changed)[:, 4:])
    assert torch.equal(model(series), build(SMALL, TASK, seed=1)(series))
    with pytest.raises(InvalidInput, match="says the next number of one series; inputs"):
        build(SMALL, LinearRegression(dim=2, num_examples=3, noise_variance=0.1, num_tasks=None))


def test_a_head_that_says_nothing_of_a_series_is_not_missed():
    """The value weights of one head at 0: no rise without it, and one head does it all; by hand for the other."""
    model, batch = build(SMALL, TASK, seed=2), TASK.sample(64)
    assert isinstance(model, SeriesTransformer)
    attention = model.blocks[0].attention
    with torch.no_grad():
        attention.qkv.weight[2 * 8 : 2 * 8 + 4] = 0  # values of the first head
    found = head_ablation(model, [block.attention for block in model.blocks], batch)
    rises = found["ablation"].values
    assert rises.shape == (2, 2)
    assert float(rises[0, 0]) == pytest.approx(0.0, abs=1e-6)
    before = (model(*batch.inputs) - batch.targets).square().mean().detach()
    kept = attention.projection.forward

    def without(x):
        return kept(torch.cat([x[..., :4], x[..., 4:].mean(0, keepdim=True).expand_as(x[..., 4:])], -1))

    attention.projection.forward = without
    after = (model(*batch.inputs) - batch.targets).square().mean().detach()
    del attention.projection.forward
    assert float(rises[0, 1]) == pytest.approx(float(after - before), rel=1e-4, abs=1e-7)
    assert not attention.projection._forward_pre_hooks
    again = model.readouts(batch)
    assert torch.equal(again["ablation"].values, rises)
    expected = []
    for row in rises.clamp(min=0).tolist():
        shares = [rise / sum(row) for rise in row if rise > 0]
        expected.append(math.exp(-sum(p * math.log(p) for p in shares)) if shares else math.nan)
    assert found["effective_heads"].values.tolist() == pytest.approx(expected, nan_ok=True)
    assert not all(map(math.isnan, expected))


def made_up(own: np.ndarray, copied: np.ndarray) -> xr.Dataset:
    """What `compare` says at position 4 of losses on the same series, of the deepest model at its only step."""
    known = {"loss": own, "reference_loss": copied, "excess": own - copied}
    data = {}
    for name, losses in known.items():
        dims = ("depth", "seed", "step", "test_set", *(() if name == "loss" else ("reference",)))
        for what, value in ((name, losses.mean()), (f"{name}_se", losses.std(ddof=1) / math.sqrt(len(losses)))):
            data[what] = (dims, np.full((1,) * len(dims), value))
    places = {"depth": [bhargav2024.DEPTH], "test_set": ["position 4"], "reference": ["copy"], "step": [9], "seed": [0]}
    return xr.Dataset(data, places)


def test_a_ratio_of_losses_on_the_same_series_has_the_error_that_resampling_gives():
    rng = np.random.default_rng(0)
    copied = rng.chisquare(2, 3000)
    own = 0.2 * copied * rng.uniform(0.5, 1.5, 3000) + 0.1 * rng.chisquare(1, 3000)
    claim = next(claim for claim in bhargav2024.CLAIMS if claim.name == "position 4: near least squares")
    value, error = claim.measure(made_up(own, copied))
    assert value == pytest.approx(own.mean() / copied.mean())
    chosen = rng.integers(0, 3000, (2000, 3000))
    again = own[chosen].mean(1) / copied[chosen].mean(1)
    assert error == pytest.approx(again.std(), rel=0.1)  # of 2,000: to 1.6 %


def test_the_preset_names_what_its_claims_need():
    config = preset("bhargav2024")
    assert config.sweep.axes["model.depth"] == [1, 2, bhargav2024.DEPTH]
    assert {"position 2", "position 4", "position 8"} <= set(config.task.test_tasks())
    assert set(config.task.predictors()) == {"copy", "least_squares", "bayes"}
