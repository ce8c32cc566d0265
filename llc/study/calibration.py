"""Calibration on a few checkpoints of an experiment, and the files that come of it."""

from collections.abc import Sequence
from typing import Any

import xarray as xr

from llc import store
from llc.errors import InvalidInput
from llc.estimate.calibration import calibrate
from llc.estimate.calibration_labels import calibration_dataset
from llc.parallel import Progress, quiet, torch_threads
from llc.study.pilots import evenly
from llc.study.points import LLCConfig, choose_steps, study_point, trained_runs


@store.takes_experiment
def calibrate_experiment(
    experiment: store.Experiment,
    *,
    steps: str | Sequence[int] = "last",
    points: int = 3,
    progress: Progress = quiet,
    **settings: Any,
) -> tuple[LLCConfig, xr.Dataset]:
    """Choose nβ, γ and the step size of a study on a few of its checkpoints; see `calibrate`.

    Writes `calibration.nc` (every trial, with traces) and `calibration.toml` (what `settings_from` reads).

    Args:
        experiment: from `llc.open` or `llc.train`.
        steps: as for `estimate_llc_over_training`.
        points: how many checkpoints to use, spread over runs and steps.
        progress: told (checkpoint, done, total, note).
        settings: the fields of `LLCConfig` that are not to be chosen.
    Returns:
        The settings that were chosen, and what `calibration.nc` holds.
    Raises:
        InvalidInput: a setting that does not fit.
        StoreError: nothing is trained yet.
        EstimateFailed: the choice will not do somewhere; the reason is given.
    """
    if points < 1:
        raise InvalidInput(f"points = {points} given, expected a whole number from 1 up")
    config = LLCConfig(**settings)
    runs = trained_runs(experiment)
    places = evenly([(run, step) for run in runs for step in choose_steps(steps, run)], points)
    path, to_edit = experiment.path / "calibration.nc", experiment.path / "calibration.toml"
    with store.folder_lock(experiment.path):
        at = [[run.name, step] for run, step in places]
        used = [run for run in runs if any(run.name == name for name, _ in at)]
        made = store.recipe(experiment, "calibration", runs=used, sources=(), asked=config.to_table(), at=at)
        if to_edit.exists() and store.is_made(experiment, "calibration", made, progress):
            known = store.read_dataset(path)
            return LLCConfig.from_table(store.settings_of(known, "llc")), known
        chosen = [study_point(run, step, config) for run, step in places]
        with torch_threads(1):  # as the study's estimates are made, whatever cores there are
            found = calibrate(chosen, config, key=(config.seed, "calibrate"), progress=progress)
        table = found.settings.to_table()
        written = store.write_dataset(path, calibration_dataset(found), {**made, "llc": table})
        # The trials were short; how long to run is for the estimates to say.
        store.write_table(to_edit, {name: value for name, value in table.items() if name != "draws"}, to_edit=True)
    return LLCConfig.from_table(table), written
