"""From chains to what an estimate costs: error and standard error of λ̂ by the gradients that were spent on it."""

from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats
from cost_chains import BATCH, INIT_BATCHES, PROBES, Problem, Traces

from llc.estimate import diagnostics

# What an estimate has to reach: |λ̂/reference − 1|, and the relative standard error.
ERROR, SPREAD = 0.05, 0.02
# A loss without its gradient, in gradients.
FORWARD = 1 / 3
# Gradients that `largest_curvature` takes, 20 iterations of two.
CURVATURE = 40
# What is left out as burn-in of devinterp's chains, as a share of their steps: the best of these.
DROPPED = (0.0, 0.125, 0.25, 0.5)


@dataclass(frozen=True)
class Curve:
    """What an estimate is worth by what it cost, all (length,).

    Attributes:
        gradients: minibatch gradients spent in all.
        error: mean of λ̂ over replications, relative to the reference, minus 1.
        spread: λ̂'s standard error over replications, relative to the reference, from the chains' autocorrelation.
        doubt: standard error of `error`, from as many chains as were run.
        stated: median over replications of llc_se/llc; NaN for devinterp, which states none.
        measured: gradients up to which chains were made; beyond it they are taken to stay as they are.
    """

    gradients: np.ndarray
    error: np.ndarray
    spread: np.ndarray
    doubt: np.ndarray
    stated: np.ndarray
    measured: float

    @property
    def right(self) -> int:
        """From which length on the mean is within its bound, as far as the chains that were run can tell."""
        wrong = np.flatnonzero(np.abs(self.error) - self.doubt > ERROR)
        return int(wrong[-1]) + 1 if len(wrong) else 0

    def reached(self, *, stated: bool = False) -> float:
        """The fewest gradients from which on error and standard error stay within their bounds, or infinity."""
        fails = np.flatnonzero(~((self.stated if stated else self.spread) <= SPREAD))
        after = max(self.right, int(fails[-1]) + 1 if len(fails) else 0)
        return float(self.gradients[after]) if after < len(self.gradients) else np.inf


def settled(traces: Traces, dropped: float) -> tuple[float, float, float]:
    """λ̂, its standard error and the excess taken off, from all chains without so large a share of their draws."""
    kept, excess = traces.paired[:, int(dropped * traces.paired.shape[1]) :], float(traces.excess.mean())
    found = diagnostics.corrected(diagnostics.summarise(kept), excess)
    return found.llc, found.llc_se, excess


def ours(traces: Traces, llc: float, *, chains: int, n: int, variates: bool) -> Curve:
    """Estimates from the first t steps of `chains` chains at a time, burn-in found and excess taken off each time."""
    steps = traces.paired.shape[1]
    groups = np.arange(len(traces.paired) // chains * chains).reshape(-1, chains)
    lengths = np.unique(np.geomspace(24, steps, 60).astype(int))
    noise = _asymptotic(traces.paired[:, steps // 2 :])
    rows = []
    for length in lengths:
        found, kept = [], []
        for group in groups:  # as `estimate_llc` concludes
            trace = traces.paired[group, : int(length)]
            trace = trace[:, diagnostics.detect_warmup(trace) :]
            found.append(diagnostics.corrected(diagnostics.summarise(trace), float(traces.excess[group].mean())))
            kept.append(trace.size)
        error = np.mean([one.llc for one in found]) / llc - 1
        stated = np.median([one.llc_se / one.llc for one in found])
        rows.append((error, noise / np.sqrt(np.mean(kept)) / llc, noise / np.sqrt(np.sum(kept)) / llc, stated))
    error, spread, doubt, stated = np.array(rows).T
    epoch = n / BATCH
    once = CURVATURE + epoch * FORWARD + epoch * variates
    probes = PROBES * (epoch * FORWARD + 1)
    gradients = once + chains * (lengths + probes)
    return Curve(gradients, error, spread, doubt, stated, float(gradients[-1]))


def theirs(traces: Traces, llc: float, *, n: int, init_noise: float, drop: bool, longest: int = 400_000) -> Curve:
    """devinterp's estimate from one chain, at whole epochs, where the spread between the cycled minibatches cancels.

    Args:
        init_noise: standard error of the loss at w*, in units of λ̂; 0 where it is taken over all of the data.
        drop: leave out burn-in: at each length that of `DROPPED` which serves devinterp best.
    """
    trace = np.nanmean(traces.paired, axis=0)
    steps, epoch = len(trace), n // BATCH
    stays = float(trace[steps // 2 :].mean())
    noise = _asymptotic(traces.paired[:, steps // 2 :])
    sums = np.concatenate([[0.0], np.cumsum(trace)])

    def total(length: np.ndarray) -> np.ndarray:
        """Σ of the first steps; a chain that was not followed so far stays at its mean."""
        return sums[np.minimum(length, steps)] + stays * np.maximum(length - steps, 0)

    lengths = np.arange(1, longest // epoch + 1) * epoch
    choices = []
    for share in DROPPED if drop else DROPPED[:1]:
        first = (share * lengths).astype(int) // epoch * epoch
        kept = lengths - first
        error = (total(lengths) - total(first)) / kept / llc - 1
        doubt = noise / np.sqrt(len(traces.paired) * np.minimum(kept, steps // 2)) / llc
        choices.append((error, np.hypot(noise / np.sqrt(kept), init_noise) / llc, doubt))
    spent = lengths + (INIT_BATCHES if init_noise else epoch) * FORWARD
    none, measured = np.full(len(lengths), np.nan), float(steps)
    curves = [Curve(spent, error, spread, doubt, none, measured) for error, spread, doubt in choices]
    return min(curves, key=Curve.reached)


def over_calls(curve: Curve) -> float:
    """The fewest gradients where independent calls of one length are averaged until the standard error is reached."""
    calls = np.maximum(1, np.ceil((curve.spread[curve.right :] / SPREAD) ** 2))
    return float(np.min(calls * curve.gradients[curve.right :], initial=np.inf))


def init_noise(problem: Problem) -> float:
    """Standard error that devinterp's init loss gives λ̂: of a mean over some of n samples, without replacement."""
    share = 1 / (INIT_BATCHES * BATCH) - 1 / problem.n
    return float(problem.nbeta * problem.baseline().std()) * np.sqrt(max(0.0, share))


def _asymptotic(settled: np.ndarray) -> float:
    """Standard error of a mean over one settled draw, such that that of N successive ones is 1/√N of it."""
    return float(array_stats.mcse(settled, method="mean")) * np.sqrt(settled.size)
