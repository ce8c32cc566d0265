"""What the numbers say, in sentences made from them and from nothing else."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from llc import store
from llc.development.boundaries import noise
from llc.estimate.verdict import COMPARABLE
from llc.figures.complexity import decided_at_once
from llc.store.labels import (
    each_run,
    headline_of,
    over_positions,
    references_of,
    run_label,
    symbol_in,
    symbol_of,
    value_label,
)

# Of the way from what knows nothing to the best reference; a run that came less far never generalised.
_CAME_SOME_WAY = 0.1
_LEAST_FOR_JITTER = 4


def question(experiment: store.Experiment) -> str:
    """What the study asks and with what."""
    (task, _), training = experiment.described, experiment.config["training"]
    imported = experiment.provenance.get("imported_from")
    how = (
        f"{training['steps']:,} steps of batch {training['batch_size']}"
        if imported is None
        else f"with weights that were trained elsewhere and imported from {imported}"
    )
    axes = "; ".join(
        f"{task.symbol(dim)} ∈ {{{', '.join(value_label(value) for value in values)}}}"
        for dim, values in experiment.axes.items()
    )
    return f"{task.question} Models were trained for {axes}: {how}. {_replicated(experiment.axes['seed'])}"


def _replicated(seeds: list) -> str:
    """How often the whole was done."""
    if len(seeds) > 1:
        return (
            f"Each was trained {len(seeds)} times, from weights and on data of its own: what differs between these is "
            "chance."
        )
    return (
        "Each was trained once, with one seed: nothing here is replicated, and errors are those of what was measured "
        "on these runs alone."
    )


def summary(experiment: store.Experiment, results: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Headings with sentences below them, of what there is."""
    metrics, llc, pca, traded = (results[name] for name in ("metrics", "llc", "pca", "tradeoff"))
    found = []
    if metrics is not None:
        found.append(("What runs do", behaviour(store.summary_table(experiment, results), metrics)))
    if llc is not None:
        found.append(("How complex they are", complexity(llc)))
    if pca is not None and pca.sizes["component"] > 1:
        found.append(("Where they go", trajectories(pca)))
    if traded is not None:
        found.append(("What complexity buys", tradeoff(traded)))
    if results["strategies"] is not None:
        found.append(("Which strategy, when", strategies(results["strategies"])))
    return [(heading, said) for heading, said in found if said]


def behaviour(summary: pd.DataFrame, metrics: xr.Dataset) -> list[str]:
    """Where runs ended, and which of them were transient."""
    means, headline = over_positions(metrics), headline_of(metrics)
    said = []
    for place, run in each_run(means):
        here = (summary[list(place)] == list(place.values())).all(axis=1)
        if here.any():
            row = summary[here].iloc[0]
            sentence = f"{run_label(metrics, place)}: {_ends(row, metrics)}"
            said.append(sentence + ("." if headline is None else _since(row, run, headline)))
    return said


def _ends(row: pd.Series, metrics: xr.Dataset) -> str:
    """Where a run ended, among its references if there are any."""
    first = str(metrics.test_set.values[0])
    ends = {name: float(row[f"distance_{name}"]) for name in references_of(metrics)}
    if not ends:
        return f"ends with a loss of {row[f'loss_{first}']:.3g} on {first}"
    near, far = min(ends, key=ends.__getitem__), max(ends, key=ends.__getitem__)
    close, away = (symbol_in(metrics, "reference", name) for name in (near, far))
    if ends[near] == ends[far]:
        return f"ends at a mean squared distance of {ends[near]:.3g} from {close}"
    return (
        f"ends nearer to {close} (mean squared distance {ends[near]:.3g}, in squared units of the outputs) than to "
        f"{away} ({ends[far]:.3g})"
    )


def _since(row: pd.Series, run: xr.Dataset, headline: str) -> str:
    """What the headline's loss did."""
    if "t_crit" not in row or np.isnan(row.t_crit):
        return "; not finished."
    loss = run.loss.sel(test_set=headline).dropna("step")
    jitter = _late_jitter(loss.values)
    rise, least = f"{row.rise:.3f} ± {row.rise_se:.3f}", float(loss.sel(step=int(row.t_crit)))
    way, share = _way(run, headline, least)
    if share is not None and share < _CAME_SOME_WAY:
        return f"; never generalised: its loss on {headline} came at most {way}."
    if row.t_crit >= row.step:
        return f"; its loss on {headline} was still falling, {way}."
    if row.rise > 2 * np.hypot(row.rise_se, jitter):
        return (
            f"; transient: at step {row.t_crit:,.0f} its loss on {headline} had come {way}, and has risen by {rise} "
            "since."
        )
    return (
        f"; its loss on {headline} came {way}, at step {row.t_crit:,.0f}, and has not clearly risen since ({rise}; "
        f"from one checkpoint to the next it changes by about {jitter:.2g})."
    )


def _way(run: xr.Dataset, headline: str, least: float) -> tuple[str, float | None]:
    """How far a loss came from what knows nothing to the best reference, in words and as a share."""
    best = references_of(run)
    if "reference_loss" not in run or len(best) == run.sizes["reference"] or not best:
        return f"to {least:.3g}", None
    levels = run.reference_loss.sel(test_set=headline)
    blind = [name for name in run.reference.values.tolist() if name not in best]
    start = float(levels.sel(reference=blind).min())
    goal = min(best, key=lambda name: float(levels.sel(reference=name)))
    if start <= float(levels.sel(reference=goal)):  # no reference does better here than what knows nothing
        return f"to {least:.3g}", None
    share = (start - least) / (start - float(levels.sel(reference=goal)))
    said = f"{100 * max(0.0, share):.0f} % of the way from {symbol_in(run, 'reference', blind[0])} to "
    return said + symbol_in(run, "reference", goal), share


def _late_jitter(losses: np.ndarray) -> float:
    """How far two checkpoints of the second half of training differ by jitter alone: t_crit is the least of many."""
    late = losses[len(losses) // 2 :]
    return float(np.sqrt(2) * noise(late)) if len(late) >= _LEAST_FOR_JITTER else 0.0


def complexity(llc: xr.Dataset) -> list[str]:
    """How many estimates may be believed, and how λ̂ went."""
    verdicts = llc.verdict.fillna("").values
    verdicts = verdicts[verdicts != ""]  # those that diverged have no λ̂, but a verdict
    good = int((verdicts == "converged").sum())
    kinds = ", ".join(f"{int((verdicts == kind).sum())} {kind}" for kind in sorted(set(verdicts) - {"converged"}))
    said = [f"{good} of {len(verdicts)} estimates of λ̂ are converged" + (f" ({kinds})." if kinds else ".")]
    for place, of_run in each_run(llc[["llc", "llc_se", "verdict"]]):
        run = of_run.isel(step=np.flatnonzero(of_run.verdict.isin(COMPARABLE).values))
        if run.sizes["step"] < 2:
            continue
        top, end = run.isel(step=int(run.llc.values.argmax())), run.isel(step=-1)
        name = run_label(llc, place)
        value = f"{float(end.llc):.3g} ± {float(end.llc_se):.2g} at step {int(end.step):,}"
        gap = float(top.llc - end.llc)
        if int(top.step) != int(end.step) and gap > 2 * float(np.hypot(top.llc_se, end.llc_se)):
            first = int(top.step) == int(run.step[0])
            before = (
                " That is the first step whose estimate may be compared: how it rose before is not known."
                if first
                else ""
            )
            said.append(
                f"{name}: λ̂ was largest at step {int(top.step):,} ({float(top.llc):.3g} ± "
                f"{float(top.llc_se):.2g}) and has fallen to {value}.{before}"
            )
        else:
            said.append(f"{name}: λ̂ is {value}, not clearly below its largest value.")
    return said


def trajectories(pca: xr.Dataset) -> list[str]:
    """Whether components explain more than random walks would, and how references lie."""
    share = 100 * float(pca.explained_variance_ratio[:2].sum())
    walks = 100 * pca.explained_variance_null[:, :2].sum("component")
    low, high = np.quantile(walks, [0.05, 0.95])
    verdict = "more than" if share > high else "no more than"
    features = store.settings_of(pca, "pca").get("features", "predictions")
    said = [
        f"Two joint components explain {share:.0f} % of the variance of {features}, {verdict} random walks "
        f"with the same increments ({low:.0f} to {high:.0f} %)."
    ]
    names = references_of(pca)
    if len(names) == 2 and "reference_distance" in pca:
        first, second = names
        apart: dict[float, str] = {}
        for place, run in each_run(pca[["reference_distance", "score_reference"]]):
            away = float(run.reference_distance.sel(reference=first, other=second))
            points = run.score_reference.sel(reference=names).values[:, :2]
            if away > 0:
                label = ", ".join(
                    f"{symbol_of(pca, dim)} = {value_label(value)}" for dim, value in place.items() if dim != "seed"
                )
                apart.setdefault(away, f"{label}: {away:.3g} ({np.linalg.norm(points[0] - points[1]):.3g})")
        if len(apart) > 1:
            said.append(
                f"{symbol_in(pca, 'reference', second)} lies this far from {symbol_in(pca, 'reference', first)}, and "
                f"this far in the plane of the figure: {'; '.join(apart.values())}."
            )
    return said


def tradeoff(found: xr.Dataset) -> list[str]:
    """What loss buys and complexity costs."""
    said = []
    simple, complex_ = found.attrs["simple"], found.attrs["complex"]
    at_once = decided_at_once(found)
    if at_once:
        said.append(at_once)
    for place, row in each_run(found):
        if not np.isfinite(row.delta_llc):
            continue
        interval = f"[{float(row.delta_llc_low):.3g}, {float(row.delta_llc_high):.3g}]"
        compared = (
            "more complex than"
            if row.delta_llc_low > 0
            else "simpler than"
            if row.delta_llc_high < 0
            else "within its errors as complex as"
        )
        said.append(
            f"{run_label(found, place)}: {complex_} is {'better' if row.delta_loss < 0 else 'worse'} than {simple} by "
            f"{abs(float(row.delta_loss)):.3g} nats a sequence. The model at the end is {compared} one that has "
            f"{simple} alone: Δλ = {float(row.delta_llc):.3g} {interval}"
            + ("." if row.ends_like.item() == complex_ else f"; but it is not like {complex_} (yet).")
        )
    rank = found.attrs.get("rank_correlation", np.nan)
    if np.isfinite(rank):
        low, high = found.attrs["rank_correlation_low"], found.attrs["rank_correlation_high"]
        said.append(
            f"Rank correlation of the n at which preference turns with t_crit: {rank:.2f} [{low:.2f}, {high:.2f}]."
        )
    return said


def strategies(found: xr.Dataset) -> list[str]:
    """Where one reference gives way to the other, and whether complexity says so."""
    simple, complex_ = found.attrs["simple"], found.attrs["complex"]
    said = []
    if "threshold" in found:
        ends = found.threshold.isel(step=-1)
        known = ends.values[np.isfinite(ends.values)]
        axis = next(dim for dim in found.apart.dims if dim not in ends.dims)
        if known.size:
            spread = f" ({known.min():.3g} to {known.max():.3g} over seeds and other axes)" if known.size > 1 else ""
            said.append(
                f"At the end runs are nearer to {complex_} up to {symbol_of(found, str(axis))} of about "
                f"{np.median(known):.3g}{spread}, and nearer to {simple} beyond."
            )
    for name in found.account.values.tolist():
        one = found.sel(account=name)
        if np.isfinite(one.correlation):
            held_out = (
                f", and {float(one.held_out_correlation):.2f} with those of runs that were left out of the fit"
                if np.isfinite(one.held_out_correlation)
                else "; too few runs to leave any out"
            )
            said.append(
                f"A posterior over the two with {name} as complexity has a correlation of {float(one.correlation):.2f} "
                f"with where checkpoints lie between them{held_out}."
            )
    return said
