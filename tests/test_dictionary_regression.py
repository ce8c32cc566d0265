"""Huang et al. 2023: the task, its reference, its head of which Q alone is trained, and its claims."""

import math

import numpy as np
import pytest
import torch
import xarray as xr

from llc import predictors
from llc.errors import InvalidInput
from llc.models import SoftmaxQuery
from llc.systems import huang2023, preset
from llc.systems.claims import NoNumber
from llc.tasks import DictionaryRegression

TASK = DictionaryRegression(features=5, length=12, dominant=0.4)


def test_features_come_as_often_as_they_are_likely():
    """Counts of 13,000 draws within four standard errors, in prompts and in questions."""
    xs, _, query = TASK.sample(1000).inputs
    for seen in (xs.reshape(-1, 5), query):
        share, error = seen.mean(0).double(), (TASK.probabilities * (1 - TASK.probabilities) / len(seen)).sqrt()
        assert (seen.sum(-1) == 1).all()
        assert ((share - TASK.probabilities).abs() < 4 * error).all()
    assert TASK.probabilities.tolist() == pytest.approx([0.4, 0.15, 0.15, 0.15, 0.15])
    balanced = DictionaryRegression(features=8, length=64, dominant=1 / 8)
    assert balanced.probabilities.tolist() == pytest.approx([1 / 8] * 8)


def test_each_feature_says_its_weight_wherever_it_is_seen():
    batch = TASK.sample(2000, stream="other")
    xs, ys, query = batch.inputs
    everything, said = torch.cat([xs, query[:, None]], 1), torch.cat([ys, batch.targets[:, None]], 1)
    for sequence in range(20):
        for feature in range(5):
            of_it = said[sequence][everything[sequence, :, feature] == 1]
            assert len(of_it.unique()) <= 1
    assert abs(float(batch.targets.var()) - 1) < 4 * math.sqrt(2 / 2000)


def test_a_batch_is_a_function_of_its_place():
    first, again, other = (TASK.sample(4, step=step) for step in (3, 3, 4))
    assert torch.equal(first.targets, again.targets)
    assert not torch.equal(first.targets, other.targets)


def test_tests_ask_about_each_feature():
    sets = TASK.test_tasks()
    assert list(sets) == ["id", *(f"feature {k}" for k in range(1, 6))]
    for k in range(1, 6):
        assert (sets[f"feature {k}"].sample(50).inputs[2].argmax(-1) == k - 1).all()


def test_the_loss_is_half_the_square():
    batch = TASK.sample(6)
    assert torch.allclose(TASK.losses(torch.zeros(6), batch), batch.targets.square() / 2)


@pytest.mark.parametrize(
    "settings", [{"dominant": 1.0}, {"features": 1}, {"asked_feature": 6}, {"asked_feature": 0}, {"length": 0}]
)
def test_bad_settings_are_named(settings):
    with pytest.raises(InvalidInput, match=rf"{next(iter(settings))} = {next(iter(settings.values()))} given"):
        DictionaryRegression(**{"features": 5, "length": 3, "dominant": 0.3, **settings})


def test_the_reference_averages_what_was_said_of_the_feature():
    """By a loop; 0 where the prompt never showed it. It is right wherever it did, for there is no noise."""
    xs = torch.tensor([[[1.0, 0], [0, 1], [1, 0]], [[1.0, 0], [1, 0], [1, 0]]])
    ys, query = torch.tensor([[2.0, 5.0, 4.0], [1.0, 1.0, 1.0]]), torch.tensor([[1.0, 0], [0, 1]])
    assert predictors.matching_mean(xs, ys, query).tolist() == [3.0, 0.0]
    batch = TASK.sample(200)
    found = predictors.matching_mean(*batch.inputs)
    shown = (batch.inputs[0] * batch.inputs[2][:, None]).sum((1, 2)) > 0
    assert torch.allclose(found[shown], batch.targets[shown], atol=1e-6)
    assert (found[~shown] == 0).all()


def trained_head() -> SoftmaxQuery:
    model = SoftmaxQuery(5)
    model.query.data = torch.randn(5, 5, generator=torch.Generator().manual_seed(1))
    return model


def test_the_head_is_its_formula():
    """Weights exp(x_iᵀQ x_q) over their sum, by a loop, and all alike at Q = 0."""
    model, batch = trained_head(), TASK.sample(7)
    xs, ys, query = batch.inputs
    matrix = model.query.detach()
    for row in range(7):
        weights = [math.exp(float(x @ matrix @ query[row])) for x in xs[row]]
        expected = sum(weight * float(y) for weight, y in zip(weights, ys[row], strict=True)) / sum(weights)
        assert model(xs, ys, query)[row].item() == pytest.approx(expected, rel=1e-4)
    assert torch.allclose(SoftmaxQuery(5)(xs, ys, query), ys.mean(1), atol=1e-6)


def test_its_gradient_is_the_papers():
    """∂/∂Q ½(f − y_q)² = (f − y_q) Σ_i a_i (y_i − f) x_i x_qᵀ, mean over prompts."""
    model, batch = trained_head(), TASK.sample(64)
    xs, ys, query = batch.inputs
    TASK.losses(model(xs, ys, query), batch).mean().backward()
    scores = torch.softmax(torch.einsum("bld,de,be->bl", xs, model.query.detach(), query), -1)
    answer = (scores * ys).sum(-1)
    pull = scores * (ys - answer[:, None]) * (answer - batch.targets)[:, None]
    exact = torch.einsum("bl,bld,be->de", pull, xs, query) / len(query)
    assert torch.allclose(model.query.grad, exact, atol=1e-6)


def test_readouts_are_the_entries_of_q_and_the_attention_to_ones_own_feature():
    model, batch = trained_head(), TASK.sample(400)
    xs, _, query = batch.inputs
    found = model.readouts(batch)
    assert torch.equal(found["A"].values, model.query.detach().diagonal())
    assert torch.equal(found["B"].values[1, 3], model.query.detach()[1, 3])
    assert found["B"].values.diagonal().isnan().all()
    counts = xs.sum(1).double()
    own = []
    for row, asked in enumerate(query.argmax(-1).tolist()):
        weights = counts[row] * model.query.detach().double()[:, asked].exp()
        own.append((asked, float(weights[asked] / weights.sum())))
    for feature in range(5):
        expected = np.mean([share for asked, share in own if asked == feature])
        assert float(found["attention"].values[feature]) == pytest.approx(expected, rel=1e-4)


def curves(times: dict[float, list[float]], fall: float = 1.3) -> xr.Dataset:
    """Losses ½·2^(−step/t_k) of every feature, and scores of which B_k1 = −fall·A_k until all is learned."""
    steps, features = np.unique(np.round(np.logspace(0, 4, 200)).astype(int)), np.arange(1, 9)
    steps = np.concatenate([[0], steps])
    losses = np.array([0.5 * 2 ** (-steps[:, None] / np.array(of_run)) for of_run in times.values()])[:, None]
    scores = np.broadcast_to(np.eye(8) - fall * (1 - np.eye(8)), (len(times), 1, len(steps), 8, 8))
    return xr.Dataset(
        {
            "loss": (("dominant", "seed", "step", "test_set"), losses),
            "loss_se": (("dominant", "seed", "step", "test_set"), 0.01 * losses),
            "A": (("dominant", "seed", "step", "feature"), np.ones(scores.shape[:-1])),
            "B": (("dominant", "seed", "step", "seen", "feature"), scores),
        },
        {"dominant": list(times), "step": steps, "test_set": [f"feature {k}" for k in features]},
    )


def test_claims_read_what_the_curves_say():
    """Half-times 20 and 200 (ten times as early), 50 to 55 (a tenth apart), within the errors of 1 % losses."""
    compared = curves({0.5: [20.0, *[200.0 + k for k in range(7)]], 1 / 8: [50.0 + 5 * k / 7 for k in range(8)]})
    found = {claim.name: claim.measure(compared) for claim in huang2023.CLAIMS}
    value, error = found["the dominant feature first"]
    assert value == pytest.approx(10.0, rel=0.03)
    assert 0.1 < error < 0.4  # √2 of 1 % losses, over a slope of log 2 for either, relative
    value, error = found["balanced features together"]
    assert value == pytest.approx(4.375 / 50, abs=0.02)
    assert found["rare features: first the dominant one's score falls"] == (pytest.approx(1.3), 0.0)
    assert found["in the end: balanced"][0] == pytest.approx(0.0, abs=1e-12)
    slow = curves({0.5: [20.0, *[20_000.0] * 7], 1 / 8: [50.0] * 8})
    value, error = huang2023.CLAIMS[3].measure(slow)
    assert value == pytest.approx(2**-0.5)
    assert error == pytest.approx(math.sqrt(2) * 0.01 * value)
    with pytest.raises(NoNumber, match="feature 2 is not half learned"):
        huang2023.CLAIMS[0].measure(slow)


def test_the_preset_is_the_papers():
    config = preset("huang2023")
    assert config.sweep.axes["task.dominant"] == [1 / 8, 0.5]
    assert (config.training.optimiser, config.task.features, config.task.length) == ("sgd", 8, 64)
