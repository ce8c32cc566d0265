"""One question after a list of examples: references against closed forms and published risks, heads against loops."""

import math

import pytest
import torch

import llc
from llc import behaviour, predictors
from llc.errors import InvalidInput
from llc.models import SoftmaxHeadsConfig, build
from llc.tasks import QueryRegression, fitted_references

HE = QueryRegression(dim=5, length=40, noise_variance=0.1)
OSWALD = QueryRegression(dim=10, length=10, covariates="uniform", weight_variance=1.0, half=True)


def risk(task: QueryRegression, name: str, sequences: int = 200_000) -> tuple[float, float]:
    """Mean loss of a reference and its standard error."""
    test = behaviour.eval_sets(task, sequences)["id"]
    losses = behaviour.reference_losses_by_sequence(test, name)
    return float(losses.mean()), float(losses.std() / math.sqrt(sequences))


@pytest.mark.parametrize(
    ("task", "name", "published"),
    [
        (HE, "ridge", 0.1146),
        (HE, "gd", 0.2407),
        (HE, "debiased_gd", 0.2431),
        (OSWALD, "gd", 0.2062),
    ],
)
def test_risks_are_those_published(task, name, published):
    """Within two standard errors of the sample, and half a unit of the last digit that was printed."""
    found, error = risk(task, name)
    assert abs(found - published) < 2 * error + 5e-5


def test_the_two_head_softmax_has_its_published_risk():
    batch = HE.sample(200_000, stream="risk")
    mu, omega = torch.tensor([3.45, -3.45]), torch.tensor([0.13, -0.13])
    squares = (predictors.structured_softmax(*batch.inputs, omegas=omega, mus=mu) - batch.targets).square()
    assert abs(float(squares.mean()) - 0.2430) < 2.5 * float(squares.std()) / 200_000**0.5 + 5e-5


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"correlation": 0.6},
        {"covariates": "uniform", "reach": 2.0},
        {"clean_query": True, "weight_variance": 2.0},
        {"supports": [[0, 1, 2], [2, 3]]},
    ],
)
def test_no_other_step_is_better(settings):
    """A parabola in η through the losses at three steps on the same sequences has its least at the best one."""
    task = HE.override(settings)
    batch = task.sample(200_000, stream="steps")
    best, factors = task.best_step, torch.tensor([0.8, 1.0, 1.2], dtype=torch.float64)
    losses = torch.stack(
        [
            (predictors.one_step(*batch.inputs, step=best * float(f)) - batch.targets).double().square().mean()
            for f in factors
        ]
    )
    a, b, _ = torch.linalg.solve(torch.stack([factors**2, factors, torch.ones(3).double()], 1), losses)
    assert float(-b / (2 * a)) == pytest.approx(1.0, abs=0.02)


def test_no_other_preconditioner_is_better():
    """Losses have no slope along any change of Γ, within their errors; and it is below plain descent."""
    task = HE.override({"correlation": 0.7})
    assert torch.allclose(HE.best_preconditioner, HE.best_step * torch.eye(5, dtype=torch.float64))
    batch, best = task.sample(100_000, stream="preconditioners"), task.best_preconditioner
    answers = {name: predictor(*batch.inputs) for name, predictor in task.predictors().items()}
    losses = {name: (answer - batch.targets).double().square() for name, answer in answers.items()}
    gaps = losses["gd"] - losses["preconditioned_gd"]
    assert float(gaps.mean()) > 3 * float(gaps.std()) / 100_000**0.5
    rng = torch.Generator().manual_seed(0)
    for _ in range(3):
        change = torch.randn(5, 5, generator=rng, dtype=torch.float64) * best.norm() / 5
        moved = predictors.one_step(*batch.inputs, step=1.0, preconditioner=change)
        # d/dt of ½(f + t·moved − y)² at 0, whose mean is 0 where f is best.
        slopes = (answers["preconditioned_gd"] - batch.targets).double() * moved.double()
        assert abs(float(slopes.mean())) < 2.5 * float(slopes.std()) / 100_000**0.5
    with pytest.raises(InvalidInput, match=r"preconditioner \(3, 5\)"):
        predictors.one_step(*batch.take(slice(2)).inputs, step=1.0, preconditioner=best[:3])


def nearby_losses(task, name, numbers, told):
    """Mean losses of a reference, on the sequences that its numbers were fitted to, with these and each 5 % off."""
    inputs, targets = (batch := task.sample(8192, stream="fitted references")).inputs, batch.targets
    changed = [numbers]
    for place in range(len(numbers)):
        for factor in (0.95, 1.05):
            other = numbers.clone()
            other[place] *= factor
            changed.append(other)
    return [
        float((getattr(predictors, name)(*inputs, **told(each)) - targets).double().square().mean()) for each in changed
    ]


def test_gd_plus_plus_has_its_best_steps():
    """One step is the best step of descent, within what 8,192 sequences tell. Any change of the three numbers of two
    loses more; they are those of the lowest of three minima that 24 starts found on 1,024 other sequences, (0.72, 6.03,
    0.66) times that step, and lose less than those that plain steps lead to."""
    task = OSWALD.override({"fitted": ["gd_plus_plus"], "descent_steps": 1})
    (step,), _ = task.best_gd_plus_plus
    assert float(step) == pytest.approx(task.best_step, rel=0.03)
    two = task.override({"descent_steps": 2})
    steps, gammas = two.best_gd_plus_plus
    own, *others = nearby_losses(
        two, "gd_plus_plus", torch.cat([steps, gammas[:1]]),
        lambda numbers: {"steps": numbers[:2], "gammas": torch.cat([numbers[2:], torch.zeros(1)])},
    )  # fmt: skip
    assert own < min(others)
    found = torch.cat([steps, gammas[:1]]) / two.best_step
    torch.testing.assert_close(found, torch.tensor([0.72, 6.03, 0.66]).double(), rtol=0.15, atol=0)
    batch = two.sample(20_000, stream="steps")
    local = {"steps": two.best_step * torch.tensor([3.44, 1.79]), "gammas": two.best_step * torch.tensor([0.25, 0.0])}
    squares = [
        (predictors.gd_plus_plus(*batch.inputs, **numbers) - batch.targets).double().square()
        for numbers in (local, {"steps": steps, "gammas": gammas})
    ]
    gaps = squares[0] - squares[1]
    assert float(gaps.mean()) > 3 * float(gaps.std()) / 20_000**0.5


def test_fitted_numbers_hang_on_no_unit_and_what_does_not_hold_is_refused():
    """y and w in other units: the same numbers. Where they are best by chance alone, it is said."""
    for size in (1e-3, 1e3):
        of_unit = HE.override({"noise_variance": 0.1 * size, "weight_variance": size / 5})
        for name in ("best_softmax_pair", "best_gd_plus_plus"):
            for found, expected in zip(getattr(of_unit, name), getattr(HE, name), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)
    with pytest.raises(InvalidInput, match=r"descent_steps = 2 given: .* lose .* on others, where one step loses"):
        fitted_references.best_gd_plus_plus(QueryRegression(dim=1, length=1, noise_variance=0.3))
    with pytest.raises(InvalidInput, match=r"fitted = \['gd_plus_plus', 'gd_plus_plus'\] given, expected different"):
        HE.override({"fitted": ["gd_plus_plus"] * 2})
    with pytest.raises(InvalidInput, match=r"supports = .* given, expected None"):
        fitted_references.best_softmax_pair(SEVERAL)


def test_fitted_references_answer_in_inference_mode_and_keep_their_numbers():
    task = HE.override({"fitted": ["structured_softmax"], "length": 11})
    with torch.inference_mode():
        first = task.predictors()["structured_softmax"](*task.sample(4).inputs)
    task.best_softmax_pair[0].zero_()
    again = task.override({"seed": 3}).predictors()["structured_softmax"](*task.sample(4).inputs)
    assert torch.equal(first, again)
    assert not again.is_inference()


def test_the_best_pair_of_softmax_heads_is_the_published_one():
    """(ω, μ) = (0.13, 3.45) in He et al., known to half a unit of the last digit; on fresh sequences both lose alike.

    μ is linear in what is said, so that its error is that of a regression on the sequences of the fit.
    """
    task = HE.override({"fitted": ["structured_softmax"]})
    omegas, mus = task.best_softmax_pair
    seen = task.sample(8192, stream="fitted references")
    said = task.predictors()["structured_softmax"](*seen.inputs)
    error = float((said * (seen.targets - said)).std() / said.square().mean()) / 8192**0.5
    assert float(omegas[0] * mus[0]) == pytest.approx(0.13 * 3.45, rel=2.5 * error + 0.005 / 0.13)
    own, *others = nearby_losses(
        task, "structured_softmax", torch.stack([omegas[0], mus[0]]),
        lambda pair: {"omegas": pair[0] * torch.tensor([1.0, -1.0]), "mus": pair[1] * torch.tensor([1.0, -1.0])},
    )  # fmt: skip
    assert own < min(others)
    batch = task.sample(20_000, stream="risk")
    mu, omega = torch.tensor([3.45, -3.45]), torch.tensor([0.13, -0.13])
    published = predictors.structured_softmax(*batch.inputs, omegas=omega, mus=mu)
    fitted = task.predictors()["structured_softmax"](*batch.inputs)
    gaps = (fitted - batch.targets).square() - (published - batch.targets).square()
    assert abs(float(gaps.mean())) < 2.5 * float(gaps.std()) / 20_000**0.5
    with pytest.raises(InvalidInput, match=r"fitted = \['structured_softmax'\] given, expected \[\] with supports"):
        HE.override({"fitted": ["structured_softmax"], "supports": [[0], [1]]})


def test_one_step_is_a_step_of_autograd():
    xs, ys, query = (tensor.double() for tensor in HE.sample(3).inputs)
    weights = torch.zeros(3, 5, dtype=torch.float64, requires_grad=True)
    loss = (((xs @ weights[:, :, None]).squeeze(-1) - ys).square() / 2).mean(1).sum()
    (gradient,) = torch.autograd.grad(loss, weights)
    expected = -0.7 * (gradient * query).sum(1)
    torch.testing.assert_close(predictors.one_step(xs, ys, query, step=0.7), expected)


def test_ridge_is_scikit_learns():
    from sklearn.linear_model import Ridge

    xs, ys, query = HE.sample(4).inputs
    found = predictors.ridge_query(xs, ys, query, strength=0.5)
    for b in range(4):
        fitted = Ridge(alpha=0.5, fit_intercept=False).fit(xs[b].numpy(), ys[b].numpy())
        assert float(found[b]) == pytest.approx(float(fitted.predict(query[b : b + 1].numpy())[0]), rel=1e-4)


def test_a_shape_that_does_not_fit_is_named():
    xs, ys, query = HE.sample(4).inputs
    with pytest.raises(InvalidInput, match=r"query \(3, 5\) given"):
        predictors.one_step(xs, ys, query[:3], step=1.0)
    with pytest.raises(InvalidInput, match=r"correlation = 0\.5 given, expected 0 for uniform"):
        QueryRegression(dim=3, length=4, covariates="uniform", correlation=0.5)


SEVERAL = QueryRegression(dim=4, length=9, noise_variance=0.2, supports=[[0, 1, 2], [3]])


def test_several_outputs_depend_on_their_supports_alone():
    """Without noise, least squares on the supports finds the weights of every sequence, and (B, 1, C) is asked for."""
    batch = SEVERAL.override({"noise_variance": 0.0}).sample(5)
    xs, ys, query = (tensor.double() for tensor in batch.inputs)
    assert ys.shape == (5, 9, 2)
    assert batch.targets.shape == (5, 1, 2)
    for output, support in enumerate(SEVERAL.supports):
        weights = torch.linalg.lstsq(xs[:, :, support], ys[:, :, output, None]).solution
        torch.testing.assert_close(xs[:, :, support] @ weights, ys[:, :, output, None], rtol=1e-5, atol=1e-5)
        answer = (query[:, support] * weights[..., 0]).sum(1)
        torch.testing.assert_close(answer.float(), batch.targets[:, 0, output], rtol=1e-4, atol=1e-4)


def test_references_of_several_outputs_are_those_of_each():
    xs, ys, query = SEVERAL.sample(6).inputs
    found = {name: predictor(xs, ys, query) for name, predictor in SEVERAL.predictors().items()}
    strength = SEVERAL.noise_variance / SEVERAL.weight_scale
    for output, support in enumerate(SEVERAL.supports):
        y = ys[:, :, output]
        one = predictors.one_step(xs, y, query, step=SEVERAL.best_step)
        torch.testing.assert_close(found["gd"][:, 0, output], one)
        ridge = predictors.ridge_query(xs[:, :, support], y, query[:, support], strength=strength)
        torch.testing.assert_close(found["ridge"][:, 0, output], ridge)
    assert not found["zero"].any()
    losses = SEVERAL.losses(found["gd"], SEVERAL.sample(6))
    expected = (found["gd"] - SEVERAL.sample(6).targets).square().sum((1, 2))
    torch.testing.assert_close(losses, expected[:, None])


def test_heads_answer_several_outputs_by_the_formula():
    model = build(SoftmaxHeadsConfig(heads=3), SEVERAL, seed=1).double()
    xs, ys, query = (tensor.double() for tensor in SEVERAL.sample(2).inputs)
    found = model(xs, ys, query)
    for b in range(2):
        z = torch.cat([xs[b], ys[b]], 1).T
        asked = torch.cat([query[b], torch.zeros(2).double()])
        expected = sum(
            head.out @ head.values @ z @ torch.softmax(z.T @ head.keys.T @ head.queries @ asked / 6**0.5, 0)
            for head in model.heads
        )
        torch.testing.assert_close(found[b, 0], expected)
    told = model.readouts(SEVERAL.sample(2))
    head = model.heads[1]
    torch.testing.assert_close(told["mu"].values[1], (head.out @ head.values)[:, 4:].diagonal())
    torch.testing.assert_close(told["kq_diagonal"].values[1], (head.keys.T @ head.queries / 6**0.5).diagonal()[:4])


@pytest.mark.parametrize("supports", [[], [[]], [[0, 4]], [[1, 1]], [[-1]]])
def test_supports_that_cannot_be_are_named(supports):
    with pytest.raises(InvalidInput, match="support"):
        QueryRegression(dim=4, length=9, supports=supports)
    with pytest.raises(InvalidInput, match="linear attention answers with one number, 2 are asked for"):
        build(llc.models.LinearAttentionConfig(), SEVERAL)


def test_heads_are_the_formula():
    """f = Σ_h O_h V_h Z softmax(Zᵀ K_hᵀ Q_h z_q/√(D+1)), one sequence and head at a time; 228 parameters at two."""
    model = build(SoftmaxHeadsConfig(heads=2), HE, seed=1).double()
    assert sum(p.numel() for p in model.parameters()) == 228
    xs, ys, query = (tensor.double() for tensor in HE.sample(3).inputs)
    found = model(xs, ys, query)
    for b in range(3):
        z = torch.cat([xs[b], ys[b][:, None]], 1).T
        asked = torch.cat([query[b], torch.zeros(1).double()])
        expected = 0.0
        for head in model.heads:
            scores = z.T @ head.keys.T @ head.queries @ asked / 6**0.5
            expected = expected + head.out[0] @ head.values @ z @ torch.softmax(scores, 0)
        torch.testing.assert_close(found[b], expected)


def test_aligned_heads_are_the_structured_softmax_and_read_out_as_such():
    model = build(SoftmaxHeadsConfig(heads=2), HE)
    omegas, mus = torch.tensor([0.13, -0.13]), torch.tensor([3.45, -3.45])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for head, omega, mu in zip(model.heads, omegas, mus, strict=True):
            head.keys.diagonal()[:5] = 1
            head.queries.diagonal()[:5] = omega * 6**0.5
            head.values[5, 5] = 1
            head.out[0, 5] = mu
    batch = HE.sample(6)
    expected = predictors.structured_softmax(*batch.inputs, omegas=omegas, mus=mus)
    torch.testing.assert_close(model(*batch.inputs), expected)
    found = model.readouts(batch)
    torch.testing.assert_close(found["omega"].values, omegas)
    torch.testing.assert_close(found["mu"].values, mus)
    assert float(found["kq_rest"].values.max()) < 1e-6
    assert float(found["ov_rest"].values.max()) == 0
    assert float(found["mu_sum"].values) == 0


def test_a_sweep_over_heads_goes_the_whole_way(tmp_path):
    """Trained, estimated and projected over the number of heads."""
    from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig

    config = ExperimentConfig(
        task=QueryRegression(dim=2, length=4, noise_variance=0.1),
        model=SoftmaxHeadsConfig(),
        training=TrainingConfig(steps=20, batch_size=16, learning_rate=1e-2),
        checkpoints=CheckpointsConfig(every=10),
        behaviour=BehaviourConfig(sequences=32),
        sweep=SweepConfig(axes={"model.heads": [1, 2]}),
    )
    experiment = llc.train(config, tmp_path / "heads", jobs=1)
    assert experiment.metrics.loss.dims == ("heads", "seed", "step", "test_set")
    sampling = {"nbeta": 20.0, "gamma": 20.0, "num_samples": 64, "batch_size": 16, "draws": 16, "warmup": 5}
    found = llc.estimate_llc_over_training(experiment, steps="last", **sampling, max_gradients=400, jobs=1)
    assert found.llc.dims == ("heads", "seed", "step")
    assert llc.joint_pca(experiment, 2).score.dims == ("heads", "seed", "step", "component")
