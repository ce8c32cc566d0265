"""One gradient function in three forms, and targets that share a model."""

import copy
import shutil

import pytest
import torch
from torch import nn
from wells import make_target, regression, squared_errors

from llc.errors import InvalidInput
from llc.randomness import generator
from llc.sampling import Ensemble, Target, compiled, one_graph
from llc.sampling.gradient import Gradient
from llc.sampling.weights import Weights


def by_position(model, batch):
    xs, ys = batch
    return torch.stack([squared_errors(model, batch), (model(xs).squeeze(-1) - 2 * ys) ** 2], 1)


class Normed(nn.Module):
    """A buffer, a tied weight and a parameter that is not used besides the usual ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, xs):
        return self.second(self.norm(self.first(xs)).tanh()).sum(1, keepdim=True)


def by_autograd(model, loss, batch, *, names, position, weight):
    """Losses and gradient of a model that is given its weights one by one."""
    model = copy.deepcopy(model).eval()
    trainable = [dict(model.named_parameters())[name] for name in names]
    with torch.no_grad():
        for parameter, part in zip(trainable, position.split([p.numel() for p in trainable]), strict=True):
            parameter.copy_(part.view_as(parameter))
    losses = loss(model, batch)
    (losses.sum() * weight).backward()
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in trainable]
    return losses.detach(), torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("loss", [squared_errors, by_position])
@pytest.mark.parametrize("patterns", [None, ["first.*", "unused"]])
def test_every_form_of_the_gradient_is_autograds(loss, patterns):
    """Plain, in place and out of place, and every row of the vmapped one; up to rounding in double precision."""
    torch.manual_seed(0)
    model, (_, (xs, ys)) = Normed().double(), regression()
    weights = Weights(copy.deepcopy(model).eval(), patterns)
    gradient = Gradient(weights, loss, "float32")
    positions = weights.flat + 0.3 * torch.randn(4, len(weights.flat), generator=generator(1), dtype=torch.float64)
    batches = [(xs[start : start + 7], ys[start : start + 7]) for start in range(0, 16, 4)]
    scales = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64)
    rows = gradient.by_row(
        positions,
        {name: value.expand(4, *value.shape) for name, value in weights.frozen.items()},
        tuple(torch.stack(part) for part in zip(*batches, strict=True)),
        scales,
    )
    others = {name: value.clone() for name, value in weights.frozen.items()}
    for row, (position, batch) in enumerate(zip(positions, batches, strict=True)):
        weight = float(scales[row])
        expected = by_autograd(model, loss, batch, names=weights.trainable, position=position, weight=weight)
        torch.testing.assert_close((rows[0][row], rows[1][row]), expected)
        for frozen in (weights.frozen, others):
            torch.testing.assert_close(gradient.plain(position, frozen, batch, weight), expected)
            torch.testing.assert_close(gradient.losses(position, frozen, batch).detach(), expected[0])


@pytest.mark.parametrize(
    "backend",
    [
        "eager",
        pytest.param(
            "inductor",
            marks=[pytest.mark.slow, pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")],
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")  # PyTorch's own, of its own code
def test_the_compiled_form_is_the_plain_one(backend, monkeypatch):
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **more: real(function, backend=backend, **more))
    monkeypatch.setattr(compiled, "_compiled", {})
    torch.manual_seed(0)
    model, (_, batch) = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double(), regression()
    weights = Weights(model)
    gradient = Gradient(weights, by_position, "float32")
    arguments = weights.frozen, batch, 0.25
    function = compiled.agreeing_function(gradient, weights.flat.clone(), *arguments)
    position = weights.flat + 0.3
    expected = by_autograd(model, by_position, batch, names=weights.trainable, position=position, weight=0.25)
    torch.testing.assert_close(function(position, *arguments), expected)
    torch.testing.assert_close(gradient.plain(position, *arguments), expected)


def test_a_loss_that_does_not_depend_on_the_weights_is_refused():
    model, batch = regression()
    (other, _), (frozen, _) = regression(), regression()
    frozen.requires_grad_(False)
    for loss in (
        lambda _model, batch: squared_errors(other, batch),
        lambda _model, batch: squared_errors(frozen, batch),
        lambda model, batch: squared_errors(model, batch).detach(),
    ):
        with pytest.raises(InvalidInput, match="does not depend on the weights of the model it is given"):
            Target(model, loss, batch, nbeta=7.0, gamma=0.3, batch_size=5)


@pytest.mark.parametrize("control_variates", [False, True])
@pytest.mark.parametrize("in_a_graph", [False, True])
def test_rows_of_one_model_may_differ_in_temperature_and_localisation(control_variates, in_a_graph):
    """U and ∇Û at each row's nβ, γ and center, by their definition; on a CPU too in one graph."""
    target = make_target(control_variates=control_variates, batch_size=5 if control_variates else 20, samples=20)
    elsewhere = target.origin + 0.5
    rows = [target, target.at(nbeta=2.0), target.at(gamma=0.0), target.at(nbeta=3.0, gamma=4.0, center=elsewhere)]
    assert {id(row.model) for row in rows} == {id(target.model)}
    assert all(row.baseline is target.baseline for row in rows)
    graph = one_graph([target]) if in_a_graph else None
    assert (graph is not None) == in_a_graph
    ensemble = Ensemble(rows, graph)
    assert ensemble.nbeta.flatten().tolist() == [7.0, 2.0, 7.0, 3.0]
    assert ensemble.gamma.flatten().tolist() == pytest.approx([0.3, 0.3, 0.0, 4.0])
    position = target.origin + 0.1 * torch.randn(4, target.num_parameters, generator=generator(2), dtype=torch.float64)
    minibatches = [next(row.minibatches(generator(3))) for row in rows]
    seen = ensemble.evaluate(position, minibatches)
    for row, of_row in enumerate(rows):
        at, minibatch = position[row], minibatches[row]
        away = at - of_row.center
        of_loss = target.at(nbeta=1.0, gamma=0.0).evaluate(at, minibatch)
        torch.testing.assert_close(seen.gradient[row], of_row.nbeta * of_loss.gradient + of_row.gamma * away)
        assert float(seen.difference[row]) == pytest.approx(of_loss.difference)
        potential = of_row.nbeta * of_loss.difference + of_row.gamma / 2 * float(away @ away)
        assert float(seen.potential[row]) == pytest.approx(potential)
    assert target.gradients >= 1
    assert target.at(nbeta=2.0).gradients == 0


def test_what_a_target_is_moved_to_is_checked():
    target = make_target()
    with pytest.raises(InvalidInput, match=r"nbeta = -1 given"):
        target.at(nbeta=-1)
    with pytest.raises(InvalidInput, match=r"a center of shape \(3,\) given, expected \(21,\)"):
        target.at(center=torch.zeros(3))
