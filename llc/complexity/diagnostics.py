"""What the traces of λ̂ say: its mean, its honest error, and whether it means anything. Numbers only, no labels."""

from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats
from scipy import stats

# Probability that the interval (low, high) is meant to hold.
INTERVAL = 0.90
# Above this R̂ chains disagree (Vehtari et al. 2021 recommend 1.01 for publication; single estimates of λ̂ are short
# runs, for which 1.05 already separates chains that agree from chains that do not).
RHAT_LIMIT = 1.05
# A trend across the draws larger than this many of its standard errors is no plateau.
DRIFT_LIMIT = 3.0


@dataclass(frozen=True)
class Summary:
    """λ̂ from traces of shape (chain, draw); see `summarise`."""

    llc: float
    llc_se: float
    llc_low: float
    llc_high: float
    ess_bulk: float
    rhat: float
    drift: float


FAILED = Summary(*[np.nan] * 7)


def summarise(traces: np.ndarray) -> Summary:
    """Mean and error of λ̂ from traces of nβ(ℓ(w_t) − ℓ(w*)), warm-up and diverged chains already left out.

        λ̂ = mean over chains and draws
        se = max(MCSE, sd of chain means / √chains)

    MCSE, bulk ESS and rank-normalised R̂ are ArviZ's. The 90 % interval is the wider of λ̂ ± z·MCSE and
    λ̂ ± t_{chains−1}·(sd of chain means)/√chains: the first knows the autocorrelation inside a chain, the second sees
    chains that settled in different places. Losses are paired with the baseline sample by sample, so the baseline
    adds no error of its own.

    `drift` is the mean of the second half of the draws minus that of the first, in standard errors: a chain that is
    still climbing has a large one.

    Args:
        traces: (chain, draw), finite. With one chain, R̂ compares its two halves and the error is MCSE alone.
    """
    chains, draws = traces.shape
    mean = float(traces.mean())
    if draws < 4:  # ArviZ needs four
        return Summary(mean, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan)
    mcse = float(array_stats.mcse(traces, method="mean"))
    half_width = float(stats.norm.ppf(0.5 + INTERVAL / 2)) * mcse
    se = mcse
    if chains > 1:
        between = float(traces.mean(1).std(ddof=1)) / np.sqrt(chains)
        half_width = max(half_width, float(stats.t.ppf(0.5 + INTERVAL / 2, chains - 1)) * between)
        se = max(mcse, between)
    return Summary(
        llc=mean,
        llc_se=se,
        llc_low=mean - half_width,
        llc_high=mean + half_width,
        ess_bulk=float(array_stats.ess(traces, method="bulk")),
        rhat=float(array_stats.rhat(traces)),
        drift=_drift(traces),
    )


def _drift(traces: np.ndarray) -> float:
    """(mean of the second half − mean of the first half) / its standard error."""
    half = traces.shape[1] // 2
    first, second = traces[:, :half], traces[:, -half:]
    if half < 4:
        return np.nan
    se = np.hypot(array_stats.mcse(first, method="mean"), array_stats.mcse(second, method="mean"))
    return float((second.mean() - first.mean()) / se) if se > 0 else 0.0


def verdict(summary: Summary, *, chains: int, diverged: dict[int, int]) -> tuple[str, str]:
    """Whether an estimate can be used, and why (not): `converged`, `drifting`, `diverged` or `negative`.

    Args:
        summary: of the chains that survived.
        chains: how many were started.
        diverged: the draw at which each lost chain diverged.
    """
    lost = ", ".join(f"chain {chain} at draw {draw}" for chain, draw in sorted(diverged.items()))
    if diverged and 2 * len(diverged) >= chains:
        return "diverged", f"{len(diverged)} of {chains} chains diverged ({lost}); halve the step size"
    also = f"; left out: {lost}, which diverged" if diverged else ""
    if abs(summary.drift) > DRIFT_LIMIT:
        return "drifting", f"still moving by {summary.drift:+.1f} standard errors between halves; run longer{also}"
    if summary.rhat > RHAT_LIMIT:
        return "drifting", f"R-hat {summary.rhat:.2f}: the chains do not agree; run longer{also}"
    if summary.llc_high < 0:
        return "negative", f"the loss falls on average when the weights move: w* is no minimum{also}"
    return "converged", f"plateau over {chains - len(diverged)} chains, R-hat {summary.rhat:.2f}{also}"
