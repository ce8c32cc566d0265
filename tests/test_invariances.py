"""What must not matter does not: the order of coordinates, tasks, examples, samples, parameters; how a batch is cut.

Properties of everything that is computed, on inputs that hypothesis chooses.
"""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import llc
from llc import predictors
from llc.systems import SYSTEMS, preset

SEEDS = st.integers(0, 10**6)
PAIRS = {
    "ridge": partial(predictors.ridge, noise_variance=0.3),
    "least squares": predictors.least_squares_so_far,
    "averaging": predictors.averaging,
    "descent": partial(predictors.descent, steps=3),
    "preprocessed descent": partial(predictors.descent, steps=3, preprocessed=True),
    "neighbours": predictors.nearest_neighbours,
    "lasso": partial(predictors.lasso, penalty=0.1),
    "tree": predictors.decision_tree,
    "attention": partial(predictors.after, partial(predictors.softmax_attention, bandwidth=0.7)),
    "local lines": partial(predictors.after, partial(predictors.local_linear_attention, bandwidth=0.7, ridge=0.1)),
}
# Of the algorithms above, those that see lengths and angles only; the others look at coordinates one at a time.
ROUND = set(PAIRS) - {"preprocessed descent", "lasso", "tree"}
QUERY = {
    "one step": partial(predictors.one_step, step=0.3, centred=True),
    "ridge": partial(predictors.ridge_query, strength=0.2),
    "softmax": partial(predictors.structured_softmax, omegas=torch.tensor([0.5, -0.5]), mus=torch.tensor([1.0, -1.0])),
    "gd++": partial(predictors.gd_plus_plus, steps=torch.tensor([0.3, 0.2]), gammas=torch.tensor([0.1, 0.0])),
    "softmax descent": partial(predictors.softmax_descent, step=0.1, steps=2),
}


def draws(seed, *shapes):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes]


def rotation(seed, dim):
    return torch.linalg.qr(draws(seed + 1, (dim, dim))[0]).Q


@pytest.mark.parametrize("name", PAIRS)
@given(seed=SEEDS, at=st.integers(0, 4))
def test_what_comes_later_is_not_known(name, seed, at):
    xs, ys, later_xs, later_ys = draws(seed, (2, 5, 3), (2, 5), (2, 5, 3), (2, 5))
    before = PAIRS[name](xs, ys)
    xs[:, at + 1 :], ys[:, at:] = later_xs[:, at + 1 :], later_ys[:, at:]
    torch.testing.assert_close(PAIRS[name](xs, ys)[:, : at + 1], before[:, : at + 1])


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_shorter_prompt_is_the_beginning_of_a_longer_one(name, length):
    xs, ys = draws(11, (2, 5, 3), (2, 5))
    short = PAIRS[name](xs[:, :length], ys[:, :length])
    assert short.shape == (2, length)
    torch.testing.assert_close(short, PAIRS[name](xs, ys)[:, :length])


@pytest.mark.parametrize("name", sorted(set(PAIRS) - {"tree"}))  # whose cuts of equal worth are by order
@given(seed=SEEDS)
def test_the_order_of_what_came_before_does_not_matter(name, seed):
    xs, ys = draws(seed, (2, 5, 3), (2, 5))
    order = [*np.random.default_rng(seed).permutation(4), 4]
    torch.testing.assert_close(PAIRS[name](xs[:, order], ys[:, order])[:, 4], PAIRS[name](xs, ys)[:, 4])


@pytest.mark.parametrize("name", sorted(ROUND))
@given(seed=SEEDS)
def test_coordinates_have_no_meaning(name, seed):
    xs, ys = draws(seed, (2, 5, 3), (2, 5))
    torch.testing.assert_close(PAIRS[name](xs @ rotation(seed, 3), ys), PAIRS[name](xs, ys))


@given(seed=SEEDS, number=st.integers(1, 9))
def test_names_of_tasks_and_of_coordinates_do_not_matter_to_dmmse(seed, number):
    xs, ys, tasks = draws(seed, (2, 5, 3), (2, 5), (number, 3))
    said = predictors.dmmse(xs, ys, tasks=tasks, noise_variance=0.3)
    turn, order = rotation(seed, 3), torch.randperm(number, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(predictors.dmmse(xs, ys, tasks=tasks[order], noise_variance=0.3), said)
    torch.testing.assert_close(predictors.dmmse(xs @ turn, ys, tasks=tasks @ turn, noise_variance=0.3), said)
    twice = torch.cat([tasks, tasks])  # each as likely as before
    torch.testing.assert_close(predictors.dmmse(xs, ys, tasks=twice, noise_variance=0.3), said)


@pytest.mark.parametrize("name", QUERY)
@given(seed=SEEDS)
def test_the_order_of_examples_does_not_matter(name, seed):
    xs, ys, query = draws(seed, (2, 5, 3), (2, 5), (2, 3))
    order, turn = torch.randperm(5, generator=torch.Generator().manual_seed(seed)), rotation(seed, 3)
    shares = ys.softmax(-1) * 5  # which a softmax can have made
    said = QUERY[name](xs, shares, query)
    torch.testing.assert_close(QUERY[name](xs[:, order], shares[:, order], query), said)
    torch.testing.assert_close(QUERY[name](xs @ turn, shares, query @ turn), said)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_batch_in_parts_is_the_batch(name):
    task = preset(name).runs()[0].task
    batch = task.sample(6, stream="parts")
    parts = [batch.take(slice(0, 2)), batch.take(slice(2, 6))]
    said = {key: reference(*batch.inputs) for key, reference in task.predictors().items()}
    for key, reference in task.predictors().items():
        outputs = [reference(*part.inputs) for part in parts]
        torch.testing.assert_close(torch.cat(outputs), said[key], rtol=1e-4, atol=1e-5)
        losses = [task.losses(one, part) for one, part in zip(outputs, parts, strict=True)]
        torch.testing.assert_close(torch.cat(losses), task.losses(said[key], batch), rtol=1e-3, atol=1e-4)


class Line(nn.Module):
    """wᵀx + b of its two parameters in either order."""

    def __init__(self, order):
        super().__init__()
        for name in order:
            self.register_parameter(name, nn.Parameter(torch.zeros(3 if name == "weight" else 1)))

    def forward(self, x):
        return x @ self.weight + self.bias


def squares(model, batch):
    x, y = batch
    return (model(x) - y) ** 2 / 2


SETTINGS = {"nbeta": 40.0, "gamma": 1.0, "step_size": 0.05, "chains": 2, "warmup": 20, "draws": 64, "seed": 3}
SETTINGS |= {"max_gradients": 4000, "sampler": "sgld"}


@pytest.fixture(scope="module")
def line():
    x = torch.randn(48, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = x @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64) + 0.3 * draws(2, (48,))[0]
    return x, y


def fitted(data, order=("weight", "bias")):
    model = Line(order).double()
    x, y = data
    solution = torch.linalg.lstsq(torch.cat([x, torch.ones(48, 1).double()], 1), y[:, None]).solution[:, 0]
    model.weight.data, model.bias.data = solution[:3].clone(), solution[3:].clone()
    return model


def test_the_order_of_samples_does_not_matter(line):
    one = llc.estimate_llc(fitted(line), squares, line, batch_size=48, **SETTINGS)
    order = torch.randperm(48, generator=torch.Generator().manual_seed(5))
    other = llc.estimate_llc(fitted(line), squares, tuple(part[order] for part in line), batch_size=48, **SETTINGS)
    assert other.llc.item() == pytest.approx(one.llc.item(), rel=1e-3)  # single precision


def test_the_order_of_parameters_does_not_matter(line):
    """Noise falls on other coordinates, so the two agree as two estimates do: within three of their errors."""
    one = llc.estimate_llc(fitted(line), squares, line, **SETTINGS)
    other = llc.estimate_llc(fitted(line, ("bias", "weight")), squares, line, **SETTINGS)
    assert other.llc.item() != one.llc.item()
    assert abs(other.llc - one.llc).item() < 3 * np.hypot(one.llc_se.item(), other.llc_se.item())


def test_a_seed_is_all_that_chance_knows(line):
    """But for rounding: where a tensor happens to lie in memory decides in which order some kernels add."""
    one, again = (llc.estimate_llc(fitted(line), squares, line, **SETTINGS) for _ in range(2))
    assert one.llc.item() == pytest.approx(again.llc.item(), rel=1e-9)
    other = llc.estimate_llc(fitted(line), squares, line, **{**SETTINGS, "seed": 4})
    assert other.llc.item() != one.llc.item()
    assert abs(other.llc - one.llc).item() < 3 * np.hypot(one.llc_se.item(), other.llc_se.item())
