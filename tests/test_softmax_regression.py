"""Li et al. 2023: softmax regression, its gradient, and steps of descent."""

import math

import pytest
import torch

import llc
from llc import development, predictors
from llc.errors import InvalidInput
from llc.systems import li2023, preset
from llc.tasks import SoftmaxRegression

TASK = SoftmaxRegression(dim=3, length=6)


def test_what_is_said_adds_up_and_the_question_is_of_the_same_w():
    """ys average to one; log y is linear in x, with the same w and sum for the question."""
    batch = TASK.sample(40).double()
    xs, ys, query = batch.inputs
    assert torch.allclose(ys.mean(1), torch.ones(40, dtype=torch.float64), atol=1e-6)
    design = torch.cat([xs, torch.ones(40, 6, 1, dtype=torch.float64)], -1)
    fitted = torch.linalg.lstsq(design, ys.log()[..., None]).solution.squeeze(-1)
    said = (fitted[:, :3] * query).sum(-1) + fitted[:, 3]
    assert torch.allclose(said, batch.targets.log(), atol=1e-3)
    assert torch.allclose(fitted[:, :3].norm(dim=1), torch.full((40,), 0.7, dtype=torch.float64), atol=1e-3)


def test_the_gradient_is_autograds():
    rng = torch.Generator().manual_seed(0)
    xs, weights = (torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in ((4, 6, 3), (4, 3)))
    shares = torch.softmax(torch.randn(4, 6, generator=rng, dtype=torch.float64), -1)
    weights.requires_grad_()
    f = torch.softmax((xs @ weights[..., None]).squeeze(-1), -1)
    (0.5 * (f - shares).square().sum()).backward()
    found = predictors.softmax_regression_gradient(xs, shares, weights.detach())
    assert torch.allclose(found, weights.grad, atol=1e-12)


def test_descent_is_as_many_steps_and_the_first_is_in_closed_form():
    """From 0: w = (η/L²) Σ x_l (y_l − 1)."""
    xs, ys, query = TASK.sample(5).double().inputs
    weights = 2.0 / 36 * (xs * (ys - 1)[..., None]).sum(1)
    found = predictors.softmax_descent(xs, ys, query, step=2.0)
    assert torch.allclose(found, predictors.softmax_answer(xs, query, weights))
    again = weights - 2.0 * predictors.softmax_regression_gradient(xs, ys / 6, weights)
    twice = predictors.softmax_descent(xs, ys, query, step=2.0, steps=2)
    assert torch.allclose(twice, predictors.softmax_answer(xs, query, again))
    with pytest.raises(InvalidInput, match="steps = 0"):
        predictors.softmax_descent(xs, ys, query, step=2.0, steps=0)


def test_references_are_of_the_best_step_and_more_steps_are_better():
    task = SoftmaxRegression(dim=3, length=25)
    batch = task.sample(4000, stream="other").double()
    losses = {name: task.losses(call(*batch.inputs), batch) for name, call in task.predictors().items()}
    for worse, better in (("one", "gd"), ("gd", "gd_many")):
        gap = losses[worse] - losses[better]
        assert float(gap.mean()) > 4 * float(gap.std()) / math.sqrt(len(gap))
    step = task.predictors()["gd"].keywords["step"]
    for other in (0.5 * step, 2 * step):
        lost = task.losses(predictors.softmax_descent(*batch.inputs, step=other), batch)
        assert float(lost.mean()) > float(losses["gd"].mean())
    assert torch.allclose(TASK.losses(torch.zeros(4000), batch), batch.targets.square() / 2)


def test_every_claim_is_measured_from_the_first_step_on(tmp_path):
    """The untrained layer's distance from the step over its own is one at step 0, and near it after two steps."""
    few = {"training.steps": 2, "training.batch_size": 8, "checkpoints.every": 2, "behaviour.sequences": 64}
    experiment = llc.train(preset("li2023").override(few), tmp_path / "li", jobs=1)
    found = development.compare(experiment, steps="all", sequences=64, claims=li2023.CLAIMS)
    values = dict(zip(found.claim.values.tolist(), found.claim_value.values.tolist(), strict=True))
    assert all(map(math.isfinite, values.values()))
    assert values["its answers come near the step's"] == pytest.approx(1, abs=0.05)
