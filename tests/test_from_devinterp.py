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
