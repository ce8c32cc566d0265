"""What chains that diverge, climb, lag or only follow the prior are called."""

import numpy as np
import pytest
import torch
from torch import nn
from wells import CURVATURES, GAMMA, NBETA, Well, data, diagonal_well, noisy_well, well_loss

import llc
from llc.errors import EstimateFailed
from llc.estimate import diagnostics
from llc.sampling import SAMPLERS, Target, run_chains


class _Fragile(Well):
    """A well whose loss is not a number far out on one side."""

    def forward(self) -> torch.Tensor:
        return super().forward() + (torch.inf if self.weight[0] > 1.2 else 0.0)


def test_a_diverged_chain_is_named_and_left_out():
    """γ alone holds the first direction (sd 0.7): some chains of sixteen pass 1.2 in 60 draws, some do not."""
    model = _Fragile(torch.diag(torch.tensor(CURVATURES)))
    tree = llc.estimate_llc(
        model, well_loss, data(), nbeta=NBETA, gamma=GAMMA, chains=16, draws=60, warmup=20, step_size=0.04
    )
    kept = set(tree.posterior.chain.values.tolist())
    lost = set(range(16)) - kept
    assert lost
    assert kept
    assert all(f"chain {chain} at draw" in str(tree.reason.values) for chain in lost)
    assert np.isfinite(tree.posterior.llc).all()


def test_all_chains_diverged_is_a_failure_not_a_number():
    with pytest.raises(EstimateFailed, match="2 of 2 chains diverged"), pytest.warns(UserWarning, match="stable"):
        llc.estimate_llc(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, sampler="sgld", step_size=1.0)


def test_a_climbing_chain_is_called_drifting():
    """A flat direction with weak localisation and few draws: SGLD still climbs when it ends."""
    tree = llc.estimate_llc(
        diagonal_well(),
        well_loss,
        data(),
        nbeta=NBETA,
        gamma=0.01,
        sampler="sgld",
        step_size=1e-5,
        warmup=0,
        draws=300,
    )
    assert str(tree.verdict.values) == "drifting"


@pytest.mark.parametrize(
    ("headline", "verdict"), [("auto", "converged"), ("w*", "off-minimum"), ("basin", "converged")]
)
def test_a_point_that_is_no_minimum_is_called_so(headline, verdict):
    """w* on the slope of a bowl: the draws slide down by nβ(L(w*) − L(w₀)), w₀ the minimum of L + ρ/2‖w − w*‖².

    Per direction ½·50·2²·(1 − (5/55)²) nats; λ = 3/2·50/55 of the basin is known within its error, a fifth.
    """
    model = Well(torch.eye(3))
    model.weight.data.fill_(2.0)
    tree = llc.estimate_llc(model, well_loss, data(), nbeta=NBETA, gamma=5.0, draws=200, headline=headline)
    assert tree.verdict.item() == verdict
    assert "above the floor of its basin" in tree.reason.item() or "above its floor" in tree.reason.item()
    assert float(tree.floor_nats) == pytest.approx(3 * 100 * (1 - (5 / 55) ** 2), rel=1e-2)
    assert abs(float(tree.llc_basin) - 1.5 * 50 / 55) < 2 * float(tree.llc_basin_se)


def test_chains_that_do_not_move_are_not_converged():
    tree = llc.estimate_llc(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, step_size=1e-300, draws=20)
    assert str(tree.verdict.values) == "drifting"
    assert "never moved" in str(tree.reason.values)


def test_burn_in_is_found():
    """A trace that climbs for 60 draws and then stays: the draws set aside hold the climb and not much more."""
    rng = np.random.default_rng(0)
    climb = 10 * np.minimum(np.arange(400) / 60, 1.0)
    found = diagnostics.detect_warmup(climb + 0.5 * rng.normal(size=(4, 400)))
    assert 40 <= found <= 100
    assert diagnostics.detect_warmup(rng.normal(size=(4, 400))) <= 40
    # Two chains that still come down to the other two: nothing tells where burn-in ends, and half goes.
    falling = 50 * np.exp(-np.arange(400) / 300) * np.array([0, 0, 1, 1])[:, None]
    assert diagnostics.detect_warmup(falling + rng.normal(size=(4, 400))) == 200


def test_a_gamma_that_leaves_only_the_prior_is_named():
    tree = llc.estimate_llc(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=1e5, draws=100)
    assert str(tree.verdict.values) == "prior-dominated"


def test_a_gamma_below_the_steepest_curvature_that_still_dominates_is_named():
    """Many shallow directions and one steep: γ is under the steepest curvature, and yet λ̂ goes as 1/γ."""
    model = Well(torch.diag(torch.tensor([2.0] + [0.02] * 600)))  # elasticity 1 − Σx²/Σx = 0.95
    tree = llc.estimate_llc(model, well_loss, data(), nbeta=NBETA, gamma=80.0, draws=150)
    assert str(tree.verdict.values) == "prior-dominated"
    assert "gamma^-0.9" in str(tree.reason.values)


def test_draws_no_better_than_knowing_nothing_are_delocalised():
    tree = llc.estimate_llc(
        diagonal_well(),
        well_loss,
        data(),
        nbeta=NBETA,
        gamma=GAMMA,
        draws=100,
        reference_losses={"the zero predictor": 0.01},
    )
    assert str(tree.verdict.values) == "delocalised"
    assert "the zero predictor, 0.01" in str(tree.reason.values)
    assert float(tree.reference_loss.sel(reference="the zero predictor")) == 0.01


def test_a_step_above_the_stability_limit_is_not_converged():
    limit = SAMPLERS["kinetic"].stability_limit(NBETA * 10, GAMMA)
    with pytest.raises(EstimateFailed), pytest.warns(UserWarning, match=r"is 1.05 times what is stable"):
        llc.estimate_llc(
            diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, draws=600, chains=1, step_size=1.05 * limit
        )


def test_large_heat_is_named():
    model, loss, slopes = noisy_well()
    settings = {"batch_size": 8, "control_variates": False, "draws": 300, "step_size": 0.03}
    tree = llc.estimate_llc(model, loss, slopes, nbeta=NBETA, gamma=GAMMA, **settings)
    assert str(tree.verdict.values) == "step-size-biased"


@pytest.mark.slow
def test_gamma_zero_on_a_flat_direction_does_no_harm():
    """The flat direction wanders without end but costs nothing: λ̂ is that of the other four."""
    tree = llc.estimate_llc(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=0.0, draws=400)
    assert abs(float(tree.llc) - 2.0) < 4 * float(tree.llc_se)
    assert float(tree.llc_se) < 0.3


def test_chains_that_have_not_met_are_told_by_nested_rhat():
    """Two kinds of start, each kind's chains alike: R̂ of all chains is large, and so is nested R̂."""
    rng = np.random.default_rng(0)
    kinds = np.array([0, 0, 1, 1])
    apart = rng.normal(size=(4, 200)) + 2.0 * kinds[:, None]
    found = diagnostics.summarise(apart, kinds)
    assert found.rhat_nested > 1.3
    met = diagnostics.summarise(rng.normal(size=(4, 200)), kinds)
    assert met.rhat_nested < 1.02
    # One kind of start has no nested R̂; of three chains and one, one of each kind is compared.
    assert np.isnan(diagnostics.summarise(apart, np.zeros(4, int)).rhat_nested)
    assert diagnostics.summarise(apart, np.array([0, 0, 0, 1])).rhat_nested > 1.3


def test_the_second_kind_of_start_is_farther_out():
    target = Target(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, batch_size=8)
    kernel = SAMPLERS["kinetic"]
    settings, hot = kernel.default_settings(NBETA * 10, GAMMA, 100), kernel.default_settings(NBETA, GAMMA, 100)
    found = run_chains(target, kernel, settings, chains=5, warmup=100, draws=100, key=(0,), hot_settings=hot)
    assert found.superchain.tolist() == [0, 0, 0, 1, 1]
    assert (found.distance[:3, 0] == 0).all()
    assert found.distance[3, 0] == found.distance[4, 0] > 0.3
    # Without a warm-up to cool down in, every chain starts at w*.
    cold = run_chains(target, kernel, settings, chains=2, warmup=0, draws=10, key=(0,), hot_settings=hot)
    assert cold.superchain.tolist() == [0, 0]


def test_a_well_that_steepens_has_its_step_cut():
    """K = h w⁴/4: at w* the curvature is nothing, so that the first step size is far too long; λ = ¼ comes out."""

    class Quartic(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self):
            return self.weight.square().square().sum() / 4

    tree = llc.estimate_llc(Quartic(), well_loss, data(), nbeta=1e6, gamma=1.0, draws=500)
    assert "diverged" not in str(tree.verdict.values)
    assert abs(float(tree.llc) - 0.25) < 4 * float(tree.llc_se)
    assert float(tree.step_over_limit) < 0.7
    assert tree.attrs["step_size"] < 0.1  # as the chains ended with it: at w* it would have been 0.8


def test_how_far_chains_have_gone_is_gauged():
    """Short chains on flat directions have gone next to nothing of the way, whatever R̂ says; long ones all of it."""
    flat = Well(torch.diag(torch.tensor([1e4, 1e4, 0.0, 0.0, 0.0, 0.0])))
    short = llc.estimate_llc(flat, well_loss, data(), nbeta=NBETA, gamma=0.1, draws=40)
    assert float(short.explored) < 0.25
    assert str(short.verdict.values) == "drifting"
    # Nothing is left for the prior in a regular model, and so there is nothing to gauge.
    steep = Well(100 * torch.eye(5))
    assert np.isnan(float(llc.estimate_llc(steep, well_loss, data(), nbeta=NBETA, gamma=0.1, draws=100).explored))
    even = llc.estimate_llc(diagonal_well(), well_loss, data(), nbeta=1.0, gamma=GAMMA, draws=400)
    assert abs(float(even.explored) - 1) < 0.25


def test_a_single_chains_halves_have_to_agree():
    rng = np.random.default_rng(0)
    still = diagnostics.summarise(rng.normal(size=(1, 400)))
    moved = diagnostics.summarise(np.concatenate([rng.normal(size=(1, 200)), 5 + rng.normal(size=(1, 200))], axis=1))
    assert 0.99 < still.rhat < 1.05
    assert moved.rhat > 1.5
