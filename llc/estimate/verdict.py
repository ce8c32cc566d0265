"""Whether an estimate of λ̂ may be believed, and why (not)."""

import math

import numpy as np

from llc.estimate.diagnostics import Summary
from llc.estimate.evidence import Evidence
from llc.estimate.floor import Basin
from llc.estimate.scale import Rung, left
from llc.estimate.thresholds import (
    BASIN_LIMIT,
    DRIFT_LIMIT,
    ELASTICITY_LIMIT,
    EXCESS_LIMIT,
    EXPLORED_LIMIT,
    NO_CHANGE,
    NOTHING,
    PRIOR_LIMIT,
    RUNAWAY,
    SCALE_LIMIT,
    STEP_LIMIT,
    VARIANCE_LIMIT,
    VARIANCE_OF_PRIOR,
)

# With these, estimates made at one nβ and γ may be compared with one another.
COMPARABLE = ("converged", "scale-dependent")

VERDICTS = (
    "converged",
    "drifting",
    "diverged",
    "prior-dominated",
    "delocalised",
    "off-minimum",
    "scale-dependent",
    "step-size-biased",
)


def judge(evidence: Evidence) -> tuple[str, str]:
    """The verdict, one of `VERDICTS`, and its reason in a sentence. The gravest that applies wins.

    - `diverged`: half of the chains or more were lost.
    - `delocalised`: on average the draws do no better than a predictor that knows nothing.
    - `prior-dominated`: chains go as far as the prior lets them and λ̂ ∝ 1/γ: it measures γ, not the model.
    - `off-minimum`: w* lies above the floor of its basin and λ̂ cannot be told, or was asked for at w*.
    - `drifting`: no plateau in time, chains that disagree, or an interval wider than asked for.
    - `scale-dependent`: no plateau in the localisation: λ̂ is that of the scale it was made at.
    - `step-size-biased`: the step size or minibatch noise heats the chains by more than a quarter of λ̂.
    - `converged`: none of these.
    """
    lost = _lost(evidence)
    also = f"; left out: {lost}, which diverged" if lost else ""
    for check in (
        _diverged,
        _delocalised,
        _prior_dominated,
        _off_minimum,
        _drifting,
        _scale_dependent,
        _step_size_biased,
    ):
        reason = check(evidence)
        if reason:
            name = check.__name__.strip("_").replace("_", "-")
            return name, reason + ("" if name == "diverged" else also)
    return "converged", _plateau(evidence) + also


def _plateau(evidence: Evidence) -> str:
    kept = evidence.chains - len(evidence.diverged)
    said = f"plateau over {kept} chain{'s' * (kept != 1)}, R-hat {evidence.summary.rhat:.2f}"
    if len(evidence.rungs) > 1:
        before, last = evidence.rungs[-2:]
        said += (
            f"; llc moved from {before.llc:.3g} to {last.llc:.3g} as gamma / nbeta fell from "
            f"{before.resolution:.2g} to {last.resolution:.2g}"
        )
    elif evidence.plateau:
        said += "; at the pilots of this study llc had a plateau in gamma"
    else:
        said += "; at this nbeta and gamma, no other was tried"
    if evidence.farther is not None:
        said += f"; of the solutions near w*: {_others(evidence.farther)}"
    basin = evidence.basin
    if evidence.of_basin and basin is not None:
        said += (
            f"; of the basin: w* lies {basin.nats:.3g} ± {basin.nats_se:.2g} nats above its floor"
            if not basin.at_floor
            else "; of the basin, on whose floor w* lies as far as can be told"
        )
    variance, error = evidence.variance
    if abs(variance - evidence.summary.llc) > max(3 * error, VARIANCE_LIMIT * abs(evidence.summary.llc)):
        said += (
            f"; the variance-type estimate says {variance:.3g} ± {error:.2g}: the well is not quadratic at this scale"
        )
    return said


def _others(far: Rung) -> str:
    """Where chains have left the solutions that w* is one of."""
    return (
        f"at gamma {far.gamma:.2g} and nbeta {far.nbeta:.3g} chains find others, with llc {far.llc:.3g} ± "
        f"{far.llc_se:.2g}"
    )


def _lost(evidence: Evidence) -> str:
    """The chains that diverged, at either temperature."""
    return ", ".join(
        f"chain {chain}{where} at draw {draw}"
        for where, lost in (("", evidence.diverged), (" at nbeta/4", evidence.hot_diverged))
        for chain, draw in sorted(lost.items())
    )


def _diverged(evidence: Evidence) -> str:
    for where, lost in (("", evidence.diverged), (" at nbeta/4", evidence.hot_diverged if evidence.of_basin else {})):
        if lost and 2 * len(lost) >= evidence.chains:
            return (
                f"{len(lost)} of {evidence.chains} chains{where} diverged ({_lost(evidence)}); use a smaller step size"
            )
    return ""


def _delocalised(evidence: Evidence) -> str:
    for name, loss in evidence.reference_losses.items():
        if evidence.loss_sampled >= loss:
            return (
                f"the draws' mean loss {evidence.loss_sampled:.3g} is no better than that of {name}, {loss:.3g}; "
                "use a larger gamma or nbeta"
            )
    return ""


def _prior_dominated(evidence: Evidence) -> str:
    if evidence.summary.llc < 0:  # of the prior alone it is 0 or more
        return ""
    # At a degenerate minimum the curvature at w* is no guide: there the variance has to say so too.
    follows_prior = not evidence.variance_ratio > VARIANCE_OF_PRIOR
    change = abs(evidence.loss_sampled - evidence.loss_init)
    if evidence.prior_share > 0 and change <= NO_CHANGE * abs(evidence.loss_init):
        return "the loss does not change where chains went: llc is 0 there"
    if evidence.prior_over_curvature >= 1 and follows_prior and evidence.summary.llc_se > 0:
        return (
            f"gamma is {evidence.prior_over_curvature:.3g} times the steepest curvature of nbeta L: no direction is "
            "held by the data; use a smaller gamma or a larger nbeta"
        )
    elasticity = 1 - evidence.variance_ratio
    if evidence.prior_share > PRIOR_LIMIT and elasticity > ELASTICITY_LIMIT:
        return (
            f"the prior holds {100 * evidence.prior_share:.0f} % of the spread and llc goes as "
            f"gamma^-{min(elasticity, 1.0):.2f}; use a smaller gamma or a larger nbeta"
        )
    return ""


def _off_minimum(evidence: Evidence) -> str:
    found, basin = evidence.summary, evidence.basin
    fall = evidence.loss_init - evidence.loss_sampled
    if evidence.prior_share > RUNAWAY and fall > RUNAWAY * abs(evidence.loss_init):
        return (
            f"the loss falls without end: chains come to a mean of {evidence.loss_sampled:.2g} from "
            f"{evidence.loss_init:.3g} at w*, {math.sqrt(evidence.prior_share):.2g} times as far from it as the prior "
            "alone would let them go; it has to have a floor"
        )
    if basin is not None and evidence.of_basin and (why := _no_basin(evidence, basin)):
        return why
    if basin is None or basin.at_floor:
        return "the loss falls on average when the weights move: w* is no minimum" if found.llc_high < -NOTHING else ""
    above = _height(basin)
    if not evidence.of_basin:
        return f"{above}; llc is that at w*, the basin's is {basin.llc:.3g} ± {basin.llc_se:.2g}"
    half = (found.llc_high - found.llc_low) / 2
    if not half <= min(evidence.wanted_error, BASIN_LIMIT) * abs(found.llc) and basin.nats > abs(found.llc):
        return f"{above}, too far to tell llc of the basin better than ± {half:.2g}; train on, or {_longer(evidence)}"
    return ""


def _no_basin(evidence: Evidence, basin: Basin) -> str:
    """Why λ̂ of the basin is none, or can be told no better by any number of draws."""
    found = evidence.summary
    if found.llc_high < -NOTHING:  # λ is never below 0
        return (
            f"{_height(basin)}, but llc of the basin comes out below 0: from such a height chains at nbeta and at "
            "nbeta/4 run down to different places; train on"
        )
    if 1.645 * evidence.rest_se > evidence.wanted_error * abs(found.llc):
        return (
            f"{_height(basin)}, and no number of draws tells that better: llc is open by "
            f"± {1.645 * evidence.rest_se:.2g}; a longer search (a larger max_gradients), more samples, or weights "
            "nearer to the floor would"
        )
    return ""


def _height(basin: Basin) -> str:
    """How far w* lies above the floor; chains that have not come down say less than nothing."""
    if basin.nats > 0:
        return f"w* lies {basin.nats:.3g} ± {basin.nats_se:.2g} nats above the floor of its basin"
    return f"how far w* lies above the floor of its basin comes out at {basin.nats:.3g} ± {basin.nats_se:.2g} nats"


def _longer(evidence: Evidence) -> str:
    """What a longer run would take."""
    if math.isinf(evidence.wanted_error):
        return "run longer"
    half = (evidence.summary.llc_high - evidence.summary.llc_low) / 2
    wanted = evidence.wanted_error * abs(evidence.summary.llc)
    times = (half / wanted) ** 2 if wanted > 0 else math.inf
    how = f"about {times:.1f} times as long" if 1 < times < 1000 else "longer"
    return f"run {how}" + (f" ({evidence.ended})" if evidence.ended else "")


def _scale_dependent(evidence: Evidence) -> str:
    rungs, basin = evidence.rungs, evidence.basin
    if basin is not None and basin.escaped:
        return (
            "chains do not stay with the solutions that w* is one of: they find worse ones, of which there are more; "
            "use a larger gamma or nbeta"
        )
    if len(rungs) < 2:
        if evidence.plateau is False:
            return "at the pilots of this study llc had no plateau in gamma: compare it within the study only"
        if evidence.highest:
            why = evidence.highest + (f"; {_others(evidence.farther)}" if evidence.farther else "")
            return f"llc is that of one scale: {why}; compare it at one nbeta and gamma only"
        return _moves(evidence)
    allowed = evidence.wanted_error if math.isfinite(evidence.wanted_error) else SCALE_LIMIT
    open_ = math.hypot(left(rungs)[1], evidence.rest_se if math.isfinite(evidence.wanted_error) else 0.0)
    if 1.645 * open_ <= allowed * abs(evidence.summary.llc):
        return ""
    ladder = ", ".join(
        f"{rung.llc:.3g} ± {rung.llc_se:.2g} at gamma {rung.gamma:.2g} and nbeta {rung.nbeta:.3g}" for rung in rungs
    )
    others = _others(evidence.farther) if evidence.farther else ""
    ended = "".join(f"; {why}" for why in (evidence.highest, others, evidence.ended) if why)
    return f"llc depends on the scale: {ladder}{ended}; compare it at one nbeta and gamma only"


def _moves(evidence: Evidence) -> str:
    """Whether half or twice a given γ would take λ̂ out of its interval, by more than a share of it.

    The slope is that of λ̂ at w*. The floor, which is higher the larger γ, makes that of the basin more negative: above
    a floor a slope that is negative tells, and one that is positive says nothing.
    """
    found, basin = evidence.summary, evidence.basin
    half = (found.llc_high - found.llc_low) / 2
    of_floor = evidence.of_basin and basin is not None and not basin.at_floor
    for name, (slope, error) in evidence.slopes.items():
        move = math.log(2) * (max(0.0, -slope) if of_floor else abs(slope))
        if move > max(half, SCALE_LIMIT * abs(found.llc)) and abs(slope) > 3 * error:
            return (
                f"half or twice {name} would move llc by {move:.2g}: it is that of this scale; compare it at one nbeta "
                "and gamma only"
            )
    return ""


def _drifting(evidence: Evidence) -> str:
    found = evidence.summary
    if found.llc_se == 0:
        return "the chains never moved: the step size is too small, or the prior too tight, to change a weight"
    if not np.isfinite([found.llc_se, found.rhat, found.drift]).all():
        return f"too few draws to tell a plateau from a trend; {_longer(evidence)}"
    hot = evidence.hot or found
    half = (found.llc_high - found.llc_low) / 2
    sampling = math.sqrt(max(0.0, half**2 - (1.645 * left(evidence.rungs)[1]) ** 2))
    trouble = {
        f"still moving by {found.drift:+.1f} standard errors between halves": abs(found.drift) > DRIFT_LIMIT,
        f"at nbeta/4 still moving by {hot.drift:+.1f} standard errors between halves": abs(hot.drift) > DRIFT_LIMIT,
        f"R-hat {found.rhat:.3f}: the chains do not agree": found.rhat > evidence.max_rhat,
        f"R-hat {hot.rhat:.3f} at nbeta/4: the chains do not agree": hot.rhat > evidence.max_rhat,
        f"nested R-hat {found.rhat_nested:.3f}: chains from w* and from farther out do not agree": (
            found.rhat_nested > evidence.max_rhat
        ),
        f"chains have gone {100 * evidence.explored:.0f} % of the way that the prior lets them go": (
            len(evidence.rungs) < 2 and evidence.explored < EXPLORED_LIMIT
        ),
        f"the interval is {_width(found)} wide": (
            sampling > evidence.wanted_error * abs(found.llc)
            and not (evidence.highest and not evidence.ended)  # wide for what only another scale would tell
        ),
    }
    return next((f"{said}; {_longer(evidence)}" for said, is_so in trouble.items() if is_so), "")


def _width(found: Summary) -> str:
    """Of an interval, as a share where that says something."""
    half = (found.llc_high - found.llc_low) / 2
    return f"± {100 * half / abs(found.llc):.0f} %" if half < abs(found.llc) else f"± {half:.2g}"


def _step_size_biased(evidence: Evidence) -> str:
    if evidence.step_over_limit >= STEP_LIMIT:
        return f"the step size is {evidence.step_over_limit:.2f} times the stability limit; use a smaller one"
    if np.isfinite(evidence.step_excess) and evidence.step_excess > EXCESS_LIMIT:
        by = f"about {100 * evidence.step_excess:.0f} %" if evidence.step_excess < 1 else "more than it comes to"
        return f"step size and minibatch noise raise llc by {by}; use a smaller step or larger minibatches"
    return ""
