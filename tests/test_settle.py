"""The floor below w* against closed forms and against SciPy's minimiser."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from llc.estimate.floor import Depth
from llc.estimate.settle import Floors, Settled, depth, settle
from llc.sampling import Target

NBETA = 300.0


def half_squares(model, batch):
    return 0.5 * (model(batch[0]).squeeze(-1) - batch[1]) ** 2


def linear_regression(dim: int = 8, samples: int = 400):
    """Weights half a unit from those that made the labels, and the data, in double precision."""
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(samples, dim, generator=rng, dtype=torch.float64) * torch.linspace(0.05, 2.0, dim)
    truth = torch.randn(dim, generator=rng, dtype=torch.float64)
    y = x @ truth + 0.3 * torch.randn(samples, generator=rng, dtype=torch.float64)
    model = nn.Linear(dim, 1, bias=False).double()
    model.weight.data[0] = truth + 0.5 * torch.randn(dim, generator=rng, dtype=torch.float64)
    return model, (x, y)


def regression_target(gamma: float, batch_size: int = 400) -> Target:
    model, batch = linear_regression()
    return Target(model, half_squares, batch, nbeta=NBETA, gamma=gamma, batch_size=batch_size)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 30.0, 3000.0])
def test_a_quadratic_loss_falls_by_its_closed_form(gamma):
    """L at the minimum of L + ρ/2‖w − w*‖², δ = −(H + ρ)⁻¹g: the drop is −gᵀδ − ½δᵀHδ."""
    model, (x, y) = linear_regression()
    weight = model.weight.detach()[0]
    hessian, slope = x.T @ x / len(x), x.T @ (x @ weight - y) / len(x)
    away = -torch.linalg.solve(hessian + gamma / NBETA * torch.eye(len(weight), dtype=torch.float64), slope)
    exact = NBETA * float(-slope @ away - 0.5 * away @ hessian @ away)
    found = settle(regression_target(gamma), max_gradients=1000)
    assert found.done
    assert exact > 1
    assert found.nats == pytest.approx(exact, rel=1e-3)


def softmax_losses(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def coin_losses(model, batch):
    logit = model(batch[0]).squeeze(-1)
    return nn.functional.binary_cross_entropy_with_logits(logit, batch[1].to(logit), reduction="none")


class Bowl(nn.Module):
    """1 − exp(−w²/2) for every sample: concave beyond |w| = 1."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([start], dtype=torch.float64))

    def forward(self, x):
        return (1 - torch.exp(-self.w.square().sum() / 2)).expand(len(x))


@pytest.mark.parametrize(("start", "known"), [(0.5, True), (1.5, False), (9.0, True)])
def test_a_slope_that_is_concave_has_no_floor_that_is_known(start, known):
    """At 1.5 the loss falls ever faster; at 9 it falls by 10⁻¹⁷ a unit, which no draw would feel."""
    target = Target(Bowl(start), lambda model, batch: model(batch[0]), (torch.zeros(4, 1),), nbeta=100.0, gamma=1e-3,
                    batch_size=4)  # fmt: skip
    found = settle(target, max_gradients=1000)
    assert (found.depth is not None) is known
    assert found.nats == pytest.approx(100 * (1 - np.exp(-(start**2) / 2)) if start < 1 else 0.0, abs=0.02)


class Saddle(nn.Module):
    """a² + 3a⁴ + 1 − exp(−b²/2) for every sample: concave in b beyond 1, and its fall there is far."""

    def __init__(self, a: float, b: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([a, b], dtype=torch.float64))

    def forward(self, x):
        a, b = self.w
        return (a**2 + 3 * a**4 + 1 - torch.exp(-(b**2) / 2)).expand(len(x))


@pytest.mark.parametrize("start", [(0.3, 1.2), (0.3, 2.0)])
def test_a_search_that_ends_on_a_slope_knows_no_floor(start):
    """The square at the inflection foretells a fall that there is not; past it the slope is concave in the end."""
    target = Target(Saddle(*start), lambda model, batch: model(batch[0]), (torch.zeros(4, 1),), nbeta=100.0, gamma=1e-3,
                    batch_size=4)  # fmt: skip
    exact = 100 * (start[0] ** 2 + 3 * start[0] ** 4 + 1 - np.exp(-(start[1] ** 2) / 2))
    found = settle(target, max_gradients=1000).depth
    assert found is None or abs(found.nats - exact) < 0.01 * exact


def test_the_losses_of_samples_are_those_where_it_ended():
    """Their mean is the drop where every sample is looked at; a search that does not move has none."""
    target = regression_target(1.0)
    found = settle(target, max_gradients=1000)
    assert found.depth.sample_losses.shape == (400,)
    assert -target.nbeta * found.depth.sample_losses.mean() == pytest.approx(found.nats)
    below = Floors(10_000).below(target)
    assert np.array_equal(below.sample_losses, found.sample_losses)
    assert (below.nats, below.nats_se) == pytest.approx((found.nats, 0.0))
    assert settle(target, max_gradients=0).sample_losses is None


@pytest.mark.parametrize(("classes", "loss"), [(1, coin_losses), (3, softmax_losses)])
@pytest.mark.parametrize("gamma", [1.0, 50.0])
def test_classification_settles_where_scipy_does(classes, loss, gamma):
    """L at the minimum of L + ρ/2‖w − w*‖², by BFGS to 10⁻⁹: the drop agrees within one in a hundred."""
    rng = torch.Generator().manual_seed(2)
    x = torch.randn(500, 4, generator=rng, dtype=torch.float64)
    truth = torch.randn(max(2, classes), 4, generator=rng, dtype=torch.float64)
    labels = torch.distributions.Categorical(logits=x @ truth.T).probs.multinomial(1, generator=rng)[:, 0]
    model = nn.Linear(4, classes, bias=False).double()
    model.weight.data = 0.8 * torch.randn(classes, 4, generator=rng, dtype=torch.float64)
    target = Target(model, loss, (x, labels), nbeta=NBETA, gamma=gamma, batch_size=500)

    def heights(position: np.ndarray) -> tuple[float, float]:
        fall = float((target.losses(torch.from_numpy(position)) - target.baseline).mean())
        return fall + gamma / NBETA / 2 * float(np.square(position - target.origin.numpy()).sum()), fall

    lowest = minimize(lambda position: heights(position)[0], target.origin.numpy(), options={"gtol": 1e-9})
    exact = -NBETA * heights(lowest.x)[1]
    found = settle(target, max_gradients=1000)
    assert found.done
    assert exact > 5
    assert found.nats == pytest.approx(exact, rel=0.01)
    # Stopped sooner, it says how far it may still have had to go; a single step, which is what five gradients are good
    # for, says nothing.
    told = [settle(target, max_gradients=most) for most in range(0, found.gradients, 5)]
    assert told[1].nats > 0
    assert told[1].depth is None
    assert any(stopped.depth for stopped in told)
    for stopped in told:
        if stopped.gained > 0:
            assert abs(stopped.depth.nats - exact) < 3 * stopped.depth.nats_se + 0.01 * exact
        else:
            assert stopped.depth is None


def test_what_a_stopped_search_would_still_have_gained_is_of_the_size_of_its_last_step():
    """Three quarters of it, give or take a step and a quarter."""
    assert Settled(5.0, 100, False, 2.0).depth == Depth(5.0 + 1.5, 2.5)
    assert Settled(5.0, 100, False).depth is None
    assert Settled(5.0, 100, True, 2.0).depth == Depth(5.0, 0.0)


def test_at_a_minimum_nothing_is_gained_for_few_gradients():
    """One Newton step of twenty conjugate gradients at most, each of which takes two gradients, and one for its slope.

    In single precision too, where the slope is rounding.
    """
    model, (x, y) = linear_regression()
    model.weight.data[0] = torch.linalg.lstsq(x, y).solution
    for dtype in (torch.float64, torch.float32):
        target = Target(
            model.to(dtype), half_squares, (x.to(dtype), y.to(dtype)), nbeta=NBETA, gamma=1.0, batch_size=400
        )
        found = settle(target, max_gradients=1000)
        assert found.done
        assert abs(found.nats) < 0.02
        assert found.gradients <= 41


@pytest.mark.parametrize(("batch_size", "price"), [(400, 1), (100, 4)])
def test_no_more_is_spent_than_may_be(batch_size, price):
    """A whole-dataset gradient counts as many minibatches as the dataset has; what is short of the end is not done."""
    target = regression_target(1.0, batch_size)
    whole = settle(target, max_gradients=10_000)
    assert whole.done
    assert whole.gradients % price == 0
    for most in range(0, whole.gradients, price):
        found = settle(target, max_gradients=most)
        assert found.gradients <= most
        assert 0 <= found.nats <= whole.nats * (1 + 1e-9)
    assert not settle(target, max_gradients=3 * price).done
    assert settle(target, max_gradients=2 * price).gradients == 0


@pytest.mark.parametrize(("budget", "share"), [(400, 100), (6000, 1500), (30_000, 1500), (100_000, 5000)])
def test_small_budgets_leave_more_to_the_minimiser(budget, share, monkeypatch):
    """A twentieth, but up to a quarter where that is not yet 1,500 gradients."""
    asked = []
    monkeypatch.setattr(
        "llc.estimate.settle.settle", lambda _, max_gradients: asked.append(max_gradients) or Settled(3.0, 7, True)
    )
    assert depth(regression_target(1.0), budget) == (Depth(3.0), 7)
    assert asked == [share]


def test_the_target_is_left_as_it_was():
    model, _ = linear_regression()
    before = model.weight.detach().clone()
    target = regression_target(1.0)
    settle(target, max_gradients=100)
    assert torch.equal(target.origin, before[0])
    assert torch.equal(model.weight, before)


class Valley(nn.Module):
    """Weights (steep, flat), both 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, dtype=torch.float64))


def valley_losses(model: nn.Module, batch: tuple[torch.Tensor]) -> torch.Tensor:
    """½(steep − 1)² + 10⁻² flat + 10⁻⁶ flat² + flat⁴, the same for every sample."""
    steep, flat = model.weight
    return 0 * batch[0] + (steep - 1) ** 2 / 2 + 1e-2 * flat + 1e-6 * flat**2 + flat**4


def test_where_a_flat_direction_makes_the_step_too_long_the_way_there_is_gone_back():
    """The square foretells a step of −5,000 along the flat direction, a 64th of which still raises the loss.

    Exact: ½ along the steep one, and ¾ c (c/4)^⅓ with c = 10⁻² along the flat one, whose square is next to nothing.
    """
    data = (torch.zeros(10, dtype=torch.float64),)
    target = Target(Valley(), valley_losses, data, nbeta=NBETA, gamma=1e-6, batch_size=10)
    found = settle(target, max_gradients=1000)
    assert found.done
    assert found.nats == pytest.approx(NBETA * (0.5 + 0.75 * 1e-2 * (1e-2 / 4) ** (1 / 3)), rel=1e-3)
