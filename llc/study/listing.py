"""Estimates as lines of text: each with its verdict and the reason."""

import numpy as np
import xarray as xr

from llc.store import labels

# More estimates than this are counted, and only those that need a look are listed.
_MOST = 40


def format_estimates(llc: xr.Dataset) -> str:
    """A line an estimate: where in the sweep, step, λ̂ with its 90 % interval, verdict and reason.

    Of more than forty, only those that are not `converged` are listed, and at most forty of them.

    Args:
        llc: as `estimate_llc_over_training` returns it.
    """
    axes = [dim for dim in labels.axes_in(llc) if llc[dim].size > 1]
    rows = [
        (place, run.isel(step=int(i)))
        for place, run in labels.each_run(llc[["llc", "llc_low", "llc_high", "verdict", "reason"]])
        for i in np.flatnonzero(run.verdict.fillna("").values != "")
    ]
    listed = rows if len(rows) <= _MOST else [(place, row) for place, row in rows if row.verdict != "converged"]
    heads = "".join(f"{labels.symbol_of(llc, dim):>{_width(llc, dim)}s} " for dim in axes)
    lines = [f"{heads}{'step':>7s} {'LLC':>9s} {'90 % interval':>19s}  verdict"]
    for place, row in listed[:_MOST]:
        at = "".join(f"{labels.value_label(place[dim]):>{_width(llc, dim)}s} " for dim in axes)
        low, high = float(row.llc_low), float(row.llc_high)
        lines.append(
            f"{at}{int(row.step):7d} {float(row.llc):9.2f} {low:9.2f} {high:9.2f}  "
            f"{row.verdict.item()}: {row.reason.item()}"
        )
    good = sum(row.verdict.item() == "converged" for _, row in rows)
    if len(listed) < len(rows):
        lines.append(f"{good} others are converged")
    if len(listed) > _MOST:
        lines.append(f"{len(listed) - _MOST} more are not; `reason` in llc.nc says why")
    return "\n".join(lines)


def _width(llc: xr.Dataset, dim: str) -> int:
    """Of a column of an axis."""
    return max(len(labels.symbol_of(llc, dim)), *(len(labels.value_label(one)) for one in llc[dim].values.tolist()))
