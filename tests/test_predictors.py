import math
import subprocess
import sys

import pytest
import torch

from llc import predictors
from llc.errors import InvalidInput
from llc.tasks import LinearRegression

SIGMA2 = 0.125


def sequences(num_tasks=6, batch=20, dim=3, num_examples=7):
    task = LinearRegression(dim=dim, num_examples=num_examples, noise_variance=SIGMA2, num_tasks=num_tasks)
    xs, ys = task.sample(batch).inputs
    return xs.double(), ys.double(), task


def literal_ridge(xs, ys, noise_variance):
    """The formula, one sequence and one prefix at a time."""
    out = torch.zeros_like(ys)
    for b in range(len(xs)):
        for k in range(1, xs.shape[1]):
            x, y = xs[b, :k], ys[b, :k]
            inverse = torch.linalg.inv(x.T @ x + noise_variance * torch.eye(x.shape[1], dtype=x.dtype))
            out[b, k] = (inverse @ x.T @ y) @ xs[b, k]
    return out


def literal_dmmse(xs, ys, tasks, noise_variance):
    """The formula, with plain exponentials."""
    out = torch.zeros_like(ys)
    for b in range(len(xs)):
        for k in range(xs.shape[1]):
            weights = [
                math.exp(-sum((float(ys[b, j]) - float(t @ xs[b, j])) ** 2 for j in range(k)) / (2 * noise_variance))
                for t in tasks
            ]
            estimate = sum(w * t for w, t in zip(weights, tasks, strict=True)) / sum(weights)
            out[b, k] = estimate @ xs[b, k]
    return out


def test_ridge_is_the_literal_formula():
    xs, ys, _ = sequences()
    torch.testing.assert_close(
        predictors.ridge(xs, ys, noise_variance=SIGMA2), literal_ridge(xs, ys, SIGMA2), rtol=1e-10, atol=1e-10
    )


def test_dmmse_is_the_literal_formula():
    xs, ys, task = sequences()
    tasks = task.tasks.double()
    torch.testing.assert_close(
        predictors.dmmse(xs, ys, tasks=tasks, noise_variance=SIGMA2),
        literal_dmmse(xs, ys, tasks, SIGMA2),
        rtol=1e-10,
        atol=1e-10,
    )


def test_dmmse_does_not_depend_on_its_blocks(monkeypatch):
    xs, ys, task = sequences(num_tasks=2500, batch=9)
    whole = predictors.dmmse(xs, ys, tasks=task.tasks, noise_variance=SIGMA2)
    log_weights = -((ys[..., None] - xs @ task.tasks.double().T).square()) / (2 * SIGMA2)
    exclusive = log_weights.cumsum(1) - log_weights
    dense = (torch.softmax(exclusive, -1) * (xs @ task.tasks.double().T)).sum(-1)
    torch.testing.assert_close(whole, dense, rtol=1e-9, atol=1e-9)
    module = sys.modules["llc.predictors.dmmse"]  # the name in the package is the function
    monkeypatch.setattr(module, "_BLOCK_NUMBERS", 1)  # one sequence at a time
    torch.testing.assert_close(
        predictors.dmmse(xs, ys, tasks=task.tasks, noise_variance=SIGMA2), whole, rtol=1e-12, atol=1e-12
    )


def test_dmmse_is_exact_in_the_tails():
    """Residuals so large that every weight underflows: the nearest task must still win outright."""
    xs, ys, task = sequences(num_tasks=5)
    tasks = task.tasks.double()
    far = ys + 1e4
    out = predictors.dmmse(xs, far, tasks=tasks, noise_variance=1e-6)
    assert out.isfinite().all()
    squared = (far[..., None] - xs @ tasks.T).square()
    best = (squared.cumsum(1) - squared)[:, 1:].argmin(-1)
    expected = (tasks[best] * xs[:, 1:]).sum(-1)
    torch.testing.assert_close(out[:, 1:], expected, rtol=1e-9, atol=1e-9)


def test_ridge_is_exact_for_little_noise_and_few_pairs():
    """Fewer pairs than dimensions and σ² = 1e-8: against the minimum-norm solution, to order σ²."""
    xs, ys, _ = sequences(num_examples=3, dim=5)
    out = predictors.ridge(xs, ys, noise_variance=1e-8)
    for b in range(len(xs)):
        estimate = torch.linalg.pinv(xs[b, :2]) @ ys[b, :2]
        assert abs(float(out[b, 2] - estimate @ xs[b, 2])) < 1e-4


def test_predictions_use_earlier_pairs_only():
    xs, ys, task = sequences()
    changed_x, changed_y = xs.clone(), ys.clone()
    changed_x[:, 4:] += 1.0
    changed_y[:, 3:] += 1.0
    calls = [
        lambda x, y: predictors.ridge(x, y, noise_variance=SIGMA2),
        lambda x, y: predictors.dmmse(x, y, tasks=task.tasks, noise_variance=SIGMA2),
        predictors.zero,
    ]
    for call in calls:
        # Prediction 3 (the fourth) sees pairs 0, 1, 2 and x_3.
        torch.testing.assert_close(call(xs, ys)[:, :4], call(changed_x, changed_y)[:, :4])


def test_dmmse_of_one_task_is_that_task():
    xs, ys, task = sequences(num_tasks=1)
    expected = xs @ task.tasks[0].double()
    torch.testing.assert_close(predictors.dmmse(xs, ys, tasks=task.tasks, noise_variance=SIGMA2), expected)


@pytest.mark.parametrize("num_tasks", [4, None])
def test_each_predictor_is_best_on_its_own_distribution(num_tasks):
    """Paired over sequences: the optimal predictor wins by more than five standard errors."""
    xs, ys, _ = sequences(num_tasks=num_tasks, batch=3000)
    finite = LinearRegression(dim=3, num_examples=7, noise_variance=SIGMA2, num_tasks=4)
    losses = {
        "ridge": (predictors.ridge(xs, ys, noise_variance=SIGMA2) - ys).square().mean(1),
        "dmmse": (predictors.dmmse(xs, ys, tasks=finite.tasks, noise_variance=SIGMA2) - ys).square().mean(1),
        "zero": (predictors.zero(xs, ys) - ys).square().mean(1),
    }
    best = "ridge" if num_tasks is None else "dmmse"
    for name, loss in losses.items():
        if name != best:
            advantage = loss - losses[best]
            assert advantage.mean() > 5 * advantage.std() / math.sqrt(len(loss))


def test_types_follow_the_input():
    xs, ys, task = sequences()
    single = predictors.dmmse(xs.float(), ys.float(), tasks=task.tasks, noise_variance=SIGMA2)
    assert single.dtype == torch.float32
    assert predictors.ridge(xs.float(), ys.float(), noise_variance=SIGMA2).dtype == torch.float32


def test_whole_numbers_as_input_do_not_cut_predictions():
    xs, ys, task = sequences()
    xs, ys = (4 * xs).round(), (4 * ys).round()
    calls = {
        "ridge": lambda x, y: predictors.ridge(x, y, noise_variance=SIGMA2),
        "dmmse": lambda x, y: predictors.dmmse(x, y, tasks=task.tasks, noise_variance=SIGMA2),
        "zero": predictors.zero,
    }
    for name, call in calls.items():
        assert torch.equal(call(xs, ys.long()), call(xs, ys)), name
        assert call(xs.float(), ys.long()).dtype == torch.float32, name
        torch.testing.assert_close(call(xs.long(), ys.long()), call(xs, ys).float(), msg=name)


def test_bad_input_is_named():
    xs, ys, task = sequences()
    with pytest.raises(InvalidInput, match="noise_variance = 0 given"):
        predictors.ridge(xs, ys, noise_variance=0)
    with pytest.raises(InvalidInput, match=r"ys \(20, 6\) given"):
        predictors.ridge(xs, ys[:, :-1], noise_variance=SIGMA2)
    with pytest.raises(InvalidInput, match=r"expected \(M, 3\)"):
        predictors.dmmse(xs, ys, tasks=task.tasks[:, :2], noise_variance=SIGMA2)


@pytest.mark.slow
def test_dmmse_memory_is_bounded_at_paper_scale():
    """M = 2^15, B = 1024, K = 16, D = 8: all weights at once would take 4 GiB; it must add less than 1 GiB."""
    code = """
import resource, torch
from llc import predictors
from llc.tasks import LinearRegression
task = LinearRegression(dim=8, num_examples=16, noise_variance=0.125, num_tasks=2**15)
xs, ys = task.sample(1024).inputs
predictors.dmmse(xs[:2], ys[:2], tasks=task.tasks, noise_variance=0.125)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert predictors.dmmse(xs, ys, tasks=task.tasks, noise_variance=0.125).isfinite().all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2**20  # KiB
