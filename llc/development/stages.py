"""Stages of every run of an experiment: boundaries of λ̂(t), loss and principal components, and what changes between."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from llc import store
from llc.development.boundaries import LEAST_POINTS, Boundary, check_resamples, noise, trend_changes, turns
from llc.development.critical import CriticalStep, critical_step
from llc.development.labels import about, check_result, lead, run_place
from llc.development.stage_table import Curve, stage_table
from llc.errors import InvalidInput, LLCError, StoreError, did_you_mean, shown_name
from llc.estimate.verdict import COMPARABLE
from llc.extras import installed, to_install
from llc.parallel import Progress, quiet
from llc.store.labels import each_run, of_run

METHODS = {"turns": turns, "trend": trend_changes}
_NUMBERS = ("step", "low", "high", "support")
# Of a principal component that is looked at for boundaries.
_MOST_POINTS = 128
# Of a stage.
_STAGE = (
    *("start", "end", "end_low", "end_high", "type"),
    *("delta_loss", "delta_loss_low", "delta_loss_high", "delta_llc", "delta_llc_low", "delta_llc_high"),
)


class NothingToStage(LLCError):
    """No run has enough estimates that may be believed."""


@store.takes_experiment
def find_stages(
    experiment: store.Experiment,
    *,
    method: str = "turns",
    resamples: int = 400,
    seed: int = 0,
    progress: Progress = quiet,
) -> xr.Dataset:
    """Boundaries and stages of every run, also written to the experiment's `stages.nc`.

    λ̂(t) and the loss at w* on λ̂'s own dataset come from `llc.nc`, in which only estimates that may be compared count;
    the principal components from `pca.nc`, if there is one. λ̂ has errors of its own; those of the other curves are the
    jitter from point to point (`llc.development.boundaries.noise`). Principal components are looked at in at most 128
    points, evenly over log(1 + step). Every curve is looked at by both methods, as far as ruptures is installed, which
    `trend` needs; `method` says which boundaries of λ̂ make the table.

    Args:
        experiment: from `llc.open` or `llc.train`.
        method: `turns`, maxima and minima of a smoothing spline, or `trend`, where the slope changes.
        resamples: how many curves with new errors make intervals.
        seed: of those.
        progress: told (unit, done, total, note).
    Returns:
        By the axes of the sweep: `boundary_step`, `_low`, `_high`, `_support` and `_kind` (…, curve, found_by,
        boundary); `start`, `end`, `end_low`, `end_high`, `type`, `delta_loss`, `delta_llc` and their intervals (…,
        stage); `step_critical` and its interval, where the task has a headline; `left_out`, why a run has no stages.
    Raises:
        InvalidInput: an unknown method, or a count out of range.
        StoreError: there is no llc.nc yet, or the folder cannot be written.
        MissingExtra: `trend` is asked for, and ruptures is not installed.
        NothingToStage: no run has six estimates that may be compared; each is named.
    """
    if method not in list(METHODS):
        raise InvalidInput(f"unknown method {shown_name(method)}; {did_you_mean(method, METHODS)}")
    check_resamples(resamples, seed)
    if experiment.alone:
        raise StoreError(experiment.no_checkpoints)
    methods = [one for one in METHODS if one in (method, "turns") or installed("ruptures")]
    if len(methods) < len(METHODS):
        progress("stages", 0, 0, f"changes of slope are left out, for they need ruptures: {to_install('study')}")
    settings = {"method": method, "resamples": int(resamples), "seed": int(seed)}
    parts, curves = [], {}
    with store.folder_lock(experiment.path):
        made = store.recipe(experiment, "stages", settings, runs=experiment.runs, methods=methods)
        if store.is_made(experiment, "stages", made, progress):
            return experiment.stages
        llc = experiment.llc
        pca = experiment.pca if store.is_there(experiment.path / "pca.nc") else None
        runs = []
        for run in experiment.runs:
            of_llc = of_run(llc, run.place)
            if of_llc is not None:
                runs.append(run)
                curves[run.name] = _curves(of_llc, None if pca is None else of_run(pca, run.place))
        if all(missing for _, missing in curves.values()):
            reasons = "; ".join(f"{name}: {missing}" for name, (_, missing) in curves.items())
            few = all(llc.llc.sel(run.place).notnull().sum() < LEAST_POINTS for run in runs)
            hint = f"; estimate at more steps with: llc estimate-llc {experiment.path} --steps log:20" if few else ""
            raise NothingToStage(f"no run has estimates to make stages of ({reasons}){hint}")
        found = {
            name: (pd.DataFrame(), {}) if missing else _run_stages(found, method, methods, resamples, seed)
            for name, (found, missing) in curves.items()
        }
        # Runs differ in how many stages they have; arrays are of one size for all.
        names = sorted({curve for _, boundaries in found.values() for curve, _ in boundaries})
        most = max((len(some) for _, boundaries in found.values() for some in boundaries.values()), default=0)
        rows = max(len(table) for table, _ in found.values())
        for run in runs:
            table, boundaries = found[run.name]
            critical = critical_step(run, seed=seed, progress=progress)
            parts.append(
                _label(run, table, boundaries, critical, curves[run.name][1], curves=names, most=most, rows=rows)
            )
        dataset = store.merge(parts)
        return store.write_dataset(experiment.path / "stages.nc", dataset, made)


def _curves(llc: xr.Dataset, pca: xr.Dataset | None) -> tuple[dict[str, Curve], str]:
    """The curves of a run, or why there are none."""
    known = llc.llc.notnull().values
    believed = known & llc.verdict.isin(COMPARABLE).values
    if believed.sum() < LEAST_POINTS:
        said = f"{believed.sum()} of {known.sum()} estimates may be compared, expected {LEAST_POINTS}"
        verdicts = sorted(set(llc.verdict.values[known & ~believed].astype(str)))
        return {}, said + (f"; the others are {', '.join(verdicts)}" if verdicts else "")
    at = llc.isel(step=np.flatnonzero(believed))
    steps = at.step.values.astype(float)
    loss = at.loss_init.values.astype(float)
    curves = {
        "llc": Curve(steps, at.llc.values.astype(float), at.llc_se.values.astype(float)),
        "loss": Curve(steps, loss, np.full(len(loss), _jitter(loss))),
    }
    for component in [] if pca is None else pca.component.values[:2]:
        score = pca.score.sel(component=component).dropna("step") if pca is not None else None
        if score is not None and score.size >= LEAST_POINTS:
            error = _jitter(score.values)
            score = score.isel(step=_even_places(score.step.values))
            curves[f"pc{component}"] = Curve(score.step.values.astype(float), score.values, np.full(score.size, error))
    return curves, ""


def _even_places(steps: np.ndarray) -> np.ndarray:
    """At most `_MOST_POINTS` of the steps, evenly over log(1 + step): partitions take their square in time."""
    if len(steps) <= _MOST_POINTS:
        return np.arange(len(steps))
    places = np.log1p(steps.astype(float))
    wanted = np.linspace(places[0], places[-1], _MOST_POINTS)
    return np.unique(np.abs(places[:, None] - wanted).argmin(0))


def _jitter(values: np.ndarray) -> float:
    """Their noise, but no less than a thousandth of their spread."""
    return max(noise(values), 1e-3 * float(np.ptp(values)), 1e-12)


def _run_stages(
    curves: dict[str, Curve], method: str, methods: Sequence[str], resamples: int, seed: int
) -> tuple[pd.DataFrame, dict[tuple[str, str], list[Boundary]]]:
    boundaries = {
        (name, how): find(curve.steps, curve.values, curve.errors, resamples=resamples, seed=seed)
        for name, curve in curves.items()
        for how, find in METHODS.items()
        if how in methods
    }
    table = stage_table(curves["llc"], curves["loss"], boundaries["llc", method], resamples=resamples, seed=seed)
    return table, boundaries


def _label(
    run: store.Run,
    table: pd.DataFrame,
    boundaries: dict[tuple[str, str], list[Boundary]],
    critical: CriticalStep | None,
    missing: str,
    *,
    curves: list[str],
    most: int,
    rows: int,
) -> xr.Dataset:
    """One run's part, padded to `most` boundaries of each of `curves` and to `rows` stages."""
    place = tuple(run.place)
    ones = (1,) * len(place)
    coords = run_place(run)
    coords |= {
        "curve": ("curve", curves, {"long_name": "llc, loss or principal component", "units": "1"}),
        "found_by": ("found_by", list(METHODS), {"long_name": "how boundaries were found", "units": "1"}),
        "boundary": ("boundary", np.arange(1, most + 1), {"long_name": "number of the boundary", "units": "1"}),
        "stage": ("stage", np.arange(1, rows + 1), {"long_name": "number of the stage", "units": "1"}),
    }
    data: dict = {}
    shape = (len(curves), len(METHODS), most)
    dims = (*place, "curve", "found_by", "boundary")
    for name in _NUMBERS:
        values = np.full(shape, np.nan)
        for (curve, how), found in boundaries.items():
            row = [getattr(one, name) for one in found]
            values[curves.index(curve), list(METHODS).index(how), : len(found)] = row
        data["boundary_step" if name == "step" else f"boundary_{name}"] = (
            dims,
            lead(values, run.place),
            about(_SAID, f"boundary_{name}"),
        )
    kinds = np.full(shape, "", "<U7")
    for (curve, how), found in boundaries.items():
        kinds[curves.index(curve), list(METHODS).index(how), : len(found)] = [one.kind for one in found]
    data["boundary_kind"] = (dims, lead(kinds, run.place), about(_SAID, "boundary_kind"))
    for name in _STAGE:
        column = np.full(rows, "", "<U11") if name == "type" else np.full(rows, np.nan)
        if len(table):
            column[: len(table)] = table[name]
        data[name] = ((*place, "stage"), lead(column, run.place), about(_SAID, name))
    single: dict = {"left_out": f"{run.name}: {missing}" if missing else ""}
    if critical is not None:
        single |= {
            "step_critical": critical.step,
            "step_critical_low": critical.low,
            "step_critical_high": critical.high,
            "critical_is_last": critical.is_last,
        }
    for name, value in single.items():
        data[name] = (place, np.reshape(value, ones), about(_SAID, name))
    return xr.Dataset(data, coords)


_SAID = {
    "boundary_step": "where a curve turns or changes its slope",
    "boundary_low": "lower end of its 90 % interval",
    "boundary_high": "upper end of its 90 % interval",
    "boundary_support": "share of resampled curves that have it",
    "boundary_kind": "maximum, minimum or trend",
    "start": "first step of a stage",
    "end": "last step of a stage",
    "end_low": "lower end of the 90 % interval of end",
    "end_high": "upper end of the 90 % interval of end",
    "type": "A: loss falls, llc rises; B: both fall; flat: llc may not change; loss flat: only the loss may not",
    "delta_loss": "change of the loss in a stage",
    "delta_llc": "change of llc in a stage",
    "step_critical": "step of the smallest loss on the headline's test set, t_crit",
    "critical_is_last": "whether that is the last step",
    "left_out": "why a run has no stages",
}


def stage_rows(stages: xr.Dataset) -> pd.DataFrame:
    """The stage table of every run that has one, with the axes of the sweep as columns in front.

    Args:
        stages: `experiment.stages`.
    Raises:
        StoreError: no run has a stage.
    """
    check_result(stages, _STAGE, "llc.development.find_stages")
    columns = list(_STAGE)
    rows = []
    for place, run in each_run(stages[columns]):
        for stage in run.stage.values:
            row = run.sel(stage=stage)
            if np.isfinite(row.start):
                numbers = {name: row[name].item() for name in columns}
                rows.append({**place, "stage": int(stage), **numbers})
    if not rows:
        raise StoreError("these stages hold no rows")
    return pd.DataFrame(rows)
