"""Trained models against references: exact where a model is a reference, and claims by hand."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

import llc
from llc import behaviour, development, figures, predictors, systems
from llc.development.comparison import _References, sensitivity
from llc.errors import InvalidInput
from llc.models import LinearAttentionConfig, build
from llc.systems import claims as claimed
from llc.tasks import QueryRegression

TASK = QueryRegression(dim=3, length=6, covariates="uniform", weight_variance=1.0, half=True)


@pytest.fixture(scope="module")
def descent():
    """A layer whose weights are the best step of gradient descent."""
    model = build(LinearAttentionConfig(), TASK)
    model.set_to_descent(TASK.best_step / TASK.length)
    return model


def against(model, sequences=500):
    sets = behaviour.eval_sets(TASK, sequences, {**TASK.test_tasks(), **TASK.shifts()})
    references = _References(TASK, sets)
    return references.names, references.against(model)


def test_a_model_that_is_a_reference_is_nowhere_apart_from_it(descent):
    names, row = against(descent)
    gd = names.index("gd")
    assert abs(row["excess"][0, gd]) < 1e-6
    assert row["prediction_difference"][0, gd] < 1e-5
    assert row["sensitivity_difference"][gd] < 1e-5
    assert row["sensitivity_cosine"][gd] == pytest.approx(1, abs=1e-6)
    # Its sum over the examples does not know how many there are: on longer prompts it is linear attention.
    linear = names.index("linear")
    assert np.abs(row["excess"][:, linear]).max() < 1e-5
    assert row["excess"][2, gd] > 0.01
    assert np.isnan(row["sensitivity_cosine"][names.index("zero")])


def test_means_and_errors_are_those_of_sequences(descent):
    names, row = against(descent)
    batch = TASK.sample(500, stream="test")
    ridge = predictors.ridge_query(*batch.inputs, strength=1e-9)
    losses = [
        ((outputs - batch.targets).double().square() / 2).detach().numpy()
        for outputs in (descent(*batch.inputs), ridge)
    ]
    excess = losses[0] - losses[1]
    assert row["loss"][0] == pytest.approx(losses[0].mean(), rel=1e-5)
    assert row["excess"][0, names.index("ridge")] == pytest.approx(excess.mean(), rel=1e-4)
    assert row["excess_se"][0, names.index("ridge")] == pytest.approx(stats.sem(excess), rel=1e-4)


def test_references_are_held_against_each_other_sequence_by_sequence():
    sets = behaviour.eval_sets(TASK, 500, {**TASK.test_tasks(), **TASK.shifts()})
    references = _References(TASK, sets)
    ridge, gd = (references.names.index(name) for name in ("ridge", "gd"))
    batch = TASK.sample(500, stream="test")
    answers = [TASK.predictors()[name](*batch.inputs).double() for name in ("ridge", "gd")]
    losses = [((one - batch.targets).square() / 2).numpy() for one in answers]
    apart, error = (references.differences[name] for name in ("reference_difference", "reference_excess_se"))
    assert apart[0, ridge, gd] == pytest.approx(float((answers[0] - answers[1]).abs().mean()), rel=1e-5)
    assert error[0, ridge, gd] == pytest.approx(stats.sem(losses[0] - losses[1]), rel=1e-4)
    assert error[0, ridge, gd] < math.hypot(*map(stats.sem, losses))  # for they are of the same sequences
    assert not apart[:, gd, gd].any()
    assert (apart == apart.swapaxes(1, 2)).all()


def test_sensitivities_are_closed_forms():
    """Of one step: (η/L) Σ y x, whatever is asked; of zero: 0; chunks change nothing."""
    batch = TASK.sample(1500)
    xs, ys, _ = batch.inputs
    found = sensitivity(TASK.predictors()["gd"], batch, 2)
    expected = TASK.best_step * (xs * ys[..., None]).mean(1)
    torch.testing.assert_close(found, expected.double(), rtol=1e-4, atol=1e-5)
    assert not sensitivity(TASK.predictors()["zero"], batch, 2).any()


def test_weights_in_another_form_are_interpolated_as_what_they_compute(descent):
    """Factors that cancel within a layer change nothing on the way to the construction; a worse step is a parabola."""
    model = build(LinearAttentionConfig(), TASK)
    model.set_to_descent(0.5 * TASK.best_step / TASK.length)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))[0]
    with torch.no_grad():
        for name in ("keys", "queries"):
            parameter = getattr(model, name)
            parameter[0, 0] = 3 * turn @ parameter[0, 0]
        model.values.div_(9)
    names, row = against(model)
    batch = TASK.sample(500, stream="test")
    expected = [
        float(
            (predictors.one_step(*batch.inputs, step=(0.5 + 0.5 * share) * TASK.best_step) - batch.targets)
            .square()
            .mean()
            / 2
        )
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    assert row["interpolation_loss"][names.index("gd")] == pytest.approx(expected, rel=1e-4)
    assert np.isnan(row["interpolation_loss"][names.index("ridge")]).all()
    deeper = build(LinearAttentionConfig(depth=2), TASK)
    assert deeper.interpolated(TASK, "gd", 0.5) is None


@pytest.mark.parametrize(
    ("value", "se", "verdict"),
    [(0.5, 0.1, "supported"), (0.95, 0.1, "undecided"), (1.3, 0.1, "contradicted"), (math.nan, 0.1, "undecided"),
     (1.0, 0.0, "supported"), (-0.2, 0.1, "contradicted")],
)  # fmt: skip
def test_verdicts_go_by_the_whole_interval(value, se, verdict):
    claim = claimed.Claim("c", "said", math.nan, lambda _: (value, se), 0.0, 1.0)
    found = claimed.judged(claim, xr.Dataset())
    assert found["verdict"] == verdict
    if value == 0.5:
        assert (found["low"], found["high"]) == pytest.approx((0.5 - 0.1645, 0.5 + 0.1645), abs=1e-4)


def test_a_claim_that_cannot_fail_is_refused():
    with pytest.raises(InvalidInput, match="claim always: low = -inf, high = inf given"):
        claimed.Claim("always", "", math.nan, lambda _: (0.0, 0.0))


# Half-times, of which there are none before anything is half learned (`test_dictionary_regression` has their numbers),
# effective heads where none matters, a threshold where all M are alike, and what is measured from step 0 on.
NOT_YET = {
    "the dominant feature first", "balanced features together", "heads by layer", "a threshold in M",
    "its answers come near the step's",
}  # fmt: skip


# Of these a single gradient takes long.
SLOW = {"chen2024", "garg2022", "li2023", "raventos2023", "zuo2025"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in systems.SYSTEMS]
)
def test_every_claim_of_a_system_can_be_measured(name, tmp_path):
    """After a few steps of its own preset every claim has a number; the page, figure and table are made of it."""
    few = {"training.steps": 2, "training.warmup_steps": 0, "training.batch_size": 8, "checkpoints.every": 2}
    config = systems.preset(name).override({**few, "behaviour.sequences": 64})
    experiment = llc.train(config, tmp_path / name, jobs=1)
    assert systems.claims_of(experiment.config) == ()  # of another training than the paper's
    assert systems.claims_of(systems.preset(name).to_table()) == systems.SYSTEMS[name].CLAIMS
    found = development.compare(experiment, steps="0", sequences=64, claims=systems.SYSTEMS[name].CLAIMS)
    assert not len(systems.claim_rows(found))  # nor of its beginning
    found = development.compare(experiment, steps="last", sequences=64, claims=systems.SYSTEMS[name].CLAIMS)
    rows = systems.claim_rows(found)
    assert len(rows) == len(systems.SYSTEMS[name].CLAIMS)
    assert (np.isfinite(rows.value) | rows.claim.isin(NOT_YET)).all(), rows[["claim", "value"]]
    assert set(rows.verdict[~np.isfinite(rows.value)]) <= {"undecided"}
    # Two steps do not make a paper: what holds all the same says so.
    already = {claim.name for claim in systems.SYSTEMS[name].CLAIMS if claim.already}
    assert set(rows.claim[rows.verdict == "supported"]) <= already
    assert rows.claim[0] in systems.format_claims(rows)
    assert len(development.compare_rows(found)) == len(config.runs())
    assert figures.spec_of(experiment, "compare").panels


def test_claims_are_of_finished_runs_and_of_the_best_seed():
    loss = np.array([[3.0, 2.0], [3.0, np.nan], [3.0, 1.5]])[None, :, :, None]
    compared = xr.Dataset(
        {"loss": (("heads", "seed", "step", "test_set"), loss)},
        {"heads": [2], "seed": [0, 1, 2], "step": [0, 9], "test_set": ["id"]},
    )
    assert claimed.last_of(compared, heads=2).loss.item() == 1.5
    with pytest.raises(claimed.NoNumber, match="no finished run"):
        claimed.last_of(compared.sel(seed=[1]), heads=2)

    def at(**place):
        measure = lambda found: (claimed.last_of(found, **place).loss.item(), 0.0)  # noqa: E731
        return claimed.judged(claimed.Claim("c", "", math.nan, measure, 0, 1), compared)

    assert at(heads=4)["verdict"] == "undecided"
    with pytest.raises(KeyError, match="haeds"):  # a mistake of the claim's is not taken for a missing run
        at(haeds=4)
