"""Garg et al. 2022 and Chen et al. 2024: families of functions, prompts, curricula, and references by other means."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LassoLars
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

from llc import predictors
from llc.errors import InvalidInput
from llc.models import TransformerConfig, build
from llc.systems import chen2024, garg2022, preset
from llc.tasks import FunctionClass
from llc.tasks.functions import FAMILIES

TASK = FunctionClass(dim=4, length=10)


def test_families_are_their_formulas():
    """Linear and quadratic ones are fitted exactly by 4 coefficients, sparse ones have two; a tree has its leaves."""
    for family, features in (("linear", lambda x: x), ("quadratic", torch.square), ("sparse", lambda x: x)):
        xs, ys = FunctionClass(family=family, dim=4, length=20, sparsity=2).sample(30).double().inputs
        weights = torch.linalg.lstsq(features(xs), ys[..., None])
        assert torch.allclose(features(xs) @ weights.solution, ys[..., None], atol=1e-4)
        if family == "sparse":
            assert ((weights.solution.abs() > 1e-3).sum(1) == 2).all()
    xs, ys = FunctionClass(family="tree", dim=3, length=200, depth=2).sample(20).inputs
    for x, y in zip(xs, ys, strict=True):
        signs = (x > 0).int() @ torch.tensor([1, 2, 4], dtype=torch.int32)
        for cell in signs.unique():
            assert len(y[signs == cell].unique()) == 1
        assert len(y.unique()) <= 4


@pytest.mark.parametrize(("family", "variance"), [
    ("linear", 4.0), ("sparse", 2.0), ("quadratic", 4.0), ("relu", 4.0), ("tree", 1.0),
])  # fmt: skip
def test_variances_are_those_of_the_formulas(family, variance):
    """E y², over 20,000 functions of one x each, within four standard errors."""
    task = FunctionClass(family=family, dim=4, length=1, sparsity=2, hidden=30)
    squares = task.sample(20_000).targets.double().square()
    assert abs(float(squares.mean()) - variance) < 4 * float(squares.std()) / math.sqrt(squares.numel())


def test_a_network_of_one_hidden_unit_is_written_out():
    rng = torch.Generator().manual_seed(0)
    xs = torch.randn(1, 6, 2)
    ys = FAMILIES["relu"](xs, FunctionClass(dim=2, length=6, hidden=1), rng)
    again = torch.Generator().manual_seed(0)
    inner, outer = torch.randn(1, 2, 1, generator=again), torch.randn(1, 1, 1, generator=again)
    expected = [math.sqrt(2) * float(outer) * max(0.0, float(x @ inner[0, :, 0])) for x in xs[0]]
    assert ys[0].tolist() == pytest.approx(expected)


def test_a_pool_holds_so_many_functions():
    xs, ys = FunctionClass(dim=2, length=6, pool=3).sample(50).double().inputs
    found = torch.linalg.lstsq(xs, ys[..., None]).solution.squeeze(-1)
    assert len(np.unique(found.numpy().round(3), axis=0)) == 3


def test_the_curriculum_grows_and_only_training_has_it():
    task = FunctionClass(dim=5, length=11, start_dim=2, start_length=5, grow_every=100)
    assert [task.stage(step) for step in (0, 99, 100, 250, 10_000)] == [(2, 5), (2, 5), (3, 7), (4, 9), (5, 11)]
    for stream, dim, length in (("train", 3, 7), (("train", 4), 3, 7), ("test", 5, 11)):
        xs = task.sample(3, step=100, stream=stream).inputs[0]
        assert xs.shape[1] == length
        assert (xs[..., :dim] != 0).all()
        assert (xs[..., dim:] == 0).all()
    model = build(TransformerConfig(width=4, heads=1, depth=1, mlp_width=4), task)
    assert model(*task.sample(2, step=0).inputs).shape == (2, 5)


def test_prompts_are_as_they_are_called():
    """Orthants, orthogonality, repetition; spectra of covariances, whose trace stays D, within four standard errors."""
    task = FunctionClass(dim=4, length=6)
    shifts = task.shifts()
    xs = shifts["random quadrants"].sample(200).inputs[0]
    assert (xs[:, :4].sign() == xs[:, :1].sign()).all()
    assert 0.3 < float((xs[:, 4].sign() == xs[:, 0].sign()).float().mean()) < 0.7
    xs = shifts["question seen before"].sample(50).inputs[0]
    assert (xs[:, :4] == xs[:, 4:5]).all(-1).any(1).all()
    xs = shifts["orthogonal question"].sample(50).inputs[0]
    assert float((xs[:, :2] @ xs[:, 2, :, None]).abs().max()) < 1e-5
    assert float(xs[:, 2].norm(dim=1).min()) > 0
    many = FunctionClass(dim=4, length=4000)
    for name, spectrum in (("half subspace", [0, 0, 2, 2]), ("skewed", None)):
        x = many.shifts()[name].sample(1).inputs[0][0].double()
        found = torch.linalg.eigvalsh(x.mT @ x / 4000)
        expected = torch.tensor([1.0, 1 / 4, 1 / 9, 1 / 16]).flip(0).double()
        expected = torch.tensor(spectrum).double() if spectrum else 4 * expected / expected.sum()
        assert ((found - expected).abs() <= 4 * expected * math.sqrt(2 / 4000) + 1e-6).all()
    assert torch.allclose(shifts["x times 3"].sample(4).inputs[0], 3 * task.sample(4).inputs[0])
    assert torch.allclose(shifts["y times 0.33"].sample(4).targets, task.sample(4).targets / 3)
    noisy = shifts["noise of variance 1"].sample(4000).targets - task.sample(4000).targets
    assert float(noisy.var()) == pytest.approx(1, abs=4 * math.sqrt(2 / noisy.numel()))


def test_runs_of_all_families_have_one_probe():
    probes = [
        FunctionClass(**settings, dim=4, length=6, sparsity=2).probe(3)
        for settings in ({}, {"family": "tree"}, {"family": "sparse", "noise_variance": 0.1, "pool": 3},
                         {"start_dim": 2, "grow_every": 5})
    ]  # fmt: skip
    assert all(torch.equal(probe.targets, probes[0].targets) for probe in probes)
    assert all(torch.equal(probe.inputs[0], probes[0].inputs[0]) for probe in probes)


def test_only_the_question_counts_where_it_is_asked_for():
    batch = TASK.sample(3)
    squares = batch.targets.square()
    sets = TASK.test_tasks()
    assert list(sets) == ["id", "2 examples", "4 examples", "8 examples"]
    assert torch.equal(sets["4 examples"].losses(torch.zeros(3, 10), batch), squares[:, 4:5].expand(3, 10))


@pytest.mark.parametrize(("settings", "said"), [
    ({"family": "sparse", "sparsity": 5}, "sparsity = 5 given, expected at most dim = 4"),
    ({"examples": 10}, "examples = 10 given, expected less than length = 10"),
    ({"start_dim": 2}, "expected grow_every"),
    ({"start_length": 11, "grow_every": 5}, "start_length = 11 given, expected at most 10"),
    ({"prompt": "quadrants"}, "expected with it examples"),
    ({"prompt": "orthogonal", "examples": 4}, "examples = 4 given, expected less than dim = 4"),
    ({"family": "cubic"}, "family = 'cubic'"),
])  # fmt: skip
def test_bad_settings_are_named(settings, said):
    with pytest.raises(InvalidInput, match=said):
        FunctionClass(**{"dim": 4, "length": 10, **settings})


def by_hand(xs, ys, answer):
    """An answer from the pairs before, position by position; 0 at first."""
    xs, ys = xs.double().numpy(), ys.double().numpy()
    return np.array([
        [answer(x[:k], y[:k], x[k]) if k else 0.0 for k in range(len(y))] for x, y in zip(xs, ys, strict=True)
    ])  # fmt: skip


def test_references_are_those_of_numpy_and_scikit_learn():
    xs, ys = FunctionClass(family="sparse", dim=4, length=8, sparsity=2, noise_variance=0.1).sample(6).inputs
    for found, answer in (
        (predictors.least_squares_so_far(xs, ys), lambda x, y, q: np.linalg.pinv(x, rcond=1e-9) @ y @ q),
        (predictors.averaging(xs, ys), lambda x, y, q: (y[:, None] * x).mean(0) @ q),
        (predictors.nearest_neighbours(xs, ys, neighbours=3),
         lambda x, y, q: KNeighborsRegressor(min(3, len(x))).fit(x, y).predict([q])[0]),
        (predictors.decision_tree(xs, ys),
         lambda x, y, q: DecisionTreeRegressor(random_state=0).fit(np.sign(x), y).predict([np.sign(q)])[0]),
        (predictors.lasso(xs, ys, penalty=0.1),
         lambda x, y, q: LassoLars(alpha=0.1, fit_intercept=False).fit(x, y).predict([q])[0]),
    ):  # fmt: skip
        np.testing.assert_allclose(found.double().numpy(), by_hand(xs, ys, answer), atol=1e-4)
    with pytest.raises(InvalidInput, match="neighbours = 0"):
        predictors.nearest_neighbours(xs, ys, neighbours=0)
    with pytest.raises(InvalidInput, match="penalty = 0"):
        predictors.lasso(xs, ys, penalty=0)


@pytest.mark.parametrize("preprocessed", [False, True])
def test_descent_goes_step_by_step_and_ends_at_least_squares(preprocessed):
    xs, ys = (part.double() for part in TASK.sample(3).inputs)

    def answer(x, y, q, steps=7):
        scale = (y[:, None] * x).mean(0) if preprocessed else np.ones(4)
        x, weights = x * scale, np.zeros(4)
        rate = 1 / np.linalg.eigvalsh(x.T @ x / len(x))[-1]
        for _ in range(steps):
            weights = weights - rate * x.T @ (x @ weights - y) / len(x)
        return weights @ (q * scale)

    found = predictors.descent(xs, ys, steps=7, preprocessed=preprocessed)
    np.testing.assert_allclose(found.numpy(), by_hand(xs, ys, answer), atol=1e-9)
    if not preprocessed:
        ended, exact = predictors.descent(xs, ys, steps=2000)[:, 8:], predictors.least_squares_so_far(xs, ys)[:, 8:]
        assert torch.allclose(ended, exact, atol=1e-6)
    with pytest.raises(InvalidInput, match="steps = 0"):
        predictors.descent(xs, ys, steps=0)


def test_references_look_only_back():
    for family in ("sparse", "tree"):
        task = FunctionClass(family=family, dim=4, length=6, sparsity=2, noise_variance=0.1)
        xs, ys = task.sample(4).inputs
        later = ys.clone()
        later[:, 3:] += 1
        for name, reference in task.predictors().items():
            assert torch.allclose(reference(xs, ys)[:, :4], reference(xs, later)[:, :4], atol=1e-6), name


@pytest.mark.parametrize(("name", "system"), [("chen2024", chen2024), ("garg2022", garg2022)])
def test_presets_name_what_their_claims_need(name, system):
    config = preset(name)
    sets = set(config.task.test_tasks()) | set(config.task.shifts())
    assert {"id", "8 examples"} <= sets if system is chen2024 else {"2 examples", "10 examples", "skewed"} <= sets
    if system is garg2022:
        trees = config.task.override({"family": "tree"})
        assert "tree" in trees.predictors()
        assert trees.stage(config.training.steps // 2) == (trees.dim, trees.length)


def test_a_transformer_tells_what_it_loses_without_a_head():
    task = FunctionClass(dim=2, length=4)
    plain = TransformerConfig(width=4, heads=2, depth=1, mlp_width=4)
    batch = task.sample(5)
    assert "ablation" not in build(plain, task).readouts(batch)
    found = build(plain.override({"head_ablation": True}), task).readouts(batch)
    assert found["ablation"].values.shape == (1, 2)
