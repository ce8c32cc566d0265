"""What losses along the draws say, against closed forms: exact draws of a Gaussian posterior, and chains."""

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.testing import assert_allclose
from scipy import stats

import llc
from llc.errors import InvalidInput
from llc.estimate.observed.pieces import Cut, covariance, cut, mean

NBETA, GAMMA, SAMPLES = 30.0, 1.0, 12


def regression(seed: int = 0):
    """w* near the minimum of ½(x·w − y)², with three parameters and noise."""
    rng = torch.Generator().manual_seed(seed)
    xs = torch.randn(SAMPLES, 3, generator=rng, dtype=torch.float64)
    model = torch.nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.randn(1, 3, generator=rng, dtype=torch.float64))
        ys = model(xs)[:, 0] + 0.5 * torch.randn(SAMPLES, generator=rng, dtype=torch.float64)
    return model, xs, ys


def half_squares(model, batch):
    return 0.5 * (model(batch[0])[:, 0] - batch[1]) ** 2


class Exact:
    """Of ℓ_i = ½(x_i·w − y_i)² under exp(−nβL − γ/2 ‖w − w*‖²), which is Gaussian about μ with Σ = (nβH + γI)⁻¹:

    Cov(ℓ_i, ℓ_j) = g_iᵀΣg_j + ½ tr(H_iΣH_jΣ), with g at μ, and E ℓ_i from the same.
    """

    def __init__(self, model, xs, ys, nbeta=NBETA, gamma=GAMMA):
        center, self.xs, self.ys = model.weight.detach().numpy()[0], xs.numpy(), ys.numpy()
        hessian = self.xs.T @ self.xs / len(xs)
        self.covariance = np.linalg.inv(nbeta * hessian + gamma * np.eye(len(center)))
        slope = self.xs.T @ (self.xs @ center - self.ys) / len(xs)
        self.middle = center - nbeta * self.covariance @ slope
        gradients = (self.xs @ self.middle - self.ys)[:, None] * self.xs
        spread = self.xs @ self.covariance @ self.xs.T
        self.kernel = gradients @ self.covariance @ gradients.T + 0.5 * spread**2
        self.baseline = 0.5 * (self.xs @ center - self.ys) ** 2
        at_middle = 0.5 * (self.xs @ self.middle - self.ys) ** 2
        self.per_sample = nbeta * (at_middle + 0.5 * np.diag(spread) - self.baseline)
        self.susceptibility = -nbeta * (self.kernel.mean(0) - self.kernel.mean())
        self.variance = np.trace(self.kernel)
        # −log E e^{−ℓ_i}: a Gaussian integral over x_i·w alone.
        residual, s = self.xs @ self.middle - self.ys, np.diag(spread)
        self.training = np.mean(0.5 * np.log1p(s) + 0.5 * residual**2 / (1 + s))
        self.waic = self.training + nbeta / len(xs) * self.variance / len(xs)

    def draws(self, rng, chains=2, number=200, correlation=0.0):
        """ℓ_i(w) − ℓ_i(w*), (chain, draw, n), of correlated draws at the exact stationary law."""
        noise = rng.standard_normal((chains, number, len(self.middle)))
        for draw in range(1, number):
            noise[:, draw] = correlation * noise[:, draw - 1] + np.sqrt(1 - correlation**2) * noise[:, draw]
        w = self.middle + noise @ np.linalg.cholesky(self.covariance).T
        return 0.5 * (w @ self.xs.T - self.ys) ** 2 - self.baseline


def tree_of(difference, baseline, verdict="converged", **root):
    """What an estimate leaves, as far as conclusions read it."""
    numbers = {"nbeta": NBETA, "gamma": GAMMA, "num_samples": SAMPLES, "step_excess": 0.0} | {
        "llc_basin": 1.5,
        "llc_raw": 1.5,
        "llc_at_w": 1.5,
        "loss_init": baseline.mean(),
    }
    top = xr.Dataset(numbers | {"verdict": verdict, "reason": "why"} | root)
    group = xr.Dataset({"difference": (("chain", "draw", "sample"), difference), "baseline": ("sample", baseline)})
    group = group.assign_coords(draw=np.arange(difference.shape[1]))
    return xr.DataTree.from_dict({"/": top, "losses/own": group})


def _large(tree):
    group = xr.Dataset({"difference": (("chain", "draw", "sample"), np.zeros((1, 8, 50_000), np.float32))})
    group = group.assign(baseline=("sample", np.zeros(50_000))).assign_coords(draw=np.arange(8))
    tree["losses/large"] = group
    return tree


def within(found, name, exact):
    return (found[f"{name}_low"] <= exact) & (exact <= found[f"{name}_high"])


@pytest.mark.parametrize("correlation", [pytest.param(0.0, marks=pytest.mark.slow), 0.6])
def test_intervals_hold_as_often_as_they_say(correlation):
    """Of 200 repetitions, every 90 % interval holds in 85 to 97 %: by kernel entry, sample and number alike."""
    exact, rng = Exact(*regression()), np.random.default_rng(1)
    held = {"kernel": [], "llc": [], "susceptibility": [], "functional_variance": [], "waic": []}
    for _ in range(200):
        tree = tree_of(exact.draws(rng, correlation=correlation), exact.baseline)
        held["kernel"].append(within(llc.loss_kernel(tree, "own"), "kernel", exact.kernel))
        held["llc"].append(within(llc.per_sample_llc(tree, "own"), "llc", exact.per_sample))
        chi = llc.susceptibility(tree, "own", whole="own")
        held["susceptibility"].append(within(chi, "susceptibility", exact.susceptibility))
        numbers = llc.waic(tree, "own")
        held["functional_variance"].append(within(numbers, "functional_variance", exact.variance))
        held["waic"].append(within(numbers, "waic", exact.waic))
    shares = {name: float(np.mean(of)) for name, of in held.items()}
    assert all(0.85 <= share <= 0.97 for share in shares.values()), shares


def test_values_are_the_closed_forms():
    """Within four of their standard errors each, from 20,000 draws."""
    exact = Exact(*regression())
    tree = tree_of(exact.draws(np.random.default_rng(2), number=10_000), exact.baseline)
    kernel = llc.loss_kernel(tree, "own")
    assert float((abs(kernel.kernel - exact.kernel) / kernel.kernel_se).max()) < 4
    influence = llc.influence(tree, "own")
    assert_allclose(influence.influence, -kernel.kernel)
    numbers = llc.waic(tree, "own")
    for name, value in (
        ("functional_variance", exact.variance),
        ("singular_fluctuation", NBETA / SAMPLES / 2 * exact.variance),
        ("training_loss", exact.training),
        ("waic", exact.waic),
    ):
        assert abs(float(numbers[name]) - value) < 4 * float(numbers[f"{name}_se"])
    deviations = np.sqrt(np.diag(exact.kernel))
    correlation = llc.loss_kernel(tree, "own", normalised=True)
    assert_allclose(correlation.kernel, exact.kernel / np.outer(deviations, deviations), atol=0.05)
    assert_allclose(np.diag(correlation.kernel), 1, rtol=1e-9)
    assert float(np.diag(correlation.kernel_se).max()) < 1e-9


def test_chains_that_stand_apart_add_nothing_unless_they_are_pooled():
    rng = np.random.default_rng(3)
    draws = rng.standard_normal((2, 400, 2)) + np.array([[-5.0], [5.0]])[..., None]
    how = Cut(2, 8, 50, 800.0)
    apart, pooled = covariance(draws, draws, how), covariance(draws, draws, how, pooled=True)
    assert_allclose(apart.value, np.eye(2), atol=0.2)
    assert_allclose(pooled.value, np.cov(draws.reshape(-1, 2).T), rtol=1e-9)
    assert_allclose(
        covariance(draws, draws, how, pooled=True, normalised=True).value,
        np.corrcoef(draws.reshape(-1, 2).T),
        rtol=1e-9,
    )


def test_moments_are_numpys():
    """Up to the jackknife's correction, which is of order 1/draws."""
    rng = np.random.default_rng(4)
    one, other = rng.standard_normal((1, 960, 3)), rng.standard_normal((1, 960, 2))
    how = cut(one.mean(2))
    assert how.number * how.length == 960
    both = np.concatenate([one[0], other[0]], 1)
    assert_allclose(covariance(one, other, how).value, np.cov(both.T)[:3, 3:], atol=2e-3)
    found = mean(one, how)
    assert_allclose(found.value, one[0].mean(0))
    assert_allclose(found.se, stats.sem(one[0]), rtol=0.4)


def test_slow_chains_are_cut_into_few_pieces_and_said_to_be_too_short():
    rng = np.random.default_rng(5)
    exact = Exact(*regression())
    slow = exact.draws(rng, correlation=0.99)
    assert cut(slow.mean(2)).number == 4
    found = llc.loss_kernel(tree_of(slow, exact.baseline), "own")
    assert found.attrs["verdict"] == "drifting"
    assert "expected 50 or more" in found.attrs["reason"]


@pytest.mark.parametrize("verdict", ["drifting", "prior-dominated", "scale-dependent"])
def test_the_verdict_of_the_draws_is_kept(verdict):
    exact = Exact(*regression())
    tree = tree_of(exact.draws(np.random.default_rng(6)), exact.baseline, verdict)
    assert llc.loss_kernel(tree, "own").attrs["verdict"] == verdict
    above = tree_of(exact.draws(np.random.default_rng(6)), exact.baseline, "off-minimum")
    assert llc.loss_kernel(above, "own").attrs["verdict"] == "converged"
    assert llc.per_sample_llc(above, "own").attrs["verdict"] == "off-minimum"


def test_heat_is_taken_off_and_carried():
    """Of draws whose spread is a fifth too large, as finite steps make them: second moments, T, WAIC and λ̂_i."""
    exact, rng = Exact(*regression()), np.random.default_rng(7)
    spread = np.diag(exact.xs @ exact.covariance @ exact.xs.T)
    excess = NBETA * 0.5 * 0.2 * spread.mean()  # E L is up by half the trace of what the covariance has more
    exact.covariance = 1.2 * exact.covariance
    hot = exact.draws(rng, number=8000)
    basin = excess / 0.2
    tree = tree_of(hot, exact.baseline, step_excess=excess, llc_basin=basin, llc_raw=basin + excess, llc_at_w=basin)
    numbers, own = llc.waic(tree, "own"), llc.per_sample_llc(tree, "own")
    for name, value in (
        ("functional_variance", exact.variance),
        ("training_loss", exact.training),
        ("waic", exact.waic),
    ):
        assert numbers[f"{name}_low"] <= value <= numbers[f"{name}_high"]
    assert float(numbers.functional_variance_se) > 0.09 * float(numbers.functional_variance)
    assert float(within(own, "llc", exact.per_sample).mean()) > 0.85
    raw = NBETA * float(hot.mean())
    assert float(own.llc.mean()) == pytest.approx(raw - excess, rel=1e-3)
    small = tree.copy()
    small["losses/part"] = tree["losses/own"].to_dataset() * 1e-3
    part = llc.per_sample_llc(small, "part")  # of a loss that is a thousandth, a thousandth of λ̂
    assert_allclose(part.llc.mean(), 1e-3 * own.llc.mean(), atol=3e-3 * float(own.llc_se.max()))


def test_losses_that_are_not_finite_are_counted():
    exact = Exact(*regression())
    draws = exact.draws(np.random.default_rng(8))
    draws[1, 50, 3] = np.nan
    found = llc.per_sample_llc(tree_of(draws, exact.baseline), "own")
    assert "1 of 12 losses of own are not finite at every draw" in found.attrs["reason"]
    assert np.isnan(found.llc.values).sum() == 1
    with pytest.raises(InvalidInput, match="no loss of own is finite at every draw"):
        llc.per_sample_llc(tree_of(draws * np.nan, exact.baseline), "own")


def test_a_slow_dataset_decides_for_both():
    exact, rng = Exact(*regression()), np.random.default_rng(9)
    tree = tree_of(exact.draws(rng), exact.baseline)
    slow = tree_of(exact.draws(rng, correlation=0.99), exact.baseline)["losses/own"].to_dataset()
    tree["losses/slow"] = slow
    for pair in (("own", "slow"), ("slow", "own")):
        found = llc.loss_kernel(tree, *pair)
        assert found.attrs["verdict"] == "drifting"
        assert found.attrs["pieces"] == 4


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda tree: llc.loss_kernel(tree, "test"), "no losses of 'test'; "),
        (lambda tree: llc.influence(tree, "own", convention="theirs"), "convention = 'theirs' given"),
        (lambda tree: llc.susceptibility(tree, "own"), "no losses of '_whole'"),
        (
            lambda tree: llc.waic(tree.assign({"num_samples": xr.DataArray(99.0)}), "own"),
            "has 12 samples, mean .* in place of the 99 samples",
        ),
    ],
)
def test_what_is_not_there_is_named(ask, said):
    exact = Exact(*regression())
    with pytest.raises(InvalidInput, match=said):
        ask(tree_of(exact.draws(np.random.default_rng(8)), exact.baseline))


@pytest.mark.slow
def test_chains_give_the_closed_forms():
    """Kernel, per-sample λ̂, χ and V of linear regression from our own chains: within three standard errors, which a
    fiftieth of so many numbers that hang together may miss by a little more."""
    model, xs, ys = regression(1)
    exact = Exact(model, xs, ys)
    tree = llc.estimate_llc(
        model, half_squares, (xs, ys), nbeta=NBETA, gamma=GAMMA, draws=2000, observables=[llc.Losses("own", every=8)]
    )
    kernel = llc.loss_kernel(tree, "own")
    off = abs(kernel.kernel - exact.kernel) / kernel.kernel_se
    assert float((off < 3).mean()) > 0.98
    assert float(off.max()) < 4
    for found, name, value in (
        (llc.per_sample_llc(tree, "own"), "llc", exact.per_sample),
        (llc.susceptibility(tree, "own", whole="own"), "susceptibility", exact.susceptibility),
        (llc.waic(tree, "own"), "functional_variance", exact.variance),
        (llc.waic(tree, "own"), "waic", exact.waic),
    ):
        assert float((abs(found[name] - value) / found[f"{name}_se"]).max()) < 3.5
    at_looks = float(llc.per_sample_llc(tree, "own").llc.mean())
    assert abs(at_looks - float(tree.llc_at_w)) < 3 * float(tree.llc_at_w_se)


def estimated(*looks, **settings):
    model, xs, ys = regression()
    how = {"nbeta": NBETA, "gamma": GAMMA, "draws": 40, **settings}
    return llc.estimate_llc(model, half_squares, (xs, ys), observables=list(looks), **how)


def test_weights_of_samples_are_named_where_losses_have_them():
    weights = np.arange(1.0, SAMPLES + 1)
    tree = estimated(llc.Losses("own"), llc.Losses("bare", regression()[1:]), sample_weights=weights)
    said = "loss_i is times its weight over the mean weight"
    assert said in llc.loss_kernel(tree, "own").convention
    assert said not in llc.loss_kernel(tree, "bare").convention
    assert_allclose(tree["losses/own"].baseline, tree["losses/bare"].baseline * weights / weights.mean(), rtol=1e-6)
    with pytest.raises(InvalidInput, match="sample_weights were given, and V and WAIC are of samples that count alike"):
        llc.waic(tree, "own")


def test_one_loss_that_is_not_finite_leaves_the_others():
    xs, ys = regression()[1:]

    def at_times(model, batch):
        found = half_squares(model, batch)
        return torch.where((batch[1] == ys[2]) & (found > found.median()), torch.inf, found)

    tree = estimated(llc.Losses("all", (xs, ys)), llc.Losses("broken", (xs[:5], ys[:5]), at_times))
    found, whole = (llc.per_sample_llc(tree, name).llc.values for name in ("broken", "all"))
    assert np.isnan(found).tolist() == [False, False, True, False, False]
    assert_allclose(found[[0, 1, 3, 4]], whole[[0, 1, 3, 4]], rtol=1e-6)
    kernel = llc.loss_kernel(tree, "broken").kernel.values
    assert np.isnan(kernel).sum() == 9
    assert np.isfinite(float(llc.susceptibility(tree, "broken", whole="all").susceptibility_mean))


def test_one_sample_may_be_looked_at():
    xs, ys = regression()[1:]
    tree = estimated(llc.Losses("own"), llc.Losses("one", (xs[:1], ys[:1])))
    assert_allclose(llc.per_sample_llc(tree, "one").llc, llc.per_sample_llc(tree, "own").llc[:1], rtol=0.3)
    for given in (tree.to_dataset(), "tree"):
        with pytest.raises(InvalidInput, match="expected the tree of an estimate and the name of a dataset"):
            llc.per_sample_llc(given, "own")
    with pytest.raises(InvalidInput, match="at every True draws"):
        llc.Losses("own", every=True)
