"""What devinterp has sampled, as an estimate of ours."""

import warnings

import numpy as np
import pytest
import torch
import xarray as xr
from wells import GAMMA, NBETA, Well, exact_llc

import llc
from llc.errors import EstimateFailed, InvalidInput


def of_devinterp(folder, **settings):
    """What devinterp itself makes of a well with curvatures 1, 4 and 10, opened from Zarr, and its own number."""
    datasets = pytest.importorskip("datasets")
    with warnings.catch_warnings():  # of devinterp and what it imports
        warnings.simplefilter("ignore")
        from devinterp.slt.llc import compute_llc
        from devinterp.slt.sampling import sample

        tokens = torch.randint(0, 5, (24, 4), generator=torch.Generator().manual_seed(0)).tolist()
        of_tokens = datasets.Dataset.from_dict({"input_ids": tokens}).with_format("torch")
        settings = {"lr": 2e-3, "num_chains": 2, "num_draws": 150, "num_steps_bw_draws": 2, **settings}
        sample(
            Well(torch.diag(torch.tensor([1.0, 4.0, 10.0]))),
            of_tokens,
            {"probe": (of_tokens, 1)},
            n_beta=NBETA,
            localization=GAMMA,
            batch_size=4,
            num_init_loss_batches=6,
            loss_fn=lambda model, ids: model().expand(ids.shape[0], ids.shape[1] - 1).float(),
            device="cpu",
            output_path=folder / "samples.zarr",
            **settings,
        )
        samples = xr.open_datatree(folder / "samples.zarr", engine="zarr", consolidated=False)
        return samples, compute_llc(samples)


def test_what_devinterp_sampled_is_an_estimate(tmp_path):
    """By its definition its own number, to the rounding of its float32 means; by ours the exact one.

    Within four standard errors, once burn-in is kept apart and the heat of the step, an eighth of λ̂, is taken off.
    """
    samples, own = of_devinterp(tmp_path, save_metrics=True)
    theirs, ours = llc.from_devinterp(samples, definition="devinterp"), llc.from_devinterp(samples)
    assert float(theirs.llc) == pytest.approx(float(own.llc_mean), rel=1e-5)
    assert float(theirs.llc_se) == pytest.approx(float(own.llc_std), rel=1e-4)
    assert dict(theirs.posterior.sizes) == {"chain": 2, "draw": 300}
    assert "burn-in, and what step size and minibatch noise add, are averaged in" in str(theirs.reason.values)
    exact = exact_llc([1.0, 4.0, 10.0])
    assert abs(float(ours.llc) - exact) < 4 * float(ours.llc_se)
    assert float(ours.step_excess) > 0.05 * exact
    assert ours.posterior.sizes["draw"] + ours.warmup_posterior.sizes["draw"] == 300
    assert int(ours.warmup) == ours.warmup_posterior.sizes["draw"]
    assert set(ours.sample_stats.data_vars) == {"loss", "distance"}
    assert str(ours.verdict.values) == "unchecked"
    assert "the baseline is the mean of 6 batches, not paired with the draws' samples, ± 0.00" in str(
        ours.reason.values
    )
    assert (ours.attrs["nbeta"], ours.attrs["gamma"], ours.attrs["step_size"]) == (NBETA, GAMMA, 2e-3)
    seen = ours["observables"].probe
    assert seen.dims == ("chain", "draw_probe", "sequence_probe", "token_pos")
    assert seen.attrs == {"long_name": "losses of probe along the draws", "units": "loss"}
    # Of a loss that is alike for all samples, the probe's after a step is the chain's at the next.
    later = ours.sample_stats.loss.sel(
        draw=[at for at in seen.draw_probe.values if 0 <= at < ours.posterior.sizes["draw"]]
    )
    np.testing.assert_allclose(seen.mean(("sequence_probe", "token_pos")).sel(draw_probe=later.draw), later, rtol=1e-5)


def like_devinterp(seed, losses_of=lambda sequences, _step: sequences, **settings):
    """A result laid out as devinterp lays it out: 40 sequences, each with its loss, in replayed batches of four."""
    rng = np.random.default_rng(seed)
    sequences, chains, steps = rng.normal(2.0, 1.0, 40), 3, 100
    order = rng.permutation(40).reshape(10, 4)[np.arange(steps) % 10]
    losses = np.stack([[losses_of(sequences[chosen], at) for at, chosen in enumerate(order)] for _ in range(chains)])
    losses = losses + 0.01 * rng.normal(size=(chains, steps, 1))
    sampler = {"n_beta": 30.0, "lr": 1e-3, "localization": 1.0, "num_init_loss_batches": 6, "batch_size": 4,
               "match_sampling_input_ids_across_chains": True, "sampling_method": "sgmcmc_sgld"} | settings  # fmt: skip
    ids = np.broadcast_to(order[None, :, :, None], (chains, steps, 4, 2)) + np.array([0, 7])
    return xr.Dataset(
        {
            "init_loss": (("chain", "token_pos"), np.full((chains, 1), sequences[order[:6]].mean(), "float32")),
            "sampling_loss_micro": (
                ("chain", "step", "batch_sampling", "token_pos"),
                losses[..., None].astype("float32"),
            ),
            "sampling_input_ids_micro": (("chain", "step", "batch_sampling", "token"), ids),
        },
        attrs={"metadata": {"config": {"sampler": sampler}}, "completed": 1},
    )


def test_the_error_of_an_unpaired_baseline_is_what_it_is():
    """Over a hundred draws of the sequences' losses: their spread is known to 7 %, and each error to about as much."""
    found = [llc.from_devinterp(like_devinterp(seed), definition="devinterp") for seed in range(100)]
    spread = np.std([float(one.llc) for one in found])
    assert spread == pytest.approx(30 * np.sqrt(np.mean([float(one.loss_init_se) ** 2 for one in found])), rel=0.25)
    assert np.mean([float(one.llc_se) for one in found]) < 0.05 * spread
    ours = [llc.from_devinterp(like_devinterp(seed)) for seed in range(20)]
    # λ is 0 here, and 18 of 20 intervals are to hold it, give or take 1.3.
    assert sum(float(one.llc_low) <= 0 <= float(one.llc_high) for one in ours) >= 15


def test_chains_that_devinterp_lost_are_named_and_left_out():
    samples = like_devinterp(0)
    samples.sampling_loss_micro[1, 57:] = np.nan
    tree = llc.from_devinterp(samples)
    assert tree.posterior.chain.values.tolist() == [0, 2]
    assert "left out: chain 1 at draw 57, which diverged" in str(tree.reason.values)
    assert int(tree.gradients) == 257
    samples.sampling_loss_micro[0, 3] = np.inf
    tree = llc.from_devinterp(xr.DataTree(samples))
    assert str(tree.verdict.values) == "diverged"
    assert "2 of 3 chains diverged (chain 0 at draw 3, chain 1 at draw 57)" in str(tree.reason.values)
    samples.sampling_loss_micro[:] = np.nan
    with pytest.raises(EstimateFailed, match="each of the 3 chains has a loss that is not finite"):
        llc.from_devinterp(samples)


def test_what_else_devinterp_did_is_said():
    climbing = like_devinterp(
        0, lambda losses, step: losses + 0.02 * step, noise_level=0.5, localization=0.0, num_burnin_steps=70
    )
    climbing.attrs["completed"] = 0
    tree = llc.from_devinterp(climbing)
    said = str(tree.reason.values)
    assert str(tree.verdict.values) == "drifting"
    assert int(tree.warmup) == 70
    for clause in ("gamma is 0", "noise_level 0.5, so not from this posterior", "did not complete this run",
                   "what step size and minibatch noise add is not known"):  # fmt: skip
        assert clause in said
    unhidden = llc.from_devinterp(like_devinterp(0).drop_vars("sampling_input_ids_micro"))
    assert "its error not known" in str(unhidden.reason.values)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"llc/mean": 3.0}, "a dict given, expected the tree that devinterp 2's sample returns"),
        (xr.Dataset({"loss_trace": ("step", [1.0])}), "no sampling_loss_micro and no init_loss .* holds loss_trace"),
        (like_devinterp(0).drop_attrs(), "no n_beta in attrs"),
        (like_devinterp(0).rename(chain="one"), "no sampling_loss_micro in what was given"),
        (like_devinterp(0, n_beta=None), "no n_beta in attrs"),
        (like_devinterp(0, n_beta="30"), "n_beta = '30' in the settings of what was given, expected a number"),
        (like_devinterp(0, localization=float("nan")), "localization = nan in the settings"),
    ],
)
def test_what_is_no_result_of_devinterp_is_told(given, said):
    with pytest.raises(InvalidInput, match=said):
        llc.from_devinterp(given)


def test_settings_that_are_none_are_as_if_left_out():
    names = ("lr", "localization", "num_burnin_steps", "batch_size", "num_init_loss_batches", "noise_level")
    without = like_devinterp(0, **dict.fromkeys(names))
    for name in names:
        without.attrs["metadata"]["config"]["sampler"].pop(name)
    xr.testing.assert_identical(
        llc.from_devinterp(like_devinterp(0, **dict.fromkeys(names))), llc.from_devinterp(without)
    )


def test_an_unknown_definition_is_told():
    with pytest.raises(InvalidInput, match="definition = 'devintrep' given; did you mean devinterp"):
        llc.from_devinterp(like_devinterp(0), definition="devintrep")


def test_runs_without_noise_and_runs_that_are_short_say_so():
    still = str(llc.from_devinterp(like_devinterp(0, noise_level=0.0)).reason.values)
    assert "sampled with noise_level 0, so not from this posterior" in still
    short = str(llc.from_devinterp(like_devinterp(0)).reason.values)
    assert "flat directions relax in 2000 steps, 2/(lr localization), and there were 100" in short
    assert "flat directions relax" not in str(llc.from_devinterp(like_devinterp(0, localization=30.0)).reason.values)


def with_metrics(samples, parameters=6):
    """Norms of the two parts of the steps of chains w with gradients nβ∇L, as `save_metrics` keeps them; and those."""
    rng, step, gamma = np.random.default_rng(4), 1e-3, 1.0
    w = 0.8 * rng.standard_normal((3, 100, parameters))
    gradient = 0.3 * w + 4 * rng.standard_normal(w.shape)
    metrics = {
        "distance": np.linalg.norm(w, axis=-1),
        "scaled_grad": step / 2 * np.linalg.norm(gradient, axis=-1),
        "localization": step / 2 * gamma * np.linalg.norm(w, axis=-1),
        "weight_decay": np.zeros((3, 100)),
        "dot_grad_prior": (step / 2) ** 2 * gamma * (gradient * w).sum(-1),
    }
    found = samples.assign({f"metrics_{name}": (("chain", "step"), values) for name, values in metrics.items()})
    return found.assign_attrs(metrics_numel=parameters), w, gradient


@pytest.mark.parametrize("definition", ["ours", "devinterp"])
def test_every_number_of_a_devinterp_run_is_what_its_label_says(definition):
    samples, w, gradient = with_metrics(like_devinterp(0, gradient_accumulation_steps=2, num_burnin_steps=20))
    tree = llc.from_devinterp(samples, definition=definition)
    warmup = {"ours": int(tree.warmup), "devinterp": 0}[definition]
    assert (warmup >= 20) is (definition == "ours")
    losses = samples.sampling_loss_micro.mean(("batch_sampling", "token_pos")).values[:, warmup:].astype(float)
    init = float(samples.init_loss.mean())
    raw = 30 * (losses - init)
    excess = 1e-3 * (np.square(gradient + w)[:, warmup:].sum(-1).mean() - 6) / 8
    squares = np.square(w)[:, warmup:].sum(-1).mean()
    expected = {
        "warmup": warmup,
        "loss_init": init,
        "loss_sampled": losses.mean(),
        "llc_raw": raw.mean(),
        "llc": raw.mean() - (excess if definition == "ours" else 0.0),
        "llc_at_w": float(tree.llc),
        "llc_at_w_se": float(tree.llc_se),
        "distance": np.linalg.norm(w, axis=-1)[:, warmup:].mean(),
        "prior_share": squares / 6,
        "explored": squares / (6 - (w * gradient)[:, warmup:].sum(-1).mean()),
        "gradients": 600,
        "sample_gradients": 2400,
        "chains_at_once": 1,
        "nbeta": 30.0,
        "gamma": 1.0,
        "step_size": 1e-3,
    }
    if definition == "ours":
        expected["step_excess"] = excess
    for name, value in expected.items():
        assert float(tree[name]) == pytest.approx(value, rel=1e-5), name
    if definition == "devinterp":
        assert float(tree.llc_se) == pytest.approx(raw.mean(1).std(), rel=1e-5)
        assert float(tree.llc_high - tree.llc) == pytest.approx(1.6449 * raw.mean(1).std(), rel=1e-4)
        assert np.isnan(float(tree.step_excess))
    else:
        assert float(tree.llc_se) > 30 * float(tree.loss_init_se)
    known = {*expected, "headline", "llc_se", "llc_low", "llc_high", "ess_bulk", "ess_tail", "rhat", "drift", "verdict",
             "reason", "explored", "loss_init_se"}  # fmt: skip
    assert {name for name in tree.data_vars if tree[name].dtype.kind == "f" and np.isnan(tree[name])}.isdisjoint(known)
    assert all(np.isnan(tree[name]) for name in tree.data_vars if name not in {*known, "step_excess"})
    assert str(tree.headline.values) == "w*"
    assert tree.attrs == {
        "sampler": "devinterp sgmcmc_sgld",
        "definition": definition,
        "nbeta": 30.0,
        "gamma": 1.0,
        "step_size": 1e-3,
        "chains": 3,
        "batch_size": 4,
        "num_init_loss_batches": 6,
        "num_parameters": 6,
    }
    assert tree.name.endswith("nbeta 30, gamma 1, of devinterp")
    np.testing.assert_allclose(tree.posterior.llc, raw, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(tree.sample_stats.loss, losses, rtol=1e-6)
    np.testing.assert_allclose(tree.sample_stats.distance, np.linalg.norm(w, axis=-1)[:, warmup:])


def test_the_order_of_dims_does_not_matter():
    samples, *_ = with_metrics(like_devinterp(1))
    turned = samples.transpose("token", "token_pos", "batch_sampling", "step", "chain")
    xr.testing.assert_identical(llc.from_devinterp(samples), llc.from_devinterp(turned))


def test_chains_of_streams_of_their_own_have_a_baseline_of_all_of_them():
    """Eighteen batches in place of six, and a third of each chain's draws: the error is less."""
    shared, apart = like_devinterp(0), like_devinterp(0, match_sampling_input_ids_across_chains=False)
    order = np.random.default_rng(8).permutation(3 * 400).reshape(3, 100, 4)  # no sequence twice
    ids = order[..., None] + np.array([0, 5000])
    shared["sampling_input_ids_micro"] = (shared.sampling_input_ids_micro.dims, np.broadcast_to(ids[:1], ids.shape))
    apart["sampling_input_ids_micro"] = (apart.sampling_input_ids_micro.dims, ids)
    spread = shared.sampling_loss_micro.isel(chain=0, step=slice(0, 16)).mean("token_pos").values.std(ddof=1)
    # In the baseline are 24 sequences (72), each in the draws too, of 400 (1,200) with one share each.
    for found, baseline, draws in ((shared, 24, 400), (apart, 72, 1200)):
        exact = spread * np.sqrt(baseline * (1 / baseline - 1 / draws) ** 2 + (draws - baseline) / draws**2)
        error = llc.from_devinterp(found, definition="devinterp").loss_init_se
        assert float(error) == pytest.approx(exact, rel=1e-5)
    # Of a baseline of 150 batches the chains came to 100.
    longer = shared.copy()
    longer.attrs = {"metadata": {"config": {"sampler": {**shared.attrs["metadata"]["config"]["sampler"],
                                                        "num_init_loss_batches": 150}}}}  # fmt: skip
    exact = spread * np.sqrt(400 * (1 / 600 - 1 / 400) ** 2 + 200 / 600**2)
    assert float(llc.from_devinterp(longer, definition="devinterp").loss_init_se) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"llc_weight_decay": 0.1}, "; with a weight decay of 0.1"),
        ({"bounding_box_size": 2.5}, "; in a box of 2.5 around w*"),
        ({"init_noise": 0.01}, "; from w* moved by noise of 0.01, where the baseline was taken too"),
        ({"num_init_loss_batches": 3}, "the baseline is the mean of 3 batches"),
    ],
)
def test_settings_that_change_what_is_sampled_are_said(settings, said):
    assert said in str(llc.from_devinterp(like_devinterp(0, **settings)).reason.values)
    if "num_init_loss_batches" not in settings:
        assert said not in str(llc.from_devinterp(like_devinterp(0)).reason.values)


def test_a_loss_that_differs_from_look_to_look_is_said():
    samples = like_devinterp(0)
    assert "(dropout was on)" not in str(llc.from_devinterp(samples).reason.values)
    samples["init_loss"] = samples.init_loss + xr.DataArray([0.0, 0.1, 0.2], dims="chain")
    tree = llc.from_devinterp(samples)
    assert "; the loss at w* differs from look to look (dropout was on)" in str(tree.reason.values)
    assert float(tree.loss_init) == pytest.approx(float(samples.init_loss.mean()))
    # Where chains are of streams of their own, so are their baselines.
    samples.attrs["metadata"]["config"]["sampler"]["match_sampling_input_ids_across_chains"] = False
    assert "(dropout was on)" not in str(llc.from_devinterp(samples).reason.values)


@pytest.mark.parametrize(
    "settings",
    [{"noise_level": 0.9}, {"sampling_method": "rmsprop_sgld"}, {"llc_weight_decay": 0.1}],
)
def test_heat_is_known_of_plain_sgld_only(settings):
    known, *_ = with_metrics(like_devinterp(0))
    assert np.isfinite(float(llc.from_devinterp(known).step_excess))
    other, *_ = with_metrics(like_devinterp(0, **settings))
    tree = llc.from_devinterp(other)
    assert np.isnan(float(tree.step_excess))
    assert float(tree.llc) == float(tree.llc_raw)
    assert "what step size and minibatch noise add is not known and not taken off" in str(tree.reason.values)
    for name in ("scaled_grad", "localization", "dot_grad_prior", "weight_decay"):
        assert np.isnan(float(llc.from_devinterp(known.drop_vars(f"metrics_{name}")).step_excess))
