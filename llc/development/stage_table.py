"""From boundaries to a table of stages: what loss and complexity do in each."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from llc.development.boundaries import Boundary, check_curve, check_resamples, smooth_curve
from llc.errors import InvalidInput, shown
from llc.store.labels import value_label

# 5 % and 95 %: a 90 % interval.
_ENDS = (0.05, 0.95)
# What is printed of a stage.
_PRINTED = (
    *("stage", "start", "end", "end_low", "end_high", "type"),
    *(f"delta_{name}{end}" for name in ("loss", "llc") for end in ("", "_low", "_high")),
)


@dataclass(frozen=True)
class Curve:
    """Values over training with their standard errors, each (T,)."""

    steps: np.ndarray
    values: np.ndarray
    errors: np.ndarray


def stage_table(
    llc: Curve, loss: Curve, boundaries: Sequence[Boundary], *, resamples: int = 400, seed: int = 0
) -> pd.DataFrame:
    """A row for each stretch between boundaries, the first and last step among them.

    Δλ and Δℓ are differences of smoothing splines through the two curves at a stage's ends; their 90 % intervals come
    from splines through curves with new errors and, for Δλ and Δℓ alike, ends that stay where they are.

    Stages of type A bring a lower loss at the price of higher complexity, those of type B simplify while the loss
    falls (Hoogland et al. 2024, arXiv 2402.02364); where the loss rises, the type is `loss rises`; where the interval
    of Δλ holds 0, it is `flat`, and where only that of Δℓ does, `loss flat`.

    Args:
        llc: λ̂ over training.
        loss: over training, at the same steps or others.
        boundaries: inside of the steps of `llc`, ascending, as from `turns` or `trend_changes`; none for one stage.
        resamples: how many curves with new errors make intervals.
        seed: of those errors.
    Raises:
        InvalidInput: curves that `turns` would refuse, or none; boundaries that are none, or not inside of the steps
            of `llc`, one after another; or a loss that does not reach from the first stage's start to the last one's
            end.
    Returns:
        Columns `stage`, `start`, `end`, with the interval of `end` in `end_low` and `end_high` (NaN for the last
        step), `type`, `delta_loss` and `delta_llc`, each with `_low` and `_high`.
    """
    check_resamples(resamples, seed)
    if isinstance(boundaries, str) or not isinstance(boundaries, Iterable):
        raise InvalidInput(f"boundaries = {shown(boundaries)} given, expected a list of them, from turns")
    boundaries = list(boundaries)
    for one in boundaries:
        if not isinstance(one, Boundary):
            raise InvalidInput(f"{shown(one)} given among boundaries, expected each from turns or trend_changes")
    llc, loss = (_as_arrays(curve) for curve in (llc, loss))
    ends = [float(llc.steps[0]), *(boundary.step for boundary in boundaries), float(llc.steps[-1])]
    if not all(before < after for before, after in itertools.pairwise(ends)):
        places = ", ".join(f"{boundary.step:g}" for boundary in boundaries)
        raise InvalidInput(
            f"boundaries at {places} given, expected them one after another between {ends[0]:g} and {ends[-1]:g}"
        )
    if not loss.steps[0] <= ends[0] <= ends[-1] <= loss.steps[-1]:
        raise InvalidInput(
            f"a loss from step {loss.steps[0]:g} to {loss.steps[-1]:g} given for stages from {ends[0]:g} to "
            f"{ends[-1]:g}; give it at their ends too"
        )
    change_llc, change_loss = (
        _changes(curve, ends, resamples, seed + number) for number, curve in enumerate((llc, loss))
    )
    rows = []
    for number in range(len(ends) - 1):
        row: dict = {"stage": number + 1, "start": ends[number], "end": ends[number + 1]}
        last = number == len(boundaries)
        row["end_low"] = np.nan if last else boundaries[number].low
        row["end_high"] = np.nan if last else boundaries[number].high
        for name, (change, low, high) in (("delta_loss", change_loss), ("delta_llc", change_llc)):
            row |= {name: change[number], f"{name}_low": low[number], f"{name}_high": high[number]}
        rows.append({**row, "type": _type(row)})
    return pd.DataFrame(rows)


def _as_arrays(curve: Curve) -> Curve:
    if not isinstance(curve, Curve):
        raise InvalidInput(f"{shown(curve)} given, expected an llc.development.Curve(steps, values, errors)")
    _, values, errors = check_curve(curve.steps, curve.values, curve.errors)
    return Curve(np.asarray(curve.steps, float), values, errors)


def _type(row: dict) -> str:
    if row["delta_llc_low"] <= 0 <= row["delta_llc_high"]:
        return "flat"
    if row["delta_loss_low"] <= 0 <= row["delta_loss_high"]:
        return "loss flat"
    if row["delta_loss"] > 0:
        return "loss rises"
    return "A" if row["delta_llc"] > 0 else "B"


def _changes(
    curve: Curve, ends: Sequence[float], resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By how much a smoothed curve changes from each end to the next, with the 90 % interval."""
    smooth = smooth_curve(curve.steps, curve.values, curve.errors)
    change = np.diff(smooth(np.asarray(ends)))
    draw, around = np.random.default_rng(seed), smooth(curve.steps)
    others = np.empty((resamples, len(change)))
    for number in range(resamples):
        again = smooth_curve(curve.steps, around + curve.errors * draw.standard_normal(len(around)), curve.errors)
        others[number] = np.diff(again(np.asarray(ends)))
    low, high = np.quantile(others - others.mean(0) + change, _ENDS, axis=0)
    return change, low, high


def format_stages(table: pd.DataFrame) -> str:
    """A stage table as text, a line a stage.

    Args:
        table: of `stage_table` or `stage_rows`.
    """
    return _printed(table, "{0:.3g} [{1:.3g}, {2:.3g}]").to_string(index=False)


def latex_stages(table: pd.DataFrame) -> str:
    """A stage table for a paper: a `tabular` that needs booktabs.

    Args:
        table: of `stage_table` or `stage_rows`.
    """
    shown = _printed(table, "${0:.3g}$ $[{1:.3g}, {2:.3g}]$")
    names = {"end": "end", "Δ loss": r"$\Delta\ell$", "Δ LLC": r"$\Delta\hat\lambda$"}
    header = " & ".join(names.get(name, name) for name in shown.columns)
    body = "\n".join(" & ".join(str(cell) for cell in row) + r" \\" for row in shown.itertuples(index=False))
    lines = [
        "\\begin{tabular}{" + "l" * len(shown.columns) + "}",
        r"\toprule",
        rf"{header} \\",
        r"\midrule",
        body,
        r"\bottomrule",
    ]
    return "\n".join([*lines, r"\end{tabular}", ""])


def _printed(table: pd.DataFrame, interval: str) -> pd.DataFrame:
    if not isinstance(table, pd.DataFrame):
        raise InvalidInput(f"{shown(table)} given, expected a table from stage_table or stage_rows")
    if lacking := [name for name in _PRINTED if name not in table]:
        raise InvalidInput(f"a table without {', '.join(lacking)} given, expected one from stage_table or stage_rows")

    def with_interval(name: str) -> list[str]:
        return [interval.format(row[name], row[f"{name}_low"], row[f"{name}_high"]) for row in table.to_dict("records")]

    ends = [
        f"{row['end']:.0f}"
        if np.isnan(row["end_low"])
        else interval.replace(".3g", ".0f").format(row["end"], row["end_low"], row["end_high"])
        for row in table.to_dict("records")
    ]
    axes = list(table.columns)[: list(table.columns).index("stage")]
    columns: dict[str, list] = {name: [value_label(value) for value in table[name]] for name in axes}
    columns |= {
        "stage": table["stage"].tolist(),
        "start": [f"{start:.0f}" for start in table["start"]],
        "end": ends,
        "type": table["type"].tolist(),
        "Δ loss": with_interval("delta_loss"),
        "Δ LLC": with_interval("delta_llc"),
    }
    return pd.DataFrame(columns)
