"""Estimates as lines of text: each with its verdict and the reason."""

import numpy as np
import xarray as xr

# More estimates than this are counted, and only those that need a look are listed.
_MOST = 40


def format_estimates(llc: xr.Dataset) -> str:
    """A line an estimate: M, seed, step, λ̂ with its 90 % interval, verdict and reason.

    Of more than forty, only those that are not `converged` are listed, and at most forty of them.

    Args:
        llc: as `estimate_llc_over_training` returns it.
    """
    flat = llc[["llc", "llc_low", "llc_high", "verdict", "reason"]].stack(at=("num_tasks", "seed", "step"))
    rows = [flat.isel(at=i) for i in np.flatnonzero(flat.verdict.fillna("").values != "")]
    listed = rows if len(rows) <= _MOST else [row for row in rows if row.verdict != "converged"]
    lines = [f"{'M':>6s} {'seed':>4s} {'step':>7s} {'LLC':>9s} {'90 % interval':>19s}  verdict"]
    for row in listed[:_MOST]:
        num_tasks, seed, step = row["at"].item()
        low, high = float(row.llc_low), float(row.llc_high)
        lines.append(
            f"{num_tasks:6g} {seed:4d} {step:7d} {float(row.llc):9.2f} {low:9.2f} {high:9.2f}  "
            f"{row.verdict.item()}: {row.reason.item()}"
        )
    good = sum(row.verdict.item() == "converged" for row in rows)
    if len(listed) < len(rows):
        lines.append(f"{good} others are converged")
    if len(listed) > _MOST:
        lines.append(f"{len(listed) - _MOST} more are not; `reason` in llc.nc says why")
    return "\n".join(lines)
