"""What devinterp 2 has sampled, as an estimate of this library's shape: its number, or ours from the same draws."""

import math
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from scipy import stats

from llc.errors import EstimateFailed, InvalidInput, did_you_mean
from llc.estimate import diagnostics
from llc.estimate.devinterp_run import Run, baseline_se, explored, read_run, step_excess
from llc.estimate.diagnostics import Summary
from llc.estimate.evidence import Evidence
from llc.estimate.labels import SCALARS, TRACES, described
from llc.estimate.verdict import judge

Definition = Literal["ours", "devinterp"]

# What is said of draws in which nothing wrong was found, for more than that would have to be known for `converged`.
UNCHECKED = "unchecked"


def from_devinterp(tree: xr.DataTree | xr.Dataset, *, definition: Definition = "ours") -> xr.DataTree:
    """The draws of devinterp 2 as an estimate, with the diagnostics and as much of a verdict as they allow.

        λ̂ = nβ (mean over chains and draws of L_B(w_t) − L̂(w*))

    Every step is a draw. Minibatch losses are held against `init_loss`, the mean over the first batches
    (`num_init_loss_batches`) of devinterp's shuffle, and not each against the same samples' losses at w*.

    Args:
        tree: what `devinterp.slt.sampling.sample` returns, opened from Zarr or not; read, not changed.
        definition: `ours`: burn-in is found (`llc.estimate.diagnostics.detect_warmup`; no less than
            `num_burnin_steps`) and kept apart; the error is that of the chains, and of the baseline: with weights a_i,
            b_i of sequence i in the baseline and in the draws it is s‖a − b‖, s the spread of sequences' losses near
            w*, for no sequence is held against itself. Where the run saved its metrics, the heat of SGLD's step is
            known and taken off, as `estimate_llc` does.
            `devinterp`: its own number, `compute_llc`'s `llc_mean` and `llc_std`, over the chains that survived:
            burn-in averaged in, the error the spread of the chains' means, and the interval 1.645 of that.

    Returns:
        A tree as `estimate_llc` returns it: at the root `llc`, `llc_se`, `llc_low`, `llc_high` (90 %), `verdict`,
        `reason`, diagnostics (NaN where unknown) and `loss_init_se`; groups `posterior`, `sample_stats`,
        `warmup_posterior`, `warmup_sample_stats` by (chain, draw); `observables`, if there were any: per-token losses
        by (chain, draw_<name>, sequence_<name>, token_pos), not yet read from the file. Chains with a loss that is not
        finite are in no group; the reason names them. The verdict is `diverged`, `drifting`, `off-minimum` or
        `step-size-biased`, or else `unchecked`: the reason says what is not known.

    Raises:
        InvalidInput: no such result, or an unknown definition.
        EstimateFailed: no chain survived.
    """
    if definition not in get_args(Definition):
        raise InvalidInput(f"definition = {definition!r} given; {did_you_mean(str(definition), get_args(Definition))}")
    run = read_run(tree)
    finite = np.isfinite(run.loss)
    lost = {int(chain): int(np.argmin(finite[chain])) for chain in np.flatnonzero(~finite.all(1))}
    kept = [chain for chain in range(len(run.loss)) if chain not in lost]
    if not kept:
        raise EstimateFailed(f"no estimate: each of the {len(lost)} chains has a loss that is not finite")
    every = run.nbeta * (run.loss[kept] - run.init_loss)
    warmup = 0
    if definition == "ours":
        warmup = max(diagnostics.detect_warmup(every), min(run.burn_in, every.shape[1] - 1))
    traces = every[:, warmup:]
    found, excess = diagnostics.summarise(traces), math.nan
    unpaired = baseline_se(run, kept, warmup)
    if definition == "devinterp":
        found = _its_own(found, traces)
    else:
        excess = step_excess(run, kept, warmup)
        found = diagnostics.corrected(found, excess)
        found = diagnostics.widened(found, run.nbeta * unpaired) if math.isfinite(unpaired) else found
    gone = explored(run, kept, warmup)
    distance = run.metrics.get("distance")
    distance = None if distance is None else distance[kept]
    parameters, share = run.parameters, math.nan
    if distance is not None and parameters:
        share = run.gamma * float(np.square(distance[:, warmup:]).mean()) / parameters
    verdict, reason = judge(
        Evidence(
            summary=found,
            chains=len(run.loss),
            diverged=lost,
            prior_share=share,
            prior_over_curvature=math.nan,
            variance_ratio=math.nan,
            explored=gone,
            step_excess=abs(excess / found.llc) if found.llc else math.nan,
            step_over_limit=math.nan,
            loss_sampled=float(run.loss[kept, warmup:].mean()),
            loss_init=run.init_loss,
        )
    )
    gradients = int(finite.sum()) * int(run.settings.get("gradient_accumulation_steps", 1))
    unknown = _unknown(run, definition, excess, unpaired)
    numbers: dict[str, float | str] = {
        **dict.fromkeys(SCALARS, math.nan),
        **vars(found),
        "headline": "w*",
        "llc_at_w": found.llc,
        "llc_at_w_se": found.llc_se,
        "llc_raw": float(traces.mean()),
        "loss_init": run.init_loss,
        "loss_sampled": float(run.loss[kept, warmup:].mean()),
        "distance": math.nan if distance is None else float(distance[:, warmup:].mean()),
        "prior_share": share,
        "explored": gone,
        "step_excess": excess,
        "gradients": gradients,
        "sample_gradients": gradients * int(run.settings.get("batch_size", 1)),
        "chains_at_once": 1,
        "warmup": warmup,
        "nbeta": run.nbeta,
        "gamma": run.gamma,
        "step_size": float(run.settings.get("lr", math.nan)),
        "verdict": UNCHECKED if verdict == "converged" else verdict,
        "reason": f"{reason}; {unknown}",
    }
    return _labelled(
        run,
        definition=definition,
        numbers=numbers,
        unpaired=unpaired,
        kept=kept,
        every=every,
        distance=distance,
    )


def _its_own(found: Summary, traces: np.ndarray) -> Summary:
    """The error and interval of `compute_llc`: the standard deviation of the chains' means."""
    se = float(traces.mean(1).std())
    reach = float(stats.norm.ppf(0.5 + diagnostics.INTERVAL / 2)) * se
    return replace(found, llc_se=se, llc_low=found.llc - reach, llc_high=found.llc + reach)


def _unknown(run: Run, definition: str, excess: float, unpaired: float) -> str:
    """What such a run does not tell, or did otherwise, in one clause after another."""
    settings, said = run.settings, []
    batches = settings.get("num_init_loss_batches", "some")
    error = f", ± {run.nbeta * unpaired:.2g} in llc" if math.isfinite(unpaired) else ", its error not known"
    left_out = ", which devinterp's error leaves out" if definition == "devinterp" else ""
    said.append(f"the baseline is the mean of {batches} batches, not paired with the draws' samples{error}{left_out}")
    if definition == "devinterp":
        said.append("burn-in, and what step size and minibatch noise add, are averaged in")
    elif not math.isfinite(excess):
        said.append("what step size and minibatch noise add is not known and not taken off")
    relaxation = 2 / (run.gamma * float(settings.get("lr", math.nan))) if run.gamma else math.nan
    if settings.get("sampling_method") == "sgmcmc_sgld" and run.loss.shape[1] < relaxation:
        said.append(
            f"flat directions relax in {relaxation:.0f} steps, 2/(lr localization), and there were "
            f"{run.loss.shape[1]}: llc may still rise"
        )
    if run.gamma == 0:
        said.append("gamma is 0: nothing holds the chains near w*")
    others = {
        "with a weight decay of {}": settings.get("llc_weight_decay"),
        "in a box of {} around w*": settings.get("bounding_box_size"),
        "from w* moved by noise of {}, where the baseline was taken too": settings.get("init_noise"),
    }
    if (noise := settings.get("noise_level", 1.0)) != 1.0:
        said.append(f"sampled with noise_level {noise:g}, so not from this posterior")
    said += [clause.format(value) for clause, value in others.items() if value]
    if run.random_loss:
        said.append("the loss at w* differs from look to look (dropout was on)")
    if "metadata" in run.samples.attrs and run.samples.attrs.get("completed") != 1:
        said.append("devinterp did not complete this run")
    said.append("whether w* lies on the floor of its basin was not looked at")
    return "; ".join(said)


def _labelled(
    run: Run,
    *,
    definition: str,
    numbers: dict[str, float | str],
    unpaired: float,
    kept: list[int],
    every: np.ndarray,
    distance: np.ndarray | None,
) -> xr.DataTree:
    """The tree, with the labels of an estimate of ours."""
    scalars: dict[str, Any] = {name: ((), numbers[name], described(SCALARS, name)) for name in SCALARS}
    about = {"long_name": "standard error of loss_init as the draws' baseline, unpaired", "units": "loss"}
    scalars["loss_init_se"] = ((), unpaired, about)
    own = {name: run.settings.get(name) for name in ("batch_size", "noise_level", "num_init_loss_batches", "init_seed")}
    attrs = {
        "sampler": f"devinterp {run.settings.get('sampling_method', '')}".strip(),
        "definition": definition,
        "nbeta": run.nbeta,
        "gamma": run.gamma,
        "step_size": numbers["step_size"],
        "chains": len(run.loss),
        **{name: value for name, value in own.items() if value is not None},
    }
    if run.parameters:
        attrs["num_parameters"] = run.parameters
    warmup, steps = int(numbers["warmup"]), every.shape[1]
    everything = {"llc": every, "loss": run.loss[kept]} | ({} if distance is None else {"distance": distance})
    tree: dict[str, xr.Dataset] = {"/": xr.Dataset(scalars, attrs=attrs)}
    chain = ("chain", kept, {"long_name": "chain", "units": "1"})
    for part, draws in (("", slice(warmup, None)), ("warmup_", slice(0, warmup))):
        places = {
            "chain": chain,
            "draw": ("draw", np.arange(steps)[draws] - draws.start, {"long_name": "draw", "units": "1"}),
        }
        traces: dict[str, Any] = {
            name: (("chain", "draw"), trace[:, draws], described(TRACES, name)) for name, trace in everything.items()
        }
        found = xr.Dataset(traces, places)
        tree[f"{part}posterior"] = found[["llc"]]
        tree[f"{part}sample_stats"] = found.drop_vars("llc")
    if (seen := _observables(run, kept, warmup)) is not None:
        tree["observables"] = seen.assign_coords(chain=chain)
    said = f"llc {numbers['llc']:.4g} [{numbers['llc_low']:.4g}, {numbers['llc_high']:.4g}], {numbers['verdict']}"
    return xr.DataTree.from_dict(tree, name=f"{said}: nbeta {run.nbeta:.4g}, gamma {run.gamma:.3g}, of devinterp")


def _observables(run: Run, kept: list[int], warmup: int) -> xr.Dataset | None:
    """Its observables' losses, by the draws of `posterior`: taken after the step, which is where the next draw is."""
    names = [str(name) for name in run.samples if str(name).startswith("loss_")]
    found = {}
    for name in names:
        short = name.removeprefix("loss_")
        losses = run.samples[name].isel(chain=kept)
        at = run.burn_in + int(run.settings.get("num_steps_bw_draws", 1)) * np.arange(losses.sizes["draw"]) + 1
        losses = losses.rename(draw=f"draw_{short}", **{f"batch_{short}": f"sequence_{short}"})
        found[short] = losses.assign_coords({f"draw_{short}": at - warmup}).assign_attrs(
            long_name=f"losses of {short} along the draws", units="loss"
        )
    return xr.Dataset(found) if found else None
