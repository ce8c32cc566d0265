import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from llc.estimate import thresholds
from llc.estimate.diagnostics import Summary
from llc.estimate.evidence import Evidence
from llc.estimate.floor import Basin
from llc.estimate.scale import Rung
from llc.estimate.verdict import VERDICTS, judge

GOOD = Summary(
    llc=10.0, llc_se=0.2, llc_low=9.6, llc_high=10.4, ess_bulk=400, ess_tail=300, rhat=1.01, rhat_nested=1.01, drift=0.5
)


ON_FLOOR = Basin(llc=10.0, llc_se=0.3, nats=0.1, nats_se=0.2, bend=0.0, bend_se=0.5)
ESCAPED = Basin(llc=10.0, llc_se=0.3, nats=0.1, nats_se=0.2, bend=-1.5, bend_se=0.2)
ABOVE = Basin(llc=10.0, llc_se=0.3, nats=30.0, nats_se=0.5, bend=0.0, bend_se=0.5)


def rungs(*values: float) -> list[Rung]:
    return [Rung(100.0, 16.0**-number, value, 0.01) for number, value in enumerate(values)]


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
        ({"hot_diverged": {3: 9}}, "converged", "left out: chain 3 at nbeta/4 at draw 9, which diverged"),
        ({"hot_diverged": {0: 3, 2: 57}}, "converged", "left out: chain 0 at nbeta/4"),
        ({"hot_diverged": {0: 3, 2: 57}, "of_basin": True}, "diverged", "2 of 4 chains at nbeta/4 diverged"),
        ({"drift": 5.0}, "drifting", "+5.0 standard errors"),
        ({"drift": float("nan")}, "drifting", "too few draws"),
        ({"rhat": float("nan")}, "drifting", "too few draws"),
        ({"rhat": 1.2}, "drifting", "R-hat 1.20"),
        ({"rhat_nested": 1.2}, "drifting", "from w* and from farther out do not agree"),
        ({"rhat_nested": 1.2, "max_rhat": 1.3}, "converged", "plateau"),
        ({"explored": 0.1}, "drifting", "gone 10 % of the way that the prior lets them go"),
        ({"explored": float("nan")}, "converged", "plateau"),
        ({"llc_se": 0.0}, "drifting", "never moved"),
        ({"llc_high": -1.0}, "off-minimum", "no minimum"),
        ({"llc_high": -1e-7}, "converged", "plateau"),  # nats, which are nothing
        (
            {"llc": -200.0, "llc_high": -198.0, "prior_over_curvature": 3.0, "variance_ratio": -2.0},
            "off-minimum",
            "no min",
        ),
        ({"loss_init": 1.0, "loss_sampled": -1e9, "prior_share": 1e20}, "off-minimum", "the loss falls without end"),
        ({"loss_init": 621.0, "loss_sampled": 490.0, "prior_share": 1e5, "variance_ratio": 0.8}, "converged", ""),
        ({"loss_init": 1.0}, "prior-dominated", "the loss does not change where chains went: llc is 0 there"),
        ({"loss_init": 1.0, "prior_share": 0.0, "llc_se": 0.0}, "drifting", "never moved"),
        ({"basin": ON_FLOOR}, "converged", "plateau"),
        ({"basin": ON_FLOOR, "of_basin": True}, "converged", "on whose floor w* lies as far as can be told"),
        ({"basin": ABOVE}, "off-minimum", "30 ± 0.5 nats above the floor of its basin; llc is that at w*"),
        ({"basin": ABOVE, "of_basin": True}, "converged", "w* lies 30 ± 0.5 nats above its floor"),
        ({"basin": ABOVE, "of_basin": True, "llc_low": 2.0, "llc_high": 18.0}, "off-minimum", "better than ± 8"),
        ({"basin": ABOVE, "of_basin": True, "llc": -9.0, "llc_low": -10.0, "llc_high": -8.0}, "off-minimum", "below 0"),
        ({"basin": ABOVE, "of_basin": True, "wanted_error": 0.01}, "off-minimum", "16.0 times as long"),
        (
            {"basin": ON_FLOOR, "of_basin": True, "wanted_error": 0.1, "rest_se": 1.0},
            "off-minimum",
            "open by ± 1.6; a longer search",
        ),
        ({"basin": ON_FLOOR, "of_basin": True, "wanted_error": 0.1, "rest_se": 0.1}, "converged", "plateau"),
        (
            {
                "basin": ON_FLOOR,
                "of_basin": True,
                "wanted_error": 0.1,
                "rest_se": 0.55,
                "rungs": (Rung(10.0, 1.0, 10.0, 0.1), Rung(10.0, 0.01, 10.0, 0.1, degeneracy=0.65)),
            },
            "scale-dependent",
            "llc depends on the scale",
        ),
        ({"basin": ESCAPED}, "scale-dependent", "they find worse ones, of which there are more"),
        ({"basin": ESCAPED, "of_basin": True}, "scale-dependent", "use a larger gamma or nbeta"),
        (
            {"rungs": rungs(5.0), "highest": "nothing colder", "farther": Rung(10.0, 1.0, 7.0, 0.2)},
            "scale-dependent",
            "one scale: nothing colder; at gamma 1 and nbeta 10 chains find others, with llc 7 ± 0.2; compare",
        ),
        ({"hot": replace(GOOD, drift=-4.0)}, "drifting", "at nbeta/4 still moving by -4.0"),
        ({"hot": replace(GOOD, rhat=1.3)}, "drifting", "R-hat 1.300 at nbeta/4"),
        ({"wanted_error": 0.02}, "drifting", "interval is ± 4 % wide; run about 4.0 times as long"),
        ({"wanted_error": 0.02, "ended": "nothing is left"}, "drifting", "(nothing is left)"),
        ({"wanted_error": 0.039}, "drifting", "interval is ± 4 % wide; run about 1.1 times as long"),
        ({"wanted_error": 0.041}, "converged", "plateau"),
        (
            {"rungs": rungs(5.0, 10.0)},
            "scale-dependent",
            "at gamma 1 and nbeta 100, 10 ± 0.01 at gamma 0.062",
        ),
        ({"rungs": rungs(5.0, 10.0), "ended": "chains left"}, "scale-dependent", "; chains left; compare it"),
        (
            {"rungs": rungs(5.0, 10.0), "farther": Rung(10.0, 1.0, 7.0, 0.2)},
            "scale-dependent",
            "; at gamma 1 and nbeta 10 chains find others, with llc 7 ± 0.2; compare it",
        ),
        ({"rungs": rungs(5.0), "highest": "chains left"}, "scale-dependent", "that of one scale: chains left"),
        # Wide for what another scale would tell, not for want of draws.
        (
            {"rungs": rungs(5.0), "highest": "chains left", "wanted_error": 0.01},
            "scale-dependent",
            "that of one scale: chains left",
        ),
        (
            {"rungs": rungs(5.0), "highest": "chains left", "wanted_error": 0.01, "ended": "max_gradients are spent"},
            "drifting",
            "wide; run about 16.0 times as long (max_gradients are spent)",
        ),
        ({"farther": Rung(10.0, 1.0, 7.0, 0.2)}, "converged", "chains find others, with llc 7 ± 0.2"),
        (
            {"rungs": rungs(9.9, 10.0)},
            "converged",
            "moved from 9.9 to 10 as gamma / nbeta fell from 0.01 to 0.00063",
        ),
        ({"rungs": rungs(2.0, 8.0, 8.6, 9.2), "wanted_error": 0.035}, "scale-dependent", "depends on the scale"),
        ({"slopes": {"gamma": (-3.0, 0.2)}}, "scale-dependent", "half or twice gamma would move llc by 2.1"),
        ({"slopes": {"gamma": (-3.0, 0.2)}, "basin": ABOVE, "of_basin": True}, "scale-dependent", "half or twice"),
        ({"slopes": {"gamma": (3.0, 0.2)}, "basin": ABOVE, "of_basin": True}, "converged", "no other was tried"),
        ({"plateau": True}, "converged", "at the pilots of this study llc had a plateau in gamma"),
        ({"slopes": {"gamma": (-3.0, 1.5)}}, "converged", "plateau"),
        ({"slopes": {"gamma": (-1.0, 0.01)}}, "converged", "plateau"),
        ({"slopes": {"gamma": (math.nan, math.nan)}}, "converged", "plateau"),
        ({"slopes": {"gamma": (-3.0, 0.2)}, "rungs": rungs(9.9, 10.0)}, "converged", "plateau"),
        ({"explored": 0.2, "rungs": rungs(9.9, 10.0)}, "converged", "plateau"),
        ({"explored": 0.05, "rungs": rungs(9.9, 10.0)}, "converged", "plateau"),
        ({"variance": (20.0, 0.5)}, "converged", "the variance-type estimate says 20 ± 0.5"),
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
    everything |= {"prior_over_curvature": 3.0, "variance_ratio": 0.01, "slopes": {"gamma": (-9.0, 0.1)}}
    order = {
        "diverged": "diverged",
        "delocalised": "reference_losses",
        "prior-dominated": "prior_over_curvature",
        "off-minimum": "llc_high",
        "drifting": "drift",
        "scale-dependent": "slopes",
        "step-size-biased": "step_excess",
    }
    for name, cause in order.items():
        assert judge(evidence(**everything))[0] == name
        del everything[cause]
    assert judge(evidence(**everything))[0] == "converged"


def test_the_page_of_thresholds_is_true_and_whole():
    page = (Path(__file__).parents[1] / "docs" / "verdicts.md").read_text("utf-8")
    said = {name: float(value) for name, value in re.findall(r"`([A-Z_]+)` = ([\d.e-]+)", page)}
    assert said == {name: value for name, value in vars(thresholds).items() if name.isupper()}
    assert all(f"`{verdict}`" in page for verdict in VERDICTS)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "plateau over 4 chains, R-hat 1.01; at this nbeta and gamma, no other was tried"),
        ({"chains": 1}, "plateau over 1 chain, R-hat 1.01; at this nbeta and gamma, no other was tried"),
        # A variance-type estimate that is off by a quarter, or by less than three of its errors, is not spoken of.
        ({"variance": (12.5, 0.1)}, "plateau over 4 chains, R-hat 1.01; at this nbeta and gamma, no other was tried"),
        ({"variance": (20.0, 4.0)}, "plateau over 4 chains, R-hat 1.01; at this nbeta and gamma, no other was tried"),
        (
            {"rungs": rungs(9.9, 10.0), "basin": ON_FLOOR, "of_basin": True, "diverged": {1: 7}},
            "plateau over 3 chains, R-hat 1.01; llc moved from 9.9 to 10 as gamma / nbeta fell from 0.01 to 0.00063; "
            "of the basin, on whose floor w* lies as far as can be told; left out: chain 1 at draw 7, which diverged",
        ),
        (
            {"rungs": rungs(5.0, 10.0)},
            "llc depends on the scale: 5 ± 0.01 at gamma 1 and nbeta 100, 10 ± 0.01 at gamma 0.062 and nbeta 100; "
            "compare it at one nbeta and gamma only",
        ),
        (
            {"slopes": {"gamma": (-3.0, 0.2)}},
            "half or twice gamma would move llc by 2.1: it is that of this scale; compare it at one nbeta "
            "and gamma only",
        ),
        ({"drift": -4.0}, "still moving by -4.0 standard errors between halves; run longer"),
        ({"rhat": 1.2}, "R-hat 1.200: the chains do not agree; run longer"),
        (
            {"loss_init": 2.0, "loss_sampled": -1e9, "prior_share": 1e6},
            "the loss falls without end: chains come to a mean of -1e+09 from 2 at w*, 1e+03 times as far from it as "
            "the prior alone would let them go; it has to have a floor",
        ),
    ],
)
def test_reasons_are_whole_sentences(changes, reason):
    assert judge(evidence(**changes))[1] == reason


def test_shares_of_what_is_next_to_nothing_are_not_told():
    """A percentage of an estimate near zero says nothing."""
    _, reason = judge(evidence(llc=0.1, llc_low=-2.0, llc_high=2.2, llc_se=1.3, wanted_error=0.1))
    assert "the interval is ± 2.1 wide" in reason
    _, reason = judge(evidence(step_excess=22.1))
    assert "raise llc by more than it comes to" in reason
