"""One nβ, γ and step size for several w*, from what `estimate_llc` chooses by itself at each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from llc.errors import EstimateFailed
from llc.estimate.conclusion import Estimate
from llc.estimate.measure import Point, estimate_at
from llc.estimate.noise import choose_batch
from llc.estimate.settings import SamplingConfig, choose_gamma
from llc.parallel import Progress, quiet
from llc.sampling import Target, run_chains, sampler_named

# Minibatch gradients of a pilot.
PILOT_GRADIENTS = 4000
# Where there is no plateau, γ is so many times that of a prior as wide as ‖w*‖.
_NO_PLATEAU = 9.0
# γ is raised by this factor where chains do not stay, at most so often.
_TIGHTER, _MOST_TIGHTER = 10.0, 3
# Verdicts that say that a setting will not do; the others are of the model, or mended by longer chains.
_OBJECTIONS = ("diverged", "delocalised", "prior-dominated", "step-size-biased")
# λ̂ this close to what the prior alone would give measures the prior.
_CONTROL_LIMIT = 0.8


@dataclass(frozen=True)
class Scale:
    """What suits one w*.

    Attributes:
        nbeta: nβ.
        gamma: γ. Both in the units of `SamplingConfig`.
        plateau: whether λ̂ is one there.
        control_variates: whether they lower the noise.
        pilot: the estimate that says so.
    """

    nbeta: float
    gamma: float
    plateau: bool
    control_variates: bool
    pilot: Estimate


@dataclass(frozen=True)
class Trial:
    """One estimate on the way to a choice: at which stage, at which w*, and what came out."""

    stage: str
    point: str
    estimate: Estimate


@dataclass(frozen=True)
class Calibration:
    """What a calibration found.

    Attributes:
        settings: the chosen `SamplingConfig`.
        reason: why.
        trials: every estimate made.
        controls: λ̂ that the prior alone would give, by point.
        scales: what would suit each point by itself, by its name; none where nβ and γ were given.
    """

    settings: SamplingConfig
    reason: str
    trials: list[Trial]
    controls: dict[str, float]
    scales: dict[str, Scale]


def scale_at(
    point: Point,
    config: SamplingConfig,
    *,
    key: tuple,
    budget: int = PILOT_GRADIENTS,
    device: torch.device | None = None,
) -> Scale:
    """What `estimate_llc` chooses by itself at one w*, in a few thousand gradients.

    Where λ̂ has no plateau within their reach, n/log n and a prior a third as wide as ‖w*‖, where chains of a
    transformer come to rest; where they do not stay even there, a larger γ.

    Args:
        point: the model, at w*, its loss and data.
        config: what is not chosen here. An nβ or γ given there is kept; draws, warm-up and budget are the pilot's own.
        key: seeds the pilot.
        budget: gradients that it may take.
        device: where to sample; None for where the model is.
    Raises:
        InvalidInput: data or a loss that no estimate can be made of.
    """
    pilot = config.model_copy(update={"draws": None, "warmup": None, "max_gradients": budget})
    pilot = pilot.model_copy(update={"full_loss_every": None, "max_rhat": None})
    for _ in range(_MOST_TIGHTER + 1):
        found = estimate_at(point, pilot, key=key, device=device)
        first, last = found.rungs[0], found.rungs[-1]
        variates = bool(found.settings["control_variates"])
        if found.verdict == "converged" or config.gamma is not None:
            return Scale(last.nbeta, last.gamma, found.verdict == "converged", variates, found)
        gamma = first.gamma * (_NO_PLATEAU if pilot.gamma is None else 1)
        if found.verdict not in {"delocalised", "diverged"}:
            break
        pilot = pilot.model_copy(update={"gamma": _TIGHTER * first.gamma})
    return Scale(first.nbeta, gamma, False, variates, found)


def common(scales: Sequence[Scale]) -> dict[str, float | bool]:
    """Fields of a `SamplingConfig` that suit all: the warmest nβ, the largest γ, a plateau if all have one.

    Args:
        scales: at least one.
    """
    return {
        "nbeta": min(one.nbeta for one in scales),
        "gamma": max(one.gamma for one in scales),
        "plateau": all(one.plateau for one in scales),
        "control_variates": all(one.control_variates for one in scales),
    }


def calibrate(
    points: Sequence[Point], config: SamplingConfig, *, key: tuple = (0,), progress: Progress = quiet
) -> Calibration:
    """Choose one nβ, γ and step size that suit every point, and show what hangs on them.

    1. nβ and γ that `estimate_llc` takes at each point by itself (`scale_at`), and what suits all (`common`).
    2. λ̂ at the choice. The step size: the smallest with which chains of any point ended.
    3. λ̂ again with nβ, γ and the step size at half and at twice the choice.
    4. nβ = 0: chains held by the prior alone. What the loss would be there is a ceiling that λ̂ has to stay clear of.

    Args:
        points: at least one.
        config: what is not chosen here (sampler, chains, draws, batch size, parameters). An nβ, γ or radius given
            there is kept and only checked.
        key: seeds the chains of every trial.
        progress: told (point, done, total, note).
    Raises:
        EstimateFailed: the choice will not do at some point; the reason is given.
    """
    if config.radius is not None:
        gamma = choose_gamma((point.model for point in points), config)
        config = config.model_copy(update={"gamma": gamma, "radius": None})
    given = config.nbeta is not None and config.gamma is not None
    total = ((0 if given else 1) + 7 + 1) * len(points)
    trials: list[Trial] = []

    def note(stage: str, point: Point, estimate: Estimate) -> Estimate:
        trials.append(Trial(stage, point.name, estimate))
        found = estimate.summary
        said = f"{stage}: llc {found.llc:.1f} ± {found.llc_se:.1f}, {estimate.verdict}"
        progress(point.name, len(trials), total, said)
        return estimate

    def run(stage: str, **settings: float) -> list[Estimate]:
        """Every point with the same settings."""
        at = config.model_copy(update=settings)
        return [note(stage, point, estimate_at(point, at, key=(*key, stage, point.name))) for point in points]

    why = "as given"
    scales: dict[str, Scale] = {}
    if not given:
        for point in points:
            scales[point.name] = scale_at(point, config, key=(*key, "pilot", point.name))
            note("pilot", point, scales[point.name].pilot)
        config = config.model_copy(update=common(list(scales.values())))
        flat = sum(scale.plateau for scale in scales.values())
        why = f"llc has a plateau at {flat} of {len(points)} points; the warmest nbeta and the largest gamma of all"
    made = run("choice")
    for point, estimate in zip(points, made, strict=True):
        if estimate.verdict in _OBJECTIONS:
            raise EstimateFailed(
                f"nbeta {config.nbeta:.4g} and gamma {config.gamma:.3g} will not do: {estimate.verdict} at "
                f"{point.name}: {estimate.reason}"
            )
    steps = [ended["step_size"] for estimate in made for ended in estimate.chains.settings]
    config = config.model_copy(update={"step_size": float(f"{min(steps):.3g}")})
    for name in ("nbeta", "gamma", "step_size"):
        for factor in (0.5, 2.0):
            run(f"{name} x {factor:g}", **{name: getattr(config, name) * factor})
    controls: dict[str, float] = {}
    for number, point in enumerate(points, 1):
        controls[point.name] = _prior_alone(point, config, key)
        progress(point.name, len(trials) + number, total, f"the prior alone: llc {controls[point.name]:.1f}")
    reason = f"{why}; step size {config.step_size:.3g} is stable at all {len(points)} points"
    too_close = [
        point.name
        for point, estimate in zip(points, made, strict=True)
        if not estimate.summary.llc < _CONTROL_LIMIT * controls[point.name]
    ]
    if too_close:
        reason += f"; beware: at {', '.join(too_close)} llc is within a fifth of what the prior alone would give"
    return Calibration(config, reason, trials, controls, scales)


def _prior_alone(point: Point, config: SamplingConfig, key: tuple) -> float:
    """nβ(E[L] − L(w*)) over chains at nβ = 0."""
    assert config.nbeta is not None
    assert config.gamma is not None
    kernel = sampler_named(config.sampler or "kinetic")
    batch_size, _ = choose_batch(point.model, point.loss, point.data, config.batch_size, full_batch=kernel.full_batch)
    gamma, draws = config.gamma, config.draws or 200
    target = Target(
        point.model, point.loss, point.data, nbeta=0.0, gamma=gamma, batch_size=batch_size, parameters=config.parameters
    )
    traces = run_chains(
        target,
        kernel,
        kernel.default_settings(0.0, gamma, draws),
        chains=config.chains,
        warmup=draws,
        draws=draws,
        key=(*key, "control"),
    )
    return config.nbeta * float(np.nanmean(traces.difference[:, traces.warmup :]))
