"""Essential dynamics of every run: smoothed trajectories, their curvature and evolute, and forms as rows."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr

from llc import store
from llc.behaviour import step_coord
from llc.development.essential import DEFAULT_WIDTH, LEAST_POINTS, Geometry, check_width, geometry
from llc.development.labels import check_result, lead, run_place
from llc.errors import InvalidInput, StoreError, check_whole, shown
from llc.parallel import Progress, quiet
from llc.store.labels import of_run

_FORM = ("form_run", "form_step", "form_kind", "form_position", "form_curvature", "form_center")


@store.takes_experiment
def essential_dynamics(
    experiment: store.Experiment,
    *,
    components: tuple[int, int] = (1, 2),
    width: float = DEFAULT_WIDTH,
    progress: Progress = quiet,
) -> xr.Dataset:
    """The geometry of every run's trajectory in the plane of two components, also written to `essential.nc`.

    Source: Hoogland et al. (2024), arXiv 2402.02364; formulas in `llc.development.essential`.

    Args:
        experiment: from `llc.open` or `llc.train`.
        components: of `pca.nc`.
        width: of the smoothing kernel, in log(1 + step).
        progress: told (unit, done, total, note).
    Returns:
        By (axes of the sweep …, step, axis): `smoothed`, `velocity` (by log(1 + step)), `center` of the osculating
        circle, whose path is the evolute; by (…, step): `curvature`, signed. By `form`, one row each: `form_run` (the
        run's name) and `form_…` for its place on each axis, `form_step`, `form_kind` (vertex or cusp),
        `form_curvature`, and `form_position` and `form_center` (form, axis).
    Raises:
        StoreError: there is no pca.nc yet, or no run has six checkpoints.
        InvalidInput: no two components, one that pca.nc does not hold, or a width that is not positive.
    """
    if not isinstance(components, Iterable) or len(given := list(components)) != 2:
        raise InvalidInput(f"components = {shown(components)} given, expected two of them, such as (1, 2)")
    first, second = (check_whole("a component", one, 1) for one in given)
    if first == second:
        raise InvalidInput(f"component {first} given twice, expected two different ones, such as (1, 2)")
    settings = {"components": [first, second], "width": check_width(width)}
    with store.folder_lock(experiment.path):
        made = store.recipe(experiment, "essential", settings)
        if store.is_made(experiment, "essential", made, progress):
            return experiment.essential
        pca = experiment.pca
        for component in (first, second):
            if component not in pca.component:
                raise InvalidInput(
                    f"component {component} given, expected 1 to {pca.sizes['component']}, which pca.nc holds; make "
                    f"more with: llc pca {experiment.path} --components {component}"
                )
        parts, forms = [], []
        for run in experiment.runs:
            known = of_run(pca, run.place)
            if known is None:
                continue
            score = known.score.sel(component=[first, second]).transpose("step", "component").dropna("step")
            if score.sizes["step"] < LEAST_POINTS:
                continue
            steps = score.step.values
            found = geometry(steps, score.values, width=width)
            parts.append(_label(run, steps, found))
            forms += [(run, int(steps[form.place]), form.kind, form.place, found) for form in found.forms]
        if not parts:
            raise StoreError(
                f"no run of {experiment.path} has {LEAST_POINTS} checkpoints with scores; save more of them: "
                "llc train --set checkpoints.every=…"
            )
        dataset = (
            store.merge(parts)
            .merge(_label_forms(forms, list(experiment.axes)))
            .assign_coords(
                axis=("axis", [first, second], {"long_name": "number of the principal component", "units": "1"})
            )
        )
        return store.write_dataset(experiment.path / "essential.nc", dataset, made)


def form_rows(essential: xr.Dataset) -> pd.DataFrame:
    """The forms as a table: run, step, kind, position, curvature and centre of the osculating circle.

    Args:
        essential: `experiment.essential`.
    """
    check_result(essential, ("axis", *_FORM), "llc.development.essential_dynamics")
    first, second = (int(axis) for axis in essential.axis.values)
    return pd.DataFrame(
        {
            "run": essential.form_run.values,
            "step": essential.form_step.values,
            "kind": essential.form_kind.values,
            f"pc{first}": essential.form_position.values[:, 0],
            f"pc{second}": essential.form_position.values[:, 1],
            "curvature": essential.form_curvature.values,
            f"center_pc{first}": essential.form_center.values[:, 0],
            f"center_pc{second}": essential.form_center.values[:, 1],
        }
    )


def _label(run: store.Run, steps: np.ndarray, found: Geometry) -> xr.Dataset:
    place = (*run.place, "step")
    said = {
        "smoothed": ("smoothed score", found.position),
        "velocity": ("its derivative by log(1 + step)", found.velocity),
        "center": ("centre of the osculating circle; its path is the evolute", found.center),
        "curvature": ("signed curvature of the smoothed trajectory", found.curvature),
    }
    data = {
        name: (
            place if values.ndim == 1 else (*place, "axis"),
            lead(values, run.place),
            {"long_name": text, "units": "1"},
        )
        for name, (text, values) in said.items()
    }
    return xr.Dataset(data, run_place(run) | step_coord(steps))


def _label_forms(forms: list[tuple], axes_of_runs: list[str]) -> xr.Dataset:
    places = [(place, found) for *_, place, found in forms]
    axes = lambda name: np.array([getattr(found, name)[place] for place, found in places]).reshape(-1, 2)  # noqa: E731
    columns = {
        "form_run": ("run that has the form", np.array([form[0].name for form in forms], str)),
        **{
            f"form_{dim}": (f"{dim} of that run", np.array([form[0].place[dim] for form in forms]))
            for dim in axes_of_runs
        },
        "form_step": ("step at which the form stands", np.array([form[1] for form in forms], np.int64)),
        "form_kind": (
            "vertex (curvature largest, the evolute has a cusp) or cusp (of the trajectory itself)",
            np.array([form[2] for form in forms], "<U6"),
        ),
        "form_curvature": ("curvature there", np.array([found.curvature[place] for place, found in places], float)),
        "form_position": ("smoothed score there", axes("position")),
        "form_center": ("centre of the osculating circle there", axes("center")),
    }
    data = {
        name: ("form" if values.ndim == 1 else ("form", "axis"), values, {"long_name": said, "units": "1"})
        for name, (said, values) in columns.items()
    }
    coords = {"form": ("form", np.arange(1, len(forms) + 1), {"long_name": "number of the form", "units": "1"})}
    return xr.Dataset(data, coords)
