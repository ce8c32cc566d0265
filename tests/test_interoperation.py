"""devinterp's samplers and TransformerLens's models here, and our trees in ArviZ."""

import contextlib
import warnings

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from wells import (
    GAMMA,
    NBETA,
    data,
    diagonal_well,
    exact_llc,
    make_target,
    regression,
    squared_errors,
    well_loss,
)

import llc
from llc.errors import InvalidInput
from llc.randomness import generator
from llc.sampling import SAMPLERS, DevInterp, Evaluation, Target, run_chains, sampler_named
from llc.sampling.samplers import known_samplers


def test_devinterps_sgld_is_ours_step_by_step():
    """The same noise and minibatches, several chains at once: to the rounding of float32, in which both draw noise."""
    pytest.importorskip("devinterp")
    model, batch = regression()
    target = Target(
        model.float(), squared_errors, tuple(part.float() for part in batch), nbeta=7.0, gamma=0.3, batch_size=5
    )
    how = {"chains": 3, "warmup": 5, "draws": 40, "key": (0,)}
    theirs, ours = (run_chains(target, one, {"step_size": 1e-3}, **how) for one in (DevInterp(), SAMPLERS["sgld"]))
    np.testing.assert_allclose(theirs.difference, ours.difference, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(theirs.distance, ours.distance, rtol=1e-4)


def test_devinterps_rmsprop_is_its_own_loop():
    """Without γ, at nβ times its eps and lr: the two chains coincide to rounding."""
    pytest.importorskip("devinterp")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from devinterp.optim import SGMCMC
    steepness = torch.tensor([1.0, 5.0, 30.0], dtype=torch.float64)
    nbeta, lr = 40.0, 1e-3
    theirs = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimiser = SGMCMC.rmsprop_sgld([theirs], lr=lr, nbeta=nbeta, eps=0.1)
    sampler = DevInterp("rmsprop_sgld", eps=0.1 * nbeta)
    state, mine, their_noise = sampler.init(theirs.detach()), generator(0), generator(0)
    for _ in range(50):
        theirs.grad = steepness * theirs.detach()
        optimiser.step(noise_generator=their_noise)
        state, _ = sampler.step(
            state, lambda w: Evaluation(0.0, 0.0, nbeta * steepness * w), mine, step_size=nbeta * lr
        )
    torch.testing.assert_close(state.position, theirs.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(sampler.metric(state), 1 / (state.squares.sqrt() + 4.0))


@pytest.mark.parametrize("name", sorted(known_samplers().keys() - SAMPLERS.keys()))
def test_devinterps_samplers_satisfy_the_protocol(name):
    pytest.importorskip("devinterp")
    sampler, target = sampler_named(name), make_target(batch_size=23)
    assert sampler.name == name
    settings = sampler.default_settings(100.0, 1.0, 50)
    assert tuple(settings) == sampler.hyperparameters
    assert 0 < settings["step_size"] < sampler.stability_limit(100.0, 1.0)
    alone = sampler.init(target.center)
    together = sampler.init(torch.stack([target.center] * 2))
    minibatch = next(target.minibatches(generator(0)))
    one, seen = sampler.step(alone, lambda at: target.evaluate(at, minibatch), generator(1), **settings)
    rows, _ = sampler.step(
        together,
        lambda at: Evaluation(0.0, 0.0, torch.stack([target.evaluate(row, minibatch).gradient for row in at])),
        [generator(1), generator(2)],
        step_size=torch.full((2, 1), settings["step_size"], dtype=torch.float64),
    )
    torch.testing.assert_close(rows.position[0], one.position, rtol=0, atol=0)
    assert not torch.equal(rows.position[1], one.position)
    assert torch.equal(alone.position, target.center)
    assert seen.accepted is None


def test_devinterps_sgld_finds_the_gaussian_well():
    """λ̂ within four standard errors, the heat of its step taken off; and at the same step just what our SGLD finds."""
    pytest.importorskip("devinterp")
    how = {"nbeta": NBETA, "gamma": GAMMA, "draws": 400, "warmup": 100}
    tree = llc.estimate_llc(diagonal_well(), well_loss, data(), sampler="devinterp-sgld", **how)
    assert abs(float(tree.llc) - exact_llc()) < 4 * float(tree.llc_se)
    assert float(tree.step_excess) > 0.05 * exact_llc()
    assert tree.attrs["sampler"] == "devinterp-sgld"


def test_a_bias_that_is_not_known_is_not_passed_over(monkeypatch):
    pytest.importorskip("devinterp")
    name = "devinterp-rmsprop-sgld"
    monkeypatch.setitem(SAMPLERS, name, DevInterp("rmsprop_sgld", eps=20.0))
    tree = llc.estimate_llc(
        diagonal_well(), well_loss, data(), sampler=name, nbeta=NBETA, gamma=GAMMA, draws=100, warmup=100
    )
    assert np.isnan(float(tree.step_excess))
    assert f"by how much the step size of {name} raises llc is not known" in str(tree.reason.values)


def test_a_sampler_that_cannot_be_had_is_told(monkeypatch):
    from llc.sampling import devinterp_sampler

    with pytest.raises(InvalidInput, match="method = 'sgnht' given, expected 'sgld' or 'rmsprop_sgld'; devinterp's"):
        DevInterp("sgnht")
    with pytest.raises(InvalidInput, match="did you mean devinterp-sgld"):
        llc.estimate_llc(diagonal_well(), well_loss, data(), sampler="devinterp-sgl")
    monkeypatch.setitem(__import__("sys").modules, "devinterp.optim", None)
    devinterp_sampler._sgmcmc.cache_clear()
    with pytest.raises(InvalidInput, match=r"need devinterp 2, which cannot be imported .* or use sampler='sgld'"):
        llc.estimate_llc(diagonal_well(), well_loss, data(), nbeta=5.0, gamma=1.0, sampler="devinterp-sgld", draws=8)
    devinterp_sampler._sgmcmc.cache_clear()


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """An estimate of four chains, and the same read from its netCDF file."""
    tree = llc.estimate_llc(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, draws=100, chains=4)
    path = tmp_path_factory.mktemp("trees") / "tree.nc"
    tree.to_netcdf(path)
    with xr.open_datatree(path) as back:
        return {"made": tree, "read": back.load()}


@pytest.mark.parametrize("which", ["made", "read"])
@pytest.mark.parametrize("group", ["posterior", "hot_posterior", "warmup_posterior"])
def test_any_arviz_reads_our_trees(trees, which, group):
    """ArviZ 0.8 and 1.3 alike: what they make of the traces is what is made of the bare numbers."""
    import arviz_stats
    from arviz_stats.base import array_stats

    tree = trees[which]
    traces = tree[group].llc.values
    for name in ("ess", "rhat", "mcse"):
        got = getattr(arviz_stats, name)(tree, group=group)
        assert float(got.llc) == pytest.approx(float(getattr(array_stats, name)(traces)))
    nested = arviz_stats.rhat_nested(tree, group=group, superchain_ids=[0, 0, 1, 1])
    assert float(nested.llc) == pytest.approx(float(array_stats.rhat_nested(traces, superchain_ids=[0, 0, 1, 1])))
    table = arviz_stats.summary(tree, group=group, round_to="none")
    assert float(table.loc["llc", "mean"]) == pytest.approx(traces.mean())
    assert set(arviz_stats.summary(tree, group="sample_stats").index) >= {"loss", "distance"}


@pytest.mark.slow
def test_any_arviz_draws_our_trees(trees):
    """Every plot that the ArviZ that is there can draw of a tree of its own making, under the names that it has."""
    pytest.importorskip("arviz_plots")
    from arviz_base import from_dict

    own = drawn(from_dict({"posterior": {"llc": trees["made"].posterior.llc.values}}))
    assert {"trace", "rank", "dist", "forest"} <= own
    for tree in trees.values():
        assert own <= drawn(tree)


def drawn(tree):
    """The plots that can be drawn: beside an xarray of 2026, ArviZ 0.8 fails at those of two columns, of any tree."""
    import arviz_plots
    import matplotlib as mpl
    from matplotlib import pyplot

    mpl.use("Agg")
    names = ("trace", "rank", "rank_dist", "trace_dist", "dist", "forest", "ess_evolution", "autocorr", "mcse",
             "convergence_dist")  # fmt: skip
    found = set()
    for name in names:
        with contextlib.suppress(TypeError, AttributeError):
            shown = getattr(arviz_plots, f"plot_{name}")(tree, backend="matplotlib")
            assert shown.viz["figure"] is not None
            found.add(name)
        pyplot.close("all")
    return found


class Lens(nn.Module):
    """Attention whose parameters are laid out as TransformerLens lays them out, with a dim of heads."""

    def __init__(self, heads=2, width=8, size=4, shared=False):
        super().__init__()
        of = 1 if shared else heads

        def normal(*shape):
            return nn.Parameter(0.5 * torch.randn(shape))

        self.W_Q, self.W_O, self.b_Q = normal(heads, width, size), normal(heads, size, width), normal(heads, size)
        self.b_O, self.times = normal(width), heads // of
        # Its grouped queries keep shared maps under other names, behind properties of these.
        names = ("_W_K", "_W_V", "_b_K", "_b_V") if shared else ("W_K", "W_V", "b_K", "b_V")
        for name in names:
            setattr(self, name, normal(of, width, size) if "W" in name else normal(of, size))

    def of(self, name):
        shared = getattr(self, f"_{name}", None)
        return getattr(self, name) if shared is None else shared.repeat_interleave(self.times, 0)

    def forward(self, x):
        q, k, v = (
            torch.einsum("bpw,hws->bhps", x, self.of(f"W_{name}")) + self.of(f"b_{name}")[:, None] for name in "QKV"
        )
        self.said = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        return x + torch.einsum("bhps,hsw->bpw", self.said, self.W_O) + self.b_O


@pytest.mark.parametrize("shared", [False, True])
def test_heads_of_a_transformer_lens_layout(shared):
    """Its weights change what one head says and no other; shared keys and values belong to none."""
    torch.manual_seed(0)
    model, x = nn.Sequential(Lens(shared=shared), Lens(shared=shared)), torch.randn(3, 5, 8)
    found = llc.heads(model)
    assert set(found) == {"0.0", "0.1", "1.0", "1.1"}
    masks = found["1.1"]
    own = {"W_Q", "b_Q", "W_O"} | (set() if shared else {"W_K", "W_V", "b_K", "b_V"})
    assert set(masks) == {f"1.{name}" for name in own}
    with torch.no_grad():
        model(x)
        before = model[1].said
        for name, mask in masks.items():
            assert mask[1].all()
            assert not mask[0].any()
            model.get_parameter(name)[mask] += 0.5 * torch.randn(int(mask.sum()))
        model(x)
    torch.testing.assert_close(model[1].said[:, 0], before[:, 0])
    assert (model[1].said[:, 1] - before[:, 1]).abs().amax((0, 1)).amin() > 1e-2


def test_one_head_of_a_transformer_lens_layout_moves_alone():
    torch.manual_seed(0)
    model, xs = nn.Sequential(Lens(), nn.Linear(8, 1)), torch.randn(24, 5, 8)
    ys = model(xs).detach() + 0.1 * torch.randn(24, 5, 1)
    tree = llc.estimate_llc(
        model,
        lambda model, batch: (model(batch[0]) - batch[1]).square()[..., 0],
        (xs, ys),
        nbeta=10.0,
        gamma=10.0,
        draws=20,
        max_gradients=300,
        parameters=llc.heads(model)["0.1"],
    )
    assert tree.attrs["num_parameters"] == 3 * (8 * 4 + 4) + 4 * 8


def test_heads_with_weights_of_other_dims_are_not_guessed():
    """Such as four-bit ones, which are kept as one long row."""
    model = Lens()
    model.W_Q = nn.Parameter(torch.zeros(64, 1))
    with pytest.raises(InvalidInput, match="the heads of Lens lie in its weights in a way that is not known here"):
        llc.heads(model)
