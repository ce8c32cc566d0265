"""Carroll et al. (2025), arXiv 2501.17745: in-context ridge regression comes and goes between few and many tasks.

Its claims are of a whole study: behaviour, λ̂ and trajectories over task diversity M, at whatever size. What is
measured of them is a number each, over the runs of a sweep over M; of several seeds the mean, with their spread.
"""

import math
from collections.abc import Iterable
from functools import partial

import numpy as np
import xarray as xr

from llc.store.labels import over_positions
from llc.systems.claims import Claim, NoNumber, StudyResults, Z

# Transient runs come more than half of the way from zero to ridge, and then lose a tenth of what they gained: a rise
# that can be seen, whatever the size of the study. What of the paper's they lack, claims of their own say.
_HALF, _TENTH = 0.5, 0.1
# Those that do it as the paper's do come this share of the way, and lose this share.
_NEAR, _LOST = 0.8, 1 / 3
_OOD, _AXIS = "ood", "num_tasks"
# As in `llc.estimate.verdict`, a room below this one; a test holds the two together.
COMPARABLE = ("converged", "scale-dependent")


def ways(metrics: xr.Dataset) -> xr.Dataset:
    """How far OOD losses came from the zero predictor's, 0, to ridge's, 1: (num_tasks, seed) `best` and `end`.

    `lost` = (best − end)/best, and the standard errors `end_se`, `lost_se` from the paired error of the rise.
    """
    means = over_positions(metrics)
    if _AXIS not in means.dims or _OOD not in means.test_set or "step_critical" not in means:
        raise NoNumber("no sweep over M with runs that are finished")
    levels = means.reference_loss.sel(test_set=_OOD)
    zero, ridge = (levels.sel(reference=name, drop=True) for name in ("zero", "ridge"))
    loss = means.loss.sel(test_set=_OOD, drop=True)
    best = (zero - loss.min("step")) / (zero - ridge)
    rise = means.rise / (zero - ridge)
    error = means.rise_se / (zero - ridge)
    found = {"best": best, "end": best - rise, "end_se": error, "lost": rise / best, "lost_se": error / best}
    return xr.Dataset(found).reset_coords(drop=True)


def transient(metrics: xr.Dataset) -> list[float]:
    """The finite M whose runs come half-way to ridge and then lose a tenth of it, on average over seeds, ascending."""
    found = ways(metrics).mean("seed")
    chosen = (found.best >= _HALF) & (found.lost >= _TENTH) & np.isfinite(found[_AXIS])
    return [float(value) for value in found[_AXIS].values[chosen.values]]


def _over_seeds(values: xr.DataArray, errors: xr.DataArray | None = None) -> tuple[float, float]:
    """The mean over seeds and its standard error: of each, and of their spread where there are several."""
    known = values.values[np.isfinite(values.values)]
    if not len(known):
        raise NoNumber("no run with a number")
    own = 0.0 if errors is None else math.sqrt(float((errors**2).sum())) / len(known)
    spread = float(np.std(known, ddof=1)) / math.sqrt(len(known)) if len(known) > 1 else 0.0
    return float(known.mean()), math.hypot(own, spread)


def _largest_loss(found: StudyResults, near: float) -> tuple[float, float]:
    """What the finite M that loses most of its way, after coming so near ridge, loses of it."""
    every = ways(found.metrics).sel({_AXIS: np.isfinite(found.metrics[_AXIS].values)})
    means = every.mean("seed")
    those = means.lost.where(means.best >= near)
    if not bool(those.notnull().any()):
        raise NoNumber("no M comes near ridge")
    at = every.isel({_AXIS: int(np.nanargmax(those.values))})
    return _over_seeds(at.lost, at.lost_se)


def _number_of_transient(found: StudyResults) -> tuple[float, float]:
    return float(len(transient(found.metrics))), 0.0


def _best_of_transient(found: StudyResults) -> tuple[float, float]:
    """How near ridge the transient M comes that comes nearest."""
    every = ways(found.metrics).best.sel({_AXIS: _transient_or_none(found)})
    return _over_seeds(every.isel({_AXIS: int(every.mean("seed").argmax(_AXIS))}))


def _short_of_ridge(found: StudyResults) -> tuple[float, float]:
    """Of M = ∞ at the end."""
    every = ways(found.metrics)
    if math.inf not in every[_AXIS].values:
        raise NoNumber("no run of M = ∞")
    at = every.sel({_AXIS: math.inf})
    return _over_seeds(1 - at.end, at.end_se)


def _relative_at_end(found: StudyResults, which: int) -> tuple[float, float]:
    """The relative distance at the end of the M of that number among the finite ones: 1 is ridge, −1 is dMMSE_M."""
    return _over_seeds(_finite(_last(found.strategies.relative)).isel({_AXIS: which}))


def _last(values: xr.DataArray) -> xr.DataArray:
    """Of each run the last number that there is along the steps."""

    def last(row: np.ndarray) -> float:
        known = row[np.isfinite(row)]
        return float(known[-1]) if known.size else math.nan

    return xr.apply_ufunc(last, values, input_core_dims=[["step"]], vectorize=True)


def _finite(values: xr.DataArray) -> xr.DataArray:
    return values.sel({_AXIS: np.isfinite(values[_AXIS].values)})


def _few(found: StudyResults) -> tuple[float, float]:
    return _relative_at_end(found, 0)


def _many(found: StudyResults) -> tuple[float, float]:
    return _relative_at_end(found, -1)


def _axis_of_plane(found: StudyResults) -> tuple[float, float]:
    """|correlation| of a principal component's score with the relative distance, of the one with the largest."""
    near = found.strategies.interpolation < found.strategies.apart
    relative = found.strategies.relative.where(near)
    relative, score = xr.align(relative, found.pca.score.isel(component=slice(2)), join="inner")
    both = [score.isel(component=i).broadcast_like(relative).values.ravel() for i in range(2)]
    known = np.isfinite(relative.values.ravel()) & np.isfinite(both[0])
    if known.sum() < 3:
        raise NoNumber("too few checkpoints between the two")
    varied = [one[known] for one in both if np.ptp(one[known]) > 0]
    size = max((abs(np.corrcoef(one, relative.values.ravel()[known])[0, 1]) for one in varied), default=0.0)
    runs = max(2, int(relative.notnull().any("step").sum()))
    return float(size), math.sqrt((1 - size**2) / runs)  # runs are independent, checkpoints of one are not


def _in_plane(found: StudyResults, num_tasks: float) -> np.ndarray:
    """Distances to ridge over training in the plane, as shares of that of dMMSE_M to ridge, (seed, step)."""
    scores = found.pca.score.sel({_AXIS: num_tasks}).isel(component=slice(2))
    points = found.pca.score_reference.sel({_AXIS: num_tasks}).isel(component=slice(2))
    ridge, dmmse = (points.sel(reference=name, drop=True) for name in ("ridge", "dmmse"))
    away, whole = (np.sqrt((one**2).sum("component", skipna=False)) for one in (scores - ridge, dmmse - ridge))
    return (away / whole).transpose("seed", "step").values


def _leave_ridge(found: StudyResults) -> tuple[float, float]:
    """By how much more of dMMSE_M's distance transient runs end away from ridge, in the plane, than they came near."""
    gone = []
    for num_tasks in _transient_or_none(found):
        for of_seed in _in_plane(found, num_tasks):
            known = of_seed[np.isfinite(of_seed)]
            gone.append(known[-1] - known.min())
    return _mean(gone)


def _transient_or_none(found: StudyResults) -> list[float]:
    known = transient(found.metrics)
    if not known:
        raise NoNumber("no transient run")
    return known


def _mean(values: Iterable[float]) -> tuple[float, float]:
    known = np.array([value for value in values if np.isfinite(value)])
    if not len(known):
        raise NoNumber("no run with a number")
    return float(known.mean()), float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else 0.0


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    from scipy import stats  # takes long, and a job that trains has no use for it

    return float(stats.spearmanr(one, other).statistic)


def _ordered(found: StudyResults) -> tuple[float, float]:
    """Rank correlation with M of how far dMMSE_M lies from dMMSE of the least M towards ridge, in the plane."""
    points = _finite(found.pca.score_reference.isel(component=slice(2), seed=0))
    ridge, dmmse = (points.sel(reference=name, drop=True).transpose(_AXIS, "component").values
                    for name in ("ridge", "dmmse"))  # fmt: skip
    if len(dmmse) < 3:
        raise NoNumber("fewer than three M")
    along = (dmmse - dmmse[0]) @ (ridge[0] - dmmse[0])
    return _rank_correlation(points[_AXIS].values, along), 0.0


def _ends(found: StudyResults) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, float]:
    """log₂ M, λ̂ at the end and its error of the finite M, and λ̂ and its error of M = ∞; means over seeds."""
    comparable = found.llc.verdict.isin(COMPARABLE)
    value, error = (_last(found.llc[name].where(comparable)) for name in ("llc", "llc_se"))
    if _AXIS not in value.dims or math.inf not in value[_AXIS].values:
        raise NoNumber("no estimates over M with M = ∞ among them")
    pairs = {}
    for num_tasks in value[_AXIS].values.tolist():
        at = {_AXIS: num_tasks}
        if bool(value.sel(at).notnull().any()):
            pairs[num_tasks] = _over_seeds(value.sel(at), error.sel(at).where(value.sel(at).notnull()))
    if math.inf not in pairs or len(pairs) < 4:
        raise NoNumber("too few estimates that may be compared")
    limit, its = pairs.pop(math.inf)
    ends = np.array(list(pairs.values()))
    return np.log2(np.array(list(pairs))), ends[:, 0], ends[:, 1], limit, its


def _llc_rises(found: StudyResults) -> tuple[float, float]:
    """Rank correlation of λ̂ at the end with M, up to where it first exceeds that of M = ∞."""
    logs, ends, errors, limit, _ = _ends(found)
    above = np.flatnonzero(ends > limit)
    upto = int(above[0]) + 1 if len(above) else len(ends)
    if upto < 3:
        raise NoNumber("fewer than three M below the crossing")
    rng = np.random.default_rng(0)
    again = [
        _rank_correlation(logs[:upto], ends[:upto] + errors[:upto] * rng.standard_normal(upto)) for _ in range(200)
    ]
    return _rank_correlation(logs[:upto], ends[:upto]), float(np.std(again))


def _crossing(found: StudyResults) -> tuple[float, float]:
    """log₂ of the M at which λ̂ at the end crosses that of M = ∞, over the least transient M: octaves."""
    logs, ends, errors, limit, its = _ends(found)
    least = math.log2(_transient_or_none(found)[0])
    rng = np.random.default_rng(0)

    def place(values: np.ndarray, level: float) -> float:
        above = np.flatnonzero(values > level)
        if not len(above) or above[0] == 0:
            return math.nan
        i = int(above[0])
        share = (level - values[i - 1]) / (values[i] - values[i - 1])
        return float(logs[i - 1] + share * (logs[i] - logs[i - 1]))

    again = [place(ends + errors * rng.standard_normal(len(ends)), limit + its * rng.standard_normal())
             for _ in range(400)]  # fmt: skip
    at = place(ends, limit)
    if math.isnan(at):
        raise NoNumber("λ̂ does not cross that of M = ∞")
    return at - least, float(np.nanstd(again))


def _joins(found: StudyResults) -> tuple[float, float]:
    """λ̂ at the end of the largest finite M, over that of M = ∞."""
    _, ends, errors, limit, its = _ends(found)
    ratio = float(ends[-1] / limit)
    return ratio, abs(ratio) * math.hypot(float(errors[-1] / ends[-1]), its / limit)


def _at_critical(found: StudyResults) -> tuple[float, float]:
    """λ̂ near t_crit over λ̂ of M = ∞ at the end, mean of the transient M."""
    traded = found.tradeoff.sel({_AXIS: [m for m in _transient_or_none(found) if m in found.tradeoff[_AXIS].values]})
    ratios = (traded.llc_critical / traded.llc_simple).values.ravel()
    value, spread = _mean(ratios)
    errors = ((traded.llc_critical_high - traded.llc_critical_low) / (2 * Z) / traded.llc_simple).values.ravel()
    known = errors[np.isfinite(errors)]
    return value, math.hypot(spread, float(np.sqrt((known**2).sum())) / len(known))


def _order_of_leaving(found: StudyResults) -> tuple[float, float]:
    """Rank correlation over runs of t_crit with the n at which the tradeoff turns."""
    attrs = found.tradeoff.attrs
    value, low, high = (float(attrs.get(f"rank_correlation{end}", math.nan)) for end in ("", "_low", "_high"))
    if math.isnan(value):
        raise NoNumber("too few runs whose preference turns, or all turn at one n")
    return value, (high - low) / (2 * Z)


CLAIMS = (
    Claim("some M are transient", "how many of the M of the sweep come half of the way to ridge out of distribution "
          "and then lose a tenth of it", math.nan, _number_of_transient, low=0.5),
    Claim("transient M come near ridge", "of these the one that comes nearest ridge comes 80 % of the way", math.nan,
          _best_of_transient, low=_NEAR),
    Claim("transient M lose much", "of these the one that loses most loses a third of its way", math.nan,
          partial(_largest_loss, near=_HALF), low=_LOST),
    Claim("transient M leave ridge", "of those that come 80 % of the way the one that loses most loses a third of it",
          math.nan, partial(_largest_loss, near=_NEAR), low=_LOST),
    Claim("M = ∞ becomes ridge", "it ends within a tenth of the way from zero to ridge", 0.0, _short_of_ridge,
          high=0.1),
    Claim("few tasks: dMMSE", "the least M ends as dMMSE_M: its relative distance (1 is ridge) is nearly −1", -1.0,
          _few, high=-0.9),
    Claim("many tasks: ridge", "the largest finite M ends as ridge: its relative distance is nearly 1", 1.0, _many,
          low=0.8),
    Claim("an axis from dMMSE to ridge", "one of two joint components runs from dMMSE to ridge: |correlation| with the "
          "relative distance", math.nan, _axis_of_plane, low=0.7),
    Claim("trajectories pass ridge and leave", "in the plane, transient runs end further from ridge than they came, by "
          "a fifth of dMMSE's distance", math.nan, _leave_ridge, low=0.2),
    Claim("dMMSE is ordered by M", "in the plane dMMSE_M lies the nearer to ridge the larger M is: rank correlation",
          1.0, _ordered, low=0.9),
    Claim("complexity rises with M", "λ̂ at the end rises with M up to where it exceeds that of M = ∞: rank correlation",
          1.0, _llc_rises, low=0.8),
    Claim("crossing at the onset", "λ̂ at the end exceeds that of M = ∞ about where transience begins, within an octave",
          0.0, _crossing, -1.0, 1.0),
    Claim("complexity joins at many tasks", "λ̂ at the end of the largest M is that of M = ∞, within a tenth", 1.0,
          _joins, 0.9, 1.1),
    Claim("complexity at t_crit is ridge's", "λ̂ of transient runs near t_crit is that of M = ∞ at the end, within a "
          "tenth", 1.0, _at_critical, 0.9, 1.1),
    Claim("the tradeoff orders departures", "t_crit comes later where the tradeoff turns at a larger n: rank "
          "correlation", math.nan, _order_of_leaving, low=0.0),
)  # fmt: skip
