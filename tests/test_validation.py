import numpy as np
import pytest
import torch
import xarray as xr

from llc import plots
from llc.complexity import validation
from llc.complexity.learning_coefficient import deep_linear
from llc.errors import InvalidInput
from llc.models.deep_linear import DeepLinear
from llc.randomness import generator


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


@pytest.mark.parametrize("name", ["quick", "full"])
def test_suites_hold_what_they_say(name):
    cases = validation.suite(name)
    assert len({case.name for case in cases}) == len(cases)
    networks = [case for case in cases if case.kind.startswith("deep linear")]
    assert len(networks) == {"quick": 12, "full": 100}[name]
    for case in networks:
        widths, rank, _, _ = case.arguments
        assert deep_linear(widths, rank) == (case.exact, case.multiplicity)
        assert 3 <= len(widths) <= 7
    for case in cases[:30]:
        model, loss, data = case.build(*case.arguments)
        assert sum(parameter.numel() for parameter in model.parameters()) == case.parameters
        losses = loss(model, data)
        assert losses.shape == (len(data[0]),)


def test_every_true_point_is_a_minimum():
    for case in validation.suite("quick"):
        model, loss, data = case.build(*case.arguments)
        gradients = torch.autograd.grad(loss(model, data).mean(), list(model.parameters()))
        assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-4, case.name


def test_a_small_network_comes_out_right():
    """A deep linear network within four standard errors of its exact value and within a tenth."""
    case = validation.Case(
        name="3-2-3, rank 1",
        kind="deep linear",
        build=validation.deep_linear_case,
        arguments=((3, 2, 3), 1, 256, 0),
        exact=float(deep_linear((3, 2, 3), 1).value),
        multiplicity=1,
        parameters=12,
        settings={"nbeta": 1e5, "gamma": 30.0, "draws": 800, "batch_size": 256},
    )
    row = validation._validate_case(case, "kinetic", 0, lambda *_: None)
    assert abs(row["llc"] - case.exact) < 4 * row["llc_se"]
    assert abs(row["llc"] / case.exact - 1) < 0.1


def fake_result() -> xr.Dataset:
    rows = [
        {
            "llc": exact * (1 + error),
            "llc_se": 0.1 * exact,
            "llc_low": exact * (1 + error - 0.15),
            "llc_high": exact * (1 + error + 0.15),
            "verdict": verdict,
            "reason": "",
            "gradients": 10,
            "seconds": 1.0,
        }
        for exact, error, verdict in [
            (1.0, 0.1, "converged"),
            (2.0, -0.2, "converged"),
            (4.0, 0.0, "converged"),
            (8.0, 5.0, "drifting"),
        ]
    ]
    cases = [validation.Case(str(exact), "kind", lambda: None, (), exact, 1, 3, {}) for exact in (1.0, 2.0, 4.0, 8.0)]
    return validation._label(cases, rows)


def test_scores_by_hand():
    found = validation.scores(fake_result())
    assert found["median_error"] == pytest.approx(0.1)
    assert found["worst_error"] == pytest.approx(0.2)
    assert found["coverage"] == pytest.approx(2 / 3)
    assert found["unconverged"] == pytest.approx(0.25)
    assert found["order_preservation"] == 1.0


def test_the_report_and_the_figure():
    said = validation.format_validation(fake_result())
    assert "drifting" in said
    assert "25 % were not called converged" in said
    axes = plots.validation(fake_result()).axes[0]
    assert len([line for line in axes.lines if line.get_marker() in {"o", "^"}]) == 4
    assert np.isclose(axes.get_xlim()[0], 0.7)


def test_an_unknown_suite_is_named():
    with pytest.raises(InvalidInput, match=r"unknown suite quik; did you mean quick\?"):
        validation.suite("quik")
