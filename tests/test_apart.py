"""What is sampled is the copy alone: nothing that stays behind with the model that was given has a part in its loss."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import llc
from llc.errors import InvalidInput
from llc.sampling import apart, check_apart, chosen_weights, sampled_copy

XS = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
YS = XS.sum(1)


def squared(model, batch=(XS, YS)):
    return 0.5 * (model(batch[0])[:, 0] - batch[1]) ** 2


def layer():
    return nn.Linear(4, 1, bias=False)


class Holding(nn.Module):
    """A layer, and something made of its weight when the model was."""

    def __init__(self, make, *, buffer=False, used=True):
        super().__init__()
        self.layer, self.used = layer(), used
        if buffer:
            self.register_buffer("held", make(self.layer.weight))
        else:
            self.held = make(self.layer.weight)

    def forward(self, xs):
        return self.layer(xs) + (xs @ self.held if self.used else 0)


HELD = {
    "a view": (lambda weight: weight.t(), False),
    "a view without gradient": (lambda weight: weight.data.t(), False),
    "a buffer on its memory": (lambda weight: weight.detach().t(), True),
    "a function of it": (lambda weight: 2 * weight.t(), False),
}


@pytest.mark.parametrize("name", HELD)
def test_what_was_made_of_weights_before_is_named_where_it_is_used(name):
    make, buffer = HELD[name]
    model = Holding(make, buffer=buffer)
    with pytest.raises(InvalidInput, match=r"the model's held was made of its weights before, and is used as it was"):
        check_apart(model, sampled_copy(model), squared)
    unused = Holding(make, buffer=buffer, used=False)
    check_apart(unused, sampled_copy(unused), squared)


def test_activations_that_are_kept_are_no_reason():
    model = nn.Sequential(layer())
    model[0].register_forward_hook(lambda module, _, output: setattr(module, "last", output))
    squared(model)
    assert not model[0].last.is_leaf
    check_apart(model, sampled_copy(model), squared)
    recurrent = nn.LSTM(4, 1, batch_first=True)
    check_apart(recurrent, sampled_copy(recurrent), lambda made: made(XS[:, None])[0][:, 0, 0])


def test_weights_of_the_original_are_found_in_the_graph():
    model = layer()
    weight = model.weight
    losses = {
        "a regulariser of it": lambda made: squared(made) + 0.2 * weight.square().sum(),
        "half of the outputs": lambda made: squared(made) + F.linear(XS, weight)[:, 0],
    }
    for loss in losses.values():
        with pytest.raises(InvalidInput, match="uses weight of the model that was given"):
            check_apart(model, sampled_copy(model), loss)
    check_apart(model, sampled_copy(model), lambda made: squared(made) + 0.2 * made.weight.square().sum())


class Without(nn.Module):
    """Outputs that move with the weights and have no gradient."""

    def __init__(self, how):
        super().__init__()
        self.layer, self.how = layer(), how

    def forward(self, xs):
        return self.how(self.layer, xs)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize(
    "how",
    [
        torch.no_grad()(lambda inner, xs: inner(xs)),
        torch.inference_mode()(lambda inner, xs: inner(xs)),
        lambda inner, xs: inner(xs).detach(),
        lambda inner, xs: checkpoint(inner, xs, use_reentrant=True),
    ],
)
def test_a_loss_without_a_gradient_has_its_reason(how):
    model = Without(how)
    before = model.layer.weight.detach().clone()
    made = sampled_copy(model)
    with pytest.raises(InvalidInput, match="moves with the weights, but has no gradient"):
        check_apart(model, made, squared)
    assert torch.equal(made.layer.weight, before)


def test_what_was_made_in_inference_mode_is_told():
    with torch.inference_mode():
        ones = torch.ones(1)
    with pytest.raises(InvalidInput, match=r"Inference tensors|inference_mode"):
        llc.estimate_llc(layer(), lambda model, batch: squared(model, batch) * ones, (XS, YS))


@pytest.mark.parametrize("frozen", [0, 1])
def test_of_weights_on_one_piece_of_memory_one_that_moves_moves_all(frozen):
    model = nn.ModuleList([layer(), layer()])
    model[1].weight.data = model[0].weight.data
    model[frozen].weight.requires_grad_(False)
    made = sampled_copy(model)
    assert made[0].weight is made[1].weight
    assert sum(one.parameter.numel() for one in chosen_weights(made).values()) == 4


def slope_checked(curve, size=1.0):
    """`_check_slope` of a loss along the direction that it takes: a·t + curve(t), t in units of it, and b across it."""
    torch.manual_seed(0)
    model = nn.Linear(40, 1, bias=False).double()
    rng, unit = torch.Generator().manual_seed(0), 0.1 * float(model.weight.detach().square().mean().sqrt())
    away, along = ((unit * torch.randn(1, 40, generator=rng)).double() for _ in range(2))
    start = (model.weight.detach() + away).clone()
    across = torch.randn(1, 40, dtype=torch.float64)
    across -= (across * along).sum() / along.square().sum() * along

    def losses(made):
        moved = made.weight - start
        at = (moved * along).sum() / along.square().sum()
        return (0.1 * at + curve(at) + size * (across * moved).sum() / unit / across.norm()).expand(3)

    apart._check_slope({"weight": model.weight}, model, losses)


def test_a_kink_where_slopes_all_but_cancel_is_no_other_gradient():
    """Along the direction the loss rises by a tenth of what is usual, and a kink makes a sixth of that."""
    kink = lambda at: 0.02 * (at - 0.0005).abs()  # noqa: E731 (between w* and the shorter of the two steps)
    slope_checked(kink)
    with pytest.raises(InvalidInput, match=r"it is 0\.08 where the loss rises by 0\.099"):
        slope_checked(kink, size=0.0)  # where it is all there is, a sixth is much


def test_a_part_that_is_detached_is_seen_beside_what_is_usual():
    with pytest.raises(InvalidInput, match=r"is not its slope: .* it is 0\.1 where the loss rises by 0\.6"):
        slope_checked(lambda at: 0.5 * at.detach())
