"""Control variates are taken where they lower the noise of minibatches, and only there."""

import torch
from torch import nn

import llc
from llc.estimate.batches import choose_control_variates
from llc.sampling import SAMPLERS, Target, largest_curvature


def squared(model, batch):
    return (model(batch[0])[:, 0] - batch[1]).square()


class Product(nn.Module):
    """w₁w₂x, whose gradient vanishes at w = 0 for every sample: nothing is known there of the noise elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return self.weight.prod() * x


def noisy(dim: int, n: int = 2000):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(n, dim, generator=rng)
    return x, x.sum(1) + torch.randn(n, generator=rng)


def chosen(model: nn.Module, data, **settings):
    target = Target(model, squared, data, batch_size=50, **settings)
    return choose_control_variates(target, SAMPLERS["kinetic"], largest_curvature(target), key=(0,))


def test_near_a_minimum_of_noisy_data_they_are_taken():
    x, y = noisy(5)
    model = nn.Linear(5, 1, bias=False)
    model.weight.data = torch.linalg.lstsq(x, y[:, None]).solution.T.contiguous()
    target, why = chosen(model, (x, y), nbeta=260.0, gamma=1.0)
    assert target.control_variates
    assert why.startswith("at w*: control variates have 0.")


def test_where_gradients_at_the_center_say_nothing_they_are_not():
    x, y = noisy(1)
    target, why = chosen(Product(), (x, 0 * y + y.mean()), nbeta=260.0, gamma=1.0)
    assert not target.control_variates
    assert why.startswith("none: control variates have")


def test_an_estimate_says_what_was_taken_and_counts_what_that_cost():
    x, y = noisy(5)
    model = nn.Linear(5, 1, bias=False)
    model.weight.data = torch.linalg.lstsq(x, y[:, None]).solution.T.contiguous()
    settings = {"nbeta": 260.0, "gamma": 1.0, "draws": 20, "batch_size": 50}
    free = llc.estimate_llc(model, squared, (x, y), **settings)
    plain = llc.estimate_llc(model, squared, (x, y), **settings, control_variates=False)
    assert (free.attrs["control_variates"], plain.attrs["control_variates"]) == (1, 0)
    assert plain.attrs["variates"] == "as given"
    # A gradient of each of 40 minibatches at w*, a scout of 68 steps, 8 minibatches either way.
    assert int(free.gradients - plain.gradients) >= 40 + 68 + 16
