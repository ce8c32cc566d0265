"""What estimates of known learning coefficients add up to."""

import math

import numpy as np
import xarray as xr
from scipy import stats

from llc.estimate.diagnostics import INTERVAL


def one_a_truth(result: xr.Dataset) -> xr.Dataset:
    """One case for each truth: where there are several samples of one, the mean over them.

    A finite sample with noisy labels moves its own λ̂ about the λ of the truth, so that only a mean over samples can be
    held against that. It is over the samples that are `converged`, if these are more than half, with the standard error

        √(max(s², mean se_i²)/N), s the standard deviation of the N estimates,

    and an interval by Student's t of N − 1; else the first case that is not `converged` stands for all. Gradients and
    seconds are those of one estimate: means.

    Args:
        result: what `validate` returns, with one estimator selected.
    """
    parts = []
    for truth in dict.fromkeys(result.truth.values.tolist()):
        samples = result.isel(case=np.flatnonzero(result.truth.values == truth))
        good = _counted(samples)
        if samples.sizes["case"] == 1 or 2 * good.sum() <= samples.sizes["case"]:
            parts.append(samples.isel(case=[int(np.argmin(good))]))
            continue
        merged = samples.isel(case=[int(np.argmax(good))]).copy(deep=True)
        llcs, errors = samples.llc.values[good].astype(float), samples.llc_se.values[good].astype(float)
        se = math.sqrt(max(llcs.var(ddof=1), float(np.square(errors).mean())) / len(llcs))
        reach = float(stats.t.ppf(0.5 + INTERVAL / 2, len(llcs) - 1)) * se
        numbers = {"llc": llcs.mean(), "llc_se": se, "llc_low": llcs.mean() - reach, "llc_high": llcs.mean() + reach}
        for name in ("gradients", "seconds"):
            numbers[name] = float(samples[name].mean())
        for name, value in numbers.items():
            merged[name].values[:] = value
        parts.append(merged)
    return xr.concat(parts, "case", data_vars="all")


def _counted(result: xr.Dataset) -> np.ndarray:
    """Whether each estimate claims to be right: `converged`, or a number of a method without verdicts."""
    return np.isin(result.verdict.values, ["converged", "none"]) & np.isfinite(result.llc.values.astype(float))


def scores(result: xr.Dataset) -> dict[str, float]:
    """What one method's results add up to.

    Args:
        result: what `validate` returns, with one estimator selected.
    Returns:
        `median_error`, `p95_error`, `worst_error`: relative, over estimates that are called `converged` (all that are
        finite, for a method without verdicts);
        `order_preservation`: the share of pairs with different exact values that these put in order;
        `coverage`: the share of their 90 % intervals that hold the exact value;
        `unconverged`: the share of cases that count as failures, having another verdict or no number;
        `false_successes`: the share of `converged` that are more than 10 % off with an interval that misses.
    """
    good = result.isel(case=np.flatnonzero(_counted(result)))
    exact, found = good.exact.values.astype(float), good.llc.values.astype(float)
    if not len(exact):
        return {"cases": float(result.sizes["case"]), "unconverged": 1.0}
    error = np.abs(found / exact - 1)
    above = np.subtract.outer(exact, exact) > 1e-9
    inside = ((good.llc_low <= good.exact) & (good.exact <= good.llc_high)).values
    return {
        "cases": float(result.sizes["case"]),
        "median_error": float(np.median(error)),
        "p95_error": float(np.quantile(error, 0.95)),
        "worst_error": float(error.max()),
        "order_preservation": float((np.subtract.outer(found, found) > 0)[above].mean()) if above.any() else np.nan,
        "coverage": float(inside.mean()),
        "unconverged": 1 - good.sizes["case"] / result.sizes["case"],
        "false_successes": float(((error > 0.1) & ~inside).mean()),
    }


def format_validation(result: xr.Dataset) -> str:
    """The result as text: a line a case for the first method, what that adds up to by kind, and the methods' scores.

    Args:
        result: of `llc.validate`.
    """
    first = result.isel(estimator=0)
    truths = one_a_truth(first)
    lines = [f"{'case':58s} {'exact':>8s} {'estimate':>17s} {'interval':>19s} {'error':>7s} {'gradients':>9s}  verdict"]
    for i in range(result.sizes["case"]):
        row = first.isel(case=i)
        exact, found = float(row.exact), float(row.llc)
        lines.append(
            f"{str(row.case.item())[:58]:58s} {exact:8.2f} {found:9.2f} ± {float(row.llc_se):5.2f} "
            f"{float(row.llc_low):9.2f} {float(row.llc_high):9.2f} {100 * (found / exact - 1):+6.1f}% "
            f"{int(row.gradients):9d}  {row.verdict.item()}"
        )
    lines += ["", _SCORES_HEADER]
    for kind in dict.fromkeys(first.kind.values.tolist()):
        of_kind = truths.isel(case=np.flatnonzero(truths.kind.values == kind))
        lines.append(_score_line(f"{first.estimator.item()}, {kind}", of_kind))
    for estimator in result.estimator.values:
        lines.append(_score_line(f"{estimator}, all", one_a_truth(result.sel(estimator=estimator))))
    if truths.sizes["case"] < first.sizes["case"]:
        _, alone = np.unique(first.truth.values, return_index=True)
        for estimator in result.estimator.values:
            single = result.sel(estimator=estimator).isel(case=np.sort(alone))
            lines.append(_score_line(f"{estimator}, one sample a truth", single))
        lines.append("Truths with noisy labels have several samples, and are held against the mean over these.")
    lines.append(
        "Errors, order and coverage are over estimates called converged; failed counts the others. "
        "devinterp gives no verdict: all its finite numbers count."
    )
    return "\n".join(lines)


_SCORES_HEADER = (
    f"{'method and kind':36s} {'cases':>5s} {'failed':>7s} {'median':>7s} {'95 %':>7s} {'worst':>8s} "
    f"{'in order':>8s} {'covered':>7s}  {'gradients':>9s} {'seconds':>7s}"
)


def _score_line(name: str, result: xr.Dataset) -> str:
    total = scores(result)

    def share(key: str, width: int) -> str:
        return f"{100 * total[key]:.1f}%".rjust(width) if key in total else "–".rjust(width)

    return (
        f"{name:36s} {total['cases']:5.0f} {share('unconverged', 7)} {share('median_error', 7)} "
        f"{share('p95_error', 7)} {share('worst_error', 8)} {total.get('order_preservation', np.nan):8.3f} "
        f"{share('coverage', 7)}  {int(result.gradients.sum()):9d} {float(result.seconds.sum()):7.0f}"
    )
