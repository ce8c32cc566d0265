"""Posteriors over two strategies, with several accounts of what complexity is, fitted to one map."""

from dataclasses import fields
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from llc import store
from llc.development.labels import about
from llc.development.strategy_posterior import Entries, Form, fit, held_out, root_mean_square
from llc.predictors.description import description_bits
from llc.store.labels import each_run

# Steps of a run that posteriors are fitted to, evenly in log step: checkpoints lie dense where nothing happens.
_FITTED = 60
PARAMETERS = ("a", "b", "c")


class Account(NamedTuple):
    """A posterior to fit: its form, what complexity it charges, and whether to runs of known λ̂ alone."""

    form: Form
    cost: str
    known_llc: bool


# Runs of known λ̂ that a posterior is fitted to.
_FEWEST = 3

ACCOUNTS = {
    "bits": Account("power", "bits", False),
    "bits, where llc is known": Account("power", "bits", True),
    "llc": Account("power", "llc", True),
    "llc log n": Account("log", "llc", True),
}


def bits(found: xr.Dataset, runs: list[store.Run], pair: tuple[str, str]) -> xr.Dataset:
    """Lengths of the two descriptions in every run, `simple` and `complex` (…), in bits."""
    lengths = {}
    for run in runs:
        known = run.task.predictors()
        lengths[tuple(run.place.values())] = [float(description_bits(known[name])) for name in pair]
    return _by_run(found, lengths)


def llcs(found: xr.Dataset, traded: xr.Dataset, complex_: str) -> xr.Dataset | None:
    """λ̂ of the two, in every run that ended like the second; NaN in the others. None where there are fewer than three.

    Three numbers fitted to one run or two say nothing about runs.
    """
    known = {}
    for place, row in each_run(traded):
        if row.ends_like.item() == complex_:
            known[tuple(place.values())] = [float(row.llc_simple), float(row.llc_end)]
    numbers = [pair for pair in known.values() if np.isfinite(pair).all()]
    return _by_run(found, known) if len(numbers) >= _FEWEST else None


def _by_run(found: xr.Dataset, values: dict[tuple, list[float]]) -> xr.Dataset:
    dims = found.apart.dims
    known = np.full((*found.apart.shape, 2), np.nan)
    for place, pair in values.items():
        index = tuple(found.get_index(dim).get_loc(value) for dim, value in zip(dims, place, strict=True))
        known[index] = pair
    return xr.Dataset({name: (dims, known[..., i]) for i, name in enumerate(("simple", "complex"))})


def posteriors(found: xr.Dataset, costs: dict[str, xr.Dataset], samples: xr.DataArray, axis: str | None) -> xr.Dataset:
    """What every account predicts, and how well.

    Args:
        found: `relative`, `interpolation` (…, step), `apart` and `loss_gap` (…).
        costs: complexities of the two (…), by kind.
        samples: seen at every step, (step,).
        axis: of which one value after the other is left out.
    Returns:
        By `account`: `predicted` (…, step), `parameter` (parameter_name), `complexity` (…, strategy), and `correlation`
        and `rmse`, fitted and `held_out_…`.
    """
    names = [name for name, of in ACCOUNTS.items() if of.cost in costs and ("llc" in costs or not of.known_llc)]
    both = costs.get("llc")
    parts, complexity = [], []
    for name in names:
        account = ACCOUNTS[name]
        cost = costs[account.cost]
        if account.known_llc and both is not None:
            cost = cost.where(both.complex.notnull() & both.simple.notnull())
        parts.append(_account(found, cost, account, samples, axis))
        complexity.append(cost.to_dataarray("strategy"))
    coord = ("account", names, {"long_name": "what complexity is in the posterior", "units": "1"})
    joined = xr.concat(parts, "account").assign_coords(account=coord)
    joined["parameter_name"] = ("parameter_name", list(PARAMETERS), {"long_name": "parameter", "units": "1"})
    joined["complexity"] = xr.concat(complexity, "account").assign_attrs(about(_SAID, "complexity"))
    joined["strategy"] = ("strategy", ["simple", "complex"], {"long_name": "one of the pair", "units": "1"})
    for key in joined.data_vars:
        joined[key].attrs = about(_SAID, str(key))
    return joined.transpose(*found.apart.dims, "step", "account", ...)


def _account(
    found: xr.Dataset, cost: xr.Dataset, account: Account, samples: xr.DataArray, axis: str | None
) -> xr.Dataset:
    """One posterior: fitted, and what it predicts everywhere it can."""
    columns = {
        "samples": samples, "loss_gap": found.loss_gap, "cost_a": cost.simple, "cost_b": cost.complex,
        "share": (found.relative + 1) / 2, "weight": found.apart, "off": found.interpolation,
    }  # fmt: skip
    table = xr.Dataset(dict(zip(columns, xr.broadcast(*columns.values()), strict=True))).to_dataframe()[list(columns)]
    whole = table[table.notna().all(axis=1) & (table.samples > 0)]
    usable = whole[whole.off < whole.weight]
    few = usable[usable.index.get_level_values("step").isin(evenly_in_log(found.step.values, _FITTED))]
    said = dict.fromkeys(("correlation", "rmse", "held_out_correlation", "held_out_rmse"), np.nan)
    parameter, predicted = [np.nan] * len(PARAMETERS), pd.Series(np.nan, table.index)
    if few.share.nunique() > len(PARAMETERS):
        fitted, entries = fit(_entries(few), account.form), _entries(few)
        parameter = [fitted.a, fitted.b, fitted.c]
        predicted[whole.index] = 2 * fitted.share(_entries(whole)) - 1
        outside = np.full(len(few), np.nan)
        if axis is not None:
            outside = held_out(entries, few.index.get_level_values(axis).to_numpy(), account.form)
        for prefix, shares in (("", fitted.share(entries)), ("held_out_", outside)):
            if np.isfinite(shares).all():
                said[f"{prefix}correlation"] = _correlation(entries.share, shares)
                said[f"{prefix}rmse"] = root_mean_square(entries, shares)
    by_place = predicted.to_xarray().reindex_like(found.relative)
    return xr.Dataset({"predicted": by_place, "parameter": ("parameter_name", parameter), **said})


def _entries(rows: pd.DataFrame) -> Entries:
    return Entries(**{field.name: rows[field.name].to_numpy() for field in fields(Entries)})


def evenly_in_log(steps: np.ndarray, number: int) -> np.ndarray:
    """At most `number` of the steps above 0, evenly in log step."""
    later = np.unique(steps[steps > 0])
    if not len(later):
        return later
    wanted = np.geomspace(later[0], later[-1], number)
    return np.unique(later[np.abs(np.log(later)[:, None] - np.log(wanted)).argmin(0)])


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1]) if np.ptp(one) > 0 and np.ptp(other) > 0 else np.nan


_SAID = {
    "predicted": "relative distance as the posterior over the two strategies has it",
    "parameter": "parameters of the posterior: a, b, c",
    "correlation": "correlation of the relative distance with the predicted one",
    "rmse": "root mean square of share minus predicted share, weighted by the distance of the references",
    "held_out_correlation": "the same correlation, of predictions for values of the axis that the fit did not see",
    "held_out_rmse": "the same root mean square, of predictions for values of the axis that the fit did not see",
    "complexity": "complexity of a strategy",
}
