"""The report's tables: rows of cells that are read as text and sorted as numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr


@dataclass(frozen=True)
class Cell:
    """A cell: what is read, and what the column is sorted by."""

    text: str
    key: float | str


@dataclass(frozen=True)
class Table:
    """A table of the report."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""


def runs(summary: pd.DataFrame, stages: xr.Dataset | None) -> Table:
    """Where each run ended; t_crit with its interval where `stages` has one."""
    columns = ["M", "seed", "step", "OOD loss", "to ridge", "to dMMSE", "t_crit", "rise since", "λ̂", "verdict"]
    rows = [
        [
            diversity(row.M),
            number(row.seed, ".0f"),
            number(row.step, ",.0f"),
            number(row.loss_ood, ".3f"),
            number(row.distance_ridge, ".3f"),
            number(row.distance_dmmse, ".3f"),
            _critical(row, stages),
            with_error(row.rise_ood, row.rise_ood_se, ".3f"),
            with_error(row.llc, row.llc_se, ".1f"),
            Cell(row.verdict or "–", row.verdict),
        ]
        for row in _rows(summary)
    ]
    note = (
        "Distances are in distribution, mean squared; λ̂ is that of the last estimated step. t_crit has the 90 % "
        "interval that sampling of the test set leaves, where stages were found."
    )
    return Table("runs", "Where runs ended", columns, rows, note)


def _critical(row: Any, stages: xr.Dataset | None) -> Cell:
    known = stages is not None and row.M in stages.num_tasks and row.seed in stages.seed
    if stages is None or not known or np.isnan(row.t_crit):
        return number(row.t_crit, ",.0f")
    of_run = stages.sel(num_tasks=row.M, seed=row.seed)
    low, high = float(of_run.step_critical_low), float(of_run.step_critical_high)
    return Cell(f"{row.t_crit:,.0f} [{low:,.0f}, {high:,.0f}]", row.t_crit)


def estimates(llc: xr.Dataset) -> Table:
    """Every estimate with its verdict and reason."""
    rows = []
    for m in llc.num_tasks.values:
        for seed in llc.seed.values:
            run = llc.sel(num_tasks=m, seed=seed)
            for at in (run.isel(step=int(i)) for i in np.flatnonzero(run.verdict.fillna("").values != "")):
                low, high = float(at.llc_low), float(at.llc_high)
                reach = Cell("–", -1e300) if np.isnan(low) else Cell(f"{low:.1f} to {high:.1f}", low)
                rows.append(
                    [
                        diversity(float(m)),
                        number(seed, ".0f"),
                        number(at.step, ",.0f"),
                        with_error(at.llc, at.llc_se, ".1f"),
                        reach,
                        number(at.rhat, ".3f"),
                        number(at.ess_bulk, ".0f"),
                        Cell(str(at.verdict.item()), str(at.verdict.item())),
                        Cell(str(at.reason.item()), str(at.reason.item())),
                    ]
                )
    columns = ["M", "seed", "step", "λ̂", "90 % interval", "R̂", "ESS", "verdict", "reason"]
    return Table("estimates", "Every estimate", columns, rows, "Only converged estimates count in stages and tradeoff.")


def stages(rows: pd.DataFrame) -> Table:
    """The stage table."""
    columns = ["M", "seed", "stage", "from", "to", "end's interval", "type", "Δ loss", "Δ λ̂"]
    cells = [
        [
            diversity(row.M),
            number(row.seed, ".0f"),
            number(row.stage, ".0f"),
            number(row.start, ",.0f"),
            number(row.end, ",.0f"),
            Cell("–" if np.isnan(row.end_low) else f"{row.end_low:,.0f} to {row.end_high:,.0f}", row.end_low),
            Cell(row.type, row.type),
            interval(row.delta_loss, row.delta_loss_low, row.delta_loss_high),
            interval(row.delta_llc, row.delta_llc_low, row.delta_llc_high),
        ]
        for row in _rows(rows)
    ]
    return Table(
        "stages",
        "Stages",
        columns,
        cells,
        "A: loss falls, λ̂ rises; B: both fall; flat: λ̂ may not have changed; loss flat: only the loss may not.",
    )


def tradeoff(found: xr.Dataset) -> Table:
    """Loss against complexity, a row a run."""
    columns = [
        "M",
        "seed",
        "ends like",
        "Δ loss (nats a sequence)",
        "Δ λ",
        "preferred from n",
        "t_crit",
        "left out because",
    ]
    rows = []
    for m in found.num_tasks.values:
        for seed in found.seed.values:
            row = found.sel(num_tasks=m, seed=seed)
            rows.append(
                [
                    diversity(float(m)),
                    number(seed, ".0f"),
                    Cell(str(row.ends_like.item()), str(row.ends_like.item())),
                    interval(row.delta_loss, row.delta_loss_low, row.delta_loss_high),
                    interval(row.delta_llc, row.delta_llc_low, row.delta_llc_high),
                    interval(row.turn, row.turn_low, row.turn_high),
                    number(row.step_critical, ",.0f"),
                    Cell(str(row.left_out.item()) or "–", str(row.left_out.item())),
                ]
            )
    return Table("tradeoff", "Tradeoff of loss and complexity", columns, rows, "")


def diversity(num_tasks: float) -> Cell:
    """M."""
    return Cell("∞" if np.isinf(num_tasks) else f"{num_tasks:.0f}", 1e300 if np.isinf(num_tasks) else num_tasks)


def number(value, form: str) -> Cell:
    """A number, or a dash where there is none."""
    value = float(value)
    return Cell("–", -1e300) if np.isnan(value) else Cell(format(value, form), value)


def with_error(value, error, form: str) -> Cell:
    """value ± standard error."""
    value, error = float(value), float(error)
    return Cell("–", -1e300) if np.isnan(value) else Cell(f"{value:{form}} ± {error:{form}}", value)


def interval(value, low, high) -> Cell:
    """value [low, high]."""
    value, low, high = float(value), float(low), float(high)
    if np.isnan(low):
        return Cell("–", -1e300)
    shown = "none" if np.isnan(value) else f"{value:.3g}"
    return Cell(f"{shown} [{low:.3g}, {high:.3g}]", -1e300 if np.isnan(value) else value)


def _rows(table: pd.DataFrame) -> Any:
    """Rows with an attribute a column, whose types no stub knows."""
    return table.itertuples()
