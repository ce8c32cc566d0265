"""The copy of a model that is sampled: tied weights, kept activations, old hooks, and what has no copy."""

import threading
import warnings

import pytest
import torch
from torch import nn

import llc
from llc.errors import InvalidInput
from llc.sampling import Target, chosen_weights, sampled_copy

XS = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
YS = XS.sum(1)


def squared(model, batch):
    return 0.5 * (model(batch[0])[:, 0] - batch[1]) ** 2


def target(model, loss=squared, data=(XS, YS), **settings):
    return Target(model, loss, data, **{"nbeta": 14.0, "gamma": 0.3, "batch_size": 8, **settings})


class Two(nn.Module):
    """Two layers on one piece of memory."""

    def __init__(self, tie):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False), nn.Linear(4, 1)
        tie(self.a, self.b)

    def forward(self, xs):
        return self.out(self.b(self.a(xs)))


def tie_data(a, b):
    b.weight.data = a.weight.data


def tie_parameters(a, b):
    b.weight = a.weight


@pytest.mark.parametrize("tie", [tie_data, tie_parameters])
def test_one_piece_of_memory_is_one_weight(tie):
    """Moving it moves both, and its gradient is the sum of theirs."""
    model = Two(tie)
    found = target(model)
    assert found.num_parameters == 16 + 5
    away = found.origin + 0.1 * torch.randn(21, generator=torch.Generator().manual_seed(1))
    by_hand = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False), nn.Linear(4, 1))
    with torch.no_grad():
        for layer in by_hand[:2]:
            layer.weight.copy_(away[:16].view(4, 4))
        by_hand[2].weight.copy_(away[16:20].view(1, 4))
        by_hand[2].bias.copy_(away[20:])
    squared(by_hand, (XS, YS)).mean().backward()
    seen = found.losses_and_gradient(away, next(target(model, batch_size=40).minibatches(torch.Generator())))
    torch.testing.assert_close(seen[0], squared(by_hand, (XS, YS)).detach().double(), rtol=1e-5, atol=1e-6)
    expected = by_hand[0].weight.grad + by_hand[1].weight.grad
    torch.testing.assert_close(seen[1][:16].view(4, 4), expected, rtol=1e-4, atol=1e-5)
    assert model.a.weight.data_ptr() == model.b.weight.data_ptr()


@pytest.mark.parametrize("pattern", ["a.*", "b.*", "b.weight"])
def test_a_pattern_may_name_either(pattern):
    for tie in (tie_data, tie_parameters):
        assert [*target(Two(tie), parameters=[pattern]).weights.trainable] == ["a.weight"]
    assert [*chosen_weights(Two(tie_parameters), [pattern])] == ["a.weight"]


def test_memory_that_is_shared_in_part_is_named():
    class Transposed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(3, 4)
            self.b.weight.data = self.a.weight.data.T

        def forward(self, xs):
            return self.b(self.a(xs))

    with pytest.raises(InvalidInput, match=r"a\.weight and b\.weight share memory but not shape"):
        sampled_copy(Transposed())
    apart = nn.Linear(4, 2)
    flat = torch.randn(10)
    apart.weight.data, apart.bias.data = flat[:8].view(2, 4), flat[8:]
    assert target(nn.Sequential(apart, nn.Linear(2, 1))).num_parameters == 10 + 3  # one storage, nothing in common


class Keeping(nn.Module):
    """Keeps what it last computed, as hooks of interpretability tools do."""

    def __init__(self):
        super().__init__()
        self.layer, self.seen = nn.Linear(4, 1), {}

    def forward(self, xs):
        self.seen["last"] = [self.layer(xs)]
        return self.seen["last"][0]


class Notes:
    """Any object."""


class Noting(nn.Module):
    """Its activations end in an attribute of something that is no module."""

    def __init__(self):
        super().__init__()
        self.layer, self.notes = nn.Linear(4, 1), Notes()
        self.notes.self = self.notes

    def forward(self, xs):
        self.notes.last = {self.layer(xs)}
        return next(iter(self.notes.last))


def old(norm):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(norm(nn.Linear(4, 1)))


WORKING = {
    "kept activations": Keeping,
    "activations kept in an object": Noting,
    "old weight norm": lambda: old(nn.utils.weight_norm),
    "old spectral norm": lambda: old(nn.utils.spectral_norm),
    "weight norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 1))),
    "spectral norm": lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 1))),
}


@pytest.mark.parametrize("name", WORKING)
def test_models_that_do_not_copy_as_they_are(name):
    """The gradient is that of the model itself, once it has been used."""
    model = WORKING[name]().eval()
    model(XS)  # whatever it keeps of that has a graph behind it
    found = target(model, batch_size=40)
    _, gradient = found.losses_and_gradient(found.origin, next(found.minibatches(torch.Generator())))
    squared(model, (XS, YS)).mean().backward()
    torch.testing.assert_close(gradient, torch.cat([p.grad.flatten() for p in model.parameters()]))


@pytest.mark.parametrize("bag", [False, True])
def test_sparse_gradients_are_dense(bag):
    table = nn.EmbeddingBag(9, 4, sparse=True) if bag else nn.Embedding(9, 4, sparse=True)
    model = nn.Sequential(table, nn.Flatten(), nn.Linear(4, 1))
    tokens = torch.arange(40)[:, None] % 9
    found = target(model, data=(tokens, YS), batch_size=40)
    _, gradient = found.losses_and_gradient(found.origin, next(found.minibatches(torch.Generator())))
    squared(model, (tokens, YS)).mean().backward()
    torch.testing.assert_close(gradient[:36].view(9, 4), table.weight.grad.to_dense())
    assert table.sparse


class Itself(nn.Linear):
    def __deepcopy__(self, memo):
        return self


class Sharing(nn.Linear):
    def __deepcopy__(self, memo):
        made = nn.Linear(4, 1)
        made.weight = self.weight
        return made


class Locked(nn.Linear):
    def __init__(self):
        super().__init__(4, 1)
        self.logger_lock = threading.Lock()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(Locked()), "the model's 0.logger_lock, a lock, cannot be copied"),
        (
            nn.Sequential(Itself(4, 1)),
            "its very module 0, so that sampling would move yours; the __deepcopy__ of Itself",
        ),
        (Itself(4, 1), "its very module Itself"),
        (Sharing(4, 1), "its very parameter weight"),
        (nn.LazyLinear(1), "parameter weight has no shape yet.*call the model on a batch first"),
        (nn.Linear(4, 1, device="meta"), "parameter weight is on the meta device.*load the weights first"),
    ],
)
def test_models_that_have_no_copy_are_named(model, said):
    with pytest.raises(InvalidInput, match=said):
        llc.estimate_llc(model, squared, (XS, YS))


def test_complex_weights_are_named():
    def loss(model, batch):
        return (model(batch[0].to(torch.complex64))[:, 0] - batch[1]).abs().square()

    with pytest.raises(InvalidInput, match=r"torch\.complex64, expected real numbers.*two real parameters"):
        llc.estimate_llc(nn.Linear(4, 1, dtype=torch.complex64), loss, (XS, YS))


def test_a_loss_of_another_model_is_named():
    other = nn.Linear(4, 1)
    with pytest.raises(InvalidInput, match="does not depend on the weights of the model it is given"):
        llc.estimate_llc(nn.Linear(4, 1), lambda model, batch: squared(other, batch), (XS, YS))


def test_a_loss_that_cannot_change_has_its_reason():
    tree = llc.estimate_llc(nn.Linear(4, 1), lambda model, batch: 0 * squared(model, batch) + 1, (XS, YS), draws=60)
    assert float(tree.llc) == 0
    assert float(tree.distance) > 0
    assert tree.reason.item() == "the loss does not change where chains went: llc is 0 there"


def test_a_part_of_the_model_that_was_given_is_named():
    class Closure(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 1)

            def then(xs):
                return self.last(xs)

            self.then = then

        def forward(self, xs):
            return self.then(self.first(xs))

    with pytest.raises(InvalidInput, match="a function that the model holds, calls last of the model that was given"):
        llc.estimate_llc(Closure(), squared, (XS, YS))
    mine = nn.Linear(4, 1)
    with pytest.raises(InvalidInput, match=r"the loss, .*, calls Linear of the model that was given"):
        llc.estimate_llc(mine, lambda model, batch: squared(mine, batch), (XS, YS))


def test_scripted_models_and_odd_train_methods_work():
    class Odd(nn.Linear):
        def train(self, mode=True):
            super().train(mode)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(nn.Linear(4, 1), XS)
    for model in (traced, Odd(4, 1)):
        assert target(model).num_parameters == 5
