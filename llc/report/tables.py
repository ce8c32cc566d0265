"""The report's tables: rows of cells that are read as text and sorted as numbers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from llc import development, store, systems
from llc.store.labels import axes_in, each_run, of_run, symbol_of, value_label


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


def every(experiment: store.Experiment, results: Mapping[str, Any]) -> Iterator[tuple[str, Table]]:
    """The tables of what there is, each with the section that it belongs to."""
    metrics = results["metrics"]
    if metrics is not None:
        yield "Behaviour", runs(store.summary_table(experiment, results), metrics, results["stages"])
    if results["llc"] is not None:
        yield "Complexity", estimates(results["llc"])
    if results["stages"] is not None and results["llc"] is not None:
        yield "Stages", stages(development.stage_rows(results["stages"]), results["stages"])
    if results["compare"] is not None:
        yield "Against references", compared(development.compare_rows(results["compare"]))
        claimed = systems.claim_rows(results["compare"])
        if len(claimed):
            yield "Against references", claims(claimed)
    if results["claims"] is not None:
        yield "Claims", claims(systems.claim_rows(results["claims"]), "study-claims")
    if results["tradeoff"] is not None:
        yield "Tradeoff", tradeoff(results["tradeoff"])


def runs(summary: pd.DataFrame, metrics: xr.Dataset, stages: xr.Dataset | None) -> Table:
    """Where each run ended; t_crit with its interval where `stages` has one."""
    axes = [dim for dim in axes_in(metrics) if dim in summary]
    measured = [name for name in summary.columns if name.startswith(("loss_", "distance_"))]
    headings = [f"{name[5:]} loss" if name.startswith("loss_") else f"to {name[9:]}" for name in measured]
    has_critical = "t_crit" in summary
    columns = [*(symbol_of(metrics, dim) for dim in axes), "step", *headings]
    columns += (["t_crit", "rise since"] if has_critical else []) + ["λ̂", "verdict"]
    rows = []
    for _, row in summary.iterrows():
        cells = [*(place_cell(row[dim]) for dim in axes), number(row.step, ",.0f")]
        cells += [number(row[name], ".3f") for name in measured]
        if has_critical:
            of_stages = None if stages is None else of_run(stages, {dim: row[dim] for dim in axes})
            cells += [_critical(row, of_stages), with_error(row.rise, row.rise_se, ".3f")]
        rows.append([*cells, with_error(row.llc, row.llc_se, ".1f"), Cell(row.verdict or "–", row.verdict)])
    note = "Distances are mean squared, in squared units of the outputs, on the first test set; λ̂ is that of the last "
    note += "estimated step."
    if has_critical:
        note += " t_crit has the 90 % interval that sampling of the test set leaves, where stages were found."
    return Table("runs", "Where runs ended", columns, rows, note)


def _critical(row: Any, stages: xr.Dataset | None) -> Cell:
    if stages is None or "step_critical_low" not in stages or np.isnan(row.t_crit):
        return number(row.t_crit, ",.0f")
    low, high = float(stages.step_critical_low), float(stages.step_critical_high)
    return Cell(f"{row.t_crit:,.0f} [{low:,.0f}, {high:,.0f}]", row.t_crit)


def estimates(llc: xr.Dataset) -> Table:
    """Every estimate with its verdict and reason."""
    axes = axes_in(llc)
    names = ["llc", "llc_se", "llc_low", "llc_high", "rhat", "ess_bulk", "verdict", "reason"]
    rows = []
    for place, run in each_run(llc[names]):
        for at in (run.isel(step=int(i)) for i in np.flatnonzero(run.verdict.fillna("").values != "")):
            low, high = float(at.llc_low), float(at.llc_high)
            reach = Cell("–", -1e300) if np.isnan(low) else Cell(f"{low:.1f} to {high:.1f}", low)
            rows.append(
                [
                    *(place_cell(place[dim]) for dim in axes),
                    number(at.step, ",.0f"),
                    with_error(at.llc, at.llc_se, ".1f"),
                    reach,
                    number(at.rhat, ".3f"),
                    number(at.ess_bulk, ".0f"),
                    *(Cell(str(at[name].item()), str(at[name].item())) for name in ("verdict", "reason")),
                ]
            )
    columns = [*(symbol_of(llc, dim) for dim in axes), "step", "λ̂", "90 % interval", "R̂", "ESS", "verdict", "reason"]
    note = "Only estimates that may be compared, `converged` or `scale-dependent`, count in stages and tradeoff."
    return Table("estimates", "Every estimate", columns, rows, note)


def stages(rows: pd.DataFrame, found: xr.Dataset) -> Table:
    """The stage table."""
    axes = [dim for dim in axes_in(found) if dim in rows]
    columns = [
        *(symbol_of(found, dim) for dim in axes),
        "stage",
        "from",
        "to",
        "end's interval",
        "type",
        "Δ loss",
        "Δ λ̂",
    ]
    cells = [
        [
            *(place_cell(row[dim]) for dim in axes),
            number(row.stage, ".0f"),
            number(row.start, ",.0f"),
            number(row.end, ",.0f"),
            Cell("–" if np.isnan(row.end_low) else f"{row.end_low:,.0f} to {row.end_high:,.0f}", row.end_low),
            Cell(row.type, row.type),
            interval(row.delta_loss, row.delta_loss_low, row.delta_loss_high),
            interval(row.delta_llc, row.delta_llc_low, row.delta_llc_high),
        ]
        for _, row in rows.iterrows()
    ]
    note = "A: loss falls, λ̂ rises; B: both fall; flat: λ̂ may not have changed; loss flat: only the loss may not; "
    note += "loss rises: it does."
    return Table("stages", "Stages", columns, cells, note)


def tradeoff(found: xr.Dataset) -> Table:
    """Loss against complexity, a row a run."""
    axes = axes_in(found)
    columns = [*(symbol_of(found, dim) for dim in axes), "ends like", "Δ loss (nats a sequence)", "Δ λ"]
    rows = [
        [
            *(place_cell(place[dim]) for dim in axes),
            Cell(str(row.ends_like.item()), str(row.ends_like.item())),
            interval(row.delta_loss, row.delta_loss_low, row.delta_loss_high),
            interval(row.delta_llc, row.delta_llc_low, row.delta_llc_high),
            interval(row.turn, row.turn_low, row.turn_high),
            number(row.step_critical, ",.0f"),
            Cell(str(row.left_out.item()) or "–", str(row.left_out.item())),
        ]
        for place, row in each_run(found)
    ]
    columns += ["preferred from n", "t_crit", "left out because"]
    return Table("tradeoff", "Tradeoff of loss and complexity", columns, rows)


def compared(rows: pd.DataFrame) -> Table:
    """Where runs ended beside their references."""
    columns = ["run", "step", "loss", *rows.columns[4:]]
    cells = [
        [
            Cell(row["run"], row["run"]),
            number(row["step"], ",.0f"),
            with_error(row["loss"], row["loss_se"], ".4f"),
            *(number(row[name], ".4f") for name in rows.columns[4:]),
        ]
        for _, row in rows.iterrows()
    ]
    note = "At the last step, on the first test set. Excess: mean loss above the reference's; apart: mean norm of the "
    note += "difference of predictions; cosine: of sensitivities to the question."
    return Table("compare", "Trained models beside references", columns, cells, note)


def claims(rows: pd.DataFrame, name: str = "claims") -> Table:
    """What the paper claims and what was measured."""
    cells = [
        [
            Cell(row.said, row.said),
            number(row.published, ".4g"),
            interval(row.value, row.low, row.high),
            Cell(row.verdict, row.verdict),
        ]
        for _, row in rows.iterrows()
    ]
    return Table(name, "The paper's claims", ["claim", "published", "measured, 90 % interval", "verdict"], cells)


def place_cell(value: Any) -> Cell:
    """Where a run stands on an axis."""
    return Cell(value, value) if isinstance(value, str) else Cell(value_label(value), min(float(value), 1e300))


def number(value: Any, form: str) -> Cell:
    """A number, or a dash where there is none."""
    value = float(value)
    return Cell("–", -1e300) if np.isnan(value) else Cell(format(value, form), value)


def with_error(value: Any, error: Any, form: str) -> Cell:
    """value ± standard error."""
    value, error = float(value), float(error)
    return Cell("–", -1e300) if np.isnan(value) else Cell(f"{value:{form}} ± {error:{form}}", value)


def interval(value: Any, low: Any, high: Any) -> Cell:
    """value [low, high]."""
    value, low, high = float(value), float(low), float(high)
    if np.isnan(low):
        return Cell("–", -1e300)
    shown = "none" if np.isnan(value) else f"{value:.3g}"
    return Cell(f"{shown} [{low:.3g}, {high:.3g}]", -1e300 if np.isnan(value) else value)
