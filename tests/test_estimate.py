import numpy as np
import pytest
import torch
import xarray as xr
from arviz_stats import summary
from arviz_stats.base import array_stats
from torch import nn
from wells import (
    CURVATURES,
    GAMMA,
    NBETA,
    data,
    diagonal_well,
    exact_llc,
    network,
    noisy_well,
    squared_errors,
    well_loss,
)

import llc
from llc.errors import InvalidInput
from llc.estimate import diagnostics
from llc.randomness import generator
from llc.sampling import SAMPLERS, Target, one_graph, run_many


def test_the_gaussian_well_is_estimated_within_its_error():
    """Kinetic Langevin is exact on a quadratic: λ̂ within four of its own standard errors of ½Σ nβh/(nβh + γ)."""
    tree = llc.estimate_llc(
        diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, draws=1200, warmup=100, chains=2
    )
    assert abs(float(tree.llc) - exact_llc()) < 4 * float(tree.llc_se)
    assert float(tree.llc_se) < 0.05 * exact_llc()
    assert str(tree.verdict.values) == "converged"
    assert float(tree.llc_low) < float(tree.llc) < float(tree.llc_high)


@pytest.mark.slow
def test_sgld_is_corrected_for_its_step():
    """SGLD's stationary variance is 1/(a(1 − εa/4)): the raw mean follows it, the corrected one the exact value.

    Each within four standard errors, which tell the two values apart.
    """
    step_size = 4e-3  # half the stability limit of the steepest direction
    tree = llc.estimate_llc(
        diagonal_well(),
        well_loss,
        data(),
        sampler="sgld",
        step_size=step_size,
        nbeta=NBETA,
        gamma=GAMMA,
        draws=1200,
        warmup=200,
        full_loss_every=5,  # as often it sees by how much
    )
    expected = 0.0
    for h in CURVATURES:
        a = NBETA * h + GAMMA
        expected += 0.5 * NBETA * h / (a * (1 - step_size * a / 4))
    error = float(array_stats.mcse(tree.posterior.llc.values, method="mean"))
    assert abs(float(tree.llc_raw) - expected) < 4 * error
    assert abs(float(tree.llc) - exact_llc()) < 4 * error
    assert abs(expected - exact_llc()) > 8 * error


def test_the_intervals_cover():
    """Of 40 short runs on the well, the 90 % interval holds the exact value in at least 31 (less has P < 0.005)."""
    target = Target(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, batch_size=8)
    kernel = SAMPLERS["kinetic"]
    length = {"chains": 160, "warmup": 60, "draws": 120}
    settings = [kernel.default_settings(NBETA * 10, GAMMA, 120)]
    (chains,) = run_many([target], kernel, settings, keys=[(0,)], graph=one_graph([target], 160), **length)
    runs = [diagnostics.summarise(NBETA * four) for four in np.split(chains.difference[:, 60:], 40)]
    held = sum(run.llc_low <= exact_llc() <= run.llc_high for run in runs)
    assert held >= 31


class _Paired(nn.Module):
    """One weight per sample offset: the loss spreads widely over samples, its change does not."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, dtype=torch.float64))


def test_pairing_cancels_the_spread_between_samples():
    offsets = 100 * torch.randn(64, generator=generator(0), dtype=torch.float64)

    def loss(model, batch):
        return batch[0] + 0.5 * model.weight.square().sum()

    tree = llc.estimate_llc(_Paired(), loss, (offsets,), nbeta=20.0, gamma=1.0, batch_size=8, draws=200)
    change = tree.posterior.llc / 20.0
    assert float(tree.sample_stats.loss.std()) > 20
    assert float(change.std()) < 0.5
    assert float(tree.loss_sampled) == pytest.approx(float(offsets.mean()) + float(change.mean()), rel=1e-9)


def test_the_tree_is_what_arviz_expects():
    tree = llc.estimate_llc(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, draws=80, warmup=20, chains=3)
    cold = {"posterior", "sample_stats", "warmup_posterior", "warmup_sample_stats"}
    assert set(tree.children) == cold | {f"hot_{name}" for name in cold} | {"ladder"}
    assert dict(tree.posterior.sizes) == dict(tree.hot_posterior.sizes) == {"chain": 3, "draw": 80}
    assert dict(tree.warmup_posterior.sizes) == {"chain": 3, "draw": 20}
    table = summary(tree, round_to="none")
    assert float(table.loc["llc", "mean"]) == pytest.approx(float(tree.llc_raw))
    assert float(table.loc["llc", "r_hat"]) == pytest.approx(float(tree.rhat))


def test_arviz_draws_traces_and_ranks():
    import arviz_plots
    import matplotlib as mpl

    mpl.use("Agg")
    tree = llc.estimate_llc(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, draws=60)
    for draw in (arviz_plots.plot_trace, arviz_plots.plot_rank):
        shown = draw(tree, backend="matplotlib")
        assert shown.viz["figure"] is not None


def test_the_tree_survives_a_file(tmp_path):
    tree = llc.estimate_llc(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, draws=20)
    tree.to_netcdf(tmp_path / "tree.nc")
    import xarray as xr

    with xr.open_datatree(tmp_path / "tree.nc") as back:
        xr.testing.assert_identical(back.load().posterior.to_dataset(), tree.posterior.to_dataset())
        assert str(back.verdict.values) == str(tree.verdict.values)


def test_warm_up_is_not_averaged():
    tree = llc.estimate_llc(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, draws=50, warmup=30)
    assert float(tree.llc_raw) == pytest.approx(float(tree.posterior.llc.mean()))
    assert float(tree.warmup_posterior.llc[0, 0]) == 0


def test_the_first_line_says_it_all():
    tree = llc.estimate_llc(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, draws=20)
    first, *_ = repr(tree).splitlines()
    for part in (f"llc {float(tree.llc):.4g}", tree.verdict.item(), "nbeta 50", "gamma 2", "n 8"):
        assert part in first
    both = xr.concat([tree.to_dataset()] * 2, "model")  # which drops attrs that differ
    assert both.nbeta.values.tolist() == [NBETA] * 2
    assert both.gamma.values.tolist() == [GAMMA] * 2
    assert both.num_samples.values.tolist() == [8, 8]
    assert (both.step_size > 0).all()


def test_defaults_are_recorded_and_pure():
    model, batch = network()
    first, again = (llc.estimate_llc(model, squared_errors, batch, draws=20, max_gradients=3000) for _ in range(2))
    assert first.posterior.llc.identical(again.posterior.llc)
    ladder = first["ladder"]
    assert float(ladder.nbeta[0]) == pytest.approx(256 / np.log(256))
    size = sum(float(p.detach().square().sum()) for p in model.parameters())
    assert float(ladder.gamma[0]) == pytest.approx(30 / size, rel=0.01)
    assert first.attrs["gamma"] == float(ladder.gamma[-1])
    assert first.attrs["nbeta"] == float(ladder.nbeta[-1])
    assert first.attrs["sampler"] == "gle"
    assert first.attrs["batch_size"] == 256
    assert {"step_size", "friction", "curvature", "num_parameters", "num_samples"} <= set(first.attrs)


def test_the_sampler_follows_the_batches():
    """GLE on the whole dataset, kinetic Langevin on minibatches, and what is asked for in either case."""
    model, batch = network()
    made = {"nbeta": 40.0, "gamma": 5.0, "draws": 8, "warmup": 0, "chains": 1, "max_gradients": 400}
    for settings, expected in (({}, "gle"), ({"batch_size": 32}, "kinetic"), ({"sampler": "sgld"}, "sgld")):
        assert llc.estimate_llc(model, squared_errors, batch, **made, **settings).attrs["sampler"] == expected


def linear_regression(away: float = 0.0):
    """Four weights at their least squares, or somewhat away from it, with noise that no weights fit: λ = 2."""
    draw = torch.Generator().manual_seed(5)
    xs = torch.randn(500, 4, generator=draw, dtype=torch.float64)
    ys = xs @ torch.ones(4, dtype=torch.float64) + 0.5 * torch.randn(500, generator=draw, dtype=torch.float64)
    model = nn.Linear(4, 1, bias=False).double()
    model.weight.data[0] = torch.linalg.lstsq(xs, ys).solution + away
    return model, (xs, ys)


@pytest.mark.parametrize(
    ("headline", "away", "said"),
    [("auto", 0.0, "w*"), ("auto", 0.15, "basin"), ("basin", 0.0, "basin"), ("w*", 0.0, "w*"), ("w*", 0.15, "w*")],
)
def test_the_headline_is_at_w_or_of_the_basin(headline, away, said):
    """With γ given: at w* on the floor, of the basin above it, or as asked for. Both are told in any case.

    Exact: λ = ½Σx, and at w* less the nats from there down to the minimum of the loss with its localisation.
    """
    model, (xs, ys) = linear_regression(away)
    nbeta, gamma = 150.0, 1.0
    tree = llc.estimate_llc(
        model, squared_errors, (xs, ys), nbeta=nbeta, gamma=gamma, draws=200, warmup=60, headline=headline
    )
    hessian = 2 * xs.T @ xs / len(xs)
    shares = nbeta * torch.linalg.eigvalsh(hessian) / (nbeta * torch.linalg.eigvalsh(hessian) + gamma)
    exact = 0.5 * float(shares.sum())
    down = nbeta * torch.linalg.solve(nbeta * hessian + gamma * torch.eye(4), hessian @ (0 * xs[0] + away))
    nats = nbeta * float(down @ hessian @ (0 * xs[0] + away) - down @ hessian @ down / 2)
    assert tree.headline.item() == said
    assert float(tree.llc) == pytest.approx(float(tree.llc_basin if said == "basin" else tree.llc_at_w), rel=1e-9)
    assert abs(float(tree.llc_basin) - exact) < 4 * float(tree.llc_basin_se)
    assert abs(float(tree.llc_at_w) - (exact - nats)) < 4 * float(tree.llc_at_w_se)
    assert abs(float(tree.floor_nats) - nats) < 4 * float(tree.floor_nats_se) + 1e-6
    if headline == "w*" and away:
        assert tree.verdict.item() == "off-minimum"


def test_summary_against_numpy():
    traces = np.random.default_rng(0).normal(3.0, 2.0, (4, 500))
    found = diagnostics.summarise(traces)
    assert found.llc == pytest.approx(traces.mean())
    assert found.llc_se == pytest.approx(2 / np.sqrt(2000), rel=0.5)
    assert abs(found.drift) < 4
    assert found.ess_bulk > 1000


def test_a_loss_that_ignores_the_model_is_named():
    mine = diagonal_well()
    with pytest.raises(InvalidInput, match="does not depend on the weights of the model it is given"):
        llc.estimate_llc(
            diagonal_well(), lambda model, batch: well_loss(mine, batch).detach(), data(), nbeta=NBETA, gamma=GAMMA
        )


def test_gradients_are_taken_even_where_the_caller_has_switched_them_off():
    with torch.no_grad():
        tree = llc.estimate_llc(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, draws=20)
    assert float(tree.llc_raw) > 0


def test_numbers_of_numpy_are_numbers():
    plain = {"nbeta": 40.0, "gamma": 5.0, "chains": 2, "draws": 20, "seed": 3}
    given = {name: np.array(value)[()] for name, value in plain.items()} | {"nbeta": np.float32(40)}
    first, second = (llc.estimate_llc(diagonal_well(), well_loss, data(), **settings) for settings in (plain, given))
    assert first.posterior.llc.identical(second.posterior.llc)
    with pytest.raises(InvalidInput, match="chains = 0 given"):
        llc.estimate_llc(diagonal_well(), well_loss, data(), chains=np.int64(0))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"seed": "a"}, "seed = 'a' given"),
        ({"seed": -1}, "seed = -1 given"),
        ({"seed": 1.5}, "seed = 1.5 given"),
        ({"parameters": []}, r"parameters = \[\] given, expected patterns of names"),
        ({"observables": 5}, "observables = 5 given, expected a list"),
        ({"reference_losses": {"zero": "4"}}, "reference_losses = {'zero': '4'} given, expected finite numbers"),
        ({"reference_losses": {"zero": float("nan")}}, "reference_losses = {'zero': nan} given"),
        ({"reference_losses": [4.1]}, r"reference_losses = \[4.1\] given"),
    ],
)
def test_bad_arguments_are_named(settings, said):
    with pytest.raises(InvalidInput, match=said):
        llc.estimate_llc(nn.Linear(2, 1), squared_errors, (torch.randn(8, 2), torch.randn(8, 1)), **settings)


def test_an_estimate_says_how_it_was_made():
    batch = torch.randn(8, 2), torch.randn(8)
    plain = {"nbeta": 40.0, "draws": 20, "parameters": ["w*"], "seed": 3}
    attrs = llc.estimate_llc(nn.Linear(2, 1), squared_errors, batch, **plain).attrs
    assert attrs["given"] == "draws = 20, parameters = ['w*'], nbeta = 40.0, seed = 3"
    assert (attrs["seed"], attrs["parameters"], attrs["target_error"]) == (3, "w*", 0.1)
    assert attrs["max_gradients"] == 100_000
    assert attrs["library"].startswith("local-learning-coefficient ")
    attrs = llc.estimate_llc(nn.Linear(2, 1), squared_errors, batch, max_gradients=1).attrs
    assert (attrs["given"], attrs["parameters"]) == ("max_gradients = 1", "all")


def test_bad_step_size_is_named():
    with pytest.raises(InvalidInput, match="step_size = -1 given"):
        llc.estimate_llc(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, step_size=-1)
    with pytest.raises(InvalidInput, match="draws = 0 given"):
        llc.estimate_llc(diagonal_well(), well_loss, data(), nbeta=NBETA, gamma=GAMMA, draws=0)


@pytest.mark.parametrize(("sampler", "draws"), [("kinetic", 600), ("sgld", 2500)])
@pytest.mark.slow
def test_minibatch_heat_is_predicted_and_taken_off(sampler, draws):
    """Minibatches of 8 heat the chains well above the exact value; the corrected λ̂ is within four of its errors.

    The prediction is a mean over looks, of which six a chain are too few where one look's own spread is as large as it:
    thirty.
    """
    model, loss, slopes = noisy_well()
    tree = llc.estimate_llc(
        model,
        loss,
        slopes,
        sampler=sampler,
        nbeta=NBETA,
        gamma=GAMMA,
        batch_size=8,
        control_variates=False,
        draws=draws,
        warmup=draws // 4,
        chains=4,
        full_loss_every=min(50, draws // 30),
    )
    monte_carlo = array_stats.mcse(tree.posterior.llc.values, method="mean")
    assert float(tree.llc_raw) - exact_llc() > 8 * monte_carlo
    assert abs(float(tree.llc) - exact_llc()) < 4 * float(tree.llc_se)
    assert abs(float(tree.llc) - exact_llc()) < 0.4 * (float(tree.llc_raw) - exact_llc())


# Where chains are held so tight, few draws tell λ̂; and of two wells with different curvatures it differs by a third.
TIGHT = 10.0
DRAWS = {"rmsprop-sgld": 1500, "mala": 800, "hmc": 400}


@pytest.mark.parametrize(
    "sampler", ["mala", *(pytest.param(name, marks=pytest.mark.slow) for name in ("rmsprop-sgld", "hmc"))]
)
def test_other_samplers_agree_on_the_well(sampler):
    tree = llc.estimate_llc(
        diagonal_well(),
        well_loss,
        data(),
        sampler=sampler,
        nbeta=NBETA,
        gamma=TIGHT,
        draws=DRAWS[sampler],
        warmup=100,
        chains=3,
    )
    exact = exact_llc(gamma=TIGHT)
    assert abs(float(tree.llc) - exact) < 4 * float(tree.llc_se)
    assert float(tree.llc_se) < 0.1 * exact
    if sampler in {"mala", "hmc"}:
        assert 0.4 < float(tree.acceptance) <= 1.0


class TwoWells(nn.Module):
    """Position k of K has the loss ½ h_k w_k²: λ̂ of each is known."""

    def __init__(self, curvatures):
        super().__init__()
        self.register_buffer("curvatures", torch.tensor(curvatures, dtype=torch.float64))
        self.first = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.second = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self):
        return 0.5 * self.curvatures * torch.cat([self.first, self.second]).square()


def by_position(model, batch):
    return model().expand(len(batch[0]), 2)


def test_the_estimate_by_position_comes_from_the_same_draws():
    """Their mean is λ̂, and each is within four of its standard errors of nβ h_k Var(w_k)/2."""
    curvatures = [4.0, 0.5]
    tree = llc.estimate_llc(TwoWells(curvatures), by_position, data(), nbeta=NBETA, gamma=TIGHT, draws=500)
    assert tree.llc_position.dims == ("position",)
    assert tree.position.values.tolist() == [1, 2]
    assert float(tree.llc_position.mean()) == pytest.approx(float(tree.llc), rel=1e-6)
    # The mean over positions is what is sampled: its Hessian is h_k/2.
    exact = np.array([0.5 * NBETA * h / (NBETA * h / 2 + TIGHT) for h in curvatures])
    assert (np.abs(tree.llc_position.values - exact) < 4 * tree.llc_position_se.values).all()
    assert (tree.llc_position_se.values < 0.1).all()


def test_only_parameters_that_match_move():
    """With the first weight held, the second's half of λ̂ is left."""
    settings = {"nbeta": NBETA, "gamma": TIGHT, "draws": 250}
    tree = llc.estimate_llc(TwoWells([4.0, 0.5]), by_position, data(), parameters=["sec*"], **settings)
    exact = 0.25 * NBETA * 0.5 / (NBETA * 0.5 / 2 + TIGHT)
    assert tree.attrs["num_parameters"] == 1
    assert float(tree.llc_position[0]) == 0
    assert abs(float(tree.llc) - exact) < 4 * float(tree.llc_se)
    with pytest.raises(InvalidInput, match=r"no parameter matches 'third\*'; known: first, second"):
        llc.estimate_llc(TwoWells([4.0, 0.5]), by_position, data(), parameters=["third*"], **settings)


def test_the_whole_datasets_loss_is_looked_at_when_asked():
    model, batch = network()
    tree = llc.estimate_llc(
        model, squared_errors, batch, nbeta=40.0, gamma=5.0, batch_size=32, draws=60, full_loss_every=20,
        max_gradients=400,
    )  # fmt: skip
    seen = tree["sample_stats"].full_llc
    warm = int(tree.warmup)
    assert seen.notnull().any("chain").values.nonzero()[0].tolist() == [60 - warm + place for place in (19, 39, 59)]
    with pytest.raises(InvalidInput, match="every 61 draws asked for, expected every 1 to 60"):
        llc.estimate_llc(model, squared_errors, batch, gamma=5.0, draws=60, full_loss_every=61)
