"""Every threshold of the verdicts, on one page; `docs/verdicts.md` says the same to a reader."""

# Above this R̂ chains disagree. Vehtari et al. (2021) recommend 1.01 for publication; single estimates of λ̂ are short
# runs, for which 1.05 already tells chains that agree from chains that do not.
RHAT_LIMIT = 1.05
# Where rounds go on until the interval is narrow, it holds the spread between chains already (`summarise`): then R̂,
# which is relative to a single draw's spread, only has to exclude chains in different places.
ROUGH_RHAT_LIMIT = 1.2
# A trend across the draws larger than this many of its standard errors is no plateau.
DRIFT_LIMIT = 3.0
# The prior holds the chains: γE‖w − w*‖² at least this share of P, and …
PRIOR_LIMIT = 0.9
# … λ̂ within this of proportional to 1/γ (d log λ̂/d log γ below −0.9).
ELASTICITY_LIMIT = 0.9
# A loss without a floor: chains come to so many times its size at w* below it, and γE‖w − w*‖² to so many times P.
RUNAWAY = 1e3
# A loss that changes by no more than this share of itself does not change.
NO_CHANGE = 1e-7
# Chains have to have gone at least this share of the way that the prior lets them go, in the directions it holds; on a
# ladder two scales have been compared already.
EXPLORED_LIMIT = 0.25
# A basin's λ̂ that is known no better than this share of it is not told, …
BASIN_LIMIT = 0.5
# … and a variance-type estimate is spoken of where it is off by more than this share, beyond its error.
VARIANCE_LIMIT = 0.3
# λ̂ depends on the scale where half or twice γ moves it by more than this share, beyond its interval.
SCALE_LIMIT = 0.1
# The excess of λ̂ from step size and minibatch noise, as a share of it, that is still called converged.
EXCESS_LIMIT = 0.25
# Chains at a degenerate minimum follow the prior only if the variance-type estimate is less than this share of λ̂.
VARIANCE_OF_PRIOR = 0.5
# The step size over the stability limit from which chains cannot be trusted.
STEP_LIMIT = 1.0
# w* is above the floor by more than can be neglected: standard errors, and share of λ̂, …
FLOOR_ERRORS, FLOOR_SHARE = 2.0, 0.1
# … and by no less than this many nats, which is no height.
NOTHING = 0.02
