"""ℓ_i(w*) as a function of weights and sample: what is no such function is refused, with its cause."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import llc
from llc.errors import InvalidInput
from llc.sampling import Target

N, D = 60, 4
XS = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
YS = XS.sum(1)


class Head(nn.Module):
    """A linear model of what `before` makes of its inputs."""

    def __init__(self, before=lambda xs: xs):
        super().__init__()
        self.before = before
        self.head = nn.Linear(D, 1, bias=False)

    def forward(self, xs):
        return self.head(self.before(xs))[:, 0]


def squared(model, batch):
    return 0.5 * (model(batch[0]) - batch[1]) ** 2


def target(model, loss=squared, data=(XS, YS), **settings):
    return Target(model, loss, data, **{"nbeta": 14.0, "gamma": 0.3, "batch_size": 8, **settings})


class Attention(nn.Module):
    """Attention whose dropout does not ask whether the model is in training."""

    def forward(self, xs):
        heads = xs[:, None, None].expand(-1, 1, 3, -1)
        return F.scaled_dot_product_attention(heads, heads, heads, dropout_p=0.5)[:, 0, 0]


def noisy_loss(model, batch):
    return squared(model, batch) * (1 + 0.1 * np.random.default_rng().normal())


def contrastive(model, batch):
    outputs = model(batch[0])
    return -F.log_softmax(outputs[:, None] * outputs[None], 1).diagonal()


def of_all_pairs(model, batch):
    return (model.head(batch[0]) - batch[1]) ** 2


def a_third_at_most(model, batch):
    losses = squared(model, batch)
    return losses / (1 + losses.detach()[len(losses) // 3])


def of_the_batch(model, batch):
    losses = squared(model, batch)
    return losses / losses.detach().mean()


def only_with_gradients(model, batch):
    return squared(model, batch) * (1.5 if torch.is_grad_enabled() else 1.0)


class Counting(nn.Module):
    """Says another thing at every call."""

    def __init__(self):
        super().__init__()
        self.calls = itertools.count()

    def forward(self, xs):
        return xs * (1 + next(self.calls) % 7)

    def __deepcopy__(self, memo):
        return Counting()


UNSTABLE = {
    "dropout": (Head(lambda xs: F.dropout(xs, 0.1)), squared, "changes from call to call.*bernoulli_ in Head"),
    "attention": (Head(Attention()), squared, r"changes from call to call.*in before \(Attention\)"),
    "a noisy loss": (Head(), noisy_loss, "changes from call to call, by up to .* for one sample, and"),
    "a counter": (Head(Counting()), squared, "changes from call to call"),
    "batch norm": (Head(nn.BatchNorm1d(D, track_running_stats=False)), squared,
                   "depends on which others are in its batch.*before is a BatchNorm1d without running averages"),
    "contrastive": (Head(), contrastive, "depends on which others are in its batch"),
    "a loss over its mean": (Head(), of_the_batch, "depends on which others are in its batch"),
    "a loss of another sample": (Head(), a_third_at_most, "depends on which others are in its batch"),
    "all pairs": (Head(), of_all_pairs, r"returned .* one loss for every pair of them"),
    "a root at 0": (Head(), lambda model, batch: squared(model, batch).sqrt() + (model.head.weight * 0).sum().sqrt(),
                    "its gradient is not"),
    "gradients": (Head(), only_with_gradients, "is another when gradients are taken"),
}  # fmt: skip


@pytest.mark.parametrize("batch_size", [4, 16, 32, N])
@pytest.mark.parametrize("name", ["contrastive", "batch norm", "all pairs", "a loss of another sample"])
def test_company_is_seen_whatever_the_size_of_a_batch(name, batch_size):
    model, loss, said = UNSTABLE[name]
    with pytest.raises(InvalidInput, match=said):
        target(model, loss, batch_size=batch_size)


@pytest.mark.parametrize("name", UNSTABLE)
def test_a_loss_that_is_no_function_of_weights_and_sample_is_refused(name):
    model, loss, said = UNSTABLE[name]
    before = torch.random.get_rng_state()
    with pytest.raises(InvalidInput, match=said), torch.random.fork_rng():
        target(model, loss)
    assert torch.equal(before, torch.random.get_rng_state())


STABLE = {
    "batch norm": Head(nn.BatchNorm1d(D)),
    "dropout": Head(nn.Dropout(0.5)),
    "layer norm": Head(nn.LayerNorm(D)),
}


@pytest.mark.parametrize("name", STABLE)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_what_eval_mode_settles_is_no_reason(name, precision):
    assert target(STABLE[name].train(), precision=precision).gradients == 0


def test_losses_that_are_nothing_but_rounding_are_no_reason():
    model = Head()
    model.head.weight.data.fill_(1.0)  # exactly right
    assert target(model).loss_init < 1e-10


def test_small_differences_between_large_losses_are_seen():
    """The paired difference is of λ̂'s size, however large the loss is."""

    def shifted(model, batch):
        return squared(model, batch) + 1e4 + 20 * torch.randn(len(batch[0]))

    with pytest.raises(InvalidInput, match="changes from call to call"):
        target(Head(), shifted)


def test_attention_has_one_way_of_computing():
    """Without gradients PyTorch's encoder takes a path of its own, whose padded positions are zeros."""
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(D, 2, 8, batch_first=True), 1)

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.out = encoder, nn.Linear(D, 1)

        def forward(self, xs):
            hidden = torch.arange(3) > (xs[:, :1] > 0).int()
            return self.out(self.encoder(xs[:, None].expand(-1, 3, -1), src_key_padding_mask=hidden))[..., 0].sum(1)

    model = Encoder()
    assert torch.backends.mha.get_fastpath_enabled()
    found = target(model)
    assert torch.backends.mha.get_fastpath_enabled()
    with_gradient = squared(model.eval(), (XS, YS)).detach().double()
    torch.testing.assert_close(found.baseline, with_gradient, rtol=1e-4, atol=1e-5)


def test_inference_mode_around_it_changes_nothing():
    settings = {"nbeta": 14.0, "gamma": 0.3, "draws": 20}
    model = Head()
    expected = float(llc.estimate_llc(model, squared, (XS, YS), **settings).llc)
    with torch.inference_mode():
        other = Head()
        other.load_state_dict(model.state_dict())
        data = (XS * 1, YS * 1)
        assert data[0].is_inference()
        assert float(llc.estimate_llc(other, squared, data, **settings).llc) == expected


def test_an_autocast_around_it_does_not_hold_weights():
    """PyTorch's outermost autocast keeps the weights that it has cast, while chains move them in place."""

    def cast(model, batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return squared(model, batch)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = target(Head(), cast, nbeta=0.1)  # at which rounding to bfloat16 is none of a nat
        assert float((found.losses(found.origin + 1) - found.baseline).abs().max()) > 0.1


class Rising:
    """A loss that goes up by so much with every call."""

    def __init__(self, rise):
        self.calls, self.rise = 0, rise

    def __call__(self, model, batch):
        self.calls += 1
        return squared(model, batch) + self.rise * self.calls


@pytest.mark.parametrize("rise", [1e-5, 1e-3])
def test_a_loss_that_changes_meanwhile_is_refused(rise):
    """Also by so little from call to call that it is seen only when chains have ended."""
    with pytest.raises(InvalidInput, match=r"has changed while chains ran|changes from call to call"):
        llc.estimate_llc(Head(), Rising(rise), (XS, YS), nbeta=50.0, gamma=5.0, draws=100)


def test_one_large_loss_does_not_hide_what_is_random_elsewhere():
    ys = torch.cat([YS[:-1], torch.tensor([3000.0])])
    with pytest.raises(InvalidInput, match="randn_like in the loss is called"):
        target(Head(), lambda model, batch: squared(model, batch) + torch.randn_like(batch[1]), (XS, ys))


def test_noise_that_is_rare_is_found_and_what_has_no_part_is_no_reason():
    torch.manual_seed(0)
    with pytest.raises(InvalidInput, match=r"changes from call to call.*rand in Head"):
        target(Head(lambda xs: xs * (torch.rand(len(xs), 1) > 0.002)))
    target(Head(lambda xs: xs + 0 * torch.rand(1)))
