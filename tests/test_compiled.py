import shutil

import pytest
import torch
from torch import nn

import llc
from llc.errors import InvalidInput
from llc.sampling import Target, compiled


def net(activation: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), activation, nn.Linear(5, 1))


def loss(model, batch):
    xs, ys = batch
    return (model(xs).squeeze(-1) - ys).square()


DATA = (torch.randn(40, 3, generator=torch.Generator().manual_seed(1)),
        torch.randn(40, generator=torch.Generator().manual_seed(2)))  # fmt: skip
HOW = {"nbeta": 10.0, "gamma": 1.0, "batch_size": 16}


@pytest.fixture
def quick(monkeypatch):
    """`torch.compile` without its code generation, which takes long; says how often it was asked for."""
    asked = []
    real = torch.compile

    def compile_(function, **options):
        asked.append(options)
        return real(function, backend="eager", **options)

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(compiled, "_compiled", {})
    return asked


def gradients_agree(model: nn.Module, **more) -> None:
    ours, theirs = (Target(model, loss, DATA, **HOW, **more, compile=how) for how in (True, False))
    rng = torch.Generator().manual_seed(0)
    at = ours.center + 0.1 * torch.randn(ours.center.shape, generator=rng)
    minibatch = next(ours.minibatches(rng))
    for a, b in zip(ours.losses_and_gradient(at, minibatch), theirs.losses_and_gradient(at, minibatch), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_compiled_gradient_is_the_same(quick):
    gradients_agree(net(nn.Tanh()))
    gradients_agree(net(nn.Tanh()), parameters=["0.*"])
    gradients_agree(net(nn.Tanh()), control_variates=True)
    assert len(quick) == 2  # for all parameters, and for those of the first layer


def test_models_of_one_kind_share_it_and_others_do_not(quick):
    """Weights are inputs; a model of the same shapes that does something else is noticed."""
    gradients_agree(net(nn.Tanh()))
    gradients_agree(net(nn.Tanh(), seed=3))
    assert len(quick) == 1
    gradients_agree(net(nn.ReLU()))
    assert len(quick) == 2


class Scaled(nn.Module):
    """Differs from others of its shapes in a constant."""

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.inner, self.constant = net(nn.Tanh()), constant

    def forward(self, xs):
        return self.constant * self.inner(xs)


def test_a_small_difference_is_noticed_too(quick):
    gradients_agree(Scaled(1.0))
    gradients_agree(Scaled(1.0005))
    assert len(quick) == 2


def test_a_loss_that_is_zero_at_the_start_and_has_no_hash(quick):
    """The data are what the model says of them."""

    class Squared:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, model, batch):
            return loss(model, batch)

    model = net(nn.Tanh())
    data = (DATA[0], model(DATA[0]).squeeze(-1).detach())
    target = Target(model, Squared(), data, **HOW, compile=True)
    losses, gradient = target.losses_and_gradient(target.center, next(target.minibatches(torch.Generator())))
    assert float(losses.max()) < 1e-12
    assert float(gradient.norm()) < 1e-5


@pytest.mark.slow
def test_many_kinds_stay_compiled(quick, recwarn):
    """PyTorch by itself goes back to running step by step after eight."""
    compiled_frames = torch._dynamo.utils.counters["frames"]["ok"]
    for power in range(10):

        def of_power(model, batch, power=power):
            return (model(batch[0]).squeeze(-1) - batch[1]).abs() ** (1 + power / 10)

        target = Target(net(nn.Tanh()), of_power, DATA, **HOW, compile=True)
        target.losses_and_gradient(target.center, next(target.minibatches(torch.Generator())))
    assert torch._dynamo.utils.counters["frames"]["ok"] - compiled_frames >= 10
    assert not [one for one in recwarn if "recompile_limit" in str(one.message)]


@pytest.mark.slow
def test_whole_estimates_agree(quick):
    """Chains follow the same path but for rounding."""
    model = net(nn.Tanh())
    settings = {"gamma": 1.0, "draws": 20, "warmup": 5, "chains": 2, "batch_size": 20, "max_gradients": 300}
    ours, theirs = (llc.estimate_llc(model, loss, DATA, **settings, compile=how) for how in (True, False))
    assert float(ours.llc) == pytest.approx(float(theirs.llc), rel=1e-3)


def test_what_cannot_be_compiled_is_said(monkeypatch):
    def no_compiler(function, **_options):
        def fail(*_arguments):
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nlong story")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    monkeypatch.setattr(compiled, "_compiled", {})
    with pytest.raises(InvalidInput, match=r"cannot compile this model and loss here .*No working C"):
        gradients_agree(net(nn.Tanh()))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore")  # PyTorch's own, of its own code
def test_with_code_made_for_this_machine(monkeypatch):
    monkeypatch.setattr(compiled, "_compiled", {})
    gradients_agree(net(nn.Tanh()))
