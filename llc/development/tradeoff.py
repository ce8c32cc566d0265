"""Loss against complexity: ridge-like and dMMSE-like solutions of every M, and the n at which preference turns."""

import numpy as np
import pandas as pd
import xarray as xr

from llc import behaviour, store
from llc.development.crossing import Measured, log_odds, rank_correlation, turn_with_interval
from llc.development.labels import about, run_place
from llc.errors import StoreError
from llc.estimate.verdict import COMPARABLE
from llc.parallel import Report, quiet
from llc.training import RunConfig

# n of the curves of log-odds: sequences.
SAMPLES = np.unique(np.geomspace(1, 1e6, 121).round())
# 90 % of a normal distribution.
_Z = 1.6448536269514722
# An estimate stands for t_crit if it was made within this factor of it.
_NEAR = 1.3


def tradeoff(experiment: store.Experiment, *, seed: int = 0, report: Report = quiet) -> xr.Dataset:
    """The tradeoff of every run with a finite M, also written to the experiment's `tradeoff.nc`.

    Of two solutions on q_M, u like ridge and v like dMMSE_M:

        Δℓ = ℓ(v) − ℓ(u) = K/(2σ²) (mean squared error of dMMSE_M − that of ridge),   a log-likelihood a sequence,
        Δλ = λ̂(M at the last step) − λ̂(M = ∞ at the last step),

    both with 90 % intervals; log p(U)/p(V) = n Δℓ + Δλ log n over n, and the n from which v is preferred
    (`llc.development.crossing`). Δλ is that of dMMSE_M only where training ended like it (`ends_like`). The rank
    correlation of that n with t_crit is over runs whose estimates are `converged`; what the others would give is NaN,
    with the reason in `left_out`.

    Returns:
        By (num_tasks, seed): `delta_loss`, `delta_llc`, `llc_end`, `llc_critical`, each with `_low` and `_high`, `turn`
        with its interval and `turn_share`, `step_critical`, `sequences_critical` (t_crit times the batch size),
        `ends_like`, `left_out`; `log_odds` (…, samples); `llc_infinity` (seed) with its interval; in attrs
        `rank_correlation` of turn and t_crit with its interval.
    Raises:
        StoreError: there is no llc.nc yet, no run of M = ∞ with an estimate, or no finite M; what makes it is named.
    """
    metrics, llc = experiment.metrics, experiment.llc
    finite = [run for run in experiment.runs if np.isfinite(run.num_tasks) and _is_in(run, llc)]
    if not finite:
        raise StoreError(
            f"{experiment.path} has no estimate of a run with finite M; train one with: llc train --num-tasks 1,4"
        )
    infinity = _infinity(experiment, llc)
    parts = []
    with store.folder_lock(experiment.path):
        for number, run in enumerate(finite):
            report("tradeoff", number, len(finite), run.name)
            row = _row(run, metrics, llc, infinity, seed)
            parts.append(_label(run, row))
        dataset = store.merge(parts).merge(_label_infinity(infinity))
        turn, critical = dataset.turn.values.ravel(), dataset.step_critical.values.ravel()
        found = rank_correlation(turn, critical, seed=seed)
        names = ("rank_correlation", "rank_correlation_low", "rank_correlation_high")
        dataset = dataset.assign_attrs(dict(zip(names, found, strict=True)))
        return store.write_dataset(
            experiment.path / "tradeoff.nc", dataset, {**experiment.config, "tradeoff": {"seed": seed}}
        )


def _is_in(run: store.Run, llc: xr.Dataset) -> bool:
    return run.num_tasks in llc.num_tasks and run.seed in llc.seed


def _infinity(experiment: store.Experiment, llc: xr.Dataset) -> dict[int, Measured]:
    """λ̂_∞ at the last step, by seed."""
    if np.inf not in llc.num_tasks:
        raise StoreError(
            f"{experiment.path} has no estimate of a run with M = inf, whose complexity is that of ridge; train and "
            "estimate one: llc train --num-tasks …,inf"
        )
    found = {}
    for run in experiment.runs:
        if np.isinf(run.num_tasks) and _is_in(run, llc):
            estimate, why = _at(llc, run, None)
            if estimate is not None:
                found[run.seed] = estimate
            elif not found:
                last = why
    if not found:
        raise StoreError(
            f"λ̂ of M = inf cannot be used: {last}; estimate it again with: llc estimate-llc {experiment.path}"
        )
    return found


def _at(llc: xr.Dataset, run: store.Run, step: int | None) -> tuple[Measured | None, str]:
    """λ̂ at the last estimated step, or near one, if it may be believed; otherwise why not."""
    of_run = llc[["llc", "llc_se", "verdict"]].sel(num_tasks=run.num_tasks, seed=run.seed)
    known = of_run.isel(step=np.flatnonzero(of_run.llc.notnull().values))
    if not known.sizes["step"]:
        return None, f"{run.name} has no estimate"
    steps = known.step.values
    place = len(steps) - 1 if step is None else int(np.abs(np.log1p(steps) - np.log1p(step)).argmin())
    if step is not None and abs(np.log1p(steps[place]) - np.log1p(step)) > np.log(_NEAR):
        return None, f"{run.name} has no estimate near t_crit, step {step} (llc estimate-llc --steps {step})"
    at = known.isel(step=place)
    if at.verdict.item() not in COMPARABLE:
        return None, f"{run.name} step {int(at.step)} is {at.verdict.item()}"
    return Measured(float(at.llc), float(at.llc_se)), ""


def _row(run: store.Run, metrics: xr.Dataset, llc: xr.Dataset, infinity: dict[int, Measured], seed: int) -> dict:
    of_run = metrics.sel(num_tasks=run.num_tasks, seed=run.seed)
    end = of_run[["distance_ridge_id", "distance_dmmse_id"]].mean("position").dropna("step").isel(step=-1)
    critical = int(of_run.step_critical) if "step_critical" in of_run and np.isfinite(of_run.step_critical) else None
    loss = _delta_loss(RunConfig.from_table(run.config))
    llc_end, why = _at(llc, run, None)
    llc_critical, why_not = _at(llc, run, critical) if critical is not None else (None, f"{run.name} is not finished")
    row: dict = {
        "step_critical": np.nan if critical is None else critical,
        "sequences_critical": np.nan
        if critical is None
        else critical * RunConfig.from_table(run.config).training.batch_size,
        "ends_like": "dmmse" if float(end.distance_dmmse_id) < float(end.distance_ridge_id) else "ridge",
        "left_out": "; ".join(reason for reason in (why, why_not) if reason),
    }
    delta = None if llc_end is None else llc_end - infinity.get(run.seed, next(iter(infinity.values())))
    for name, found in (
        ("delta_loss", loss),
        ("llc_end", llc_end),
        ("llc_critical", llc_critical),
        ("delta_llc", delta),
    ):
        row |= _with_interval(name, found)
    turn = None if delta is None else turn_with_interval(loss, delta, seed=seed)
    row |= {
        "turn": np.nan if turn is None else turn.value,
        "turn_low": np.nan if turn is None else turn.low,
        "turn_high": np.nan if turn is None else turn.high,
        "turn_share": np.nan if turn is None else turn.share,
    }
    row["log_odds"] = log_odds(SAMPLES, np.asarray(row["delta_loss"]), np.asarray(row["delta_llc"]))
    return row


def _delta_loss(config: RunConfig) -> Measured:
    """Δℓ of dMMSE_M and ridge on the test set of q_M, paired sequence by sequence."""
    test = behaviour.test_sets(config.task, config.behaviour.sequences)["id"]
    scale = config.task.num_examples / (2 * config.task.noise_variance)
    squares = {name: (values.double() - test.ys.double()).square().mean(-1) for name, values in test.references.items()}
    change = scale * (squares["dmmse"] - squares["ridge"])
    return Measured(float(change.mean()), float(change.std() / len(change) ** 0.5))


def _with_interval(name: str, found: Measured | None) -> dict[str, float]:
    value, error = (np.nan, np.nan) if found is None else (found.value, found.error)
    return {name: value, f"{name}_low": value - _Z * error, f"{name}_high": value + _Z * error}


_SAID = {
    "delta_loss": "loss of dMMSE_M minus that of ridge on q_M, negative log-likelihood a sequence",
    "delta_llc": "llc at the last step minus that of M = inf",
    "llc_end": "llc at the last estimated step",
    "llc_critical": "llc near t_crit",
    "turn": "number of sequences from which the complex solution is preferred",
    "turn_share": "share of draws of delta_loss and delta_llc that have such a number",
    "step_critical": "step of the smallest OOD loss, t_crit",
    "sequences_critical": "sequences seen until t_crit",
    "ends_like": "which predictor the last checkpoint is nearer to, in distribution",
    "left_out": "why there is no number",
    "log_odds": "log of the posterior odds of the simple solution over the complex one",
    "llc_infinity": "llc of M = inf at the last estimated step",
}


def format_tradeoff(found: xr.Dataset) -> str:
    """The tradeoff as text, a line a run."""
    lines, reasons = [], []
    for num_tasks in found.num_tasks.values:
        for seed in found.seed.values:
            row = found.sel(num_tasks=num_tasks, seed=seed)
            if not isinstance(row.ends_like.item(), str) or not row.ends_like.item():
                continue
            number = {name: _interval(row, name) for name in ("delta_loss", "delta_llc", "turn")}
            place = {"M": f"{num_tasks:g}", "seed": int(seed), "ends like": row.ends_like.item()}
            lines.append(
                {
                    **place,
                    "Δ loss (nats a sequence)": number["delta_loss"],
                    "Δ LLC": number["delta_llc"],
                    "preferred from n": number["turn"],
                    "t_crit": "-" if np.isnan(row.step_critical) else f"{float(row.step_critical):.0f}",
                }
            )
            if row.left_out.item():
                reasons.append(f"Left out: {row.left_out.item()}")
    low, high = found.attrs["rank_correlation_low"], found.attrs["rank_correlation_high"]
    rank = found.attrs["rank_correlation"]
    said = (
        "too few runs for a rank correlation of that n with t_crit"
        if np.isnan(rank)
        else f"rank correlation of that n with t_crit: {rank:.2f} [{low:.2f}, {high:.2f}]"
    )
    return "\n".join([pd.DataFrame(lines).to_string(index=False), said, *reasons])


def _interval(row: xr.Dataset, name: str) -> str:
    low, high = float(row[f"{name}_low"]), float(row[f"{name}_high"])
    value = float(row[name])
    if np.isnan(low):
        return "-"
    return f"{'none' if np.isnan(value) else f'{value:.3g}'} [{low:.3g}, {high:.3g}]"


def _label(run: store.Run, row: dict) -> xr.Dataset:
    coords = run_place(run)
    coords["samples"] = ("samples", SAMPLES, {"long_name": "n, number of sequences", "units": "1"})
    data = {
        name: (
            ("num_tasks", "seed", *(["samples"] if name == "log_odds" else [])),
            np.asarray(value)[None, None],
            about(_SAID, name),
        )
        for name, value in row.items()
    }
    return xr.Dataset(data, coords)


def _label_infinity(infinity: dict[int, Measured]) -> xr.Dataset:
    seeds = sorted(infinity)
    rows = [_with_interval("llc_infinity", infinity[seed]) for seed in seeds]
    coords = {"seed": ("seed", np.array(seeds, np.int64), {"long_name": "seed of the run", "units": "1"})}
    return xr.Dataset({name: ("seed", [row[name] for row in rows], about(_SAID, name)) for name in rows[0]}, coords)
