"""What `cost.py` found, as a labelled dataset and as a table."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata

import numpy as np
import xarray as xr
from cost_chains import BATCH, Ours, Problem
from cost_estimates import ERROR, FORWARD, SPREAD, Curve

SIDES = ("kinetic", "devinterp SGLD")


@dataclass(frozen=True)
class Row:
    """One way to estimate λ̂, and the gradients until it is good enough."""

    side: str
    name: str
    setting: str
    curve: Curve
    cost: float


@dataclass(frozen=True)
class Check:
    """λ̂ from all chains of one setting of ours, to be held against the reference."""

    setting: str
    llc: float
    se: float
    excess: float


@dataclass
class Findings:
    """Everything measured.

    Attributes:
        reference: λ̂, its standard error, the excess taken off. settings: those of its chains.
        init_noise: standard error of λ̂ from devinterp's init loss.
        seconds: a gradient takes, ours and theirs.
        estimates: by draws, (seed, 4): λ̂, llc_se, gradients and losses without gradient of `estimate_llc` itself.
    """

    reference: tuple[float, float, float]
    settings: Ours
    init_noise: float
    seconds: tuple[float, float] = (np.nan, np.nan)
    rows: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    estimates: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def llc(self) -> float:
        """λ̂ of the reference."""
        return self.reference[0]


def as_dataset(findings: Findings, problem: Problem, *, trained: str) -> xr.Dataset:
    """Everything that the table and the figure show, labelled."""
    grid = np.geomspace(100, 400_000, 400)
    rows, checks = findings.rows, findings.checks

    def on_grid(name: str) -> np.ndarray:
        """Curves on common numbers of gradients, NaN where there is none."""
        pairs = ((row.curve.gradients, getattr(row.curve, name)) for row in rows)
        return np.stack([np.interp(grid, spent, values, left=np.nan, right=np.nan) for spent, values in pairs])

    cost = np.array([row.cost for row in rows])
    stated = np.array([row.curve.reached(stated=True) for row in rows])
    seconds = cost * [findings.seconds[SIDES.index(row.side)] for row in rows]
    runs = np.concatenate([np.column_stack([np.full(len(e), d), e]) for d, e in findings.estimates.items()])
    goal = f"|error| <= {100 * ERROR:g} % and standard error <= {100 * SPREAD:g} % for good"
    variables = {
        "side": ("estimator", [row.side for row in rows], "sampler"),
        "name": ("estimator", [row.name for row in rows], "estimator"),
        "setting": ("estimator", [row.setting for row in rows], "settings of the sampler"),
        "cost": ("estimator", cost, f"gradients until {goal}; inf: never"),
        "cost_stated": ("estimator", stated, "the same by the standard error that the estimate states; inf: never"),
        "seconds": ("estimator", seconds, "time that so many gradients take on one thread", "s"),
        "measured": ("estimator", np.array([row.curve.measured for row in rows]), "gradients to which chains were run"),
        "error": (("estimator", "gradients"), on_grid("error"), "mean estimate / reference - 1"),
        "spread": (("estimator", "gradients"), on_grid("spread"), "standard error of an estimate / reference"),
        "doubt": (("estimator", "gradients"), on_grid("doubt"), "standard error of `error`, which is forgiven"),
        "stated": (("estimator", "gradients"), on_grid("stated"), "median of llc_se / llc, as estimates state it"),
        "llc_reference": ((), findings.reference[0], "reference LLC"),
        "llc_reference_se": ((), findings.reference[1], "standard error of the reference LLC"),
        "llc_reference_excess": ((), findings.reference[2], "predicted minibatch heat taken off the reference"),
        "llc_check": ("check", np.array([one.llc for one in checks]), "LLC from all chains of a setting of ours"),
        "llc_check_se": ("check", np.array([one.se for one in checks]), "its standard error"),
        "llc_check_excess": ("check", np.array([one.excess for one in checks]), "predicted excess taken off"),
        "run_draws": ("run", runs[:, 0], "draws asked of estimate_llc with control variates, 4 chains"),
        "run_llc": ("run", runs[:, 1], "its LLC"),
        "run_llc_se": ("run", runs[:, 2], "its standard error as stated"),
        "run_gradients": ("run", runs[:, 3] + FORWARD * runs[:, 4], "gradients it took, a loss counted as a third"),
        "init_noise": ((), findings.init_noise, "standard error of an LLC from an init loss of 32 minibatches"),
        "seconds_per_gradient": ("sampler", np.array(findings.seconds), "time of a step on one thread", "s"),
    }
    labelled = {
        name: (dims, value, {"long_name": said, "units": (*unit, "1")[0]})
        for name, (dims, value, said, *unit) in variables.items()
    }
    coords = {
        "gradients": ("gradients", grid, {"long_name": "minibatch gradients, all chains and extras", "units": "1"}),
        "sampler": ("sampler", list(SIDES), {"long_name": "sampler that was timed", "units": "1"}),
        "check": ("check", [one.setting for one in checks], {"long_name": "settings of the sampler", "units": "1"}),
    }
    return xr.Dataset(labelled, coords).assign_attrs(
        title="Gradients to a learning coefficient: kinetic with control variates against devinterp's SGLD",
        machine=f"{platform.machine()}, {platform.system()}, one thread",
        versions=", ".join(
            f"{name} {metadata.version(name)}" for name in ("local-learning-coefficient", "torch", "devinterp", "numpy")
        ),
        python=platform.python_version(),
        model=trained,
        num_parameters=sum(parameter.numel() for parameter in problem.model.parameters()),
        num_samples=problem.n,
        batch_size=BATCH,
        nbeta=problem.nbeta,
        gamma=problem.gamma,
        reference=f"{findings.settings}, batches of {findings.settings.batch_size}",
    )


def cheapest(result: xr.Dataset) -> dict[str, xr.Dataset]:
    """Of each side's kinds of estimate, the settings that need the fewest gradients; where none will do, those of
    the kind next to it."""
    kinds: dict[str, list[xr.Dataset]] = {}
    for row in _each(result, "estimator"):
        kinds.setdefault(f"{row.side.item()}, {row['name'].item()}", []).append(row)
    found: dict[str, xr.Dataset] = {}
    for kind, rows in reversed(kinds.items()):
        best = min(rows, key=lambda row: float(row.cost))
        if found and not np.isfinite(best.cost):
            best = next((row for row in rows if row.setting == next(reversed(found.values())).setting), best)
        found[kind] = best
    return {kind: found[kind] for kind in kinds}


def as_text(result: xr.Dataset) -> str:
    """The result in words and columns."""
    timed = dict(zip(SIDES, result.seconds_per_gradient.values, strict=True))
    lines = [
        "",
        f"nβ = {result.nbeta:.1f}, γ = {result.gamma:g}, {result.num_parameters} parameters; {result.model}",
        f"reference λ̂ = {_value(result, 'llc_reference')} ({result.reference})",
        *(f"  also {_value(one, 'llc_check')} ({one.check.item()})" for one in _each(result, "check")),
        f"devinterp's init loss gives λ̂ a standard error of {100 * _share(result, 'init_noise'):.1f} % by itself",
        "seconds a gradient: " + ", ".join(f"{side} {value:.4f}" for side, value in timed.items()),
        "",
        f"{'sampler':15s} {'settings':42s} {'estimator':22s} {'gradients':>11s} {'by its se':>10s} {'seconds':>8s}",
        *(_line(row) for row in _each(result, "estimator")),
        "* beyond what was run: chains taken to stay at their mean, with the same autocorrelation",
        "",
    ]
    for one in _each(result, "run"):
        llc, se = float(one.run_llc), float(one.run_llc_se)
        error = float(one.run_llc / result.llc_reference) - 1
        lines.append(
            f"estimate_llc(draws={int(one.run_draws)}, control_variates=True): "
            f"{float(one.run_gradients):.0f} gradients, "
            f"{llc:.1f} ± {se:.1f} ({100 * se / llc:.1f} %), error {100 * error:+.1f} %"
        )
    best = cheapest(result)
    four = best.pop("kinetic, 4 chains")
    lines += [
        "",
        f"gradients and time relative to kinetic, 4 chains, {four.setting.item()};",
        "and gradients relative to the fewest until the standard error that such an estimate states is good enough:",
    ]
    cautious = float(result.cost_stated.where(result["name"] == "4 chains").min())
    for name, row in best.items():
        ratio, clock = float(row.cost / four.cost), float(row.seconds / four.seconds)
        said = f"{ratio:6.1f} {clock:6.1f} {float(row.cost) / cautious:6.1f}  {row.setting.item()}"
        lines.append(f"  {name:40s} {said if np.isfinite(ratio) else ' never'}")
    return "\n".join(lines)


def _line(row: xr.Dataset) -> str:
    cost, stated = float(row.cost), float(row.cost_stated)
    numbers = f"{'never':>10s} " if row.side == SIDES[1] else f"{'> ' + format(row.measured.item(), '.0f'):>10s} "
    if np.isfinite(cost):
        mark = "*" if cost > float(row.measured) else " "
        by_se = f"{stated:10.0f}" if np.isfinite(stated) else f"{'-':>10s}"
        numbers = f"{cost:10.0f}{mark} {by_se} {float(row.seconds):8.0f}"
    return f"{row.side.item():15s} {row.setting.item():42s} {row['name'].item():22s} {numbers}"


def _each(result: xr.Dataset, dim: str) -> Iterator[xr.Dataset]:
    return (result.isel({dim: i}) for i in range(result.sizes[dim]))


def _value(result: xr.Dataset, name: str) -> str:
    value, se, excess = (float(result[name + end]) for end in ("", "_se", "_excess"))
    return f"{value:.1f} ± {se:.1f}, {excess:.1f} taken off"


def _share(result: xr.Dataset, name: str) -> float:
    return float(result[name] / result.llc_reference)
