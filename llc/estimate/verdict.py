"""Whether an estimate of λ̂ may be believed, and why (not)."""

from dataclasses import dataclass, field

import numpy as np

from llc.estimate.diagnostics import Summary

# Above this R̂ chains disagree. Vehtari et al. (2021) recommend 1.01 for publication; single estimates of λ̂ are short
# runs, for which 1.05 already tells chains that agree from chains that do not.
RHAT_LIMIT = 1.05
# A trend across the draws larger than this many of its standard errors is no plateau.
DRIFT_LIMIT = 3.0
# The prior holds the chains: γE‖w − w*‖² at least this share of P, and …
PRIOR_LIMIT = 0.9
# … λ̂ within this of proportional to 1/γ (d log λ̂/d log γ below −0.9).
ELASTICITY_LIMIT = 0.9
# Chains have to have gone at least this share of the way that the prior lets them go, in the directions it holds.
EXPLORED_LIMIT = 0.25
# The excess of λ̂ from step size and minibatch noise, as a share of it, that is still called converged.
EXCESS_LIMIT = 0.25

VERDICTS = (
    "converged",
    "drifting",
    "diverged",
    "prior-dominated",
    "delocalised",
    "negative",
    "step-size-biased",
)


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on.

    Attributes:
        summary: of the chains that survived.
        chains: how many were started. diverged: the draw at which each lost one diverged.
        prior_share: γE‖w − w*‖²/P. In a Gaussian well it is 1 − 2λ̂/P.
        prior_over_curvature: γ/(nβ h_max).
        variance_ratio: Var(nβL_n)/λ̂. In a Gaussian well with x_i = nβh_i/(nβh_i + γ) it is Σx_i²/Σx_i = 1 + the
            elasticity d log λ̂/d log γ: near 1 where λ̂ is a plateau in γ, near 0 where it only measures the prior.
        explored: γE‖w − w*‖²/(P − nβE[(w − w*)·∇L]), the larger of the kinds of start. Integration by parts makes it 1
            in any posterior once chains have been everywhere; near 0 they have not left the neighbourhood of w* in
            the directions that only the prior holds. NaN where it holds next to none.
        step_excess: predicted excess of λ̂, as a share of it.
        step_over_limit: step size over the stability limit, the largest seen at w* and at draws.
        loss_sampled: E[L]. reference_losses: losses of predictors that know nothing, by name.
        max_rhat: R̂ and nested R̂ above which chains disagree.
    """

    summary: Summary
    chains: int
    diverged: dict[int, int]
    prior_share: float
    prior_over_curvature: float
    variance_ratio: float
    explored: float
    step_excess: float
    step_over_limit: float
    loss_sampled: float
    reference_losses: dict[str, float] = field(default_factory=dict)
    max_rhat: float = RHAT_LIMIT


def judge(evidence: Evidence) -> tuple[str, str]:
    """The verdict, one of `VERDICTS`, and its reason in a sentence. The gravest that applies wins.

    - `diverged`: half of the chains or more were lost.
    - `delocalised`: on average the draws do no better than a predictor that knows nothing.
    - `negative`: the loss falls when the weights move: w* is no minimum.
    - `prior-dominated`: chains go as far as the prior lets them and λ̂ ∝ 1/γ: it measures γ, not the model.
    - `drifting`: no plateau, or chains that disagree.
    - `step-size-biased`: the step size or minibatch noise heats the chains by more than a quarter of λ̂.
    - `converged`: none of these.
    """
    found = evidence.summary
    lost = ", ".join(f"chain {chain} at draw {draw}" for chain, draw in sorted(evidence.diverged.items()))
    also = f"; left out: {lost}, which diverged" if lost else ""
    for check in (_diverged, _delocalised, _negative, _prior_dominated, _drifting, _step_size_biased):
        reason = check(evidence)
        if reason:
            name = check.__name__.strip("_").replace("_", "-")
            return name, reason + ("" if name == "diverged" else also)
    kept = evidence.chains - len(evidence.diverged)
    return "converged", f"plateau over {kept} chains, R-hat {found.rhat:.2f}{also}"


def _diverged(evidence: Evidence) -> str:
    lost = ", ".join(f"chain {chain} at draw {draw}" for chain, draw in sorted(evidence.diverged.items()))
    if evidence.diverged and 2 * len(evidence.diverged) >= evidence.chains:
        return f"{len(evidence.diverged)} of {evidence.chains} chains diverged ({lost}); use a smaller step size"
    return ""


def _delocalised(evidence: Evidence) -> str:
    for name, loss in evidence.reference_losses.items():
        if evidence.loss_sampled >= loss:
            return (
                f"the draws' mean loss {evidence.loss_sampled:.3g} is no better than that of {name}, {loss:.3g}; "
                "use a larger gamma or nbeta"
            )
    return ""


def _negative(evidence: Evidence) -> str:
    if evidence.summary.llc_high < 0:
        return "the loss falls on average when the weights move: w* is no minimum"
    return ""


def _prior_dominated(evidence: Evidence) -> str:
    # At a degenerate minimum the curvature at w* is no guide: there the variance has to say so too.
    follows_prior = not evidence.variance_ratio > 0.5
    if evidence.prior_over_curvature >= 1 and follows_prior and evidence.summary.llc_se > 0:
        return (
            f"gamma is {evidence.prior_over_curvature:.3g} times the steepest curvature of nbeta L: no direction is "
            "held by the data; use a smaller gamma or a larger nbeta"
        )
    elasticity = 1 - evidence.variance_ratio
    if evidence.prior_share > PRIOR_LIMIT and elasticity > ELASTICITY_LIMIT:
        return (
            f"the prior holds {100 * evidence.prior_share:.0f} % of the spread and llc goes as "
            f"gamma^-{elasticity:.2f}; use a smaller gamma or a larger nbeta"
        )
    return ""


def _drifting(evidence: Evidence) -> str:
    found = evidence.summary
    if found.llc_se == 0:
        return "the chains never moved: the step size is too small, or the prior too tight, to change a weight"
    if not np.isfinite([found.llc_se, found.rhat, found.drift]).all():
        return "too few draws to tell a plateau from a trend; run longer"
    trouble = {
        f"still moving by {found.drift:+.1f} standard errors between halves": abs(found.drift) > DRIFT_LIMIT,
        f"R-hat {found.rhat:.3f}: the chains do not agree": found.rhat > evidence.max_rhat,
        f"nested R-hat {found.rhat_nested:.3f}: chains from w* and from farther out do not agree": (
            found.rhat_nested > evidence.max_rhat
        ),
        f"chains have gone {100 * evidence.explored:.0f} % of the way that the prior lets them go": (
            evidence.explored < EXPLORED_LIMIT
        ),
    }
    return next((f"{said}; run longer" for said, is_so in trouble.items() if is_so), "")


def _step_size_biased(evidence: Evidence) -> str:
    if evidence.step_over_limit >= 1:
        return f"the step size is {evidence.step_over_limit:.2f} times the stability limit; use a smaller one"
    if np.isfinite(evidence.step_excess) and evidence.step_excess > EXCESS_LIMIT:
        return (
            f"step size and minibatch noise raise llc by about {100 * evidence.step_excess:.0f} %; use a smaller step "
            "or larger minibatches"
        )
    return ""
