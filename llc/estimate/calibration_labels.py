"""A calibration as a labelled dataset and as the table that `llc calibrate` prints."""

import numpy as np
import xarray as xr

from llc.estimate.calibration import Calibration, Trial

_COLUMNS = {
    "stage": "what the trial was for",
    "point": "checkpoint",
    "nbeta": "nbeta",
    "gamma": "gamma",
    "step_size": "step size to begin with",
    "llc": "estimated local learning coefficient",
    "llc_se": "standard error of llc",
    "rhat": "rank-normalised R-hat",
    "prior_share": "gamma E|w - w*|^2 over the number of parameters",
    "step_excess": "part of llc that step size and minibatch noise are predicted to add",
    "gradients": "minibatch gradients computed",
    "verdict": "what the estimate is worth",
    "reason": "why",
}

_SUITS = {
    "nbeta": "nbeta that would suit the checkpoint by itself",
    "gamma": "gamma that would suit the checkpoint by itself",
    "plateau": "whether llc has a plateau there",
    "verdict": "verdict of the pilot that says so",
}
_RUNG = {
    "nbeta": "nbeta of a localisation",
    "gamma": "gamma of a localisation",
    "llc": "estimated local learning coefficient there",
    "llc_se": "standard error of it",
}


def calibration_dataset(found: Calibration) -> xr.Dataset:
    """By `trial`: settings, λ̂, verdict and reason; by (trial, chain, draw) the traces; by (trial, rung) what was tried
    on its way; by `checkpoint` the control and, where pilots were made, what would suit it by itself.

    Args:
        found: of `calibrate`.
    """
    rows = [_row(trial) for trial in found.trials]
    data: dict = {
        name: ("trial", [row[name] for row in rows], {"long_name": said, "units": "1"})
        for name, said in _COLUMNS.items()
    }
    traces = _side_by_side(
        [trial.estimate.chains.difference * row["nbeta"] for trial, row in zip(found.trials, rows, strict=True)]
    )
    data["llc_trace"] = (
        ("trial", "chain", "draw"),
        traces,
        {"long_name": "nbeta times the paired loss difference of a draw, warm-up first", "units": "1"},
    )
    for name, said in _RUNG.items():
        data[f"rung_{name}"] = (
            ("trial", "rung"),
            _padded([[getattr(rung, name) for rung in trial.estimate.rungs] for trial in found.trials]),
            {"long_name": said, "units": "1"},
        )
    data["llc_control"] = (
        "checkpoint",
        list(found.controls.values()),
        {"long_name": "what llc would be if the prior alone held the chains (nbeta = 0)", "units": "1"},
    )
    scales = [found.scales[name] for name in found.controls if found.scales]
    if scales:
        suits = {name: [getattr(one, name) for one in scales] for name in ("nbeta", "gamma", "plateau")}
        suits["verdict"] = [one.pilot.verdict for one in scales]
        for name, said in _SUITS.items():
            data[f"suits_{name}"] = ("checkpoint", suits[name], {"long_name": said, "units": "1"})
    _, chains, draws = traces.shape
    coords = {
        "trial": ("trial", np.arange(len(rows)), {"long_name": "trial", "units": "1"}),
        "chain": ("chain", np.arange(chains), {"long_name": "chain", "units": "1"}),
        "rung": ("rung", np.arange(data["rung_llc"][1].shape[1]), {"long_name": "localisation tried", "units": "1"}),
        "draw": ("draw", np.arange(draws), {"long_name": "draw", "units": "1"}),
        "checkpoint": ("checkpoint", list(found.controls), {"long_name": "checkpoint", "units": "1"}),
    }
    chosen = {name: float(getattr(found.settings, name)) for name in ("nbeta", "gamma", "step_size")}
    return xr.Dataset(data, coords, {"reason": found.reason, **{f"chosen_{k}": v for k, v in chosen.items()}})


def _side_by_side(traces: list[np.ndarray]) -> np.ndarray:
    """(trial, chain, draw); NaN after the last draw of those that needed fewer."""
    most = max(one.shape[1] for one in traces)
    return np.stack([np.pad(one, ((0, 0), (0, most - one.shape[1])), constant_values=np.nan) for one in traces])


def _padded(rows: list[list[float]]) -> np.ndarray:
    """Rows of several lengths as one table, NaN after the end of the shorter."""
    most = max(map(len, rows))
    return np.array([[*row, *[np.nan] * (most - len(row))] for row in rows])


def format_calibration(calibration: xr.Dataset) -> str:
    """What each checkpoint would take by itself, what λ̂ does at ×½ and ×2 of the choice, and the choice.

    Args:
        calibration: of `calibration_dataset`, what `calibration.nc` holds.
    """
    lines = []
    if "suits_nbeta" in calibration:
        lines.append("What would suit each by itself, as estimate_llc chooses:")
        for one in _each(calibration, "checkpoint"):
            verdict = one.suits_verdict.item()
            lines.append(
                f"  {one.checkpoint.item():28s} nbeta {one.suits_nbeta.item():<8.4g} "
                f"gamma {one.suits_gamma.item():<8.3g} "
                + ("at a plateau" if one.suits_plateau else f"no plateau within a pilot: {verdict}")
            )
    lines.append("At the choice, and at half and twice it:")
    trials = _each(calibration, "trial")
    for stage in dict.fromkeys(trial.stage.item() for trial in trials if trial.stage != "pilot"):
        lines += [
            f"  {stage.replace('_', ' '):18s} {trial.point.item():28s} llc {trial.llc.item():.1f} ± "
            f"{trial.llc_se.item():.1f}  {trial.verdict.item()}"
            for trial in trials
            if trial.stage == stage
        ]
    lines.append("Control, nbeta = 0 (what the prior alone would give):")
    lines += [f"  {one.checkpoint.item():28s} {one.llc_control.item():.4g}" for one in _each(calibration, "checkpoint")]
    chosen = calibration.attrs
    lines.append(
        f"Chosen: nbeta {chosen['chosen_nbeta']:.4g}, gamma {chosen['chosen_gamma']:.3g}, step size "
        f"{chosen['chosen_step_size']:.3g}: {chosen['reason']}."
    )
    return "\n".join(lines)


def _each(calibration: xr.Dataset, dim: str) -> list[xr.Dataset]:
    """What is by `dim` alone, one place at a time."""
    here = calibration[[name for name in calibration.data_vars if calibration[name].dims == (dim,)]]
    return [here.isel({dim: place}) for place in range(here.sizes[dim])]


def _row(trial: Trial) -> dict:
    estimate = trial.estimate
    numbers = {name: getattr(estimate.summary, name) for name in ("llc", "llc_se", "rhat")}
    said = {name: getattr(estimate, name) for name in ("prior_share", "step_excess", "gradients", "verdict", "reason")}
    given = {name: float(estimate.settings[name]) for name in ("nbeta", "gamma", "step_size")}
    return {"stage": trial.stage, "point": trial.point, **given, **numbers, **said}
