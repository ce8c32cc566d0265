"""The strategy map: where between two references every checkpoint is, and whether a posterior over the two says so."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from llc import behaviour, store
from llc.development.labels import about, check_result, run_place
from llc.development.strategy_accounts import PARAMETERS, bits, llcs, posteriors
from llc.development.tradeoff import check_pair
from llc.errors import StoreError
from llc.parallel import Progress, quiet
from llc.store.labels import each_run, of_run, over_positions, run_label, value_label


@store.takes_experiment
def strategies(
    experiment: store.Experiment, *, pair: Sequence[str] | None = None, progress: Progress = quiet
) -> xr.Dataset:
    """Where every checkpoint lies between two references, also written to the experiment's `strategies.nc`.

    With d the mean squared distance of outputs on the first test set, T a checkpoint and A, B the pair,

        relative = clip((d(T, B) − d(T, A))/d(A, B), −1, 1),   share w = (relative + 1)/2,
        interpolation = d(T, w A + (1 − w) B) = w d(T, A) + (1 − w) d(T, B) − w (1 − w) d(A, B):

    1 is A, −1 is B, and where `interpolation` is not small beside d(A, B) no mixture of the two says what T does. The
    threshold is the value of the sweep's axis at which `relative` rises through 0, by lines between neighbouring runs.

    Then a posterior over the two strategies (`llc.development.strategy_posterior`), fitted to the checkpoints that lie
    nearer to a mixture of the two than these to each other, evenly in log step. Complexity has four accounts: the bits
    of the two descriptions (`llc.predictors.description`), the same where λ̂ of both is known, and λ̂ in their place, in
    that form and in that of a free energy. λ̂ of A is that of runs which have A alone, λ̂ of B that of a run which ended
    like B, both from a `tradeoff.nc` of the same pair; without three of these there is only the first.

    Args:
        experiment: from `llc.open` or `llc.train`.
        pair: names of references, the simple one, A, first; by default the task's own pair.
        progress: told (unit, done, total, note).
    Returns:
        By (axes of the sweep …, step): `relative`, `interpolation`, and by `account` `predicted`, of all fits; `apart`
        (…), d(A, B), and `loss_gap` (…), ℓ_A − ℓ_B in nats of a sequence; `threshold` (seed, step); by account the
        posterior's `parameter`, `correlation` of `relative` with what it predicts, `rmse` of shares, and the same of
        predictions for values of the axis that were left out, `held_out_correlation`, `held_out_rmse`; `complexity`
        (…, account, strategy).
    Raises:
        StoreError: nothing is trained yet, no run in which the two differ, or a tradeoff that is out of date.
        InvalidInput: no pair, an unknown reference, or losses that are no log-likelihoods.
    Source: Wurgaft et al. (2025), arXiv 2506.17859.
    """
    chosen = check_pair(experiment, pair)
    settings = {"pair": list(pair or ())}
    with store.folder_lock(experiment.path):
        made = store.recipe(experiment, "strategies", settings, sources=("metrics", "tradeoff"), runs=experiment.runs)
        traded = _tradeoff_of(experiment, chosen)
        if store.is_made(experiment, "strategies", made, progress):
            return experiment.strategies
        metrics = over_positions(experiment.metrics)
        runs = [run for run in experiment.runs if of_run(metrics, run.place) is not None]
        if not runs:
            raise StoreError(experiment.no_checkpoints)
        parts = []
        for number, run in enumerate(runs):
            progress("strategies", number, len(runs), run.name)
            parts.append(_of_run(run, metrics, chosen))
        if not any(float(part.apart.max()) > 0 for part in parts):
            raise StoreError(f"{experiment.path} has no run in which {chosen[0]} and {chosen[1]} differ; train one")
        found = store.merge(parts)
        axis = _axis_of(found)
        if axis is not None:
            found["threshold"] = _threshold(found, axis)
        costs = {"bits": bits(found, runs, chosen)}
        known = None if traded is None else llcs(found, traded, chosen[1])
        costs |= {} if known is None else {"llc": known}
        samples = found.step * experiment.config["training"]["batch_size"]
        found = xr.merge([found, posteriors(found, costs, samples, axis)])
        found = found.assign_attrs(simple=chosen[0], complex=chosen[1])
        return store.write_dataset(experiment.path / "strategies.nc", found, made)


def _tradeoff_of(experiment: store.Experiment, pair: tuple[str, str]) -> xr.Dataset | None:
    """The tradeoff, where there is one and it is between these two.

    Raises:
        StoreError: it is older than what it was made from; the command that makes it again is named.
    """
    if not store.is_there(experiment.path / "tradeoff.nc"):
        return None
    if outdated := experiment.outdated("tradeoff"):
        raise StoreError(outdated)
    found = experiment.tradeoff
    return found if (found.attrs.get("simple"), found.attrs.get("complex")) == pair else None


def _of_run(run: store.Run, metrics: xr.Dataset, pair: tuple[str, str]) -> xr.Dataset:
    """One run's place between the two at every step."""
    test_set, source = next(iter(run.task.test_tasks().items()))
    test = behaviour.eval_sets(run.task, run.sequences, {test_set: source})[test_set]
    one, other = (test.references[of].double() for of in pair)
    apart = float(np.mean(behaviour.mean_square(one, other)))
    losses = [float(behaviour.reference_losses_by_sequence(test, of).mean()) for of in pair]
    here = metrics.sel({dim: [value] for dim, value in run.place.items()})
    distance = here.distance.sel(test_set=test_set).dropna("step", how="all")
    to_one, to_other = (distance.sel(reference=of, drop=True).drop_vars("test_set", errors="ignore") for of in pair)
    relative = ((to_other - to_one) / apart).clip(-1, 1) if apart > 0 else to_one * np.nan
    share = (relative + 1) / 2
    data = {
        "relative": relative,
        "interpolation": share * to_one + (1 - share) * to_other - share * (1 - share) * apart,
    }
    coords = run_place(run)
    found = xr.Dataset(data).assign_coords({dim: coords[dim] for dim in run.place})
    for key, value in {"apart": apart, "loss_gap": (run.task.nats or 1.0) * (losses[0] - losses[1])}.items():
        found[key] = (tuple(run.place), np.reshape(value, (1,) * len(run.place)))
    for name in map(str, found.data_vars):
        found[name].attrs = about(_SAID, name)
    found["step"].attrs = dict(metrics["step"].attrs)
    return found


def _axis_of(found: xr.Dataset) -> str | None:
    """The axis of numbers along which a threshold is looked for, the longest; None where there is none."""
    axes = [
        str(dim) for dim in found.apart.dims if dim != "seed" and found[dim].dtype.kind in "iuf" and found[dim].size > 1
    ]
    return max(axes, key=lambda dim: found[dim].size) if axes else None


def _threshold(found: xr.Dataset, axis: str) -> xr.DataArray:
    """Where along the axis `relative` first rises through 0, at every step; NaN where it does not."""
    values = found[axis].values.astype(float)
    finite = np.flatnonzero(np.isfinite(values))
    logarithmic = bool((values[finite] > 0).all())
    at = np.log(values[finite]) if logarithmic else values[finite]

    def crossing(relative: np.ndarray) -> float:
        known = np.isfinite(relative)
        r, x = relative[known], at[known]
        rises = np.flatnonzero((r[:-1] < 0) & (r[1:] >= 0))
        if not len(rises):
            return np.nan
        i = rises[0]
        place = x[i] - r[i] * (x[i + 1] - x[i]) / (r[i + 1] - r[i])
        return float(np.exp(place)) if logarithmic else float(place)

    crossed = xr.apply_ufunc(crossing, found.relative.isel({axis: finite}), input_core_dims=[[axis]], vectorize=True)
    return crossed.assign_attrs(about(_SAID, "threshold"))


_SAID = {
    "relative": "relative distance: 1 where a checkpoint is the simple reference, -1 where it is the complex one",
    "interpolation": "mean squared distance of outputs to the nearest mixture of the two references",
    "apart": "mean squared distance of the two references",
    "loss_gap": "loss of the simple reference minus that of the complex one, nats a sequence",
    "threshold": "value of the axis at which the relative distance rises through 0",
}


def _check(found: xr.Dataset) -> None:
    needs = ("account", "parameter", "correlation", "relative", "interpolation", "apart", "simple", "complex")
    check_result(found, needs, "llc.development.strategies")


def strategy_rows(found: xr.Dataset) -> pd.DataFrame:
    """A row an account: its parameters, and how well it predicts.

    Args:
        found: `experiment.strategies`.
    """
    _check(found)
    columns = ("correlation", "rmse", "held_out_correlation", "held_out_rmse")
    rows = []
    for name in found.account.values.tolist():
        one = found.sel(account=name)
        rows.append(
            {"complexity": name}
            | {key: float(one.parameter.sel(parameter_name=key)) for key in PARAMETERS}
            | {key: float(one[key]) for key in columns}
        )
    return pd.DataFrame(rows)


def format_strategies(found: xr.Dataset) -> str:
    """The map at its end and the posteriors as text.

    Args:
        found: `experiment.strategies`.
    """
    _check(found)
    simple, complex_ = found.attrs["simple"], found.attrs["complex"]
    lines = [f"Relative distance at the end: 1 is {simple}, -1 is {complex_}"]
    for place, run in each_run(found[["relative", "interpolation", "apart"]]):
        known = run.dropna("step", subset=["relative"])
        if known.sizes["step"]:
            end = known.isel(step=-1)
            off = float(end.interpolation / end.apart)
            lines.append(f"  {run_label(found, place):24s} {float(end.relative):6.2f}; off any mixture by {off:.2f} "
                         "of their distance")  # fmt: skip
    if "threshold" in found:
        ends = found.threshold.isel(step=-1)
        for place, end in each_run(ends.to_dataset(name="threshold")):
            lines.append(f"Threshold at the end, {run_label(ends, place)}: {value_label(float(end.threshold))}")
    rows = strategy_rows(found)
    lines += ["", rows.to_string(index=False, float_format=lambda value: f"{value:.3g}")]
    return "\n".join(lines)
