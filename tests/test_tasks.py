import math

import pytest
import torch

from llc.errors import InvalidInput
from llc.tasks import LinearRegression


def task(**settings) -> LinearRegression:
    return LinearRegression(**{"dim": 3, "num_examples": 5, "noise_variance": 0.25, **settings})


def test_a_batch_is_a_pure_function_of_seed_stream_and_step():
    first = task(num_tasks=4).sample(7, step=3)
    again = task(num_tasks=4).sample(7, step=3)
    assert all(torch.equal(a, b) for a, b in zip(first.flat, again.flat, strict=True))
    others = [
        task(num_tasks=4).sample(7, step=4),
        task(num_tasks=4).sample(7, step=3, stream="test"),
        task(num_tasks=4, seed=1).sample(7, step=3),
    ]
    assert not any(torch.equal(first.targets, other.targets) for other in others)


def test_sampling_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    task(num_tasks=4).sample(7)
    assert torch.equal(before, torch.random.get_rng_state())


def test_task_sets_are_nested_across_block_borders():
    large = task(num_tasks=2**11 + 5).tasks
    for num_tasks in (1, 4, 1024, 1025):
        assert torch.equal(task(num_tasks=num_tasks).tasks, large[:num_tasks])


def test_shapes_and_types():
    xs, ys = task(num_tasks=None).sample(7).inputs
    assert xs.shape == (7, 5, 3)
    assert ys.shape == (7, 5)
    assert xs.dtype == ys.dtype == torch.float32


@pytest.mark.parametrize("covariance", [None, [0.5, 1.0, 2.0], [[1.0, 0.5, 0.0], [0.5, 2.0, 0.3], [0.0, 0.3, 0.7]]])
def test_moments_of_the_gaussian_prior(covariance):
    """Second moments of x and y against their exact values, within four standard errors."""
    source = task(num_tasks=None, covariance=covariance)
    xs, ys = source.sample(40_000).double().inputs
    outer = xs[:, 0, :, None] * xs[:, 0, None, :]
    error = outer.std(0) / math.sqrt(len(xs))
    assert ((outer.mean(0) - source.covariance_matrix).abs() < 4 * error).all()
    squares = ys[:, 0].square()
    expected = float(torch.trace(source.covariance_matrix)) + source.noise_variance
    assert abs(squares.mean() - expected) < 4 * squares.std() / math.sqrt(len(ys))


def test_finite_tasks_give_the_stated_noise():
    """With the task known, y − tᵀx is N(0, σ²): its variance within four standard errors."""
    source = task(num_tasks=1)
    xs, ys = source.sample(20_000).inputs
    residual = (ys - xs @ source.tasks[0]).double().flatten()
    error = 0.25 * math.sqrt(2 / len(residual))
    assert abs(residual.var() - 0.25) < 4 * error
    assert abs(residual.mean()) < 4 * 0.5 / math.sqrt(len(residual))


def test_every_task_is_drawn_equally_often():
    """Chi-square with three degrees of freedom; 16.3 is its 99.9 % point."""
    source = task(num_tasks=4, noise_variance=1e-6)
    xs, ys = source.sample(4000).inputs
    residuals = (ys[..., None] - xs @ source.tasks.T).square().sum(1)
    counts = torch.bincount(residuals.argmin(-1), minlength=4)
    assert float(((counts - 1000.0) ** 2 / 1000).sum()) < 16.3


def test_table_round_trip_keeps_an_infinite_number_of_tasks():
    for num_tasks in (3, None):
        source = task(num_tasks=num_tasks, covariance=[1.0, 2.0, 3.0])
        assert LinearRegression.from_table(source.to_table()) == source


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"noise_variance": -1.0}, "noise_variance = -1.0 given, expected"),
        ({"num_tasks": 0}, "num_tasks = 0 given, expected a whole number of tasks from 1 up"),
        ({"dim": 2.5}, "dim = 2.5 given, expected a whole number"),
        ({"covariance": [1.0, 2.0]}, "expected 3 variances or 3 rows of 3"),
        ({"covariance": [1.0, 2.0, -1.0]}, "positive definite"),
        ({"dims": 3}, "unknown key dims; did you mean dim?"),
    ],
)
def test_bad_settings_are_named(settings, said):
    with pytest.raises(InvalidInput) as error:
        task(**settings)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_tasks_are_the_same_where_their_settings_are():
    """Whatever they have made of these meanwhile."""
    one, other = (LinearRegression(dim=2, num_examples=3, noise_variance=0.1, num_tasks=4) for _ in range(2))
    one.sample(1)
    assert one == other
    other.sample(1)
    assert one == other
    assert hash(one) == hash(other)
    assert one != one.override({"num_tasks": 5})
    assert one != other.to_table()
