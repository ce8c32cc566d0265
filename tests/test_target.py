"""The target: gradients, minibatches, control variates, curvature, and what is refused."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from wells import (
    GAMMA,
    NBETA,
    Well,
    correlated_hessian,
    data,
    diagonal_well,
    make_target,
    regression,
    settings_for,
    squared_errors,
    well_loss,
)

import llc
from llc.errors import InvalidInput
from llc.randomness import generator
from llc.sampling import (
    SAMPLERS,
    Target,
    largest_curvature,
    run_chains,
    sampler_named,
)


@pytest.mark.parametrize("control_variates", [False, True])
def test_the_gradient_is_that_of_the_potential(control_variates):
    """Averaged over an epoch, ∇Û and the paired difference equal finite differences of the exact U."""
    target = make_target(control_variates=control_variates, batch_size=23 if not control_variates else 5)
    position = target.center + 0.1 * torch.randn(target.num_parameters, generator=generator(5), dtype=torch.float64)

    def potential(w):
        return 7.0 * target.losses(w).mean() + 0.15 * (w - target.center).square().sum()

    expected = torch.empty_like(position)
    for i in range(len(position)):
        step = torch.zeros_like(position)
        step[i] = 1e-5
        expected[i] = (potential(position + step) - potential(position - step)) / 2e-5
    cells = 5 if control_variates else 1
    stream = target.minibatches(generator(6))
    seen = [target.evaluate(position, next(stream)) for _ in range(cells)]
    torch.testing.assert_close(sum(s.gradient for s in seen) / cells, expected, rtol=1e-6, atol=1e-6)
    difference = float((target.losses(position) - target.baseline).mean())
    assert sum(s.difference for s in seen) / cells == pytest.approx(difference, rel=1e-9)


@pytest.mark.parametrize("control_variates", [False, True])
def test_minibatches_in_microbatches_are_those_in_one(control_variates, monkeypatch):
    """As models with wide layers have them on a CPU, for caches."""
    whole = make_target(control_variates=control_variates)
    monkeypatch.setattr("llc.microbatches._BYTES", 2 * 4 * 8)  # of four float64 a sample: two samples
    sizes = []
    pieces = make_target(
        control_variates=control_variates,
        loss=lambda model, batch: sizes.append(len(batch[0])) or squared_errors(model, batch),
    )
    sizes.clear()
    position = whole.center + 0.1
    minibatch = next(whole.minibatches(generator(0)))
    for one, other in zip(whole.evaluate(position, minibatch), pieces.evaluate(position, minibatch), strict=True):
        assert one is other is None or torch.as_tensor(one).allclose(torch.as_tensor(other))
    assert max(sizes) == 2
    assert sum(sizes) == len(minibatch.indices)
    torch.testing.assert_close(pieces.losses(position), whole.losses(position))


def test_control_variates_make_every_minibatch_exact_at_the_centre():
    target = make_target(control_variates=True)
    stream = target.minibatches(generator(0))
    gradients = [target.evaluate(target.center, next(stream)).gradient for _ in range(5)]
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-10, atol=1e-10)


def test_minibatches_cover_the_data_and_differ_between_epochs_and_chains():
    target = make_target()
    stream = target.minibatches(generator(0))
    epochs = [torch.cat([next(stream).indices for _ in range(4)]) for _ in range(3)]
    for epoch in epochs:
        assert len(epoch.unique()) == 20  # 23 samples, four minibatches of five; three wait
    assert not torch.equal(epochs[0], epochs[1])
    other = target.minibatches(generator(1))
    assert not torch.equal(epochs[0], torch.cat([next(other).indices for _ in range(4)]))


def test_nothing_passed_in_is_touched():
    model, batch = regression()
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = [tensor.clone() for tensor in batch]
    state = torch.random.get_rng_state()
    target = Target(model, squared_errors, batch, nbeta=7.0, gamma=0.3, batch_size=5)
    run_chains(target, SAMPLERS["sgld"], {"step_size": 1e-3}, chains=2, warmup=2, draws=8, key=(0,))
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(old, new) for old, new in zip(inputs, batch, strict=True))
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_dataset_is_as_good_as_tensors():
    model, (xs, ys) = regression()
    as_dataset = Target(
        model, squared_errors, torch.utils.data.TensorDataset(xs, ys), nbeta=7.0, gamma=0.3, batch_size=5
    )
    torch.testing.assert_close(as_dataset.baseline, make_target().baseline)


@pytest.mark.parametrize("name", SAMPLERS)
def test_chains_are_a_pure_function_of_their_key(name):
    target = make_target(batch_size=23 if SAMPLERS[name].full_batch else 5)
    settings = settings_for(name, 100.0)

    def traces(chains, key):
        return run_chains(target, SAMPLERS[name], settings, chains=chains, warmup=3, draws=8, key=key).difference

    three = traces(3, (0, "a"))
    np.testing.assert_array_equal(three[:2], traces(2, (0, "a")))  # chain 1 does not depend on how many there are
    assert not np.array_equal(three, traces(3, (1, "a")))
    assert not np.array_equal(three[0], three[1])
    assert (three[:, 0] == 0).all()  # every chain starts at w*, where the paired difference is nothing


def test_the_largest_curvature_is_the_hessians():
    target = Target(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, batch_size=8)
    assert largest_curvature(target) == pytest.approx(NBETA * 10.0, rel=0.01)
    dense = Target(Well(correlated_hessian()), well_loss, data(), nbeta=NBETA, gamma=GAMMA, batch_size=8)
    assert largest_curvature(dense) == pytest.approx(NBETA * 8.0, rel=0.01)


def test_a_chain_above_the_stability_limit_is_recorded_as_diverged():
    target = Target(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, batch_size=8)
    limit = 4 / (NBETA * 10 + GAMMA)
    hot = run_chains(target, SAMPLERS["sgld"], {"step_size": 3 * limit}, chains=2, warmup=0, draws=2000, key=(0,))
    assert set(hot.diverged) == {0, 1}
    assert hot.survivors == []
    first = hot.diverged[0]
    assert np.isfinite(hot.difference[0, :first]).all()
    assert np.isnan(hot.difference[0, first:]).all()


def test_a_chain_that_may_be_cut_finds_a_step_it_can_take():
    target = Target(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, batch_size=8)
    limit = SAMPLERS["kinetic"].stability_limit(NBETA * 10, GAMMA)
    settings = {"step_size": 3 * limit, "friction": 3.0}
    found = run_chains(target, SAMPLERS["kinetic"], settings, chains=2, warmup=0, draws=500, key=(0,), adapt=True)
    assert not found.diverged
    assert {chain for chain, _, _ in found.cuts} == {0, 1}
    assert all(step < 1.6 * limit for _, _, step in found.cuts)
    assert found.cuts[-1][2] < limit
    assert np.isfinite(found.difference).all()


def test_full_looks_see_the_whole_dataset_and_the_noise():
    """At w near w* with noisy data the gradient noise is nβ² times the exact one, within a factor of two."""
    target = make_target()
    found = run_chains(
        target, SAMPLERS["sgld"], {"step_size": 1e-9}, chains=2, warmup=2, draws=60, key=(0,), full_looks=30
    )
    assert found.full_difference.shape == (2, 30)
    np.testing.assert_allclose(found.full_difference, 0, atol=5e-3)
    losses = []
    for i in range(23):
        minibatch = next(Target.minibatches(target, generator(0)))._replace(indices=torch.tensor([i]), scale=1.0)
        losses.append(target.evaluate(target.center, minibatch).gradient)
    single = torch.stack(losses).var(0).sum()
    # Two minibatches of five from one shuffle of 23 are drawn without replacement: their difference is that of five.
    assert float(single) / 5 / 2 < found.gradient_noise.mean() < 2 * float(single) / 5


def test_metropolis_samplers_want_full_batches():
    with pytest.raises(InvalidInput, match="batch_size = 5 given, expected 23"):
        run_chains(make_target(), SAMPLERS["mala"], {"step_size": 1e-3}, chains=1, warmup=0, draws=8, key=(0,))


def bad_half(model, batch):
    return squared_errors(model, batch).mean()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"nbeta": -1.0}, "nbeta = -1.0 given"),
        ({"gamma": -1.0}, "gamma = -1.0 given, expected a finite number >= 0"),
        ({"batch_size": 24}, "batch_size = 24 given, expected 1 to the number of samples, 23"),
    ],
)
def test_bad_settings_are_named(settings, said):
    with pytest.raises(InvalidInput) as error:
        make_target(**settings)
    assert said in str(error.value)


def test_bad_models_losses_and_data_are_named():
    model, batch = regression()
    rest = {"nbeta": 7.0, "gamma": 0.3, "batch_size": 5}
    with pytest.raises(InvalidInput, match=r"returned \(\), expected one loss for each of the 5 samples"):
        Target(model, bad_half, batch, **rest)
    with pytest.raises(InvalidInput, match="data has 0 samples"):
        Target(model, squared_errors, (batch[0][:0], batch[1][:0]), **rest)
    with pytest.raises(InvalidInput, match=r"have \[3, 23\] samples"):
        Target(model, squared_errors, (batch[0], batch[1][:3]), **rest)
    with pytest.raises(InvalidInput, match=r"is torch.float16, expected float32"):
        Target(nn.Linear(3, 1).half(), squared_errors, batch, **rest)
    with pytest.raises(InvalidInput, match=r"model is a function, expected a torch\.nn\.Module"):
        Target(squared_errors, squared_errors, batch, **rest)
    for other, described in {
        5: "of type int",
        None: "of type NoneType",
        "xy": "of type str",
        (): "an empty tuple",
        (batch[0], 3.0): "a tuple of Tensor, float",
        (torch.tensor(1.0),): "a tuple of 0-d Tensor",
        map(float, "12"): "of type map",
    }.items():
        with pytest.raises(InvalidInput, match=f"data is {described}, expected tensors or arrays of n samples each"):
            Target(model, squared_errors, other, **rest)
    broken = nn.Linear(3, 1).double()
    broken.weight.data[0, 0] = math.nan
    with pytest.raises(InvalidInput, match="parameter weight has values that are not finite"):
        Target(broken, squared_errors, batch, **rest)
    with pytest.raises(InvalidInput, match=r"unknown sampler slgd; did you mean sgld\?"):
        sampler_named("slgd")


@pytest.mark.parametrize(("width", "batch_size", "expected"), [(16, 256, 1), (256, 256, 2), (16, 8, 1), (256, 64, 1)])
def test_threads_that_have_nothing_to_share_are_not_used(width, batch_size, expected):
    """An estimate whose layers give less than 2^15 numbers a minibatch has one; the caller gets theirs back."""
    model = nn.Sequential(nn.Linear(3, width), nn.Linear(width, 1))
    xs = torch.randn(400, 3, generator=generator(1))
    seen = []

    def loss(model, batch):
        if len(batch) == batch_size:
            seen.append(torch.get_num_threads())
        return (model(batch)[:, 0] - batch[:, 0]) ** 2

    few = {"nbeta": 1.0, "gamma": 10.0, "chains": 1, "draws": 8, "warmup": 2, "max_gradients": 60}
    with llc.parallel.torch_threads(2):
        llc.estimate_llc(model, loss, xs, batch_size=batch_size, sampler="sgld", **few)
        assert torch.get_num_threads() == 2
    assert seen[0] == 2  # before it is known
    assert set(seen[len(seen) // 2 :]) == {expected}


def test_a_sampler_that_is_no_name_or_lacks_something_is_told_what_to_do(monkeypatch):
    model, batch = regression()

    class Bare:
        name, hyperparameters = "bare", ("step_size",)

        def step(self):
            """Never called."""

    with pytest.raises(
        InvalidInput, match=r"sampler = .*Bare.* given, expected a name; llc\.sampling\.SAMPLERS\['mine'\]"
    ):
        llc.estimate_llc(model, squared_errors, batch, sampler=Bare())
    monkeypatch.setitem(SAMPLERS, "bare", Bare())
    expected = (
        "sampler bare of type Bare lacks full_batch, init, default_settings, stability_limit, bias; llc.sampling.Samp"
    )
    with pytest.raises(InvalidInput, match=expected):
        llc.estimate_llc(model, squared_errors, batch, sampler="bare")
