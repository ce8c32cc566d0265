"""Figures of which samples a model treats alike."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from llc.errors import InvalidInput, shown
from llc.figures.spec import Axis, Cells, Panel, Spec

# Of the entries, the share that the colours tell apart: the rest, mostly of the diagonal, has the fullest.
_SHARE = 0.98


def kernel(found: xr.Dataset, groups: Sequence[object] | None = None, others: Sequence[object] | None = None) -> Spec:
    """A loss kernel, or influences, as a matrix of coloured cells.

    Args:
        found: of `llc.loss_kernel` or `llc.influence`.
        groups: of each sample, such as its class; samples of a group stand together.
        others: the same of the columns; None where these are the same samples.
    Raises:
        InvalidInput: no such result, or another number of groups than of samples.
    """
    held = [str(name) for name in found.data_vars] if isinstance(found, xr.Dataset) else []
    name = next((one for one in ("kernel", "influence") if one in held), None)
    if name is None:
        what = f"a dataset of {', '.join(held[:4])}" if held else shown(found)
        raise InvalidInput(f"{what} given, expected what llc.loss_kernel or llc.influence gives")
    values = found[name].values
    same = values.shape[0] == values.shape[1] and found.attrs.get("dataset") == found.attrs.get("other_dataset")
    columns = groups if others is None and same else others
    (rows, y, below), (across, x, right) = (
        _placed(given, size, str(dim))
        for given, size, dim in zip((groups, columns), values.shape, found[name].dims, strict=True)
    )
    cells = values[np.ix_(rows, across)]
    limit = float(np.nanquantile(np.abs(cells), _SHARE)) or 1.0
    units = found[name].attrs.get("units", "")
    label = str(found[name].attrs.get("long_name", name)) + (f" ({units})" if units not in {"", "1"} else "")
    verdict = f" Verdict of the draws: {found.attrs['verdict']}." if "verdict" in found.attrs else ""
    return Spec(
        name,
        "Losses that move together along the draws" if name == "kernel" else "Influence of samples on samples",
        [Panel(x, y, [Cells(cells, label, limit, (below, right))])],
        f"One cell a pair of samples; {found.attrs.get('convention', '')}. Beyond ± {limit:.2g} colours are the "
        f"fullest.{verdict}",
        f"A matrix of {cells.shape[0]} by {cells.shape[1]} samples; {np.mean(cells > 0):.0%} of its cells are above 0.",
        size=(6.4, 5.4),
    )


def _placed(groups: Sequence[object] | None, size: int, dim: str) -> tuple[np.ndarray, Axis, list[int]]:
    """The order of samples, the axis that they stand on, and where a group ends."""
    label = dim.replace("_", " ")
    if groups is None:
        return np.arange(size), Axis(label), []
    if len(groups) != size:
        raise InvalidInput(f"groups of {len(groups)} samples given, expected one for each of {size} ({dim})")
    names, number = np.unique([str(group) for group in groups], return_inverse=True)
    order = np.argsort(number, kind="stable")
    ends = np.cumsum(np.bincount(number, minlength=len(names)))
    starts = np.concatenate([[0], ends[:-1]])
    ticks = {float(first + last - 1) / 2: str(one) for first, last, one in zip(starts, ends, names, strict=True)}
    return order, Axis(f"{label}, by group", ticks=ticks), [int(end) for end in ends[:-1]]
