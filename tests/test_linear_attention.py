"""Linear self-attention: the formula token by token, and weights that are gradient descent."""

import pytest
import torch

from llc import predictors
from llc.errors import InvalidInput
from llc.models import LinearAttentionConfig, build
from llc.tasks import QueryRegression, Task, fitted_references

TASK = QueryRegression(dim=3, length=5, covariates="uniform", weight_variance=1.0, half=True)


def literal(model, xs, ys, query):
    """Every key, query and value of its own, one sequence, head and token at a time."""
    out = []
    for b in range(len(xs)):
        tokens = [torch.cat([x, y[None]]) for x, y in zip(xs[b], ys[b], strict=True)]
        tokens.append(torch.cat([query[b], torch.zeros(1, dtype=xs.dtype)]))
        for layer in range(model.config.depth):
            at = 0 if model.config.shared else layer
            moved = []
            for token in tokens:
                change = torch.zeros_like(token)
                for h in range(model.config.heads):
                    asked = model.queries[at, h] @ token
                    for seen in tokens[:-1]:
                        weight = (model.keys[at, h] @ seen) @ asked
                        change = change + weight * (model.projections[at, h] @ model.values[at, h] @ seen)
                moved.append(token + change)
            tokens = moved
        out.append(-tokens[-1][-1])
    return torch.stack(out)


@pytest.mark.parametrize("settings", [{}, {"depth": 2, "heads": 2}, {"depth": 3, "shared": True}])
def test_attention_is_the_formula(settings):
    model = build(LinearAttentionConfig(**settings), TASK, seed=2).double()
    inputs = [tensor.double() for tensor in TASK.sample(4).inputs]
    torch.testing.assert_close(model(*inputs), literal(model, *inputs))


def test_one_layer_of_descent_is_one_step():
    """To 1e-6, as published."""
    model = build(LinearAttentionConfig(), TASK)
    model.set_to_descent(0.3 / TASK.length)
    inputs = TASK.sample(50).inputs
    torch.testing.assert_close(model(*inputs), predictors.one_step(*inputs, step=0.3), rtol=0, atol=1e-6)
    found = model.readouts(TASK.sample(2))
    assert float(found["step_of_descent"].values) == pytest.approx(0.3 / TASK.length)
    assert float(found["kq_rest"].values) == 0


def test_more_layers_are_more_steps_of_autograd():
    """Gradient descent from w = 0 on ½ Σ (wᵀx − y)², as many steps as layers."""
    model = build(LinearAttentionConfig(depth=3, shared=True), TASK).double()
    model.set_to_descent(0.2)
    xs, ys, query = (tensor.double() for tensor in TASK.sample(6).inputs)
    weights = torch.zeros(6, 3, dtype=torch.float64)
    for _ in range(3):
        weights = weights.requires_grad_()
        loss = ((xs @ weights[:, :, None]).squeeze(-1) - ys).square().sum() / 2
        (gradient,) = torch.autograd.grad(loss, weights)
        weights = (weights - 0.2 * gradient).detach()
    torch.testing.assert_close(model(xs, ys, query).detach(), (weights * query).sum(1))


def test_descent_plus_plus_shrinks_the_inputs_besides():
    """Two layers by hand: targets lose what a step of descent explains, inputs are multiplied by I − γXᵀX."""
    model = build(LinearAttentionConfig(depth=2, shared=True), TASK).double()
    model.set_to_descent(0.2, gamma=0.1)
    inputs = [tensor.double() for tensor in TASK.sample(4).inputs]
    xs, ys, query = inputs
    answer = torch.zeros(4, dtype=torch.float64)
    for _ in range(2):
        step = 0.2 * (ys[..., None] * xs).sum(1)
        shrink = torch.eye(3, dtype=torch.float64) - 0.1 * xs.mT @ xs
        answer, ys = answer + (query * step).sum(1), ys - (xs * step[:, None]).sum(-1)
        xs, query = xs @ shrink, (query[:, None] @ shrink)[:, 0]
    torch.testing.assert_close(model(*inputs).detach(), answer)


def test_layers_of_their_own_are_steps_of_gd_plus_plus():
    """To 1e-6; without γ, steps of gradient descent, and the last γ has no effect."""
    steps, gammas = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, -0.1, 0.4])
    model = build(LinearAttentionConfig(depth=3), TASK)
    model.set_to_descent(steps / TASK.length, gammas / TASK.length)
    inputs = TASK.sample(50).inputs
    expected = predictors.gd_plus_plus(*inputs, steps=steps, gammas=gammas)
    torch.testing.assert_close(model(*inputs), expected, rtol=0, atol=1e-6)
    other = predictors.gd_plus_plus(*inputs, steps=steps, gammas=torch.tensor([0.2, -0.1, 0.0]))
    torch.testing.assert_close(other, expected)
    plain = build(LinearAttentionConfig(depth=3), TASK)
    plain.set_to_descent(steps / TASK.length)
    expected = predictors.gd_plus_plus(*inputs, steps=steps, gammas=0 * gammas)
    torch.testing.assert_close(plain(*inputs), expected, rtol=0, atol=1e-6)


def test_deeper_attention_is_interpolated_with_its_own_gd_plus_plus(monkeypatch):
    """In another form at the task's best steps every place between loses what GD++ does; other references are none."""
    monkeypatch.setattr(fitted_references, "_STARTS", 2)  # any minimum will do
    fitted_references._gd_plus_plus.cache_clear()
    task = TASK.override({"fitted": ["gd_plus_plus"], "descent_steps": 2})
    steps, gammas = task.best_gd_plus_plus
    model = build(LinearAttentionConfig(depth=2), task)
    model.set_to_descent(steps / task.length, gammas / task.length)
    with torch.no_grad():
        turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))[0]
        model.keys[0, 0], model.queries[0, 0] = 3 * turn @ model.keys[0, 0], 3 * turn @ model.queries[0, 0]
        model.values[0] /= 9
    inputs = task.sample(30).inputs
    expected = task.predictors()["gd_plus_plus"](*inputs)
    for share in (0.0, 0.4, 1.0):
        between = model.interpolated(task, "gd_plus_plus", share)
        torch.testing.assert_close(between(*inputs), expected, rtol=1e-4, atol=1e-5)
    assert model.interpolated(task, "gd", 0.5) is None
    assert model.interpolated(task, "ridge", 0.5) is None
    for settings in ({"depth": 3}, {"depth": 2, "shared": True}, {"depth": 2, "heads": 2}):
        assert build(LinearAttentionConfig(**settings), task).interpolated(task, "gd_plus_plus", 0.5) is None
    assert model.interpolated(TASK.override({"descent_steps": 3}), "gd_plus_plus", 0.5) is None
    fitted_references._gd_plus_plus.cache_clear()


def test_steps_are_as_precise_as_the_weights_and_as_many():
    model = build(LinearAttentionConfig(), TASK).double()
    model.set_to_descent(0.1)
    assert model.values.min().item() == -0.1
    deep = build(LinearAttentionConfig(depth=2), TASK)
    before = deep.values.clone()
    for steps in ([0.1], [0.1, 0.2, 0.3], torch.ones(1, 2)):
        with pytest.raises(InvalidInput, match=r"step of shape \(.*\) given, expected a number or \(2,\)"):
            deep.set_to_descent(steps)
    assert torch.equal(deep.values, before)


def test_a_task_of_ones_own_is_no_construction():
    class Own(Task):
        kind = "without-steps"

        def sample(self, size, *, step=0, stream="train"):
            return TASK.sample(size, step=step, stream=stream)

    for reference in ("gd", "gd_plus_plus", "ridge"):
        assert build(LinearAttentionConfig(), TASK).interpolated(Own(), reference, 0.5) is None
