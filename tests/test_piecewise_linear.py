"""Zuo et al. 2025: streams that change, attention as regression, exact and blockwise, and its claims."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg

import llc
from llc import behaviour, predictors
from llc.errors import InvalidInput
from llc.models import StreamAttentionConfig, build
from llc.systems import preset, zuo2025
from llc.tasks import LinearRegression, PiecewiseLinear, QueryRegression

TASK = PiecewiseLinear(dim=3, length=24, segment=8, noise_variance=0.04)
GAUSSIAN = pytest.mark.parametrize("gaussian", [False, True])


def drawn(batch: int = 2, length: int = 11, dim: int = 3, outputs: int = 2):
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(batch, length, size, generator=rng, dtype=torch.float64) for size in (dim, dim, outputs)]


def weight(query, key, bandwidth, gaussian):
    return math.exp((-((query - key) ** 2).sum() / 2 if gaussian else query @ key) / bandwidth)


@GAUSSIAN
def test_local_linear_attention_is_weighted_least_squares(gaussian):
    """Against scipy on the problem as it is defined, row by row, ridge on W alone."""
    queries, keys, values = drawn()
    found = predictors.local_linear_attention(queries, keys, values, bandwidth=1.7, ridge=0.3, gaussian=gaussian)
    for row, at in ((0, 0), (0, 4), (1, 10)):
        q, k, v = queries[row, at].numpy(), keys[row, : at + 1].numpy(), values[row, : at + 1].numpy()
        p = np.array([weight(q, key, 1.7, gaussian) for key in k])
        p /= p.sum()
        design = np.column_stack([np.ones(len(k)), k - q]) * np.sqrt(p)[:, None]
        penalty = np.sqrt(0.3) * np.eye(4)[1:]
        right = np.vstack([v * np.sqrt(p)[:, None], np.zeros((3, 2))])
        b = linalg.lstsq(np.vstack([design, penalty]), right)[0][0]
        np.testing.assert_allclose(found[row, at].numpy(), b, atol=1e-10)


def test_its_weights_are_those_of_the_paper_and_sum_to_one():
    """s_ij = w_ij (1 − z_ij·ρ)/(ω − μ·ρ), ρ = (Σ w zzᵀ + λω I)⁻¹ μ, by a loop."""
    queries, keys, values = drawn()
    found = predictors.local_linear_weights(queries, keys, bandwidth=2.0, ridge=0.1)
    assert torch.allclose(found.sum(-1), torch.ones(2, 11, dtype=torch.float64), atol=1e-12)
    assert (found.triu(1).abs() < 1e-12).all()
    assert (found < -1e-3).any()
    answers = predictors.local_linear_attention(queries, keys, values, bandwidth=2.0, ridge=0.1)
    assert torch.allclose(found @ values, answers, atol=1e-12)
    for row, at in ((0, 5), (1, 10)):
        z = (keys[row, : at + 1] - queries[row, at]).numpy()
        w = np.exp((keys[row, : at + 1] @ queries[row, at]).numpy() / 2)
        mu = w @ z
        rho = np.linalg.solve((z * w[:, None]).T @ z + 0.1 * w.sum() * np.eye(3), mu)
        np.testing.assert_allclose(found[row, at, : at + 1].numpy(), w * (1 - z @ rho) / (w.sum() - mu @ rho))


def test_its_limits_are_linear_and_constant():
    """λ → 0: exact on linear data with an intercept, from D + 1 keys on; λ → ∞: softmax attention."""
    queries, keys, _ = drawn(length=14)
    slope = torch.randn(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = predictors.local_linear_attention(queries, keys, keys @ slope + 2, bandwidth=1.0, ridge=1e-11)
    assert torch.allclose(found[:, 6:], (queries @ slope + 2)[:, 6:], atol=1e-5)
    assert not torch.allclose(found[:, :2], (queries @ slope + 2)[:, :2], atol=0.1)
    far = predictors.local_linear_attention(queries, keys, keys @ slope, bandwidth=1.0, ridge=1e9)
    assert torch.allclose(far, predictors.softmax_attention(queries, keys, keys @ slope, bandwidth=1.0), atol=1e-7)


@GAUSSIAN
@pytest.mark.parametrize("block", [1, 4, 11, 64])
def test_blockwise_is_exact_and_so_are_its_gradients(block, gaussian):
    """Answers in single precision to 1e-5; gradients of all four arguments; scores that exp cannot hold."""
    settings = {"bandwidth": 0.7, "gaussian": gaussian}
    single = [part.float() for part in drawn()]
    answers = [
        predictors.local_linear_attention(*single, ridge=0.2, block=of_block, **settings) for of_block in (None, block)
    ]
    assert torch.allclose(*answers, rtol=0, atol=1e-5)
    found = []
    for of_block in (None, block):
        parts = [part.requires_grad_() for part in drawn()]
        ridge = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
        answer = predictors.local_linear_attention(*parts, ridge=ridge, block=of_block, **settings)
        answer.square().sum().backward()
        found.append([answer.detach(), *(part.grad for part in parts), ridge.grad])
    for whole, blocks in zip(*found, strict=True):
        assert torch.allclose(whole, blocks, atol=1e-10)
    queries, keys, values = drawn()
    assert float((100 * queries @ keys.mT).max()) / 0.7 > 710
    steep = [
        predictors.local_linear_attention(10 * queries, 10 * keys, values, ridge=0.2, block=of_block, **settings)
        for of_block in (None, block)
    ]
    assert torch.allclose(*steep, atol=1e-8)


def test_blockwise_is_exact_on_long_streams():
    """1,024 keys. In single precision both forms subtract nearly equal sums and are that far from the double one."""
    rng = torch.Generator().manual_seed(3)
    queries, keys, values = (torch.randn(1, 1024, size, generator=rng, dtype=torch.float64) for size in (4, 4, 1))
    settings = {"bandwidth": 1.0, "ridge": 0.1}
    exact = predictors.local_linear_attention(queries, keys, values, **settings)
    assert torch.allclose(
        exact, predictors.local_linear_attention(queries, keys, values, block=64, **settings), rtol=0, atol=1e-9
    )
    single = [one.float() for one in (queries, keys, values)]
    for block in (None, 64):
        found = predictors.local_linear_attention(*single, block=block, **settings)
        assert torch.allclose(found.double(), exact, rtol=0, atol=1e-4)


@pytest.mark.parametrize("block", [None, 2])
def test_its_derivatives_are_those_of_differences(block):
    """First and second ones, which curvatures are made of."""
    parts = [part.requires_grad_() for part in drawn(1, 5, 2, 1)]
    ridge = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)

    def answer(queries, keys, values, ridge):
        return predictors.local_linear_attention(queries, keys, values, bandwidth=1.0, ridge=ridge, block=block)

    assert torch.autograd.gradcheck(answer, (*parts, ridge))
    assert torch.autograd.gradgradcheck(answer, (*parts, ridge))


def test_least_squares_attention_is_ridge_regression():
    queries, keys, values = drawn()
    found = predictors.least_squares_attention(queries, keys, values, ridge=0.5)
    for at in (0, 3, 10):
        k, v = keys[1, : at + 1].numpy(), values[1, : at + 1].numpy()
        fitted = np.linalg.solve(k.T @ k + 0.5 * np.eye(3), k.T @ v)
        np.testing.assert_allclose(found[1, at].numpy(), queries[1, at].numpy() @ fitted)


@pytest.mark.parametrize("normalised", [False, True])
def test_linear_attention_by_a_loop(normalised):
    queries, keys, values = drawn()
    found = predictors.linear_attention(queries, keys, values, normalised=normalised)
    feature = (lambda x: np.where(x > 0, 1 + x, np.exp(np.minimum(x, 0)))) if normalised else (lambda x: x)
    for at in (0, 7):
        scores = feature(keys[0, : at + 1].numpy()) @ feature(queries[0, at].numpy())
        expected = scores @ values[0, : at + 1].numpy() / (scores.sum() if normalised else 1)
        np.testing.assert_allclose(found[0, at].numpy(), expected)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bandwidth": 0.0, "ridge": 1.0}, "bandwidth = 0.0"),
        ({"bandwidth": 1.0, "ridge": -1.0}, "ridge = -1.0"),
        ({"bandwidth": 1.0, "ridge": 1.0, "block": 0}, "block = 0"),
    ],
)
def test_what_has_to_be_positive_is(settings, said):
    with pytest.raises(InvalidInput, match=f"{said} given, expected a (finite number > 0|whole number from 1 up)"):
        predictors.local_linear_attention(*drawn(), **settings)


def test_a_stream_goes_from_place_to_place():
    """In a segment ys are linear in xs up to noise, and the mean of x is at the reach; other rules hold elsewhere."""
    task = PiecewiseLinear(dim=2, length=2000, segment=400, noise_variance=0.01, reach=3.0)
    xs, ys = task.sample(3).double().inputs
    rules = []
    for stream in range(3):
        for x, y in zip(xs[stream].split(400), ys[stream].split(400), strict=True):
            fitted, rest, *_ = np.linalg.lstsq(x.numpy(), y.numpy(), rcond=None)
            assert float(rest[0]) / 398 == pytest.approx(0.01, rel=4 * math.sqrt(2 / 398))
            centre = x.mean(0)
            assert float(centre.norm()) == pytest.approx(3, abs=4 * math.sqrt(2 / 400))
            rules.append(fitted)
    rules = np.array(rules).reshape(3, 5, 2)
    np.testing.assert_allclose(rules[:, 0], rules[:, 4], atol=0.05)  # it is back after 2D segments
    assert (np.linalg.norm(rules[:, 0] - rules[:, 1], axis=-1) > 0.05).all()
    again, other = task.sample(2, step=1), task.sample(2, step=2)
    assert torch.equal(again.targets, task.sample(2, step=1).targets)
    assert not torch.equal(again.targets, other.targets)


def test_losses_near_changes_are_means_of_eight_or_half_a_segment():
    batch = PiecewiseLinear(dim=2, length=48, segment=16).sample(4)
    sets = PiecewiseLinear(dim=2, length=48, segment=16).test_tasks()
    assert list(sets) == ["id", *(f"{where} of segment {s}" for s in (1, 2, 3) for where in ("start", "end"))]
    squares = batch.targets.square()
    for name, window in {"start of segment 1": slice(0, 8), "end of segment 2": slice(24, 32)}.items():
        found = sets[name].losses(torch.zeros(4, 48), batch)
        assert torch.allclose(found, squares[:, window].mean(1, keepdim=True).expand(4, 48))
    short = PiecewiseLinear(dim=2, length=48, segment=6, near=1).losses(torch.zeros(4, 48), batch)
    assert torch.allclose(short[:, 0], squares[:, 3:6].mean(1))


@pytest.mark.parametrize("settings", [{"segment": 7}, {"near": 4}, {"near": 0}, {"reach": -1.0}, {"dim": 0}])
def test_bad_settings_are_named(settings):
    name, value = next(iter(settings.items()))
    with pytest.raises(InvalidInput, match=f"{name} = {value} given"):
        PiecewiseLinear(**{"dim": 3, "length": 24, "segment": 8, **settings})


def test_references_look_only_back_and_who_knows_the_changes_does_best():
    batch = TASK.sample(400, stream="test")
    xs, ys = batch.inputs
    later = ys.clone()
    later[:, 15:] += 1
    ends = TASK.test_tasks()["end of segment 3"]
    lost = {}
    for name, reference in TASK.predictors().items():
        said = reference(xs, ys)
        assert torch.allclose(said[:, :16], reference(xs, later)[:, :16], atol=1e-6)
        lost[name] = ends.losses(said, batch)[:, 0]
    for name in set(lost) - {"segment_linear"}:
        gap = (lost[name] - lost["segment_linear"]).double()
        assert float(gap.mean()) > 4 * float(gap.std()) / 20
    with pytest.raises(InvalidInput, match=r"expected \(B, T, D\) and \(B, T\)"):
        predictors.after(predictors.linear_attention, xs, ys[:, 1:])


def test_runs_of_all_segments_have_one_probe():
    probes = [PiecewiseLinear(dim=2, length=16, segment=segment).probe(3) for segment in (2, 4, 16)]
    assert all(torch.equal(probe.targets, probes[0].targets) for probe in probes)


@pytest.mark.parametrize("attention", zuo2025.KINDS)
def test_the_layer_is_its_attention_and_does_not_look_ahead(attention):
    model = build(StreamAttentionConfig(attention=attention), TASK, seed=3)
    xs, ys = TASK.sample(3).inputs
    said, later = model(xs, ys), ys.clone()
    later[:, 10:] += 1
    assert torch.allclose(said[:, :11], model(xs, later)[:, :11], atol=1e-6)
    assert not torch.allclose(said[:, 11:], model(xs, later)[:, 11:])
    assert (said[:, 0] == 0).all()
    queries, keys = xs[:, 1:] @ model.queries.T, xs[:, :-1] @ model.keys.T
    values = ys[:, :-1, None]
    by_hand = {
        "softmax": lambda: predictors.softmax_attention(queries, keys, values, bandwidth=1.0),
        "local-linear": lambda: predictors.local_linear_attention(queries, keys, values, bandwidth=1.0, ridge=1.0),
        "least-squares": lambda: predictors.least_squares_attention(queries, keys, values, ridge=1.0),
        "linear": lambda: predictors.linear_attention(queries, keys, values) / 24,
        "normalised-linear": lambda: predictors.linear_attention(queries, keys, values, normalised=True),
    }[attention]()
    assert torch.allclose(said[:, 1:], by_hand.squeeze(-1), atol=1e-6)
    assert model.readouts(TASK.sample(2))["score_spectrum"].values.shape == (3,)


def test_the_layer_wants_streams_of_pairs():
    with pytest.raises(InvalidInput, match="says every y of a stream of pairs; inputs"):
        build(StreamAttentionConfig(), QueryRegression(dim=2, length=3))
    other = LinearRegression(dim=2, num_examples=4, noise_variance=0.1)
    assert build(StreamAttentionConfig(block=2), other)(*other.sample(2).inputs).shape == (2, 4)


def test_the_preset_names_what_its_claims_need():
    config = preset("zuo2025")
    assert set(config.sweep.axes["model.attention"]) == set(zuo2025.KINDS)
    assert zuo2025.SEGMENT in config.sweep.axes["task.segment"]
    assert {f"end of segment {s}" for s in range(1, zuo2025.SEGMENTS + 1)} <= set(config.task.test_tasks())
    assert "global_linear" in config.task.predictors()


@pytest.mark.slow
def test_lambda_hat_of_a_blockwise_layer_is_that_of_the_layer():
    """Chains in double precision are the same but for rounding; what cannot be mapped over chains goes one by one."""
    task = PiecewiseLinear(dim=2, length=8, segment=4)
    data = task.sample(16).double()
    found = []
    for block in (None, 3):
        model = build(StreamAttentionConfig(block=block), task, seed=0).double()
        tree = llc.estimate_llc(
            model, lambda model, batch: (model(batch[0], batch[1]) - batch[1]).square().mean(-1), data.inputs,
            nbeta=10.0, gamma=10.0, draws=8, warmup=2, chains=2, max_gradients=100,
        )  # fmt: skip
        found.append(tree["posterior"].llc.values)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_test_sets_of_the_same_streams_ask_the_model_once():
    """Losses near changes are parts of those of all streams; the model is called for one batch."""
    sets = behaviour.eval_sets(TASK, 16)
    model, asked = build(StreamAttentionConfig(), TASK), []
    model.register_forward_pre_hook(lambda _, inputs: asked.append(len(inputs[0])))
    found = behaviour.evaluate(model, sets)["loss"]
    assert asked == [16]
    ends = found[list(sets).index("end of segment 2")]
    np.testing.assert_allclose(ends, found[0][12:16].mean())
