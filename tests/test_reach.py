"""Whether chains have gone far enough for a rung of a ladder to tell anything, on a well with flat directions."""

import math
from types import SimpleNamespace

import pytest
import torch
from wells import Well, data, well_loss

from llc.estimate.pair import read, run_pairs
from llc.estimate.reach import delocalised, explored, lags, left_for_others, lost, mean_curvature
from llc.sampling import Target, sampler_named

CURVATURES = [0.0] * 20 + [1.0] * 4
NBETA, GAMMA = 50.0, 1.0


@pytest.fixture(scope="module")
def kernel():
    return sampler_named("gle")


def pair_of(kernel, **settings):
    target = Target(
        Well(torch.diag(torch.tensor(CURVATURES))), well_loss, data(), nbeta=NBETA, gamma=GAMMA, batch_size=8
    )
    (pair,) = run_pairs([target], kernel, [NBETA], chains=2, keys=[("reach",)], **settings)
    return pair, read(pair, kernel, find_warmup=False)


@pytest.fixture(scope="module")
def far(kernel):
    """Chains that have gone as far as the prior lets them."""
    return pair_of(kernel, warmup=200, draws=800)


def test_chains_next_to_the_weights_show_no_plateau(kernel):
    """Twenty steps, a thousandth of the stability limit long, go less than half a percent of the prior's way."""
    near, reading = pair_of(kernel, warmup=10, draws=10, step_size=1e-3)
    (share,) = explored(near.cold, GAMMA, len(CURVATURES), reading.warmup).values()
    assert share < 0.005
    assert lags(near, reading, reading.basin)


def test_chains_that_have_been_everywhere_do_not_lag(far):
    """γE‖w − w*‖² is P − 2λ: the share is 1."""
    pair, reading = far
    (share,) = explored(pair.cold, GAMMA, len(CURVATURES), reading.warmup).values()
    assert share == pytest.approx(1.0, abs=0.15)
    assert not lags(pair, reading, reading.basin)
    assert not lost(pair)


def test_the_mean_curvature_is_that_of_where_chains_are(far):
    """(w − w*)·∇L/‖w − w*‖² of the exact posterior: Σ h/(nβh + γ) over Σ 1/(nβh + γ)."""
    pair, reading = far
    variances = 1 / (NBETA * torch.tensor(CURVATURES) + GAMMA)
    expected = float((torch.tensor(CURVATURES) * variances).sum() / variances.sum())
    assert mean_curvature(pair, reading) == pytest.approx(expected, rel=0.2)


def test_draws_no_better_than_knowing_nothing_are_delocalised(kernel):
    far, reading = pair_of(kernel, warmup=30, draws=60)
    mean = float(far.cold.difference[:, reading.warmup :].mean())
    assert delocalised(far, reading, mean - 1e-6)
    assert not delocalised(far, reading, mean + 1e-6)


def rung(llc: float, rhat: float = 1.0, error: float = 0.5, escaped: bool = False):
    """A pair and its reading with this λ̂."""
    basin, chains = SimpleNamespace(llc=llc, llc_se=error, escaped=escaped), SimpleNamespace(rhat=rhat)
    target = SimpleNamespace(nbeta=1.0, gamma=1.0)
    reading = {"basin": basin, "degeneracy": 0.0, "held": math.nan, "held_se": math.nan, "cold": chains, "hot": chains}
    return SimpleNamespace(target=target), SimpleNamespace(**reading)


def flatter(explained: float = 0.0):
    """Curvatures whose flattening explains so much of a fall."""
    return SimpleNamespace(lost_to_flatter=lambda near, far: explained)


def test_chains_have_left_only_where_they_agree():
    """λ̂ of 40 near w* and of 30 farther out tells that, unless chains of either rung disagree."""
    assert left_for_others(rung(40.0), rung(30.0), flatter())
    assert not left_for_others(rung(30.0), rung(40.0), flatter())
    assert not left_for_others(rung(40.0), rung(39.0), flatter())
    assert not left_for_others(rung(40.0), rung(30.0, rhat=1.4), flatter())
    assert not left_for_others(rung(40.0, rhat=1.4), rung(30.0), flatter())


def test_a_fall_that_flatter_curvatures_explain_tells_nothing():
    assert left_for_others(rung(40.0), rung(30.0), flatter(9.0))
    assert not left_for_others(rung(40.0), rung(30.0), flatter(11.0))


def test_worse_solutions_count_where_chains_of_the_nearer_rung_have_not_found_them():
    assert left_for_others(rung(40.0), rung(60.0, escaped=True), flatter(50.0))
    assert not left_for_others(rung(40.0, escaped=True), rung(60.0, escaped=True), flatter())
