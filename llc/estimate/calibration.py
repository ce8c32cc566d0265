"""Choosing nβ, γ and the step size of a study on a few checkpoints, with a reason for everything that is rejected."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from llc.errors import EstimateFailed
from llc.estimate.conclusion import Estimate
from llc.estimate.measure import Point, estimate_at
from llc.estimate.noise import choose_batch
from llc.estimate.settings import SamplingConfig, choose_gamma
from llc.parallel import Report, quiet
from llc.sampling import Target, check_data, data_length, run_chains, sampler_named

# The grid: radii √(P/γ)/‖w*‖ of the prior, and nβ in units of n/log n.
RADII = (1.0, 1 / 3, 1 / 10, 1 / 30)
NBETA_FACTORS = (0.1, 1.0, 10.0)
# Verdicts with which a pilot's cell is still a candidate: pilots are short, and longer chains mend a drift.
_CANDIDATES = ("converged", "drifting", "scale-dependent")
# λ̂ this close to what the prior alone would give measures the prior.
_CONTROL_LIMIT = 0.8


@dataclass(frozen=True)
class Trial:
    """One estimate on the way to a choice: at which stage, with which settings, and what came out."""

    stage: str
    point: str
    radius: float
    estimate: Estimate


@dataclass(frozen=True)
class Calibration:
    """What a calibration found.

    Attributes:
        settings: the chosen `SamplingConfig`. reason: why.
        trials: every estimate made. controls: λ̂ that the prior alone would give, by point.
        rejected: (nβ, γ) of the grid, with the reason of each that was not chosen.
    """

    settings: SamplingConfig
    reason: str
    trials: list[Trial]
    controls: dict[str, float]
    rejected: dict[tuple[float, float], str]


def calibrate(
    points: Sequence[Point],
    config: SamplingConfig,
    *,
    radii: Sequence[float] = RADII,
    nbeta_factors: Sequence[float] = NBETA_FACTORS,
    key: tuple = (0,),
    report: Report = quiet,
) -> Calibration:
    """Choose one nβ, γ and step size that suit every point.

    1. A grid over nβ and γ. A cell is rejected if the verdict at any point says so; short chains may still drift.
       Among those left the nβ nearest to n/log n is taken (the theory's own choice, Watanabe 2013), then a cell whose
       short chains converged before one whose chains drift, then the largest radius: the loosest localisation.
    2. The step size: the smallest with which the chains of any point ended, so that one value suits all.
    3. λ̂ again with the step size, γ and nβ at half and at twice the choice.
    4. nβ = 0: chains held by the prior alone. What the loss would be there is a ceiling that λ̂ has to stay clear of.

    Args:
        points: at least one; all with the same number of samples.
        config: what is not chosen here (sampler, chains, draws, batch size, parameters). An nβ, γ or radius given
            there is kept and only checked.
        radii: relative to ‖w*‖, geometric mean over points. nbeta_factors: in units of n/log n.
    Raises:
        EstimateFailed: every cell is rejected; the reasons are given.
    """
    n = min(data_length(check_data(point.data)) for point in points)
    usual = n / math.log(n)
    nbetas = [config.nbeta] if config.nbeta is not None else [float(f"{usual * f:.4g}") for f in nbeta_factors]
    if config.gamma is not None or config.radius is not None:
        radii = [config.radius or math.nan]
    gammas = {radius: _gamma(points, config, radius) for radius in radii}
    total = (len(nbetas) * len(gammas) + 6) * len(points) + len(points)
    trials: list[Trial] = []

    def run(stage: str, radius: float, **settings) -> list[Estimate]:
        """One cell: every point with the same settings."""
        made = []
        for point in points:
            trial = _try(stage, point, config.model_copy(update={**settings, "radius": None}), key, radius)
            trials.append(trial)
            made.append(trial.estimate)
            report(point.name, len(trials), total, f"{stage}: {_said(trial.estimate)}")
        return made

    cells = {}
    for nbeta, radius in itertools.product(nbetas, radii):
        cells[nbeta, radius] = run("grid", radius, nbeta=nbeta, gamma=gammas[radius])
    rejected = {
        (nbeta, gammas[radius]): why for (nbeta, radius), made in cells.items() if (why := _objection(points, made))
    }
    left = [cell for cell in cells if (cell[0], gammas[cell[1]]) not in rejected]
    if not left:
        reasons = "; ".join(f"nbeta {nbeta:.4g}, gamma {gamma:.3g}: {why}" for (nbeta, gamma), why in rejected.items())
        raise EstimateFailed(f"no setting of the grid will do ({reasons})")

    def drifts(cell: tuple[float, float]) -> bool:
        return any(estimate.verdict == "drifting" for estimate in cells[cell])

    nbeta, radius = min(left, key=lambda cell: (abs(math.log(cell[0] / usual)), drifts(cell), -cell[1]))
    gamma = gammas[radius]
    for other in left:
        if other[0] != nbeta:
            rejected[other[0], gammas[other[1]]] = "would do, but nbeta is farther from n/log n"
        elif other[1] > radius:
            rejected[other[0], gammas[other[1]]] = "drifting: would take longer chains"
        elif other[1] < radius:
            rejected[other[0], gammas[other[1]]] = "would do, but the prior is tighter than it need be"
    step_size = _common_step(cells[nbeta, radius])
    chosen = {"nbeta": nbeta, "gamma": gamma, "step_size": step_size}
    for name, value in chosen.items():
        for factor in (0.5, 2.0):
            run(f"{name} x {factor:g}", radius, **{**chosen, name: value * factor})
    controls = {point.name: _prior_alone(point, config, nbeta, gamma, key) for point in points}
    settings = config.model_copy(update={**chosen, "radius": None})
    too_close = [
        point.name
        for point, estimate in zip(points, cells[nbeta, radius], strict=True)
        if not estimate.summary.llc < _CONTROL_LIMIT * controls[point.name]
    ]
    why = "no point rejects" if drifts((nbeta, radius)) else "converges at every point"
    reason = (
        f"nbeta {nbeta:.4g} is {nbeta / usual:.3g} n/log n; gamma {gamma:.3g} is the loosest prior that {why}; "
        f"step size {step_size:.3g} is stable at all {len(points)} points"
    )
    if too_close:
        reason += f"; beware: at {', '.join(too_close)} llc is within a fifth of what the prior alone would give"
    return Calibration(settings, reason, trials, controls, rejected)


def _try(stage: str, point: Point, config: SamplingConfig, key: tuple, radius: float = math.nan) -> Trial:
    return Trial(stage, point.name, radius, estimate_at(point, config, key=(*key, stage, point.name)))


def _gamma(points: Iterable[Point], config: SamplingConfig, radius: float) -> float:
    given = config if math.isnan(radius) else config.model_copy(update={"radius": radius, "gamma": None})
    return choose_gamma([point.model for point in points], given)


def _objection(points: Sequence[Point], made: Sequence[Estimate]) -> str:
    """Why a cell will not do, from the first point that rejects it."""
    for point, estimate in zip(points, made, strict=True):
        if estimate.verdict not in _CANDIDATES:
            return f"{estimate.verdict} at {point.name}: {estimate.reason}"
    return ""


def _common_step(made: Sequence[Estimate]) -> float:
    steps = [ended["step_size"] for estimate in made for ended in estimate.chains.settings]
    return float(f"{min(steps):.3g}")


def _prior_alone(point: Point, config: SamplingConfig, nbeta: float, gamma: float, key: tuple) -> float:
    """nβ(E[L] − L(w*)) over chains at nβ = 0."""
    kernel = sampler_named(config.sampler or "kinetic")
    batch_size, _ = choose_batch(point.model, point.loss, point.data, config.batch_size, full_batch=kernel.full_batch)
    target = Target(
        point.model, point.loss, point.data, nbeta=0.0, gamma=gamma, batch_size=batch_size, parameters=config.parameters
    )
    settings = kernel.default_settings(0.0, gamma, config.draws or 200)
    traces = run_chains(
        target,
        kernel,
        settings,
        chains=config.chains,
        warmup=config.draws or 200,
        draws=config.draws or 200,
        key=(*key, "control"),
    )
    return nbeta * float(np.nanmean(traces.difference[:, traces.warmup :]))


def _said(estimate: Estimate) -> str:
    return f"llc {estimate.summary.llc:.1f} ± {estimate.summary.llc_se:.1f}, {estimate.verdict}"
