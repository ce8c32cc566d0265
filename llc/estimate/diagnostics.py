"""What the traces of λ̂ say: its mean, its honest error, where burn-in ends. Numbers only, no labels."""

from dataclasses import dataclass, replace

import numpy as np
from arviz_stats.base import array_stats
from scipy import stats

# Probability that the interval (low, high) is meant to hold.
INTERVAL = 0.90
# Standard error of a predicted excess, as a share of it, to which the excess's own share of λ̂ is added: the prediction
# is of first order, and what it leaves out is of the size of its square.
EXCESS_ERROR = 0.1
# Effective draws a chain below which the place of the largest effective sample is chance.
_LEAST_EFFECTIVE = 5


@dataclass(frozen=True)
class Summary:
    """λ̂ from traces of shape (chain, draw); see `summarise`."""

    llc: float
    llc_se: float
    llc_low: float
    llc_high: float
    ess_bulk: float
    ess_tail: float
    rhat: float
    rhat_nested: float
    drift: float


FAILED = Summary(*[np.nan] * 9)


def summarise(traces: np.ndarray, superchain: np.ndarray | None = None) -> Summary:
    """Mean and error of λ̂ from traces of nβ(ℓ(w_t) − ℓ(w*)), warm-up and diverged chains already left out.

        λ̂ = mean over chains and draws
        se = max(MCSE, sd of chain means / √chains)

    MCSE, bulk and tail ESS and rank-normalised R̂ are ArviZ's: the first knows the autocorrelation inside a chain, the
    spread of the means sees chains that settled in different places. Losses are paired with the baseline sample by
    sample, so the baseline
    adds no error of its own.

    `drift` is the mean of the second half of the draws minus that of the first, in standard errors: a chain that is
    still climbing has a large one.

    Args:
        traces: (chain, draw), finite. With one chain, R̂ compares its two halves and the error is MCSE alone.
        superchain: (chain,), the kind of start of each chain, for nested R̂ (Margossian et al. 2021, arXiv 2110.13017);
            NaN where all are of one kind.
    """
    chains, draws = traces.shape
    mean = float(traces.mean())
    if draws < 4:  # ArviZ needs four
        return Summary(mean, *[np.nan] * 8)
    if np.ptp(traces) == 0:  # chains that never moved have no R̂
        return Summary(mean, 0.0, mean, mean, np.nan, np.nan, np.nan, np.nan, 0.0)
    mcse = float(array_stats.mcse(traces, method="mean"))
    half_width = float(stats.norm.ppf(0.5 + INTERVAL / 2)) * mcse
    se = mcse
    if chains > 1:
        between = float(traces.mean(1).std(ddof=1)) / np.sqrt(chains)
        se = max(mcse, between)
        half_width = float(stats.norm.ppf(0.5 + INTERVAL / 2)) * se
    return Summary(
        llc=mean,
        llc_se=se,
        llc_low=mean - half_width,
        llc_high=mean + half_width,
        ess_bulk=float(array_stats.ess(traces, method="bulk")),
        ess_tail=float(array_stats.ess(traces, method="tail", prob=(0.05, 0.95))),
        rhat=float(array_stats.rhat(traces if chains > 1 else traces[:, : draws // 2 * 2].reshape(2, -1))),
        rhat_nested=_rhat_nested(traces, superchain),
        drift=_drift(traces),
    )


def corrected(summary: Summary, excess: float) -> Summary:
    """λ̂ with a predicted excess e taken off, and with the prediction's own uncertainty in its error and interval.

    The prediction is of first order; its standard error is taken to be e(1/10 + e/λ̂).
    """
    if not np.isfinite(excess) or excess == 0:
        return summary
    llc = summary.llc - excess
    error = abs(excess) * (EXCESS_ERROR + min(1.0, abs(excess / llc)) if llc else 1.0)
    return widened(
        replace(summary, llc=llc, llc_low=summary.llc_low - excess, llc_high=summary.llc_high - excess), error
    )


def without(summary: Summary, added: np.ndarray) -> Summary:
    """λ̂ without what was seen to be added to it at some draws: their mean taken off, its standard error carried."""
    if not np.any(added) or not np.isfinite(added).all():
        return summary
    mean = float(np.mean(added))
    moved = replace(summary, llc=summary.llc - mean, llc_low=summary.llc_low - mean, llc_high=summary.llc_high - mean)
    return widened(moved, float(np.std(added, ddof=1) / np.sqrt(added.size)) if added.size > 1 else abs(mean))


def widened(summary: Summary, error: float) -> Summary:
    """With one more independent standard error in `llc_se` and in the interval."""
    reach = float(stats.norm.ppf(0.5 + INTERVAL / 2)) * error
    return replace(
        summary,
        llc_se=float(np.hypot(summary.llc_se, error)),
        llc_low=summary.llc - float(np.hypot(summary.llc - summary.llc_low, reach)),
        llc_high=summary.llc + float(np.hypot(summary.llc_high - summary.llc, reach)),
    )


def detect_warmup(traces: np.ndarray) -> int:
    """The number of leading draws to set aside: that which leaves the largest effective sample (Chodera 2016).

    Dropping too few draws leaves a trend, which makes ArviZ's ESS of the mean small; dropping too many wastes draws.
    At most half of the draws are dropped: a trend that is longer than that is for the verdict to name. So much goes
    too where chains are so far apart that no choice leaves five effective draws a chain: sizes that small do not tell
    one choice from another.

    Args:
        traces: (chain, draw), finite.
    """
    chains, draws = traces.shape
    if draws < 40:
        return draws // 2
    candidates = np.unique(np.linspace(0, draws // 2, 21).astype(int))
    sizes = [float(array_stats.ess(traces[:, start:], method="mean")) for start in candidates]
    if not np.nanmax([*sizes, 0.0]) >= _LEAST_EFFECTIVE * chains:
        return draws // 2
    return int(candidates[int(np.nanargmax(sizes))])


def _rhat_nested(traces: np.ndarray, superchain: np.ndarray | None) -> float:
    """Nested R̂ over as many chains of each kind of start as the rarer kind has."""
    if superchain is None or len(set(superchain.tolist())) < 2:
        return np.nan
    kinds = sorted(set(superchain.tolist()))
    each = min(int((superchain == kind).sum()) for kind in kinds)
    chosen = np.concatenate([np.flatnonzero(superchain == kind)[:each] for kind in kinds])
    ids = np.repeat(np.arange(len(kinds)), each)
    return float(array_stats.rhat_nested(traces[chosen], superchain_ids=ids))


def _drift(traces: np.ndarray) -> float:
    """(mean of the second half − mean of the first half) / its standard error."""
    half = traces.shape[1] // 2
    first, second = traces[:, :half], traces[:, -half:]
    if half < 4:
        return np.nan
    se = np.hypot(array_stats.mcse(first, method="mean"), array_stats.mcse(second, method="mean"))
    return float((second.mean() - first.mean()) / se) if se > 0 else 0.0
