"""The report's pictures, each from one labelled dataset."""

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from llc.estimate.verdict import COMPARABLE
from llc.report.draw import (
    Picture,
    colours,
    curve,
    each_run,
    estimates,
    figure,
    label,
    level,
    places,
    step_axis,
    verdict_key,
)
from llc.report.made import features_of, fitted_of

_GREY = "rgb(128, 128, 128)"
_STAGES = {
    "A": "rgb(214, 84, 90)",
    "B": "rgb(76, 120, 200)",
    "flat": _GREY,
    "loss flat": "rgb(80, 160, 100)",
    "loss rises": "rgb(235, 150, 60)",
}
_SETS = {"id": "in distribution", "ood": "out of distribution"}


def losses(metrics: xr.Dataset, test_set: str) -> Picture:
    """Loss over training for every run, on one test set."""
    made = figure(x="", y="mean squared error")
    step_axis(made, metrics.step.values)
    palette, several = colours(metrics.num_tasks.values), metrics.sizes["seed"] > 1
    said = []
    for m, seed, run in each_run(metrics.mean("position")):
        loss = run[f"loss_{test_set}"].dropna("step")
        if not loss.size:
            continue
        name = label(m, seed, several=several)
        curve(made, loss.step.values, loss.values, name=name, colour=palette[m], said="loss")
        said.append(f"{name} ends at {float(loss[-1]):.3g}")
        critical = float(run.step_critical) if "step_critical" in run else np.nan
        if test_set == "ood" and critical < float(loss.step[-1]):
            made.add_scatter(
                x=places(np.array([critical])),
                y=[float(loss.sel(step=int(critical)))],
                mode="markers",
                marker={"color": palette[m], "size": 10, "line": {"width": 1.5, "color": "white"}},
                showlegend=False,
                hovertemplate=f"{name}<br>t_crit = {critical:,.0f}<br>loss %{{y:.4g}}<extra></extra>",
            )
    ridge = float(metrics[f"ridge_loss_{test_set}"].mean())
    if test_set == "ood":
        level(made, ridge, "ridge", _GREY, "dash")
        caption = (
            "Loss on fresh tasks, which no run with finite M saw. A dot marks its smallest value, t_crit. The dashed "
            "line is ridge regression, the best that can be done here. A curve that comes some way towards it and then "
            "clearly climbs is transient: the model found a solution that generalises, and left it."
        )
    else:
        caption = "Loss on fresh sequences of the tasks that each run was trained on, q_M. Lower is better."
    return Picture(
        f"loss-{test_set}", f"Loss {_SETS[test_set]}", made, caption, f"Loss {_SETS[test_set]}: {'; '.join(said)}."
    )


def delta_plane(metrics: xr.Dataset) -> Picture | None:
    """Distance to dMMSE_M against distance to ridge."""
    palette, several = colours(metrics.num_tasks.values), metrics.sizes["seed"] > 1
    made = figure(x="distance to dMMSE_M (mean squared)", y="distance to ridge (mean squared)")
    said = []
    for m, seed, run in each_run(metrics[["distance_dmmse_id", "distance_ridge_id"]].mean("position")):
        known = run.dropna("step")
        if not known.sizes["step"] or np.isinf(m):
            continue
        name = label(m, seed, several=several)
        x, y = known.distance_dmmse_id.values, known.distance_ridge_id.values
        made.add_scatter(
            x=x,
            y=y,
            name=name,
            mode="lines+markers",
            line={"color": palette[m], "width": 1.3},
            marker={"size": [3] * (len(x) - 1) + [10]},
            customdata=known.step.values,
            hovertemplate=f"{name}<br>step %{{customdata:,}}<br>to dMMSE %{{x:.3g}}<br>to ridge %{{y:.3g}}"
            "<extra></extra>",
        )
        said.append(f"{name} ends nearer to {'dMMSE' if x[-1] < y[-1] else 'ridge'}")
    if not said:
        return None
    made.update_xaxes(type="log", dtick=1)
    low, high = (edge(float(edge(trace.y)) for trace in made.data) for edge in (min, max))
    made.update_yaxes(
        type="log", dtick="D1" if high < 30 * low else 1, range=[np.log10(low / 1.3), np.log10(high * 1.3)]
    )
    made.add_scatter(
        x=[low, high], y=[low, high], mode="lines", name="as near to both", line={"color": _GREY, "dash": "dot"}
    )
    return Picture(
        "delta-plane",
        "Between the two reference predictors",
        made,
        "Every run's way, in distribution; the large dot is its end. To the left of the dotted line a model is nearer "
        "to dMMSE_M, which knows the M training tasks by heart; to the right and below it is nearer to ridge, which "
        "knows no task.",
        f"Distances to the reference predictors: {'; '.join(said)}.",
    )


def llc_over_training(llc: xr.Dataset) -> Picture:
    """λ̂ of every run with intervals and verdicts."""
    made = figure(x="", y="estimated LLC, λ̂")
    step_axis(made, llc.step.values)
    palette, several = colours(llc.num_tasks.values), llc.sizes["seed"] > 1
    seen: set[str] = set()
    said = []
    for m, seed, run in each_run(_scalars(llc)):
        known = run.isel(step=np.flatnonzero(run.llc.notnull().values))
        if not known.sizes["step"]:
            continue
        name = label(m, seed, several=several)
        estimates(made, places(known.step.values), known, name=name, colour=palette[m])
        seen |= set(map(str, known.verdict.values))
        said.append(f"{name} ends at {float(known.llc[-1]):.3g}, {known.verdict.values[-1]}")
    verdict_key(made, seen)
    return Picture(
        "llc",
        "Complexity over training",
        made,
        "The local learning coefficient with 90 % intervals: how many directions, in effect, the loss holds tight "
        "around a checkpoint. Filled circles may be believed; open symbols may not, and hovering says why. Open "
        "symbols have no part in any fit of this report.",
        f"λ̂ over training: {'; '.join(said)}.",
    )


def llc_by_diversity(llc: xr.Dataset, tradeoff: xr.Dataset | None) -> Picture:
    """λ̂ at the end of training, and near t_crit where there is one, against M, beside that of M = ∞."""
    made = figure(x="task diversity M (log scale)", y="estimated LLC, λ̂")
    finite = [m for m in llc.num_tasks.values if np.isfinite(m)]
    made.update_xaxes(type="log", tickvals=finite, ticktext=[f"{m:.0f}" for m in finite])
    seen: set[str] = set()
    said = []
    ends = []
    for m, _, run in each_run(_scalars(llc)):
        known = run.isel(step=np.flatnonzero(run.llc.notnull().values))
        if known.sizes["step"]:
            ends.append((m, known.isel(step=[-1])))
    for m, end in ends:
        seen |= {str(end.verdict.values[0])}
        value = f"{float(end.llc[0]):.3g}"
        said.append(f"{label(m)}: {value}")
        if np.isfinite(m):
            estimates(made, np.array([m]), end, name="end of training", colour="rgb(76, 120, 200)", showlegend=False)
        else:
            level(made, float(end.llc[0]), "M = ∞, end of training", colours([m])[m], "dash")
            made.add_hrect(
                y0=float(end.llc_low[0]),
                y1=float(end.llc_high[0]),
                fillcolor=colours([m])[m],
                opacity=0.12,
                line_width=0,
            )
    made.add_scatter(x=[None], y=[None], name="end of training", mode="markers", marker={"color": "rgb(76, 120, 200)"})
    if tradeoff is not None:
        for m, _, run in each_run(tradeoff):
            if np.isfinite(run.llc_critical):
                made.add_scatter(
                    x=[m * 1.06],
                    y=[float(run.llc_critical)],
                    error_y={
                        "type": "data",
                        "array": [float(run.llc_critical_high - run.llc_critical)],
                        "thickness": 1,
                    },
                    mode="markers",
                    marker={"symbol": "star", "size": 11, "color": "rgb(235, 150, 60)"},
                    showlegend=False,
                    hovertemplate=f"{label(m)}<br>near t_crit = {float(run.step_critical):,.0f}<br>λ̂ %{{y:.4g}}"
                    "<extra></extra>",
                )
                said.append(f"{label(m)} near t_crit: {float(run.llc_critical):.3g}")
        star = {"symbol": "star", "size": 11, "color": "rgb(235, 150, 60)"}
        made.add_scatter(x=[None], y=[None], name="near t_crit", mode="markers", marker=star)
    verdict_key(made, seen - {"converged"})
    return Picture(
        "llc-by-diversity",
        "Complexity against task diversity",
        made,
        "λ̂ at the last estimated step, and where a converged estimate lies near t_crit there too, beside that of M = "
        "∞ (dashed, with its interval), whose solution is ridge. A run that left ridge for dMMSE_M shows what its "
        "solution costs: more than the dashed line where many tasks have to be known by heart, less where few.",
        f"λ̂ by task diversity: {'; '.join(said)}.",
    )


def loss_llc_plane(llc: xr.Dataset) -> Picture:
    """Loss against λ̂ with time as colour."""
    made = figure(x="loss on λ̂'s own dataset", y="estimated LLC, λ̂", height=460)
    palette, several = colours(llc.num_tasks.values), llc.sizes["seed"] > 1
    steps = llc.step.values
    low, high = np.log10(max(1, steps.min())), np.log10(max(2, steps.max()))
    powers = list(range(int(np.ceil(low)), int(high) + 1))
    left_out = 0
    for m, seed, run in each_run(_scalars(llc)):
        known = run.isel(step=np.flatnonzero(run.llc.notnull().values))
        believed = known.isel(step=np.flatnonzero(known.verdict.isin(COMPARABLE).values))
        left_out += known.sizes["step"] - believed.sizes["step"]
        if not believed.sizes["step"]:
            continue
        name = label(m, seed, several=several)
        made.add_scatter(
            x=believed.loss_init.values,
            y=believed.llc.values,
            name=name,
            mode="lines+markers",
            line={"color": palette[m], "width": 1.5},
            marker={
                "size": 10,
                "color": np.log10(np.maximum(1, believed.step.values)),
                "cmin": low,
                "cmax": high,
                "colorscale": "Magma",
                "line": {"width": 1.5, "color": palette[m]},
                "showscale": not any(trace.marker.showscale for trace in made.data),
                "colorbar": {"title": "step", "thickness": 10, "tickvals": powers,
                             "ticktext": [f"{10**power:,}" for power in powers]},
            },
            customdata=believed.step.values,
            hovertemplate=f"{name}<br>step %{{customdata:,}}<br>loss %{{x:.4g}}<br>λ̂ %{{y:.4g}}<extra></extra>",
        )  # fmt: skip
    return Picture(
        "loss-llc-plane",
        "Loss against complexity",
        made,
        "Training moves along each line from dark to light. Down and to the right would be worse and simpler, up and "
        "to the left better and more complex; where a line runs down at the same loss, a solution becomes simpler for "
        f"nothing. {left_out} estimates that are not converged are left out.",
        f"Loss against λ̂ of {len(made.data)} runs, with time as colour.",
    )


def trajectories(pca: xr.Dataset) -> Picture:
    """Joint PC1–PC2 with the reference predictors projected."""
    shares = 100 * pca.explained_variance_ratio.values
    made = figure(x=f"PC 1 ({shares[0]:.0f} % of variance)", y=f"PC 2 ({shares[1]:.0f} %)", height=500)
    palette, several = colours(pca.num_tasks.values), pca.sizes["seed"] > 1
    for m, seed, run in each_run(pca[["score"]]):
        score = run.score.transpose("step", "component").dropna("step")
        if not score.sizes["step"]:
            continue
        name = label(m, seed, several=several)
        made.add_scatter(
            x=score.values[:, 0],
            y=score.values[:, 1],
            name=name,
            mode="lines+markers",
            line={"color": palette[m], "width": 1.3},
            marker={"size": [3] * (score.sizes["step"] - 1) + [10]},
            customdata=score.step.values,
            hovertemplate=f"{name}<br>step %{{customdata:,}}<br>(%{{x:.3g}}, %{{y:.3g}})<extra></extra>",
        )
    runs, fitted = len(made.data), fitted_of(pca)
    who = "all of them together" if fitted is None else f"the fitted runs (M of {', '.join(fitted)})"
    caption = (
        f"Every checkpoint of every run, by its {features_of(pca)}, in the plane of the two directions in which {who} "
        "vary most. Large dots are ends."
    )
    if "score_ridge" in pca:
        caption += (
            " The star (ridge) and the diamonds (dMMSE_M, in the colour of M) are projected into that plane and had no "
            "part in finding it."
        )
        for m in pca.num_tasks.values[np.isfinite(pca.num_tasks.values)]:
            point = pca.score_dmmse.sel(num_tasks=m).values
            _reference(made, point, f"dMMSE, {label(m)}", palette[float(m)], "diamond")
        _reference(made, pca.score_ridge.values, "ridge", _GREY, "star")
        made.add_scatter(x=[None], y=[None], name="dMMSE_M", mode="markers", marker={"symbol": "diamond", "size": 11,
                                                                                     "color": _GREY})  # fmt: skip
    return Picture(
        "pca",
        f"Joint trajectories in the space of {features_of(pca)}",
        made,
        caption,
        f"Trajectories of {runs} runs in the plane of two principal components that explain "
        f"{shares[:2].sum():.0f} % of the variance.",
    )


def _reference(made: go.Figure, point: np.ndarray, name: str, colour: str, symbol: str) -> None:
    made.add_scatter(
        x=[point[0]],
        y=[point[1]],
        name=name,
        mode="markers",
        marker={"symbol": symbol, "size": 14, "color": colour, "line": {"width": 1.5, "color": "white"}},
        showlegend=symbol == "star",
        hovertemplate=f"{name}<br>(%{{x:.3g}}, %{{y:.3g}})<extra></extra>",
    )


def scree(pca: xr.Dataset) -> Picture:
    """Explained variance beside what random walks reach."""
    made = figure(x="component", y="variance explained (%)", height=320)
    components, shares = pca.component.values, 100 * pca.explained_variance_ratio.values
    made.add_bar(x=components, y=shares, name="runs", marker={"color": "rgb(76, 120, 200)"}, width=0.6,
                 hovertemplate="component %{x}<br>%{y:.1f} %<extra></extra>")  # fmt: skip
    low, middle, high = 100 * np.quantile(pca.explained_variance_null, [0.05, 0.5, 0.95], axis=0)
    made.add_scatter(
        x=components,
        y=middle,
        name="random walks, 90 %",
        mode="markers",
        marker={"symbol": "line-ew-open", "size": 16, "color": "rgb(235, 150, 60)"},
        error_y={"type": "data", "symmetric": False, "array": high - middle, "arrayminus": middle - low},
    )
    made.update_xaxes(dtick=1)
    return Picture(
        "scree",
        "What random walks would explain",
        made,
        "Curves over time look smooth and low-dimensional in their own principal components even when they go nowhere: "
        "random walks give cosines (Antognini & Sohl-Dickstein 2018; Shinn 2023). Shares within the walks' bars say "
        "nothing about where runs go; positions of the reference predictors, which are not time series, still do.",
        "Variance explained by component: "
        + "; ".join(
            f"{int(c)}: {s:.0f} %, walks {lo:.0f} to {hi:.0f} %"
            for c, s, lo, hi in zip(components, shares, low, high, strict=True)
        ),
    )


def stages(llc: xr.Dataset, found: xr.Dataset) -> list[Picture]:
    """λ̂ of each run with its stages, a picture a run."""
    pictures = []
    several = llc.sizes["seed"] > 1
    for m, seed, run in each_run(_scalars(llc)):
        if m not in found.num_tasks or seed not in found.seed:
            continue
        of_run = found.sel(num_tasks=m, seed=seed)
        rows = [of_run.isel(stage=i) for i in range(found.sizes.get("stage", 0))]
        rows = [row for row in rows if np.isfinite(row.start)]
        known = run.isel(step=np.flatnonzero(run.llc.notnull().values))
        if not rows or not known.sizes["step"]:
            continue
        name = label(m, seed, several=several)
        made = figure(x="", y="λ̂", height=300)
        step_axis(made, known.step.values)
        estimates(made, places(known.step.values), known, name=name, colour="rgb(128, 128, 128)", showlegend=False)
        kinds = []
        for row in rows:
            kind = str(row.type.item())
            kinds.append(kind)
            ends = places(np.round([float(row.start), float(row.end)]))
            made.add_vrect(x0=ends[0], x1=ends[1], fillcolor=_STAGES[kind], opacity=0.16, line_width=0)
            middle = float(np.log10(ends).mean())  # annotations of a logarithmic axis want logarithms
            made.add_annotation(x=middle, y=1, yref="paper", yanchor="top", text=f"<b>{kind}</b>", showarrow=False)
            if np.isfinite(row.end_low):
                low, end, high = places(np.round([float(row.end_low), float(row.end), float(row.end_high)]))
                made.add_vrect(x0=low, x1=high, fillcolor=_GREY, opacity=0.25, line_width=0)
                made.add_vline(x=end, line={"width": 1, "color": _GREY})
        verdict_key(made, set(map(str, known.verdict.values)))
        pictures.append(
            Picture(
                f"stages-{m:g}-{seed}".replace(".", "_"),
                f"Stages, {name}",
                made,
                "A (red): loss falls while complexity rises. B (blue): both fall. Grey: complexity may not have "
                "changed. Green: only the loss may not have. Orange: the loss rises. Thin lines are boundaries with "
                "their 90 % intervals, from the errors of λ̂.",
                f"{name} has {len(rows)} stages, of types {', '.join(kinds)}.",
            )
        )
    return pictures


def log_odds(found: xr.Dataset) -> Picture | None:
    """Preference for the simple solution over the number of samples."""
    made = figure(x="number of sequences n (log scale)", y="log odds, ridge-like over dMMSE-like")
    palette, several = colours(found.num_tasks.values), found.sizes["seed"] > 1
    said = []
    for m, seed, run in each_run(found):
        if not np.isfinite(run.delta_llc):
            continue
        name = label(m, seed, several=several)
        n, odds = run.samples.values, run.log_odds.values
        made.add_scatter(
            x=n,
            y=np.sign(odds) * np.log10(1 + np.abs(odds)),
            name=name,
            mode="lines",
            line={"color": palette[m], "width": 2},
            customdata=odds,
            hovertemplate=f"{name}<br>n = %{{x:,.0f}}<br>log odds %{{customdata:.3g}}<extra></extra>",
        )
        turn = "does not turn" if np.isnan(run.turn) else f"turns at n = {float(run.turn):.3g}"
        said.append(f"{name} {turn}")
    if not said:
        return None
    ticks = [-(10**k) for k in (8, 6, 4, 2, 1)] + [0] + [10**k for k in (1, 2, 4, 6, 8)]
    made.update_yaxes(tickvals=[np.sign(t) * np.log10(1 + abs(t)) for t in ticks], ticktext=[f"{t:,}" for t in ticks])
    made.update_xaxes(type="log", dtick=1)
    made.add_hline(y=0, line={"color": _GREY, "width": 1})
    return Picture(
        "log-odds",
        "Which solution is preferred, by number of samples",
        made,
        "n Δℓ + Δλ log n, the log of the posterior odds of the simple, less accurate solution (like ridge) over the "
        "accurate and possibly more complex one (like dMMSE_M). Where a curve goes below 0, data outweigh complexity. "
        "Runs without converged estimates are left out.",
        f"Log odds over n: {'; '.join(said)}.",
    )


def turns(found: xr.Dataset) -> Picture | None:
    """The n at which preference turns against t_crit."""
    made = figure(x="t_crit, step (log scale)", y="n at which preference turns", height=340)
    palette, several = colours(found.num_tasks.values), found.sizes["seed"] > 1
    for m, seed, run in each_run(found):
        if not (np.isfinite(run.turn) and np.isfinite(run.step_critical) and run.turn > 0):
            continue
        name = label(m, seed, several=several)
        turn, low, high = float(run.turn), max(1.0, float(run.turn_low)), min(1e9, float(run.turn_high))
        made.add_scatter(
            x=[float(run.step_critical)],
            y=[turn],
            name=name,
            mode="markers",
            marker={"color": palette[m], "size": 10},
            error_y={"type": "data", "symmetric": False, "array": [max(0.0, high - turn)], "arrayminus": [turn - low]},
            hovertemplate=f"{name}<br>t_crit %{{x:,.0f}}<br>n %{{y:.3g}}<extra></extra>",
        )
    if not made.data:
        return None
    step_axis(made, np.concatenate([of_run.x for of_run in made.data]))
    made.update_xaxes(title="t_crit, step (log scale)")
    made.update_yaxes(type="log", dtick=1)
    return Picture(
        "turns",
        "Does preference turn when training does?",
        made,
        "Across runs: the number of samples at which the complex solution becomes the better bargain, with its 90 % "
        "interval, against the step at which training leaves the simple one. If complexity decides, they rise "
        "together.",
        f"The n at which preference turns against t_crit, of {len(made.data)} runs.",
    )


def shifts(found: xr.Dataset) -> Picture:
    """Loss at the last step on every kind of input."""
    made = figure(x="", y="mean squared error")
    palette, several = colours(found.num_tasks.values), found.sizes["seed"] > 1
    for m, seed, run in each_run(found):
        known = run.dropna("step", subset=["icl_score"])
        if not known.sizes["step"]:
            continue
        end = known.isel(step=-1)
        name = label(m, seed, several=several)
        made.add_scatter(
            x=[_short(str(shift)) for shift in end["shift"].values],
            y=end.loss.mean("position").values,
            name=name,
            mode="markers+lines",
            line={"color": palette[m], "width": 1, "dash": "dot"},
            marker={"size": 9},
            customdata=end.icl_score.values,
            hovertemplate=f"{name}<br>%{{x}}<br>loss %{{y:.4g}}<br>ICL score %{{customdata:.3g}}<extra></extra>",
        )
    made.update_yaxes(type="log", dtick=1)
    return Picture(
        "shifts",
        "On inputs that training did not show",
        made,
        "The last checkpoint of each run that was evaluated, on its own inputs (q_M) and on shifted ones. A model that "
        "learned ridge carries over to fresh tasks (M' = ∞); one that learned dMMSE_M does not. Neither has reason to "
        "know other scales or noise.",
        f"Losses on {found.sizes['shift']} kinds of input.",
    )


def _short(shift: str) -> str:
    return shift.replace("x scaled by ", "x · ").replace("noise variance times ", "σ² · ").replace("inf", "∞")


def readouts(found: xr.Dataset) -> list[Picture]:
    """Weight norms, attention entropy, and the Hessian beside them."""
    palette, several = colours(found.num_tasks.values), found.sizes["seed"] > 1
    wanted = [
        ("weight_norm_block", "Norm of the blocks' weights", "Euclidean norm", "Growing norms late in "
         "training with a steady loss are a sign of slow drift."),
        ("attention_entropy", "Entropy of attention", "entropy over its largest", "Mean over heads. 1: each looks "
         "everywhere alike; 0: at one token. Falls as heads specialise."),
        ("hessian_trace", "Trace of the Hessian", "trace", "Hutchinson's estimate of the curvature of the loss, to "
         "set beside λ̂: the trace sees the steepest directions, λ̂ how many are held at all."),
    ]  # fmt: skip
    pictures = []
    for name, title, y, caption in wanted:
        if name not in found:
            continue
        made = figure(x="", y=y, height=340)
        step_axis(made, found.step.values)
        for m, seed, run in each_run(found[[name]]):
            values = run[name]
            rest = [dim for dim in values.dims if dim != "step"]
            norms = name == "weight_norm_block"
            values = (values**2).sum(rest, skipna=False) ** 0.5 if norms else values.mean(rest)
            values = values.where(values > 0 if name == "hessian_trace" else values.notnull(), drop=True)
            if not values.size:
                continue
            curve(
                made, values.step.values, values.values, name=label(m, seed, several=several), colour=palette[m], said=y
            )
        if name == "hessian_trace":
            made.update_yaxes(type="log", dtick=1)
        pictures.append(Picture(name.replace("_", "-"), title, made, caption, f"{title} of {len(made.data)} runs."))
    return pictures


def essential(found: xr.Dataset) -> Picture:
    """Smoothed trajectories with their forms."""
    first, second = (int(axis) for axis in found.axis.values)
    made = figure(x=f"PC {first}, smoothed", y=f"PC {second}, smoothed", height=460)
    palette, several = colours(found.num_tasks.values), found.sizes["seed"] > 1
    for m, seed, run in each_run(found[["smoothed", "curvature"]]):
        known = run.dropna("step", how="all", subset=["curvature"])
        if not known.sizes["step"]:
            continue
        points = known.smoothed.transpose("step", "axis").values
        name = label(m, seed, several=several)
        made.add_scatter(
            x=points[:, 0],
            y=points[:, 1],
            name=name,
            mode="lines",
            line={"color": palette[m], "width": 1.5},
            customdata=known.step.values,
            hovertemplate=f"{name}<br>step %{{customdata:,}}<extra></extra>",
        )
    runs = len(made.data)
    for kind, symbol in (("vertex", "circle-open"), ("cusp", "x-thin-open")):
        at = found.isel(form=np.flatnonzero((found.form_kind == kind).values))
        if at.sizes["form"]:
            made.add_scatter(
                x=at.form_position.values[:, 0],
                y=at.form_position.values[:, 1],
                name=kind,
                mode="markers",
                marker={"symbol": symbol, "size": 10, "color": [palette[float(m)] for m in at.form_num_tasks.values]},
                customdata=np.column_stack([at.form_num_tasks.values, at.form_step.values]),
                hovertemplate=kind + "<br>M = %{customdata[0]}<br>step %{customdata[1]:,}<extra></extra>",
            )
    return Picture(
        "essential",
        "Forms of the trajectories",
        made,
        "The same trajectories, smoothed with a kernel that widens over training. Circles are vertices, where a run "
        "turns sharpest and its evolute has a cusp; crosses are cusps of the run itself (Hoogland et al. 2024). They "
        "are where development changes its direction.",
        f"{found.sizes['form']} forms on the trajectories of {runs} runs.",
    )


def _scalars(llc: xr.Dataset) -> xr.Dataset:
    """What pictures need of `llc.nc`; its traces stay on disk."""
    names = ["llc", "llc_low", "llc_high", "loss_init", "verdict", "reason"]
    return llc[[name for name in names if name in llc]]
