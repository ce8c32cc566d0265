import pytest

from llc.estimate.diagnostics import Summary
from llc.estimate.verdict import VERDICTS, Evidence, judge

GOOD = Summary(
    llc=10.0, llc_se=0.2, llc_low=9.6, llc_high=10.4, ess_bulk=400, ess_tail=300, rhat=1.01, rhat_nested=1.01, drift=0.5
)


def evidence(**changes) -> Evidence:
    summary = Summary(**{**vars(GOOD), **{k: changes.pop(k) for k in list(changes) if k in vars(GOOD)}})
    base = {
        "summary": summary,
        "chains": 4,
        "diverged": {},
        "prior_share": 0.5,
        "prior_over_curvature": 0.01,
        "variance_ratio": 0.8,
        "explored": 1.0,
        "step_excess": 0.05,
        "step_over_limit": 0.5,
        "loss_sampled": 1.0,
    }
    return Evidence(**{**base, **changes})


@pytest.mark.parametrize(
    ("changes", "expected", "said"),
    [
        ({}, "converged", "plateau over 4 chains"),
        ({"diverged": {2: 57}}, "converged", "left out: chain 2 at draw 57, which diverged"),
        ({"diverged": {0: 3, 2: 57}}, "diverged", "2 of 4 chains diverged (chain 0 at draw 3, chain 2 at draw 57)"),
        ({"drift": 5.0}, "drifting", "+5.0 standard errors"),
        ({"drift": float("nan")}, "drifting", "too few draws"),
        ({"rhat": float("nan")}, "drifting", "too few draws"),
        ({"rhat": 1.2}, "drifting", "R-hat 1.20"),
        ({"rhat_nested": 1.2}, "drifting", "from w* and from farther out do not agree"),
        ({"rhat_nested": 1.2, "max_rhat": 1.3}, "converged", "plateau"),
        ({"explored": 0.1}, "drifting", "gone 10 % of the way that the prior lets them go"),
        ({"explored": float("nan")}, "converged", "plateau"),
        ({"llc_se": 0.0}, "drifting", "never moved"),
        ({"llc_high": -1.0}, "negative", "no minimum"),
        ({"prior_over_curvature": 3.0, "variance_ratio": 0.01}, "prior-dominated", "3 times the steepest curvature"),
        ({"prior_over_curvature": float("inf")}, "converged", "plateau"),
        ({"prior_share": 0.99, "variance_ratio": 0.03}, "prior-dominated", "gamma^-0.97"),
        ({"prior_share": 0.99}, "converged", "plateau"),
        ({"reference_losses": {"the zero predictor": 0.9}}, "delocalised", "the zero predictor, 0.9"),
        ({"reference_losses": {"the zero predictor": 1.1}}, "converged", "plateau"),
        ({"step_excess": 0.5}, "step-size-biased", "by about 50 %"),
        ({"step_over_limit": 1.1}, "step-size-biased", "1.10 times the stability limit"),
    ],
)
def test_each_verdict_has_its_reason(changes, expected, said):
    verdict, reason = judge(evidence(**changes))
    assert verdict == expected
    assert said in reason
    assert verdict in VERDICTS


def test_the_gravest_wins():
    everything = {
        "drift": 9.0,
        "llc_high": -1.0,
        "step_excess": 2.0,
        "reference_losses": {"nothing": 0.1},
        "diverged": {0: 1, 1: 1},
    }
    order = ["diverged", "delocalised", "negative", "drifting", "step-size-biased"]
    for name, cause in zip(order, ["diverged", "reference_losses", "llc_high", "drift", "step_excess"], strict=True):
        assert judge(evidence(**everything))[0] == name
        del everything[cause]
