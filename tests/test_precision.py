"""Sampling with matrix products in lower precision: what that adds is seen, and taken off."""

import numpy as np
import pytest
import torch
from conftest import SMALL_LLC

import llc
from llc.errors import InvalidInput
from llc.estimate import diagnostics
from llc.sampling import Target
from llc.validation import known_cases


def test_rounding_is_the_difference_between_two_precisions():
    """Against loss differences worked out by hand, one with the model under autocast and one without."""
    model, loss, data = known_cases.regression(20, 200, 0)
    target = Target(model, loss, data, nbeta=10.0, gamma=1.0, batch_size=50, precision="bf16")
    position = target.center + 0.1 * torch.randn(20, generator=torch.Generator().manual_seed(0))

    def mean_loss(weights: torch.Tensor) -> torch.Tensor:
        moved = torch.nn.Linear(20, 1, bias=False)
        with torch.no_grad():
            moved.weight.copy_(weights[None])
            return loss(moved, data).double().mean()

    exact = mean_loss(position) - mean_loss(target.center)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = mean_loss(position) - mean_loss(target.center)
    assert target.rounding(position) == pytest.approx(float(rounded - exact), rel=1e-3)
    assert abs(float(rounded - exact)) > 1e-5
    assert target.loss_init == pytest.approx(float(mean_loss(target.center)), rel=1e-6)
    assert Target(model, loss, data, nbeta=10.0, gamma=1.0, batch_size=50).rounding(position) == 0


def test_what_is_seen_to_be_added_is_taken_off_and_its_error_carried():
    traces = 5 + np.random.default_rng(0).normal(size=(4, 200))
    before = diagnostics.summarise(traces)
    added = np.random.default_rng(1).normal(0.7, 0.4, size=(4, 5))
    after = diagnostics.without(before, added)
    error = added.std(ddof=1) / 20**0.5
    assert after.llc == pytest.approx(before.llc - added.mean())
    assert after.llc_se == pytest.approx(np.hypot(before.llc_se, error))
    assert after.llc_high - after.llc == pytest.approx(np.hypot(before.llc_high - before.llc, 1.645 * error), rel=1e-3)
    assert diagnostics.without(before, np.zeros((4, 5))) == before


@pytest.mark.slow
def test_bfloat16_agrees_with_the_exact_value():
    """d/2 for ordinary regression, within three standard errors."""
    model, loss, data = known_cases.regression(20, 2000, 20)
    found = llc.estimate_llc(model, loss, data, gamma=1.0, draws=400, batch_size=500, precision="bf16", device="cpu")
    assert found.rounding != 0
    assert found.attrs["precision"] == "bf16"
    assert found.attrs["device"] == "cpu"
    assert abs(float(found.llc) - 10) < 3 * float(found.llc_se)
    assert float(found.llc_se) < 1.5


@pytest.mark.slow
def test_bfloat16_agrees_with_float32_on_a_transformer(own):
    settings = {**SMALL_LLC, "draws": 80, "chains": 4, "steps": "last"}
    full = llc.estimate_llc_over_training(own, overwrite=True, **settings).llc
    full_se = own.llc.llc_se
    half = llc.estimate_llc_over_training(own, overwrite=True, precision="bf16", **settings)
    assert (abs(half.llc - full) < 3 * np.hypot(half.llc_se, full_se)).all()
    assert (half.rounding != 0).all()


def test_unknown_precisions_and_devices_are_named(own):
    model, loss, data = known_cases.regression(5, 100, 0)
    with pytest.raises(InvalidInput, match=r"precision = 'half' given, expected 'float32', 'tf32' or 'bf16'"):
        llc.estimate_llc(model, loss, data, precision="half")
    with pytest.raises(InvalidInput, match=r"unknown device gpu"):
        llc.estimate_llc(model, loss, data, device="gpu")
    with pytest.raises(InvalidInput, match=r"unknown device gpu"):
        llc.estimate_llc_over_training(own, device="gpu", **SMALL_LLC)
