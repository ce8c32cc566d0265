"""What a devinterp 2 run tells as plain numbers: losses, settings, what its metrics and its batches say of errors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import xarray as xr
from arviz_stats.base import array_stats

from llc.errors import InvalidInput, shown

# Sequences whose losses near w* tell how far losses of single sequences are apart.
_SPREAD_OF = 64
# Steps whose sequences are in memory at once.
_READ = 100
# Settings of devinterp's that are numbers; one that is None is as if it were left out.
_NUMBERS = (
    "n_beta",
    "lr",
    "localization",
    "noise_level",
    "num_burnin_steps",
    "num_steps_bw_draws",
    "num_init_loss_batches",
    "batch_size",
    "gradient_accumulation_steps",
)


@dataclass(frozen=True)
class Run:
    """A devinterp result as plain numbers.

    Attributes:
        loss: L_B(w_t) of every step, (chain, step).
        init_loss: what it takes for L(w*).
        settings: its own, by its names.
        metrics: by name, (chain, step), where `save_metrics` was on.
        random_loss: whether two looks at w* differed.
    """

    samples: xr.Dataset
    loss: np.ndarray
    init_loss: float
    nbeta: float
    settings: Mapping[str, Any]
    metrics: dict[str, np.ndarray]
    random_loss: bool

    @property
    def gamma(self) -> float:
        """γ, its `localization`."""
        return float(self.settings.get("localization", math.nan))

    @property
    def parameters(self) -> int | None:
        """P, how many moved; known with metrics only."""
        found = self.samples.attrs.get("metrics_numel")
        return None if found is None else int(found)

    @property
    def burn_in(self) -> int:
        """Steps that devinterp was told to make before it looked at observables; its λ̂ averages them in."""
        return int(self.settings.get("num_burnin_steps", 0))


def read_run(tree: Any) -> Run:
    """The numbers of a result, or InvalidInput."""
    if not isinstance(tree, xr.DataTree | xr.Dataset):
        raise InvalidInput(
            f"a {type(tree).__name__} given, expected the tree that devinterp 2's sample returns, or "
            "xarray.open_datatree of where it was written"
        )
    samples = tree.to_dataset() if isinstance(tree, xr.DataTree) else tree
    needed = {"sampling_loss_micro": ("chain", "step"), "init_loss": ()}
    missing = [name for name, dims in needed.items() if name not in samples or not set(dims) <= {*samples[name].dims}]
    settings = _settings(samples)
    if missing or "n_beta" not in settings:
        lacking = missing or ["n_beta in attrs['metadata']['config']['sampler']"]
        held = ", ".join(map(str, samples)) or "nothing"
        raise InvalidInput(
            f"no {' and no '.join(lacking)} in what was given, which holds {held}; "
            "expected the tree that devinterp 2's sample returns (compute_llc leaves out what it was made with)"
        )
    losses = samples.sampling_loss_micro
    mean = losses.mean([dim for dim in losses.dims if dim not in {"chain", "step"}], dtype=float, skipna=False)
    first = samples.init_loss
    by_chain = first.mean([dim for dim in first.dims if dim != "chain"], dtype=float).values
    alike = settings.get("match_sampling_input_ids_across_chains", False) and not settings.get("init_noise")
    return Run(
        samples=samples,
        loss=mean.transpose("chain", "step").values,
        init_loss=float(by_chain.mean()),
        nbeta=float(settings["n_beta"]),
        settings=settings,
        metrics={
            name: samples[f"metrics_{name}"].transpose("chain", "step").values.astype(float)
            for name in ("distance", "scaled_grad", "localization", "weight_decay", "dot_grad_prior")
            if f"metrics_{name}" in samples
        },
        random_loss=bool(alike and np.size(by_chain) > 1 and np.ptp(by_chain) > 0),
    )


def _settings(samples: xr.Dataset) -> dict[str, Any]:
    """The sampler's settings that are given, or InvalidInput where a number is none."""
    found = samples.attrs.get("metadata", {})
    for part in ("config", "sampler"):
        found = found.get(part, {}) if isinstance(found, Mapping) else {}
    settings = {name: value for name, value in found.items() if value is not None} if isinstance(found, Mapping) else {}
    for name in [name for name in _NUMBERS if name in settings]:
        value = settings[name]
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise InvalidInput(f"{name} = {shown(value)} in the settings of what was given, expected a number")
    return settings


def step_excess(run: Run, kept: list[int], warmup: int) -> float:
    """What the step of plain SGLD adds to λ̂, ε(E‖∇Û‖² − γP)/8 (`llc.sampling.SGLD.bias`); NaN where not known.

    The metrics hold norms of ε/2 nβ∇L and of ε/2 γ(w − w*), and their product, of which ∇Û is the sum.
    """
    needed = {"scaled_grad", "localization", "dot_grad_prior", "weight_decay"}
    plain = run.settings.get("sampling_method") == "sgmcmc_sgld" and run.settings.get("noise_level", 1.0) == 1.0
    if not (plain and needed <= run.metrics.keys() and run.parameters) or run.settings.get("llc_weight_decay"):
        return math.nan
    step_size = float(run.settings["lr"])
    loss, prior, product = (
        run.metrics[name][kept, warmup:] for name in ("scaled_grad", "localization", "dot_grad_prior")
    )
    square = float((np.square(loss) + np.square(prior) + 2 * product).mean()) * (2 / step_size) ** 2
    return step_size * max(0.0, square - run.gamma * run.parameters) / 8


def explored(run: Run, kept: list[int], warmup: int) -> float:
    """γE‖w − w*‖²/(P − nβE[(w − w*)·∇L]), see `llc.estimate.reach.explored`; NaN where not known.

    With γ > 0 the product of the two parts of the step, (ε/2)² nβ∇L·γ(w − w*), tells the second mean.
    """
    needed = {"distance", "dot_grad_prior"}
    gamma, parameters = run.gamma, run.parameters
    if not (run.settings.get("sampling_method") == "sgmcmc_sgld" and needed <= run.metrics.keys() and parameters):
        return math.nan
    if not gamma > 0 or run.settings.get("llc_weight_decay"):
        return math.nan
    virial = run.metrics["dot_grad_prior"][kept, warmup:] * (2 / float(run.settings["lr"])) ** 2 / gamma
    prior = gamma * float(np.square(run.metrics["distance"][kept, warmup:]).mean())
    left = parameters - float(virial.mean())
    certain = 0.1 * parameters + 3 * float(array_stats.mcse(virial, method="mean"))
    return prior / left if left > certain else math.nan


def baseline_se(run: Run, kept: list[int], warmup: int) -> float:
    """Standard error of the draws' mean loss less `init_loss`, for which sequences each of them is made of.

    The baseline is made of the first batches of the very stream that chains go through, one stream for all of them or
    one each. Sequences of it that the chains did not come to are counted as others.
    """
    if "sampling_input_ids_micro" not in run.samples:
        return math.nan
    shared = bool(run.settings.get("match_sampling_input_ids_across_chains", False))
    baseline, drawn, size = dict[int, int](), dict[int, int](), 1
    steps_of_baseline = int(run.settings.get("num_init_loss_batches", 0))
    streams = kept[:1] if shared else kept
    for chain in streams:
        ids = run.samples.sampling_input_ids_micro.isel(chain=chain).transpose("step", "batch_sampling", "token")
        steps, size, _ = ids.shape
        for first in range(0, steps, _READ):  # a few at once: files hold many steps in one piece
            for step, sequences in enumerate(ids[first : first + _READ].values, first):
                for key in [hash(sequence.tobytes()) for sequence in sequences]:
                    if step < steps_of_baseline:
                        baseline[key] = baseline.get(key, 0) + 1
                    if step >= warmup:
                        drawn[key] = drawn.get(key, 0) + 1
    whole, of_draws = steps_of_baseline * size * len(streams), sum(drawn.values())
    if not whole or not of_draws:
        return math.nan
    apart = [baseline.get(key, 0) / whole - drawn.get(key, 0) / of_draws for key in baseline.keys() | drawn.keys()]
    unseen = whole - sum(baseline.values())
    losses = run.samples.sampling_loss_micro.isel(
        chain=kept[0], step=slice(0, max(1, math.ceil(_SPREAD_OF / size)))
    ).mean("token_pos", dtype=float)
    spread = float(losses.values.std(ddof=1)) if losses.size > 1 else math.nan
    return spread * math.sqrt(float(np.square(apart).sum()) + unseen / whole**2)
