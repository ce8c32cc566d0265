"""Behaviour on inputs that training did not show: scaled covariates, other noise, other task diversities."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from llc import behaviour, store
from llc.development.labels import about
from llc.errors import InvalidInput
from llc.parallel import Report, quiet
from llc.study.points import choose_steps, trained_runs
from llc.tasks import AnyTask
from llc.training import RunConfig, load_model

_MEASURED = ("loss", "distance_ridge", "distance_dmmse")


@dataclass(frozen=True)
class Shift:
    """A change of the distribution that sequences come from.

    Args:
        name: how it is labelled. scale: c, of covariates: x ~ N(0, c² Σ). noise: factor of σ².
        num_tasks: M' of q_{M'}, None for M' = ∞; `"own"` for the run's own M.
    """

    name: str
    scale: float = 1.0
    noise: float = 1.0
    num_tasks: int | str | None = "own"

    def of(self, task: AnyTask) -> AnyTask:
        """The task that gives such sequences."""
        shifted = task if self.num_tasks == "own" else task.with_num_tasks(self.num_tasks)  # type: ignore[arg-type]
        if self.scale != 1:
            shifted = shifted.override({"covariance": (self.scale**2 * shifted.covariance_matrix).tolist()})
        return shifted.override({"noise_variance": self.noise * task.noise_variance}) if self.noise != 1 else shifted


def shifts(
    scales: Sequence[float] = (0.5, 2.0),
    noises: Sequence[float] = (0.25, 4.0),
    num_tasks: Sequence[float] = (1, math.inf),
) -> list[Shift]:
    """q_M as it was trained on, then one shift at a time.

    Raises:
        InvalidInput: a scale or a factor of noise that is not a finite number > 0, or an M' that is none.
    """
    for name, values in (("scale", scales), ("noise", noises)):
        for value in values:
            if not 0 < value < math.inf:
                raise InvalidInput(f"{name} = {value} given, expected a finite number > 0")
    found = [Shift("q_M")]
    found += [Shift(f"x scaled by {scale:g}", scale=scale) for scale in scales]
    found += [Shift(f"noise variance times {noise:g}", noise=noise) for noise in noises]
    for m in num_tasks:
        if m != math.inf and not (m >= 1 and m == int(m)):
            raise InvalidInput(f"M' = {m} given, expected a whole number from 1 up, or inf")
        found.append(
            Shift("M' = inf" if m == math.inf else f"M' = {m:.0f}", num_tasks=None if m == math.inf else int(m))
        )
    return found


def shifted_behaviour(
    experiment: store.Experiment,
    *,
    steps: str | Sequence[int] = "log:20",
    scales: Sequence[float] = (0.5, 2.0),
    noises: Sequence[float] = (0.25, 4.0),
    num_tasks: Sequence[float] = (1, math.inf),
    sequences: int | None = None,
    icl_positions: tuple[int, int] | None = None,
    report: Report = quiet,
) -> xr.Dataset:
    """Losses and distances of every run on shifted inputs, also written to the experiment's `behaviour.nc`.

        loss_k = mean_i (f_k − y_k)²,   distance_k = mean_i (f_k − reference_k)²,   ICL score = loss_{k2} − loss_{k1}

    ridge and dMMSE_M are those of the training distribution, prior and σ² included: they stand for what a model may
    have learned, not for what would be best on the shifted inputs.

    Args:
        steps: as of `estimate_llc_over_training`. scales: c, of x ~ N(0, c² Σ). noises: factors of σ². num_tasks: M'.
        sequences: of each distribution; None for as many as the run's test sets have.
        icl_positions: k1 < k2 from 1 to K; None for K/2 and K (Hoogland et al. 2024, arXiv 2402.02364).
    Returns:
        By (num_tasks, seed, step, shift, position): `loss`, `distance_ridge`, `distance_dmmse` and both distances
        divided by D (`…_per_dim`, the papers' values); by (num_tasks, seed, step, shift): `icl_score` and its standard
        error `icl_score_se`, over sequences. Averages over positions are `.mean("position")`.
    Raises:
        StoreError: nothing is trained yet. InvalidInput: a shift or positions out of range, steps without weights.
    """
    chosen_shifts, runs = shifts(scales, noises, num_tasks), trained_runs(experiment)
    first, last = _icl_positions(icl_positions, RunConfig.from_table(runs[0].config).task.num_examples)
    chosen = {run.name: choose_steps(steps, run) for run in runs}
    total, done, parts = sum(map(len, chosen.values())), 0, []
    with store.folder_lock(experiment.path):
        for run in runs:
            of_run = RunConfig.from_table(run.config)
            sets = [_test_set(of_run, shift, sequences) for shift in chosen_shifts]
            rows = []
            for step in chosen[run.name]:
                report("behaviour", done, total, f"{run.name} step {step}")
                model = load_model(run, step)
                rows.append([_row(model, test, first, last) for test in sets])
                done += 1
            parts.append(_label(run, of_run.task, chosen[run.name], chosen_shifts, rows))
        settings = {
            "steps": chosen,
            "scales": list(scales),
            "noises": list(noises),
            "num_tasks": ["inf" if m == math.inf else int(m) for m in num_tasks],
            "sequences": sequences,
            "icl_positions": [first, last],
        }
        return store.write_dataset(
            experiment.path / "behaviour.nc", store.merge(parts), {**experiment.config, "shifts": settings}
        )


def _icl_positions(given: tuple[int, int] | None, num_examples: int) -> tuple[int, int]:
    if num_examples < 2:
        raise InvalidInput("ICL scores compare positions: sequences of K = 1 given, expected K >= 2")
    first, last = given or (max(1, num_examples // 2), num_examples)
    if not 1 <= first < last <= num_examples:
        raise InvalidInput(f"icl_positions = {first}, {last} given, expected 1 <= k1 < k2 <= K = {num_examples}")
    return first, last


def _test_set(of_run: RunConfig, shift: Shift, sequences: int | None) -> behaviour.TestSet:
    """Sequences of the shifted task; what the references of the run's own task say of them."""
    xs, ys = shift.of(of_run.task).sample(sequences or of_run.behaviour.sequences, stream="test")
    return behaviour.TestSet(xs, ys, behaviour.reference_predictions(of_run.task, xs, ys))


def _row(model, test: behaviour.TestSet, first: int, last: int) -> dict[str, np.ndarray]:
    predictions = behaviour.predict(model, test.xs, test.ys).double()
    squares = (predictions - test.ys.double()).square()
    row = {"loss": squares.mean(0).numpy()}
    for name, reference in test.references.items():
        row[f"distance_{name}"] = (predictions - reference.double()).square().mean(0).numpy()
    change = squares[:, last - 1] - squares[:, first - 1]
    row["icl_score"] = np.array(float(change.mean()))
    row["icl_score_se"] = np.array(float(change.std() / len(change) ** 0.5))
    return row


_SAID = {
    "loss": "mean squared error",
    "distance_ridge": "mean squared distance of predictions to ridge",
    "distance_dmmse": "mean squared distance of predictions to dMMSE_M",
    "distance_ridge_per_dim": "mean squared distance of predictions to ridge, divided by D",
    "distance_dmmse_per_dim": "mean squared distance of predictions to dMMSE_M, divided by D",
    "icl_score": "loss late in the sequence minus loss earlier in it",
    "icl_score_se": "standard error of icl_score",
}


def _label(
    run: store.Run, task: AnyTask, steps: list[int], chosen: list[Shift], rows: list[list[dict[str, np.ndarray]]]
) -> xr.Dataset:
    num_tasks = None if np.isinf(run.num_tasks) else int(run.num_tasks)
    coords = behaviour.run_coords([num_tasks], [run.seed], steps) | {
        "shift": ("shift", [shift.name for shift in chosen], {"long_name": "where sequences come from", "units": "1"}),
        "position": (
            "position",
            np.arange(1, task.num_examples + 1),
            {"long_name": "number of the example in its sequence, k", "units": "1"},
        ),
    }
    data: dict = {}
    for name in rows[0][0]:
        values = np.stack([[of_shift[name] for of_shift in row] for row in rows])
        dims = ("num_tasks", "seed", "step", "shift", "position")[: values.ndim + 2]
        data[name] = (dims, values[None, None], {**about(_SAID, name), "units": "y^2"})
        if name.startswith("distance"):
            scaled = f"{name}_per_dim"
            data[scaled] = (dims, values[None, None] / task.dim, {**about(_SAID, scaled), "units": "y^2"})
    return xr.Dataset(data, coords)


def format_behaviour(found: xr.Dataset) -> str:
    """Each run's last step as text, a line a run and shift."""
    lines = []
    for num_tasks in found.num_tasks.values:
        for seed in found.seed.values:
            known = found.sel(num_tasks=num_tasks, seed=seed).dropna("step", subset=["icl_score"])
            if not known.sizes["step"]:
                continue
            end = known.isel(step=-1)
            for shift in end["shift"].values:
                row = end.sel(shift=shift)
                means = {name: float(row[name].mean("position")) for name in _MEASURED}
                lines.append(
                    {
                        "M": f"{num_tasks:g}",
                        "seed": int(seed),
                        "step": int(end.step),
                        "inputs": str(shift),
                        "loss": f"{means['loss']:.3f}",
                        "to ridge": f"{means['distance_ridge']:.3f}",
                        "to dMMSE": f"{means['distance_dmmse']:.3f}",
                        "ICL score": f"{float(row.icl_score):.3f} ± {float(row.icl_score_se):.3f}",
                    }
                )
    return pd.DataFrame(lines).to_string(index=False)
