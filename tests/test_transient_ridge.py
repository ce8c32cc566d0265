"""Claims about the transient ridge, on made-up studies whose numbers are known; and the command that judges them."""

import math

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import llc
from llc import development
from llc.cli import main
from llc.errors import InvalidInput
from llc.estimate import verdict
from llc.systems import STUDIES, study_claims_of
from llc.systems.claims import Claim, StudyResults, claims_dataset
from llc.systems.transient_ridge import CLAIMS, COMPARABLE, transient, ways

M = [4.0, 16.0, 32.0, 64.0, 256.0, np.inf]
STEPS = [0, 100, 1000, 10_000]
SEEDS = [0, 1]
ZERO, RIDGE = 4.0, 2.0
# The way from zero to ridge that OOD losses have come, at each step.
WAYS = {4: (0, 0.2, 0.1, 0.1), 16: (0, 0.6, 0.85, 0.4), 32: (0, 0.6, 0.9, 0.5), 64: (0, 0.6, 0.9, 0.85),
        256: (0, 0.6, 0.9, 0.95), np.inf: (0, 0.6, 0.9, 0.96)}  # fmt: skip
ENDS = dict(zip(M, (20.0, 45.0, 60.0, 55.0, 51.0, 50.0), strict=True))
CRITICAL = {16.0: 48.0, 32.0: 52.0}


def over(values, *dims: str) -> tuple:
    return ("num_tasks", "seed", *dims), np.asarray(values, float)


@pytest.fixture
def made() -> dict[str, xr.Dataset]:
    """A study as the paper has it: two seeds that differ by ± 0.01 of the way, exact but for that."""
    coords = {"num_tasks": M, "seed": SEEDS, "step": STEPS}
    way = np.array(
        [[np.array(WAYS[m]) + (0.01 if seed else -0.01) * np.array([0, 1, 1, 1]) for seed in SEEDS] for m in M]
    )
    loss = ZERO - way * (ZERO - RIDGE)
    best = loss.min(2)
    metrics = xr.Dataset(
        {
            "loss": over(np.stack([loss * 0 + 1, loss], 3), "step", "test_set"),
            "reference_loss": over(np.tile([RIDGE, 9.0, ZERO], (len(M), 2, 2, 1)), "test_set", "reference"),
            "step_critical": over(np.array(STEPS)[loss.argmin(2)]),
            "rise": over(loss[..., -1] - best),
            "rise_se": over(np.full(best.shape, 0.02)),
        },
        {**coords, "test_set": ["id", "ood"], "reference": ["ridge", "dmmse", "zero"]},
    )
    relative = np.clip(np.linspace(-1, 1, 5)[:, None, None] + np.zeros((5, 2, 4)), -1, 1)
    relative = np.concatenate([relative, np.full((1, 2, 4), np.nan)])
    relative[1:3, :, :] = np.array([0.5, 0.5, 0.9, -0.4])
    strategies = xr.Dataset(
        {"relative": over(relative, "step"), "interpolation": over(relative * 0 + 0.1, "step"),
         "apart": over([[1.0, 1.0]] * 5 + [[0.0, 0.0]])}, coords,
    )  # fmt: skip
    score = np.stack([np.nan_to_num(relative, nan=1.0), 0 * relative, 0 * relative], 3)
    score[-1, ..., 1:] = 0
    dmmse = np.array([-1.0, -0.8, -0.6, -0.4, -0.2, 1.0])
    references = np.zeros((len(M), 2, 2, 3))
    references[..., 0, 0], references[..., 1, 0] = 1.0, dmmse[:, None]
    score = np.nan_to_num(score)
    pca = xr.Dataset(
        {"score": over(score, "step", "component"), "score_reference": over(references, "reference", "component")},
        {**coords, "component": [1, 2, 3], "reference": ["ridge", "dmmse"]},
    )
    ends = np.array([[ENDS[m]] * 2 for m in M])
    values = np.stack([ends * 2, ends * 2, ends * 2, ends], 2)
    shown = np.full(values.shape, "converged", object)
    llcs = xr.Dataset(
        {"llc": over(values, "step"), "llc_se": over(values * 0 + 1.0, "step"),
         "verdict": (("num_tasks", "seed", "step"), shown)}, coords,
    )  # fmt: skip
    finite = {"num_tasks": M[:-1], "seed": SEEDS}
    at = np.array([[CRITICAL.get(m, np.nan)] * 2 for m in M[:-1]])
    tradeoff = xr.Dataset(
        {"llc_critical": over(at), "llc_critical_low": over(at - 1.645), "llc_critical_high": over(at + 1.645),
         "llc_simple": over(at * 0 + 50.0)}, finite,
        attrs={"rank_correlation": 0.8, "rank_correlation_low": 0.5, "rank_correlation_high": 1.0},
    )  # fmt: skip
    return {"metrics": metrics, "strategies": strategies, "pca": pca, "llc": llcs, "tradeoff": tradeoff}


def values(results: dict[str, xr.Dataset]) -> xr.Dataset:
    return claims_dataset(StudyResults(results), CLAIMS)


def test_a_study_as_the_paper_has_it_supports_it(made):
    assert transient(made["metrics"]) == [16.0, 32.0]
    found = values(made)
    verdicts = dict(zip(found.claim.values.tolist(), found.claim_verdict.values.tolist(), strict=True))
    assert {name for name, verdict in verdicts.items() if verdict != "supported"} == set(), found.to_dataframe()
    expected = {
        "some M are transient": 2,
        # M = 16 loses 0.45 of 0.85, M = 32 0.4 of 0.9; each seed of its own best
        "transient M come near ridge": 0.9,
        "transient M lose much": np.mean([0.45 / 0.84, 0.45 / 0.86]),
        "transient M leave ridge": np.mean([0.45 / 0.84, 0.45 / 0.86]),
        "M = ∞ becomes ridge": 0.04,
        "few tasks: dMMSE": -1,
        "many tasks: ridge": 1,
        "trajectories pass ridge and leave": np.mean([1.3 / 1.8, 1.3 / 1.6]),
        "dMMSE is ordered by M": 1,
        "complexity rises with M": 1,
        # λ̂ passes 50 a third of the way from 16 (45) to 32 (60), in log₂ M
        "crossing at the onset": 1 / 3,
        "complexity joins at many tasks": 51 / 50,
        "complexity at t_crit is ridge's": 1.0,
        "the tradeoff orders departures": 0.8,
    }
    for name, value in expected.items():
        assert float(found.claim_value.sel(claim=name)) == pytest.approx(value, abs=1e-6), name
    low, high = (float(found[f"claim_{end}"].sel(claim="complexity joins at many tasks")) for end in ("low", "high"))
    error = 51 / 50 * math.hypot(2**-0.5 / 51, 2**-0.5 / 50)  # 1.0 a seed, of two
    assert high - low == pytest.approx(2 * 1.645 * error, rel=1e-3)


def test_one_that_stays_at_ridge_contradicts_it(made):
    metrics = made["metrics"].copy(deep=True)
    metrics["rise"] = metrics.rise * 0
    made["metrics"] = metrics
    found = values(made)
    verdict = dict(zip(found.claim.values.tolist(), found.claim_verdict.values.tolist(), strict=True))
    assert verdict["some M are transient"] == "contradicted"
    assert verdict["transient M lose much"] == verdict["transient M leave ridge"] == "contradicted"
    assert verdict["transient M come near ridge"] == "undecided"  # there is none
    assert verdict["trajectories pass ridge and leave"] == "undecided"  # of no run
    assert float(ways(metrics).end.max()) == pytest.approx(float(ways(metrics).best.max()))


def test_estimates_that_may_be_compared_are_those_of_the_verdicts():
    assert set(COMPARABLE) == set(verdict.COMPARABLE)


def test_what_is_not_there_is_undecided(made):
    found = values({"metrics": made["metrics"]})
    undecided = set(found.claim.values[found.claim_verdict.values == "undecided"])
    assert "complexity joins at many tasks" in undecided
    assert "M = ∞ becomes ridge" not in undecided
    made["llc"]["verdict"][:] = "off-minimum"
    again = values(made)
    assert float(again.claim_value.isnull().sel(claim="complexity joins at many tasks")) == 1
    assert set(values({}).claim_verdict.values) == {"undecided"}


def test_the_command_judges_what_there_is(own):
    llc.development.strategies(own)
    said = CliRunner().invoke(main, ["claims", str(own.path)])
    assert said.exit_code == 0, said.output
    assert "M = ∞ becomes ridge" in said.output
    assert own.claims.claim.values.tolist() == [claim.name for claim in CLAIMS]
    assert "claims" in own.results
    assert "The paper&#39;s claims" in llc.write_report(own).read_text()


def test_a_study_of_another_kind_has_none_unless_given(own, monkeypatch):
    assert study_claims_of({"preset": "huang2023"}) == ()
    monkeypatch.delitem(STUDIES, "tiny")
    with pytest.raises(InvalidInput, match=r"the preset tiny has no claims of a study; those of small, carroll have"):
        development.study_claims(own)
    mine = Claim("one", "it is one", 1.0, lambda found: (float(found.metrics.sizes["seed"]), 0.0), 0.5, 1.5)
    found = development.study_claims(own, [mine])
    assert found.claim_verdict.values.tolist() == ["supported"]
