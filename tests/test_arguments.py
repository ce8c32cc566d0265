"""What is given to `estimate_llc` comes to the chains as it was given, and is told."""

import math

import numpy as np
import pytest
import torch
from wells import CURVATURES, GAMMA, NBETA, data, diagonal_well, well_loss

import llc
from llc.errors import EstimateFailed
from llc.estimate import SamplingConfig


class _Seen(Exception):
    """Ends an estimate where it would begin."""


def asked(monkeypatch, **settings):
    """The point, settings and key words that an estimate would be made with."""
    seen = []

    def estimate_at(point, config, **others):
        seen.append((point, config, others))
        raise _Seen

    monkeypatch.setattr("llc.estimate.estimate.estimate_at", estimate_at)
    with pytest.raises(_Seen):
        llc.estimate_llc(diagonal_well(), well_loss, data(), **settings)
    return seen[0]


GIVEN = {
    "sampler": "sgld",
    "target_error": 0.07,
    "max_gradients": 777,
    "headline": "w*",
    "chains": 3,
    "draws": 55,
    "warmup": 11,
    "batch_size": 4,
    "control_variates": True,
    "parameters": ["w*"],
    "nbeta": 21.0,
    "gamma": 2.5,
    "step_size": 1e-4,
    "full_loss_every": 5,
    "max_rhat": 1.4,
    "seed": 9,
    "compile": True,
    "precision": "bf16",
}


def test_every_setting_is_that_of_the_estimate(monkeypatch):
    _, config, others = asked(monkeypatch, **GIVEN)
    assert config == SamplingConfig(**GIVEN)
    assert others["key"] == (9, "llc")
    assert all(getattr(config, name) == value != getattr(SamplingConfig(), name) for name, value in GIVEN.items())
    _, config, others = asked(monkeypatch)
    assert config == SamplingConfig()
    assert (others["key"], others["device"]) == ((0, "llc"), None)
    assert asked(monkeypatch, radius=0.3)[1] == SamplingConfig(radius=0.3)


def test_what_is_no_setting_goes_with_the_model(monkeypatch):
    weights, mask = torch.arange(1.0, 9.0), {"weight": torch.ones(5, dtype=torch.bool)}
    look = llc.Losses("own")
    point, config, others = asked(
        monkeypatch,
        reference_losses={"zero": np.float32(4)},
        sample_weights=weights,
        parameters=mask,
        device="cpu",
        observables=[look],
    )
    assert point.loss is well_loss
    assert point.reference_losses == {"zero": 4.0}
    assert (point.sample_weights is weights, point.masks is mask, config.parameters) == (True, True, None)
    assert (others["device"], others["observables"]) == (torch.device("cpu"), [look])
    assert len(point.data) == 8


def test_chains_are_as_many_and_as_long_as_was_asked_for():
    tree = llc.estimate_llc(
        diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, chains=3, draws=24, warmup=7, full_loss_every=4
    )
    for which in ("", "hot_"):
        assert dict(tree[f"{which}posterior"].sizes) == {"chain": 3, "draw": 24}
        assert dict(tree[f"{which}warmup_posterior"].sizes) == {"chain": 3, "draw": 7}
    assert (int(tree.warmup), int(tree.num_samples), float(tree.nbeta), float(tree.gamma)) == (7, 8, NBETA, GAMMA)
    traces = np.concatenate([tree["warmup_sample_stats"].full_llc, tree["sample_stats"].full_llc], axis=1)
    looked = np.isfinite(traces)
    assert looked.any()
    # On the whole dataset a draw's own difference is that of the whole dataset.
    own = np.concatenate([tree["warmup_posterior"].llc, tree["posterior"].llc], axis=1)
    np.testing.assert_allclose(traces[looked], own[looked], rtol=1e-4, atol=1e-5)


def test_an_estimates_attributes_are_what_it_was_made_with():
    model, batch = diagonal_well(), data()
    attrs = llc.estimate_llc(model, well_loss, batch, **{**GIVEN, "compile": False, "precision": "float32"}).attrs
    for name in ("sampler", "target_error", "max_gradients", "batch_size", "nbeta", "gamma", "step_size", "seed"):
        assert attrs[name] == GIVEN[name], name
    assert attrs["control_variates"] == 1
    assert attrs["temperature_ratio"] == 4
    assert (attrs["choice"], attrs["variates"], attrs["batches"]) == ("as given", "as given", "as given")
    assert (attrs["device"], attrs["precision"]) == ("cpu", "float32")
    assert (attrs["num_samples"], attrs["num_parameters"]) == (len(batch[0]), len(CURVATURES))
    assert attrs["curvature"] == pytest.approx(21.0 * max(CURVATURES), rel=0.05)
    assert attrs["parameters"] == "w*"
    assert attrs["given"].startswith("sampler = 'sgld', chains = 3, draws = 55, warmup = 11, batch_size = 4")
    masked = llc.estimate_llc(
        model, well_loss, batch, parameters={"weight": torch.arange(5) > 2}, nbeta=NBETA, gamma=GAMMA, draws=8, warmup=2
    )
    assert masked.attrs["parameters"] == "2 elements of weight"
    assert masked.attrs["num_parameters"] == 2


def test_a_radius_is_a_gamma():
    """√(P/γ) over ‖w*‖: at weights of norm 2 and radius ½ the prior's is 1, so that γ = P."""
    model = diagonal_well()
    model.weight.data = torch.tensor([2.0, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    model.center.copy_(model.weight.data)
    tree = llc.estimate_llc(model, well_loss, data(), radius=0.5, nbeta=NBETA, draws=8, warmup=2, chains=1)
    assert float(tree.gamma) == pytest.approx(5.0)


def test_a_step_that_is_not_stable_is_warned_of():
    """SGLD on the steepest direction is stable up to ε = 4/(nβh + γ)."""
    over = 0.012 * (NBETA * max(CURVATURES) + GAMMA) / 4
    with pytest.warns(UserWarning, match=f"step_size = 0.012 is {over:.1f}[0-9] times what is stable; leave it out"):
        tree = llc.estimate_llc(
            diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, step_size=0.012, sampler="sgld", draws=8
        )
    assert float(tree.step_over_limit) == pytest.approx(over, rel=0.03)


def test_no_estimate_is_an_error():
    """A loss that is infinite anywhere but at w* loses every chain."""

    def cliff(model, batch):
        moved = (model.weight - model.center).abs().sum()
        return torch.where(moved > 0, math.inf, 0.0) + 0 * batch[0] + moved

    with pytest.raises(EstimateFailed, match=r"no estimate: 2 of 2 chains .*diverged"):
        llc.estimate_llc(diagonal_well(), cliff, (torch.zeros(8, dtype=torch.float64),), nbeta=1.0, gamma=1.0, draws=8)


def test_progress_counts_gradients_of_all_that_may_be_spent():
    told = []
    tree = llc.estimate_llc(
        diagonal_well(), well_loss, data(), max_gradients=900, progress=lambda *report: told.append(report)
    )
    ours = [report for report in told if report[0] == "llc"]
    assert ours
    assert all(total == 900 for _, _, total, _ in ours)
    done = [spent for _, spent, _, _ in ours]
    assert done == sorted(done)
    assert 0 < done[-1] <= min(900, int(tree.gradients))
