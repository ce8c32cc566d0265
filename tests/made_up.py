"""Experiments with results that nobody estimated, for what reads or draws them."""

import numpy as np
import xarray as xr

import llc
from llc import development, store


def make_up(experiment: llc.Experiment, *, verdict: str = "converged", drop: tuple[float, ...] = ()) -> None:
    """λ̂ that rises, falls and rises again, at every checkpoint of a sweep; M = ∞ lower than the others."""
    steps = np.array(experiment.runs[0].steps)
    u = np.log1p(steps)
    coords = {"num_tasks": [m for m in (1.0, 4.0, np.inf) if m not in drop], "seed": [0], "step": steps}
    shape = tuple(len(values) for values in coords.values())
    rng = np.random.default_rng(0)
    values = 10 + 6 * np.sin(1.9 * u) + 3 * u + 0.1 * rng.standard_normal(shape)
    values += np.array([20.0 if np.isfinite(m) else 0.0 for m in coords["num_tasks"]])[:, None, None]
    dims = tuple(coords)
    data = {
        "llc": values,
        "llc_se": np.full(shape, 0.2),
        "llc_low": values - 0.33,
        "llc_high": values + 0.33,
        "loss_init": np.broadcast_to(4 - 0.5 * u, shape),
        "verdict": np.full(shape, verdict),
    }
    made = xr.Dataset({name: (dims, value) for name, value in data.items()}, coords)
    for variable in made.variables.values():
        variable.attrs = {"long_name": "made up", "units": "1"}
    store.write_dataset(experiment.path / "llc.nc", made, {})


def every_result(experiment: llc.Experiment) -> None:
    """Every result there is, of λ̂ as above with the labels of an estimate, one of them drifting."""
    make_up(experiment)
    made = experiment.llc.load()
    for name, value in (("rhat", 1.01), ("ess_bulk", 400.0), ("reason", "plateau <over> 4 chains")):
        made[name] = made.llc.astype(object).where(False, value) if name == "reason" else made.llc * 0 + value
        made[name].attrs = {"long_name": "made up", "units": "1"}
    made["verdict"].loc[{"num_tasks": 4.0, "step": made.step.values[3]}] = "drifting"
    about = {"llc": {"draws": 30, "positions": True}}
    store.write_dataset(experiment.path / "llc.nc", made.drop_attrs(deep=False), about)
    development.find_stages(experiment, resamples=30)
    development.tradeoff(experiment)
    development.strategies(experiment)
    development.essential_dynamics(experiment)
    development.shifted_behaviour(experiment, steps="0,60")
    development.readouts(experiment, steps="0,60")
    development.compare(experiment, steps="0,60", sequences=32)
