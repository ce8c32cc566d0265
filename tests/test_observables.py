"""What users look at on the way, and samplers that users write."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from wells import GAMMA, NBETA, data, diagonal_well, exact_llc, make_target, regression, squared_errors, well_loss

import llc
from llc.errors import InvalidInput, LLCError
from llc.randomness import generator, normal_like
from llc.sampling import SAMPLERS, Target, one_graph, run_chains
from llc.sampling.sampler import Sampler


@dataclass
class Away:
    """‖w − w*‖, worked out from the model's own parameters."""

    origin: Tensor
    name: str = "away"
    dims: tuple[str, ...] = ()
    every: int = 1
    seen: list = field(default_factory=list)

    def __call__(self, draw):
        self.seen.append((draw.chain, draw.index))
        assert not torch.is_grad_enabled()
        here = torch.cat([parameter.flatten() for parameter in draw.model.parameters()])
        torch.testing.assert_close(here, draw.position, rtol=0, atol=0)
        return (here - self.origin).norm()


class Losses:
    """The losses of the minibatch that the step was made from, at the draw."""

    name, dims, every = "losses", ("sample",), 5

    def __call__(self, draw):
        batch = draw.target.samples.batch(draw.minibatch.indices)
        losses = squared_errors(draw.model, batch)
        assert float(losses.mean()) == pytest.approx(float(draw.evaluation.loss))
        return losses


@pytest.mark.parametrize("in_a_graph", [False, True])
def test_an_observable_sees_the_draws(in_a_graph):
    target = make_target(batch_size=4)
    graph = one_graph([target]) if in_a_graph else None
    away = Away(target.origin)
    found = run_chains(
        target,
        SAMPLERS["kinetic"],
        SAMPLERS["kinetic"].default_settings(100.0, 0.3, 12),
        chains=3,
        warmup=4,
        draws=12,
        key=(0,),
        graph=graph,
        observables=[away, Losses()],
    )
    np.testing.assert_allclose(found.observed["away"].values, found.distance[:, 4:], rtol=1e-12)
    assert sorted(away.seen) == [(chain, index) for chain in range(3) for index in range(12)]
    assert found.observed["losses"].values.shape == (3, 2, 4)
    assert found.observed["losses"].at.tolist() == [8, 13]
    np.testing.assert_allclose(found.observed["losses"].values.mean(-1), found.loss[:, [8, 13]])


def test_looking_changes_nothing():
    model, batch = regression()
    settings = {"nbeta": 7.0, "gamma": 0.3, "batch_size": 5, "draws": 40, "max_gradients": 400}
    plain = llc.estimate_llc(model, squared_errors, batch, **settings)
    looked = llc.estimate_llc(model, squared_errors, batch, **settings, observables=[Losses()])
    np.testing.assert_array_equal(plain.posterior.llc, looked.posterior.llc)
    assert "observables" not in plain.children


def test_chains_that_are_taken_back_are_looked_at_again():
    target = Target(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, batch_size=8)
    settings = {"step_size": 3 * SAMPLERS["kinetic"].stability_limit(NBETA * 10, GAMMA), "friction": 3.0}
    how = {"chains": 2, "warmup": 0, "draws": 300, "key": (0,), "observables": [Away(target.origin)]}
    found = run_chains(target, SAMPLERS["kinetic"], settings, adapt=True, **how)
    assert found.cuts
    np.testing.assert_allclose(found.observed["away"].values, found.distance, rtol=1e-12)
    lost = run_chains(target, SAMPLERS["sgld"], {"step_size": 1.0}, **{**how, "draws": 2000})
    assert set(lost.diverged) == {0, 1}
    np.testing.assert_array_equal(np.isnan(lost.observed["away"].values), np.isnan(lost.distance))


def test_an_estimate_carries_its_observables():
    """By the same draws as the posterior: the distance, at every draw and at every third."""
    model, batch = regression()
    origin = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    tree = llc.estimate_llc(
        model,
        squared_errors,
        batch,
        nbeta=7.0,
        gamma=0.3,
        draws=60,
        observables=[Away(origin), Away(origin, name="third", every=3), Losses()],
    )
    seen = tree["observables"]
    assert seen.away.dims == ("chain", "draw_away")
    assert seen.losses.dims == ("chain", "draw_losses", "sample")
    distance = tree.sample_stats.distance
    for name in ("away", "third"):
        there = distance.sel(draw=seen[f"draw_{name}"].values)
        np.testing.assert_allclose(seen[name], there, rtol=1e-12)
    assert seen.sizes["draw_third"] == 20
    assert seen.away.attrs["long_name"] == "away"


class Fickle:
    name, dims, every = "fickle", ("part",), 1

    def __init__(self, values):
        self.values = values

    def __call__(self, draw):
        found = self.values[min(draw.index, len(self.values) - 1)]
        return found() if callable(found) else found


def wrong():
    raise KeyError("no such layer")


@pytest.mark.parametrize(
    ("observables", "said"),
    [
        ([Fickle([[1.0], wrong])], r"observable fickle failed at draw 1 of chain 0 \(KeyError: 'no such layer'\)"),
        ([Fickle(["a"])], r"observable fickle failed at draw 0 of chain 0 \(ValueError"),
        ([Fickle([[1.0], [1.0, 2.0]])], r"fickle returned shape \(2,\) at draw 1 .* part had length 1 before"),
        ([Fickle([1.0])], r"fickle returned shape \(\) at draw 0 of chain 0, expected one of 1 dims, \('part',\)"),
        ([Fickle([[1.0]]), Fickle([[1.0]])], "2 observables are called fickle"),
        ([lambda _draw: 1.0], "expected one with name, dims and every to call"),
        ([Away(torch.zeros(1), every=0)], "observable away asks for every 0 draws, expected every 1 to 10"),
        ([Away(torch.zeros(1), name="a b")], "an observable is called 'a b', expected a name such as"),
        ([Away(torch.zeros(1), dims=("chain",))], r"observable away has dims \('chain',\)"),
    ],
)
def test_observables_that_fail_are_named(observables, said):
    with pytest.raises(LLCError, match=said):
        run_chains(
            make_target(),
            SAMPLERS["sgld"],
            {"step_size": 1e-4},
            chains=1,
            warmup=2,
            draws=10,
            key=(0,),
            observables=observables,
        )


def test_two_observables_agree_on_a_dim_or_are_told():
    several = [Fickle([[1.0]]), Fickle([[1.0, 2.0]])]
    several[1].name = "longer"  # type: ignore[misc]
    with pytest.raises(InvalidInput, match=r"longer returned shape \(2,\) .* part had length 1 in observable fickle"):
        llc.estimate_llc(diagonal_well(), well_loss, data(), gamma=1.0, nbeta=5.0, draws=10, observables=several)


class State(NamedTuple):
    position: Tensor
    momentum: Tensor


class HeavyBall:
    """Underdamped Langevin by symplectic Euler: a user's sampler, which shares nothing with ours."""

    name = "heavy-ball"
    hyperparameters = ("step_size", "drag")
    full_batch = False

    def init(self, position):
        return State(position.clone(), torch.zeros_like(position))

    def step(self, state, evaluate, rng, *, step_size, drag):
        seen = evaluate(state.position)
        kept = 1 - drag * step_size
        noise = normal_like(state.position, rng)
        momentum = kept * state.momentum - step_size * seen.gradient + torch.sqrt(1 - kept**2) * noise
        return State(state.position + step_size * momentum, momentum), seen

    def default_settings(self, curvature, gamma, draws):
        return {"step_size": 0.1 * self.stability_limit(curvature, gamma), "drag": 2.0}

    def stability_limit(self, curvature, gamma):
        return 2 / (curvature + gamma) ** 0.5

    def bias(self, settings, *, square, noise):
        return 0.0


def test_a_users_sampler_runs_and_is_right(monkeypatch):
    """λ̂ of the Gaussian well, within four standard errors; what it used is recorded."""
    sampler: Sampler = HeavyBall()
    target = Target(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, batch_size=8)
    settings = sampler.default_settings(NBETA * 10, GAMMA, 100)
    one_by_one, together = (
        run_chains(
            target, sampler, settings, chains=3, warmup=5, draws=20, key=(0,), adapt=True, look=True, graph=graph
        )
        for graph in (None, one_graph([target]))
    )
    np.testing.assert_allclose(one_by_one.difference, together.difference, rtol=1e-6)
    monkeypatch.setitem(SAMPLERS, sampler.name, sampler)
    tree = llc.estimate_llc(
        diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, draws=1000, warmup=300, sampler="heavy-ball"
    )
    assert abs(float(tree.llc) - exact_llc()) < 4 * float(tree.llc_se)
    assert tree.attrs["drag"] == 2.0
    assert tree.attrs["step_size"] > 0


def test_settings_that_a_sampler_does_not_take_are_named():
    how = {"chains": 1, "warmup": 0, "draws": 8, "key": (0,)}
    with pytest.raises(InvalidInput, match="step_size, friction given to sampler sgld, which takes step_size"):
        run_chains(make_target(), SAMPLERS["sgld"], {"step_size": 1e-3, "friction": 1.0}, **how)
    with pytest.raises(InvalidInput, match="step_size given to sampler kinetic, which takes step_size, friction"):
        run_chains(make_target(), SAMPLERS["kinetic"], {"step_size": 1e-3}, **how)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_satisfies_the_protocol(name):
    sampler = SAMPLERS[name]
    settings = sampler.default_settings(100.0, 1.0, 50)
    assert sampler.name == name
    assert tuple(settings) == sampler.hyperparameters
    assert 0 < settings["step_size"] < sampler.stability_limit(100.0, 1.0)
    assert sampler.bias(settings, square=0.0, noise=0.0) == 0
    target = make_target(batch_size=23)
    state = sampler.init(target.center)
    minibatch = next(target.minibatches(generator(0)))
    _, seen = sampler.step(state, lambda at: target.evaluate(at, minibatch), generator(1), **settings)
    assert (seen.accepted is not None) == sampler.full_batch
