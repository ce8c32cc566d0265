"""Every λ of the suites without settings, checked by something other than the formula that gave it."""

import math
import pickle
from functools import partial

import numpy as np
import pytest
import scipy.optimize
import torch
from torch.func import functional_call, grad, jacrev

from llc.validation import known_cases, validation
from llc.validation.learning_coefficient import deep_linear, two_layer_local
from llc.validation.problems import classification, polynomial, redrawn, superposition
from llc.validation.problems import deep_linear as networks
from llc.validation.problems.losses import mean_loss, mean_squared_errors

# At w* the loss is curved across a smooth set of minima, so that λ is half the Hessian's rank.
SMOOTH = {
    "linear regression",
    "flat directions",
    "logistic regression",
    "softmax regression",
    "deep linear, fitted",
    "superposition",
    "linear autoencoder",
}


def of_kinds(*kinds, problems=0):
    return [case for case in known_cases.suite("full", problems) if case.kind in kinds]


def named(case):
    return case.name


def flat_loss(model, loss, data):
    """w ↦ mean loss, float64, and w* as one vector."""
    model = model.double()
    data = tuple(part.double() if part.is_floating_point() else part for part in data)
    names, parameters = zip(*model.named_parameters(), strict=True)
    shapes = [parameter.shape for parameter in parameters]

    def apply(w):
        parts = torch.split(w, [shape.numel() for shape in shapes])
        weights = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}

        def call(x):
            return functional_call(model, weights, (x,))

        return loss(call, data).mean()

    return apply, torch.cat([parameter.detach().reshape(-1) for parameter in parameters])


def curvatures(case):
    """Eigenvalues of the mean loss's Hessian at w*, ascending."""
    apply, start = flat_loss(*case.build(*case.arguments))
    return torch.linalg.eigvalsh(jacrev(grad(apply), chunk_size=8)(start))


def check_rank(case):
    values, rank = curvatures(case), round(2 * case.exact)
    flat = float(values[: case.parameters - rank].abs().max()) if case.parameters > rank else 0.0
    assert len(values) == case.parameters
    assert float(values[case.parameters - rank]) > max(30 * flat, 1e-4 * float(values[-1])), case.name


# ReLU has its kinks at the square: see the test of squares.
@pytest.mark.parametrize(
    "case",
    [c for c in of_kinds(*SMOOTH) if c.parameters <= 104 and not c.name.startswith("superposition, 4-gon")],
    ids=named,
)
def test_lambda_is_half_the_rank_of_the_hessian(case):
    check_rank(case)


def test_kinds_of_other_draws_have_the_rank_they_say():
    quick = known_cases.suite("quick", 3)
    for case in quick:
        if case.kind in SMOOTH and case.parameters <= 100:
            check_rank(case)


def test_a_square_is_curved_in_pieces_but_for_its_turn():
    """K is positive to second order in every direction but the turn's, and quadratic along each."""
    apply, start = flat_loss(*superposition.polygon(4, 500, 3))
    weight = start[:8].reshape(2, 4)
    turn = torch.cat([torch.stack([-weight[1], weight[0]]).reshape(-1), torch.zeros(4)]).double()
    turn = turn / turn.norm()

    def rise(direction, size=1e-3):
        v = torch.as_tensor(direction, dtype=torch.float64)
        v = v - (v @ turn) * turn
        return float(apply(start + size * v / v.norm())) / size**2

    rng = np.random.default_rng(0)
    for _ in range(4):
        v = rng.normal(size=12)
        assert rise(v, 2e-4) == pytest.approx(rise(v, 1e-4), rel=0.05)
        lowest = scipy.optimize.minimize(rise, v, method="Powell", options={"maxfev": 1000})
        assert lowest.fun > 3e-3


@pytest.mark.parametrize("problems", [0, 1])
def test_teachers_lie_where_their_formula_holds(problems):
    for case in of_kinds("deep linear", "deep linear, noisy", problems=problems):
        model, _, (x, y) = case.build(*case.arguments)
        widths, rank, _, samples, noise, _, _ = case.arguments
        assert all(int(torch.linalg.matrix_rank(weight, atol=1e-4)) == rank for weight in model.weights)
        assert deep_linear(widths, rank) == (case.exact, case.multiplicity)
        assert 100 <= case.parameters <= 1500
        assert mean_loss(model, mean_squared_errors, (x, y)) == pytest.approx(noise**2, rel=0.1, abs=1e-9)
        assert len(x) == samples


def test_fitted_networks_agree_with_the_formula_at_their_full_rank():
    for case in of_kinds("deep linear, fitted"):
        widths = case.arguments[0]
        assert deep_linear(widths, min(widths)) == (case.exact, 1)


def test_strata_have_the_ranks_they_say():
    for case in of_kinds("two-layer stratum"):
        model, _, _ = case.build(*case.arguments)
        (m, h, n), (a, b, r), _, _ = case.arguments
        first, second = model.weights
        found = [int(torch.linalg.matrix_rank(matrix, atol=1e-4)) for matrix in (first, second, second @ first)]
        assert found == [a, b, r]
        assert two_layer_local(m, h, n, rank_in=a, rank_out=b, rank=r).value == case.exact
        assert case.exact > deep_linear((m, h, n), r).value


@pytest.mark.parametrize("classes", [2, 5])
def test_the_most_likely_weights_have_no_gradient(classes):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(500, 4, generator=rng)
    labels = torch.randint(0, classes, (500,), generator=rng)
    weight = classification.most_likely(x, labels, classes).requires_grad_()
    logits = torch.cat([torch.zeros(500, 1), x.double() @ weight.T], 1)
    torch.nn.functional.cross_entropy(logits, labels).backward()
    assert float(weight.grad.abs().max()) < 1e-14


def test_reduced_rank_is_what_a_search_finds():
    _, _, (x, y) = networks.teacher((5, 3, 3, 4), 2, "N(0,1)", 300, 0.7, "summed", 0)
    found = networks.reduced_rank(x, y, 3)
    assert int(torch.linalg.matrix_rank(found, atol=1e-9)) == 3
    x, y = x.double().numpy(), y.double().numpy()

    def loss(w):
        return ((y - x @ (w[:12].reshape(4, 3) @ w[12:].reshape(3, 5)).T) ** 2).sum(1).mean()

    starts = np.random.default_rng(0).normal(size=(3, 27))
    best = min(scipy.optimize.minimize(loss, start, method="BFGS").fun for start in starts)
    assert networks.lowest((torch.tensor(x), torch.tensor(y)), 3, "summed") == pytest.approx(best, abs=1e-8)


def search(case):
    """The loss at w*, and where a quasi-Newton search from it ends."""
    apply, start = flat_loss(*case.build(*case.arguments))

    def with_gradient(w):
        w = torch.tensor(w, requires_grad=True)
        value = apply(w)
        value.backward()
        return value.item(), w.grad.numpy()

    tight = {"maxiter": 400, "maxcor": 30, "ftol": 1e-15, "gtol": 1e-9}
    found = scipy.optimize.minimize(with_gradient, start.numpy(), jac=True, method="L-BFGS-B", options=tight)
    return float(apply(start)), found.fun


@pytest.mark.parametrize(
    "case", [*of_kinds("above the floor, SGD")[2:4], *of_kinds("above the floor, Adam")[1:3]], ids=named
)
def test_training_leaves_weights_above_a_floor_that_a_search_finds(case):
    at_truth, least = search(case)
    n = len(case.build(*case.arguments)[2][0])
    assert 20 < case.floor * n / math.log(n) < 200
    # A search slows down among a deep network's saddles, and can end a little above its floor, never below.
    assert -1e-9 < case.floor - (at_truth - least) < 0.05 * case.floor


def test_a_noisy_truth_is_no_minimum():
    for case in of_kinds("deep linear, noisy"):
        model, loss, data = case.build(*case.arguments)
        assert case.floor == pytest.approx(mean_loss(model, loss, data) - case.lowest(data))
        assert case.floor > 0


def test_other_samples_are_of_the_same_truth():
    case = of_kinds("deep linear, noisy")[6]
    again = redrawn(case, 1)
    first, second = case.build(*case.arguments), again.build(*again.arguments)
    for a, b in zip(first[0].parameters(), second[0].parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[2][0], second[2][0])
    assert again.floor != case.floor
    assert again.name != case.name
    assert torch.equal(first[2][1], redrawn(case, 0).build(*case.arguments)[2][1])
    # Least-squares solutions of other samples scatter about one truth, by σ/√n.
    regression = of_kinds("linear regression")[2]
    _, _, _, samples, noise, _, _ = regression.arguments
    weights = torch.stack([redrawn(regression, k).build(*regression.arguments)[0].weight.detach() for k in range(10)])
    assert float(weights.std(0).mean()) == pytest.approx(noise / samples**0.5, rel=0.5)


def test_suites_without_settings_hold_what_they_say():
    cases, others = known_cases.suite("full"), known_cases.suite("full", 1)
    assert 120 <= len({case.truth for case in cases}) <= 140
    assert len({case.name for case in cases}) == len(cases)
    assert len(known_cases.suite("quick")) == 16
    assert [case.kind for case in cases] == [case.kind for case in others]
    shared = {case.name for case in cases} & {case.name for case in others}
    assert all(name.startswith("normal crossing") for name in shared)
    for case in cases:
        assert case.settings == {}
        assert pickle.loads(pickle.dumps(case)).arguments[:2] == case.arguments[:2]
        if case.kind.startswith("above the floor") or case.kind == "superposition":
            continue
        model, loss, data = case.build(*case.arguments)
        assert sum(parameter.numel() for parameter in model.parameters()) == case.parameters
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert loss(model, data).shape == (len(data[0]),)


def test_building_twice_gives_the_same():
    for case in (of_kinds("above the floor, SGD")[1], of_kinds("flat directions")[4]):
        first, second = (case.build(*case.arguments) for _ in range(2))
        for a, b in zip(first[0].parameters(), second[0].parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_case_without_settings_is_run_at_the_estimators_choices(monkeypatch):
    """The estimator gets nothing but the model, loss and data, and devinterp what it chose."""
    monkeypatch.setattr(validation, "estimate_llc", partial(validation.estimate_llc, max_gradients=1500))
    case = polynomial.crossing(0, 0)
    own, peer = validation._validate_case(case, ["kinetic", "devinterp"], 0, None)
    assert own["verdict"]
    assert own["nbeta"] > 0
    assert 0.2 < own["llc"] < 1
    assert peer["gradients"] == pytest.approx(own["gradients"], rel=0.1)
    assert math.isfinite(peer["llc"])


def test_a_failed_estimate_is_a_row(monkeypatch):
    def fail(*_, **__):
        raise validation.EstimateFailed("no estimate: every chain diverged")

    monkeypatch.setattr(validation, "estimate_llc", fail)
    (row,) = validation._validate_case(polynomial.crossing(0, 0), ["kinetic"], 0, None)
    assert row["verdict"] == "diverged"
    assert math.isnan(row["llc"])
