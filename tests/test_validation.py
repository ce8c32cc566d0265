import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr

from llc import figures
from llc.errors import InvalidInput
from llc.models.deep_linear import DeepLinear
from llc.randomness import generator
from llc.validation import draws, known_cases, peers, redrawn, scoring, validation
from llc.validation.learning_coefficient import deep_linear, two_layer_local


@pytest.mark.parametrize(("widths", "rank"), [((4, 6, 3), 2), ((5, 5, 5, 5), 0), ((3, 3), 3)])
def test_true_points_lie_on_the_lowest_stratum(widths, rank):
    model = DeepLinear(widths)
    model.set_to_rank(rank, generator(0))
    product = torch.eye(widths[0])
    for weight in model.weights:
        assert torch.linalg.matrix_rank(weight, atol=1e-4) == rank
        product = weight @ product
    assert torch.linalg.matrix_rank(product, atol=1e-4) == rank
    x = torch.randn(7, widths[0])
    torch.testing.assert_close(model(x), x @ product.T)


@pytest.mark.parametrize("problems", [0, 1])
def test_strata_have_the_ranks_they_say(problems):
    for case in known_cases.suite("tuned", problems):
        if case.kind == "two-layer stratum":
            model, _, _ = case.build(*case.arguments)
            (m, h, n), (a, b, r), _, _ = case.arguments
            first, second = model.weights
            found = [int(torch.linalg.matrix_rank(matrix, atol=1e-4)) for matrix in (first, second, second @ first)]
            assert found == [a, b, r]
            assert two_layer_local(m, h, n, rank_in=a, rank_out=b, rank=r).value == case.exact
            assert case.exact > deep_linear((m, h, n), r).value


@pytest.mark.parametrize(("name", "problems", "least"), [("tuned-quick", 0, 7), ("tuned", 0, 100), ("tuned", 2, 100)])
def test_suites_hold_what_they_say(name, problems, least):
    cases = known_cases.suite(name, problems)
    assert len({case.name for case in cases}) == len(cases)
    networks = [case for case in cases if case.kind.startswith("deep linear")]
    assert len(networks) >= least
    for case in networks:
        widths, rank, _, _ = case.arguments
        assert deep_linear(widths, rank) == (case.exact, case.multiplicity)
        assert 3 <= len(widths) <= 7
    for case in cases[:30]:
        model, loss, data = case.build(*case.arguments)
        assert sum(parameter.numel() for parameter in model.parameters()) == case.parameters
        losses = loss(model, data)
        assert losses.shape == (len(data[0]),)


def test_another_draw_shares_only_what_does_not_depend_on_chance():
    first, second = ({case.name: case for case in known_cases.suite("tuned", problems)} for problems in (0, 1))
    for name in set(first) & set(second):
        same = first[name].arguments == second[name].arguments
        assert same == (first[name].kind == "normal crossing"), name


def test_every_true_point_is_a_minimum():
    for case in known_cases.suite("tuned-quick"):
        model, loss, data = case.build(*case.arguments)
        gradients = torch.autograd.grad(loss(model, data).mean(), list(model.parameters()))
        assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-3, case.name


def small_case(kind: str = "deep linear") -> known_cases.Case:
    return known_cases.Case(
        name="3-2-3, rank 1",
        kind=kind,
        build=known_cases.deep_linear,
        arguments=((3, 2, 3), 1, 256, 0),
        exact=float(deep_linear((3, 2, 3), 1).value),
        multiplicity=1,
        parameters=12,
        settings={"nbeta": 1e5, "gamma": 30.0, "draws": 800, "batch_size": 256},
    )


@pytest.mark.slow
def test_a_small_network_comes_out_right():
    """A deep linear network within four standard errors of its exact value and within a tenth."""
    case = small_case()
    (row,) = validation._validate_case(case, ["kinetic"], 0, None)
    assert abs(row["llc"] - case.exact) < 4 * row["llc_se"]
    assert abs(row["llc"] / case.exact - 1) < 0.1


@pytest.mark.slow
def test_others_get_the_same_number_of_gradients(tmp_path):
    case = small_case()
    rows = validation._validate_case(case, ["kinetic", "devinterp"], 0, tmp_path)
    gradients = [row["gradients"] for row in rows]
    assert max(gradients) / min(gradients) < 1.1
    assert rows[1]["verdict"] == "none"
    assert 0.5 < rows[1]["llc"] / case.exact < 2
    # Finished methods are kept: the same call again reads them, timings and all.
    again = validation._validate_case(case, ["kinetic", "devinterp"], 0, tmp_path)
    assert repr(again) == repr(rows)  # NaN is not equal to itself


@pytest.mark.skipif(not peers.PEERS["canonical-interp"].installed, reason="canonical-interp asks for Python 3.12")
def test_canonical_interp_estimates_too():
    """A well at its minimum, of which its estimate, too, is near ½ tr H(H + ρ)⁻¹; a key gives a number."""
    model, loss, data = known_cases.polynomial("well", [1.0, 4.0])
    settings = {"chains": 4, "step_size": 0.01, "nbeta": 10.0, "gamma": 1.0, "batch_size": 8, "key": ("peer",)}
    first, again = (
        peers.peer_estimate("canonical-interp", model, loss, data, gradients=20_000, **settings) for _ in range(2)
    )
    assert first == again
    exact = known_cases.learning_coefficient.gaussian_well([1.0, 4.0], nbeta=10.0, gamma=1.0)
    assert abs(first["llc"] - exact) < 4 * first["llc_se"] + 0.05 * exact


def test_devinterps_estimate_is_its_own():
    """Mean of all draws, burn-in and all, above the loss at w*, and the spread of the chains' means for an error."""
    model, loss, data = known_cases.polynomial("well", [1.0, 4.0])
    found = peers.peer_estimate(
        "devinterp",
        model,
        loss,
        data,
        gradients=400,
        chains=2,
        step_size=0.05,
        nbeta=10.0,
        gamma=1.0,
        batch_size=8,
        key=("peer",),
    )
    traces = [
        peers.devinterp_sgld(
            model,
            loss,
            data,
            steps=200,
            step_size=0.05,
            nbeta=10.0,
            gamma=1.0,
            batches=iter([torch.arange(8)] * 200),
            noise=generator("peer", "noise", chain),
        )
        for chain in range(2)
    ]
    means = 10.0 * np.mean(traces, axis=1)
    assert found["llc"] == pytest.approx(means.mean())
    assert found["llc_se"] == pytest.approx(abs(means[0] - means[1]) / 2)


def fake_row(exact: float, error: float, verdict: str, se: float = 0.1) -> dict:
    return {
        "llc": exact * (1 + error),
        "llc_se": se * exact,
        "llc_low": exact * (1 + error - 0.15),
        "llc_high": exact * (1 + error + 0.15),
        "verdict": verdict,
        "reason": "",
        "gradients": 10,
        "seconds": 1.0,
    }


def fake_case(exact: float) -> known_cases.Case:
    return known_cases.Case(str(exact), "kind", lambda redraw=0: None, (), exact, 1, 3, {})


def fake_result() -> xr.Dataset:
    exact = (1.0, 2.0, 4.0, 8.0)
    rows = [fake_row(*row) for row in zip(exact, (0.1, -0.2, 0.0, 5.0), [*["converged"] * 3, "drifting"], strict=True)]
    return validation.label([fake_case(one) for one in exact], ["kinetic"], [[row] for row in rows])


def test_samples_of_a_truth_are_held_against_it_by_their_mean():
    """Three samples: the mean of two that converged; its error is their spread over √2, or their own where larger."""
    cases = [fake_case(10.0), *(redrawn(fake_case(10.0), sample) for sample in (1, 2)), fake_case(5.0)]
    found = [fake_row(10.0, 0.3, "converged"), fake_row(10.0, -0.1, "converged"), fake_row(10.0, 9.0, "drifting")]
    result = validation.label(cases, ["default"], [[row] for row in [*found, fake_row(5.0, 0.0, "converged")]])
    merged = scoring.one_a_truth(result.isel(estimator=0))
    assert merged.llc.values == pytest.approx([11.0, 5.0])
    assert merged.llc_se.values[0] == pytest.approx(np.std([13.0, 9.0], ddof=1) / np.sqrt(2))
    assert scoring.scores(merged)["false_successes"] == 0
    alone = [line for line in scoring.format_validation(result).splitlines() if "one sample a truth" in line]
    assert alone[0].split()[5:7] == ["2", "0.0%"]  # cases, failed
    for row, verdict in zip(found, ("drifting", "drifting", "converged"), strict=True):
        row["verdict"] = verdict
    result = validation.label(cases[:3], ["default"], [[row] for row in found])
    assert scoring.one_a_truth(result.isel(estimator=0)).verdict.values.tolist() == ["drifting"]


def test_scores_by_hand():
    found = scoring.scores(fake_result().isel(estimator=0))
    assert found["median_error"] == pytest.approx(0.1)
    assert found["worst_error"] == pytest.approx(0.2)
    assert found["coverage"] == pytest.approx(2 / 3)
    assert found["unconverged"] == pytest.approx(0.25)
    assert found["order_preservation"] == 1.0
    assert found["false_successes"] == pytest.approx(1 / 3)


def test_every_method_has_its_own_score():
    """Two methods, the second ten times worse: a line each, and a panel each."""
    first = fake_result()
    tenfold = {name: first[name] * 10 for name in ("llc", "llc_low", "llc_high")}
    second = first.assign(tenfold).assign_coords(estimator=["sgld"])
    both = xr.concat([first, second], "estimator", data_vars="minimal")
    said = [line for line in scoring.format_validation(both).splitlines() if ", all" in line]
    assert "10.0%" in said[0]
    assert "900.0%" in said[1]
    assert len(figures.draw(figures.validation(both)).axes) == 4  # estimates and errors of two methods


def test_the_report_and_the_figure():
    said = scoring.format_validation(fake_result())
    assert "drifting" in said
    assert "kinetic, all                             4   25.0%   10.0%" in said
    axes = figures.draw(figures.validation(fake_result())).axes[0]
    drawn = [x for line in axes.lines if line.get_marker() in {"o", "^"} for x in line.get_xdata()]
    assert sorted(drawn) == [1.0, 2.0, 4.0, 8.0]
    assert np.isclose(axes.get_xlim()[0], 0.7)


def test_every_kind_is_in_the_legend():
    """Thirteen, as the full suite has at the defaults."""
    kinds = [f"kind {number}" for number in range(13)]
    every = [fake_result().assign(kind=("case", [kind] * 4)) for kind in kinds]
    figure = figures.draw(figures.validation(xr.concat(every, "case", data_vars="minimal")))
    said = {text.get_text() for text in figure.legends[0].get_texts()}
    assert said >= {*kinds, "exact", "converged", "drifting"}


def test_an_unknown_suite_is_named():
    with pytest.raises(InvalidInput, match=r"unknown suite quik; did you mean quick\?"):
        known_cases.suite("quik")
    with pytest.raises(InvalidInput, match="problems = -1 given"):
        known_cases.suite("quick", problems=-1)


@pytest.mark.parametrize("methods", [["devinterp", "kinetic"], ["kinetic", "kinetic"], []])
def test_a_sampler_comes_first_and_each_method_once(methods):
    with pytest.raises(InvalidInput, match="a sampler first, and each method once"):
        validation.validate("quick", methods=methods)


def test_an_unknown_method_is_named():
    with pytest.raises(InvalidInput, match=r"unknown method sgdl; did you mean sgld\?"):
        validation.validate("quick", methods=["kinetic", "sgdl"])


def test_only_some_cases_are_run(tmp_path, monkeypatch):
    """Those whose names hold one of the texts, into files that say so; what matches nothing is named."""
    from click.testing import CliRunner

    from llc.cli import main

    cases = [dataclasses.replace(small_case(), name=name) for name in ("one", "two", "three")]
    monkeypatch.setattr("llc.validation.validation.suite", lambda *_: cases)
    row = dict.fromkeys(validation._COLUMNS, 1.0) | {"verdict": "converged", "reason": "because"}
    monkeypatch.setattr("llc.validation.validation._validate_case", lambda *_, **__: [row])
    command = ["validate", "--against", "", "--out", str(tmp_path), "--jobs", "1", "--only", "wo", "--only", "hree"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert len(list(tmp_path.glob("validate_quick_default_????????.nc"))) == 1
    assert [name for name in ("one", "two", "three") if f"\n{name} " in done.output] == ["two", "three"]
    done = CliRunner().invoke(main, [*command[:-3], "tw"])
    assert [name for name in ("one", "two", "three") if f"\n{name} " in done.output] == ["two"]
    assert len(list(tmp_path.glob("validate_quick_default_????????.nc"))) == 2
    done = CliRunner().invoke(main, [*command[:-3], "four"])
    assert done.exit_code == 2
    assert "only = ['four'] given, but no case of suite quick" in " ".join(done.output.split())


@pytest.mark.slow
def test_what_losses_say_along_the_draws_is_held_against_closed_forms(monkeypatch, tmp_path):
    """Every kind of problem, too short to say much: within six standard errors; what is finished is kept."""
    monkeypatch.setattr(draws, "_DRAWS", 60)
    monkeypatch.setattr(draws, "_SLOW_DRAWS", 80)
    monkeypatch.setattr(draws, "_SLOW_WARMUP", 40)
    found = draws.validate_draws(1, jobs=1, folder=tmp_path)
    assert found.sizes["quantity"] == 18
    regular = found.sel(quantity=[name for name in found.quantity.values if not name.startswith("x^2 y^4")])
    assert float(regular.within_3.mean()) > 0.9
    assert float(regular.slope.sel(quantity="regression: kernel")[0]) == pytest.approx(1, abs=0.5)
    assert "regression: WAIC" in draws.format_draws(found)
    monkeypatch.setattr(draws, "_PROBLEMS", dict.fromkeys(draws._PROBLEMS))  # nothing is made again
    xr.testing.assert_identical(draws.validate_draws(1, jobs=1, folder=tmp_path), found)
    with pytest.raises(InvalidInput, match="repeats = 0"):
        draws.validate_draws(0)


def test_means_of_a_degenerate_well_are_those_on_a_grid():
    """Of x²y⁴ with a Gaussian prior: by sums over 4,000² points, to a thousandth."""
    nbeta, gamma = 1e3, 2.0
    at = np.linspace(-6, 6, 4001)
    x, y = at[:, None], at[None, :]
    weight = np.exp(-nbeta * x**2 * y**4 - gamma / 2 * (x**2 + y**2))
    weight /= weight.sum()
    exact = {"k": x**2 * y**4, "x": x**2, "y": y**2, "xy": x**2 * y**2}
    for name, value in draws.degenerate_means(nbeta, gamma).items():
        assert value == pytest.approx(float((weight * exact[name]).sum()), rel=1e-3)


def test_an_anharmonic_wells_skewness_has_its_limit():
    """t² Cov[x², x] → −2α/λ³ for (λ, α, ζ) = (1, ½, 1): −0.963, −0.991, −0.998 at t = 50, 200, 800."""
    for t, limit in ((50, -0.963), (200, -0.991), (800, -0.998)):

        def mean(function, t=t):
            return draws._mean_on_a_line(function, lambda x: t * (x**2 / 2 + x**3 / 12 + x**4 / 24), 12 / np.sqrt(t))

        found = mean(lambda x: x**3) - mean(lambda x: x**2) * mean(lambda x: x)
        assert t**2 * found == pytest.approx(limit, abs=6e-4)
