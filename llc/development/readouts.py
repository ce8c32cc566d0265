"""Read-outs of weights and attention over training, to set beside λ̂ and the loss."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from llc import behaviour, store
from llc.development.hessian import curvature
from llc.errors import InvalidInput
from llc.models.transformer import Attention, Transformer
from llc.parallel import Report, quiet
from llc.study.points import choose_steps, trained_runs
from llc.training import RunConfig, load_model

# Sequences of q_M that attention and curvature are looked at on.
_SEQUENCES = 256
_EIGENVALUES = 3


def readouts(
    experiment: store.Experiment,
    *,
    steps: str | Sequence[int] = "log:20",
    hessian: bool = True,
    report: Report = quiet,
) -> xr.Dataset:
    """What weights and attention heads look like at chosen checkpoints of every run, also written to `readouts.nc`.

    Returns:
        By (num_tasks, seed, step): `weight_norm_block` (…, block), Euclidean norms of each block's parameters, and of
        `embedding` and `readout`; `norm_gain` (…, block, norm), the root mean square gain of its two layer norms;
        `attention_entropy` and `attention_previous` (…, block, head), see `attention_scores`; `embedding_spectrum`
        (…, direction), singular values of the token embedding; with `hessian`, `hessian_trace` with its standard error
        and `hessian_eigenvalue` (…, rank) of the loss on sequences of q_M.
    Raises:
        StoreError: nothing is trained yet. InvalidInput: models that are no transformers, or steps without weights.
    """
    runs = trained_runs(experiment)
    chosen = {run.name: choose_steps(steps, run) for run in runs}
    total, done, parts = sum(map(len, chosen.values())), 0, []
    for run in runs:
        of_run = RunConfig.from_table(run.config)
        batch = of_run.task.sample(_SEQUENCES, stream="readouts")
        rows = []
        for step in chosen[run.name]:
            report("read-outs", done, total, f"{run.name} step {step}")
            rows.append(_row(load_model(run, step), batch, hessian))
            done += 1
        parts.append(_label(run, chosen[run.name], rows))
    settings = {"steps": chosen, "hessian": hessian}
    with store.folder_lock(experiment.path):
        return store.write_dataset(
            experiment.path / "readouts.nc", store.merge(parts), {**experiment.config, "readouts": settings}
        )


@torch.no_grad()
def attention_scores(model: nn.Module, batch: behaviour.Batch) -> dict[str, Tensor]:
    """How every head of a transformer spreads its attention, averaged over sequences and tokens.

    entropy: −Σ_s a_ts log a_ts over log of the number of tokens that t may look at, 0 for one token and 1 for all
    alike; the first token is left out. previous: a_{t,t−1}, the share that goes to the token just before.

    Returns:
        `entropy` and `previous`, (block, head).
    """
    patterns = _patterns(model, batch)
    tokens = patterns.shape[-1]
    entropy = torch.special.entr(patterns).sum(-1)[..., 1:] / torch.arange(2, tokens + 1).log()
    previous = patterns.diagonal(-1, -2, -1)
    return {"entropy": entropy.mean((1, 3)), "previous": previous.mean((1, 3))}


def _patterns(model: nn.Module, batch: behaviour.Batch) -> Tensor:
    """(block, B, heads, T, T)."""
    found: list[Tensor] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, Attention)
        found.append(module.pattern(inputs[0]))

    hooks = [block.attention.register_forward_pre_hook(look) for block in model.blocks]  # type: ignore[union-attr]
    try:
        model(*batch)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(found)


def _row(model: nn.Module, batch: behaviour.Batch, hessian: bool) -> dict[str, np.ndarray]:
    if not isinstance(model, Transformer):
        raise InvalidInput(f"read-outs are of transformers; these checkpoints are of a {type(model).__name__}")
    scores = attention_scores(model, batch)
    row = {
        "weight_norm_block": np.array([_norm(block) for block in model.blocks]),
        "weight_norm_embedding": np.array(_norm(model.embedding)),
        "weight_norm_readout": np.array(_norm(model.readout)),
        "attention_entropy": scores["entropy"].numpy(),
        "attention_previous": scores["previous"].numpy(),
        "embedding_spectrum": torch.linalg.svdvals(model.embedding.weight.detach().double()).numpy(),
    }
    if model.config.layer_norm:
        row["norm_gain"] = np.array(
            [[_gain(block.norm_attention), _gain(block.norm_mlp)] for block in model.blocks]  # type: ignore[arg-type]
        )
    if hessian:
        found = curvature(model, behaviour.sequence_losses, batch, eigenvalues=_EIGENVALUES)
        row |= {
            "hessian_trace": np.array(found.trace),
            "hessian_trace_se": np.array(found.trace_se),
            "hessian_eigenvalue": found.eigenvalues,
        }
    return row


def _norm(module: nn.Module) -> float:
    return float(sum(p.detach().double().square().sum() for p in module.parameters()) ** 0.5)


def _gain(norm: nn.LayerNorm) -> float:
    return float(norm.weight.detach().double().square().mean().sqrt())


_SAID = {
    "weight_norm_block": ("Euclidean norm of a block's parameters", ("block",)),
    "weight_norm_embedding": ("Euclidean norm of the token embedding", ()),
    "weight_norm_readout": ("Euclidean norm of the read-out", ()),
    "norm_gain": ("root mean square gain of a layer norm", ("block", "norm")),
    "attention_entropy": ("entropy of attention, of its largest value", ("block", "head")),
    "attention_previous": ("share of attention on the token before", ("block", "head")),
    "embedding_spectrum": ("singular values of the token embedding", ("direction",)),
    "hessian_trace": ("trace of the loss's Hessian on sequences of q_M", ()),
    "hessian_trace_se": ("standard error of hessian_trace", ()),
    "hessian_eigenvalue": ("largest eigenvalues of the loss's Hessian", ("rank",)),
}


def _label(run: store.Run, steps: list[int], rows: list[dict[str, np.ndarray]]) -> xr.Dataset:
    num_tasks = None if np.isinf(run.num_tasks) else int(run.num_tasks)
    data: dict = {}
    for name in rows[0]:
        long_name, dims = _SAID[name]
        values = np.stack([row[name] for row in rows])
        data[name] = (("num_tasks", "seed", "step", *dims), values[None, None], {"long_name": long_name, "units": "1"})
    dataset = xr.Dataset(data, behaviour.run_coords([num_tasks], [run.seed], steps))
    for dim in set(dataset.dims) - {"num_tasks", "seed", "step"}:
        places = ["attention", "mlp"] if dim == "norm" else np.arange(1, dataset.sizes[dim] + 1)
        dataset = dataset.assign_coords({dim: (dim, places, {"long_name": str(dim), "units": "1"})})
    return dataset
