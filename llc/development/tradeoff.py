"""Loss against complexity: two solutions in every run, and the n at which preference turns from one to the other."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
import xarray as xr

from llc import behaviour, store
from llc.development.crossing import Measured, log_odds, rank_correlation, turn_with_interval
from llc.development.labels import about, check_result, lead, run_place
from llc.errors import InvalidInput, StoreError, check_whole, did_you_mean, shown, shown_name
from llc.estimate.verdict import COMPARABLE
from llc.parallel import Progress, quiet
from llc.predictors import is_baseline
from llc.store.labels import each_run, of_run, over_positions, run_label

# n of the curves of log-odds: sequences.
SAMPLES = np.unique(np.geomspace(1, 1e6, 121).round())
# 90 % of a normal distribution.
_Z = 1.6448536269514722
# An estimate stands for t_crit if it was made within this factor of it.
_NEAR = 1.3
# Sequences that tell whether two references are one.
_FEW = 16


@store.takes_experiment
def tradeoff(
    experiment: store.Experiment, *, pair: Sequence[str] | None = None, seed: int = 0, progress: Progress = quiet
) -> xr.Dataset:
    """The tradeoff between two solutions in every run, also written to the experiment's `tradeoff.nc`.

    Of two solutions on the task's first test set, u like the simple reference and v like the complex one:

        Δℓ = ℓ(v) − ℓ(u), of the two references, a negative log-likelihood a sequence,
        Δλ = λ̂(this run at its last step) − λ̂(a run that has the simple solution alone, at its last step),

    both with 90 % intervals; log p(U)/p(V) = n Δℓ + Δλ log n over n, and the n from which v is preferred
    (`llc.development.crossing`). A run has the simple solution alone where both references say the same; of several,
    the one nearest in the sweep counts. Δλ is that of the complex solution only where training ended like it
    (`ends_like`). The rank correlation of that n with t_crit is over runs whose estimates may be compared; what the
    others would give is NaN, with the reason in `left_out`.

    Args:
        experiment: from `llc.open` or `llc.train`.
        pair: names of references, the simple one first; by default the task's own pair.
        seed: of the resampling that intervals are made by.
        progress: told (unit, done, total, note).
    Returns:
        By the axes of the sweep: `delta_loss`, `delta_llc`, `llc_end`, `llc_simple`, `llc_critical`, each with `_low`
        and `_high`, `turn` with its interval and `turn_share`, `step_critical`, `sequences_critical` (t_crit times the
        batch size), `ends_like`, `left_out`; `log_odds` (…, samples); in attrs the pair and `rank_correlation` of turn
        and t_crit with its interval.
    Raises:
        StoreError: there is no llc.nc yet, no run with an estimate that has the simple solution alone, or none besides;
            what makes it is named.
        InvalidInput: no pair, an unknown reference, losses that are no log-likelihoods, or a seed out of range.
    """
    seed = check_whole("seed", seed, 0)
    chosen = check_pair(experiment, pair)
    settings = {"pair": list(chosen), "seed": seed}
    with store.folder_lock(experiment.path):
        made = store.recipe(experiment, "tradeoff", settings, sources=("metrics", "llc"), runs=experiment.runs)
        if store.is_made(experiment, "tradeoff", made, progress):
            return experiment.tradeoff
        metrics, llc = experiment.metrics, experiment.llc
        runs = [run for run in experiment.runs if of_run(llc, run.place) is not None]
        plain = [run for run in runs if _is_plain(run, chosen)]
        others = [run for run in runs if run not in plain]
        if not others:
            raise StoreError(
                f"{experiment.path} has no estimate of a run in which {chosen[0]} and {chosen[1]} differ; train one"
            )
        known = _estimates_of(experiment, plain, llc, chosen)
        parts = []
        for number, run in enumerate(others):
            progress("tradeoff", number, len(others), run.name)
            nearest = max(known, key=lambda other: _shared(run, other))
            parts.append(_label(run, _row(run, metrics, llc, plain=known[nearest], pair=chosen, seed=seed)))
        dataset = store.merge(parts)
        turn, critical = dataset.turn.values.ravel(), dataset.step_critical.values.ravel()
        found = rank_correlation(turn, critical, seed=seed)
        names = ("rank_correlation", "rank_correlation_low", "rank_correlation_high")
        dataset = dataset.assign_attrs(
            dict(zip(names, found, strict=True)) | {"simple": chosen[0], "complex": chosen[1]}
        )
        return store.write_dataset(experiment.path / "tradeoff.nc", dataset, made)


@store.takes_experiment
def check_pair(experiment: store.Experiment, pair: Sequence[str] | None) -> tuple[str, str]:
    """Two references that a tradeoff can be between; the task's own where none are given.

    Args:
        experiment: its task knows the references.
        pair: names of two, the simple one first; None for the task's own.
    Raises:
        InvalidInput: no pair, one reference twice or an unknown one, one that knows nothing, or losses that are no
            log-likelihoods.
    """
    if pair is not None and not (
        isinstance(pair, Iterable) and not isinstance(pair, str) and all(isinstance(name, str) for name in pair)
    ):
        raise InvalidInput(f"pair = {shown(pair)} given, expected the names of two references, the simple one first")
    task = experiment.task
    chosen = pair or task.pair
    if chosen is None:
        raise InvalidInput(f"the task {task.kind} names no pair of references; give one with --pair SIMPLE,COMPLEX")
    known = {name: of for name, of in task.predictors().items() if not is_baseline(of)}
    for name in chosen:
        if name not in known:
            raise InvalidInput(f"unknown reference {shown_name(name)}; {did_you_mean(name, known)}")
    if len(set(chosen)) != 2 or len(chosen) != 2:
        raise InvalidInput(f"the pair {','.join(chosen)} given, expected two references, of {', '.join(known)}")
    if task.nats is None:
        raise InvalidInput(f"a tradeoff is in nats, but losses of the task {task.kind} are no log-likelihoods")
    return chosen[0], chosen[1]


def _test_set(run: store.Run) -> behaviour.EvalSet:
    """The first of its task's."""
    name, source = next(iter(run.task.test_tasks().items()))
    return behaviour.eval_sets(run.task, run.sequences, {name: source})[name]


def _is_plain(run: store.Run, pair: tuple[str, str]) -> bool:
    """Whether both references say the same on a run's task."""
    batch = next(iter(run.task.test_tasks().values())).sample(_FEW, stream="test")
    found = behaviour.reference_outputs(run.task, batch)
    return torch.equal(found[pair[0]], found[pair[1]])


def _shared(run: store.Run, other: str) -> int:
    """On how many axes two runs stand at one place; the other by its name."""
    return len(set(run.name.split(",")) & set(other.split(",")))


def _estimates_of(
    experiment: store.Experiment, plain: list[store.Run], llc: xr.Dataset, pair: tuple[str, str]
) -> dict[str, Measured]:
    """λ̂ at the last step of the runs that have the simple solution alone, by name."""
    if not plain:
        raise StoreError(
            f"{experiment.path} has no estimate of a run that has {pair[0]} alone (where {pair[1]} says the same), "
            "whose complexity is that of the simple solution; train and estimate one"
        )
    found = {run.name: _at(llc, run, None) for run in plain}
    known = {name: estimate for name, (estimate, _) in found.items() if estimate is not None}
    if not known:
        why = "; ".join(reason for _, reason in found.values())
        raise StoreError(
            f"λ̂ of the simple solution cannot be used: {why}; estimate it again with: "
            f"llc estimate-llc {experiment.path}"
        )
    return known


def _at(llc: xr.Dataset, run: store.Run, step: int | None) -> tuple[Measured | None, str]:
    """λ̂ at the last estimated step, or near one, if it may be believed; otherwise why not."""
    here = llc[["llc", "llc_se", "verdict"]].sel(run.place)
    known = here.isel(step=np.flatnonzero(here.llc.notnull().values))
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


def _row(
    run: store.Run, metrics: xr.Dataset, llc: xr.Dataset, *, plain: Measured, pair: tuple[str, str], seed: int
) -> dict:
    here = over_positions(metrics).sel(run.place)
    end = here.distance.isel(test_set=0).dropna("step", how="all").isel(step=-1)
    critical = int(here.step_critical) if "step_critical" in here and np.isfinite(here.step_critical) else None
    test, nats = _test_set(run), run.task.nats or 1.0
    simple, complex_ = (behaviour.reference_losses_by_sequence(test, name) for name in pair)
    change = nats * (complex_ - simple)
    loss = Measured(float(change.mean()), float(change.std() / len(change) ** 0.5))
    llc_end, why = _at(llc, run, None)
    llc_critical, why_not = _at(llc, run, critical) if critical is not None else (None, f"{run.name} has no t_crit")
    batch_size = run.config["training"]["batch_size"]
    row: dict = {
        "step_critical": np.nan if critical is None else critical,
        "sequences_critical": np.nan if critical is None else critical * batch_size,
        "ends_like": min(pair, key=lambda name: float(end.sel(reference=name))),
        "left_out": "; ".join(reason for reason in (why, why_not) if reason),
    }
    delta = None if llc_end is None else llc_end - plain
    for name, found in (
        ("delta_loss", loss),
        ("llc_end", llc_end),
        ("llc_simple", plain),
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


def _with_interval(name: str, found: Measured | None) -> dict[str, float]:
    value, error = (np.nan, np.nan) if found is None else (found.value, found.error)
    return {name: value, f"{name}_low": value - _Z * error, f"{name}_high": value + _Z * error}


_SAID = {
    "delta_loss": "loss of the complex reference minus that of the simple one, negative log-likelihood a sequence",
    "delta_llc": "llc at the last step minus that of the simple solution alone",
    "llc_end": "llc at the last estimated step",
    "llc_critical": "llc near t_crit",
    "turn": "number of sequences from which the complex solution is preferred",
    "turn_share": "share of draws of delta_loss and delta_llc that have such a number",
    "step_critical": "step of the smallest loss on the headline's test set, t_crit",
    "sequences_critical": "sequences seen until t_crit",
    "ends_like": "which of the pair the last checkpoint is nearer to",
    "left_out": "why there is no number",
    "log_odds": "log of the posterior odds of the simple solution over the complex one",
    "llc_simple": "llc at the last estimated step of a run that has the simple solution alone",
}


def format_tradeoff(found: xr.Dataset) -> str:
    """The tradeoff as text, a line a run.

    Args:
        found: `experiment.tradeoff`.
    """
    needs = ("ends_like", "delta_loss", "delta_llc", "turn", "step_critical", "left_out", "rank_correlation")
    check_result(found, needs, "llc.development.tradeoff")
    lines, reasons = [], []
    for place, row in each_run(found):
        if not isinstance(row.ends_like.item(), str) or not row.ends_like.item():
            continue
        number = {name: _interval(row, name) for name in ("delta_loss", "delta_llc", "turn")}
        lines.append(
            {
                "run": run_label(found, place),
                "ends like": row.ends_like.item(),
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
        "no rank correlation of that n with t_crit: it is of too few runs, or the same for all"
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
            (*run.place, *(["samples"] if name == "log_odds" else [])),
            lead(np.asarray(value), run.place),
            about(_SAID, name),
        )
        for name, value in row.items()
    }
    return xr.Dataset(data, coords)
