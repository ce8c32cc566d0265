"""Several targets in one graph: `vmap` over rows gives every row's losses and gradient from one batch of products."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from llc import devices
from llc.devices import Precision, double
from llc.sampling.gradient import Gradient, mean_over_positions
from llc.sampling.target import Target

# How far losses and gradients of one graph may be from those computed one by one, relative to their size, …
_SAME_LOSSES, _SAME_GRADIENTS = 1e-3, 1e-2
# … at so far from w*, relative to ‖w*‖: at w* itself a gradient may be nothing but rounding.
_AWAY = 0.01
# Rows in one graph where nobody knows how much memory is free: more of them are no faster on a CPU.
_ROWS_ON_A_CPU = 16


class Graph:
    """Targets of one shape: their data, baselines and what does not move, stacked.

    Baselines are computed in the graph too: what it rounds otherwise than the targets do must cancel in differences.
    Targets that share a model (`Target.at`) share a place.

    Args:
        targets: models of one architecture with one loss, data of one shape on tensors.
        rows_at_once: rows in one graph; more of them are computed one part after another, which bounds memory.
    """

    def __init__(self, targets: Sequence[Target], rows_at_once: int) -> None:
        sources = {id(target.model): target for target in targets}
        self._sources = {model: place for place, model in enumerate(sources)}
        several = list(sources.values())
        first = several[0]
        self.rows_at_once, self.precision, self._batch_size = rows_at_once, first.precision, first.batch_size
        self._positions = first.positions or 1
        self._device = first.device
        self._samples = first.samples
        self._forms: dict[Precision, Gradient] = {name: first.gradient(name) for name in (first.precision, "float32")}
        parts = zip(*(target.samples.tensors or () for target in several), strict=True)
        self._data = [torch.stack(part).to(self._device) for part in parts]
        frozen = [target.weights.frozen for target in several]
        self._frozen = {name: torch.stack([of_one[name] for of_one in frozen]) for name in frozen[0]}
        origins = torch.stack([target.origin for target in several])
        by_position = self._every_loss(origins, self.places(several), self.precision)
        self.baseline_by_position = by_position if first.positions is not None else None
        self.baseline = self.exact_baseline = mean_over_positions(by_position, 2)
        if self.precision != "float32":
            self.exact_baseline = self.losses(origins, self.places(several), "float32")

    def places(self, targets: Sequence[Target]) -> Tensor:
        """Where each target's data stand, (R,)."""
        return torch.tensor([self._sources[id(target.model)] for target in targets], device=self._device)

    def losses(self, position: Tensor, places: Tensor, precision: Precision | None = None) -> Tensor:
        """ℓ_i(w) of all n samples of each row, averaged over positions, float64, (R, n)."""
        return mean_over_positions(self._every_loss(position, places, precision or self.precision), 2)

    def losses_and_gradients(
        self,
        position: Tensor,
        places: Tensor,
        indices: Tensor | None,
        scale: Tensor,
        precision: Precision | None = None,
    ) -> tuple[Tensor, Tensor]:
        """ℓ_i(w) of a minibatch a row, (R, B) or (R, B, K), float64, and ∇L_B(w), (R, P).

        Args:
            indices: (R, B), or None for all n samples.
        """
        form = self._forms[precision or self.precision]
        losses, gradients = [], []
        if indices is None:
            if len(self._sources) == 1:
                for at, its_scale in self._groups(position, scale):
                    whole = self._samples.structured([tensor[0] for tensor in self._data])
                    found, gradient = form.by_row(at, self._one_frozen, whole, its_scale / self._positions, shared=True)
                    losses.append(double(found))
                    gradients.append(gradient)
                return torch.cat(losses), torch.cat(gradients)
            indices = torch.arange(self._data[0].shape[1], device=self._device).expand(len(position), -1)
        for at, where, chosen, its_scale in self._groups(position, places, indices, scale):
            arguments = self._frozen_of(where), self._batch(where, chosen), its_scale / self._positions
            found, gradient = form.by_row(at, *arguments)
            losses.append(double(found))
            gradients.append(gradient)
        return torch.cat(losses), torch.cat(gradients)

    @torch.no_grad()
    def _every_loss(self, position: Tensor, places: Tensor, precision: Precision) -> Tensor:
        """(R, n), or (R, n, K), float64."""
        found = []
        if len(self._sources) == 1:
            for part in torch.arange(self._data[0].shape[1], device=self._device).split(self._batch_size):
                batch = self._samples.structured([tensor[0][part[0] : part[-1] + 1] for tensor in self._data])
                rows = [
                    self._forms[precision].losses_by_row(at, self._one_frozen, batch, shared=True)
                    for (at,) in self._groups(position)
                ]
                found.append(torch.cat([double(row) for row in rows]))
            return torch.cat(found, 1)
        for part in torch.arange(self._data[0].shape[1], device=self._device).split(self._batch_size):
            groups = self._groups(position, places, part.expand(len(position), -1))
            rows = [
                self._forms[precision].losses_by_row(at, self._frozen_of(where), self._batch(where, chosen))
                for at, where, chosen in groups
            ]
            found.append(torch.cat([double(row) for row in rows]))
        return torch.cat(found, 1)

    def _groups(self, *by_row: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """As many rows at a time as memory holds."""
        return zip(*(tensor.split(self.rows_at_once) for tensor in by_row), strict=True)

    def _batch(self, places: Tensor, indices: Tensor) -> Any:
        return self._samples.structured([tensor[places[:, None], indices] for tensor in self._data])

    @property
    def _one_frozen(self) -> dict[str, Tensor]:
        """What does not move, of the only source."""
        return {name: tensor[0] for name, tensor in self._frozen.items()}

    def _frozen_of(self, places: Tensor) -> dict[str, Tensor]:
        if len(self._sources) == 1:  # whose rows need no copies
            return {name: tensor.expand(len(places), *tensor.shape[1:]) for name, tensor in self._frozen.items()}
        return {name: tensor[places] for name, tensor in self._frozen.items()}


def graph_where_it_pays(targets: Sequence[Target], chains: int) -> Graph | None:
    """The targets' graph where chains in one graph are faster than one by one: on a CUDA device.

    On a CPU a graph of transformers is no faster than a loop, and cores are kept busy by processes instead; who wants
    one there asks `one_graph`.

    Args:
        targets: at least one, all on one device.
        chains: how many on each target.
    """
    if targets[0].device.type != "cuda" or len(targets) * chains < 2:
        return None
    return one_graph(targets)


def one_graph(targets: Sequence[Target], rows_at_once: int | None = None) -> Graph | None:
    """These targets in one graph, on any device.

    None where that cannot be: shapes differ, data are no tensors, minibatches of control variates have several sizes,
    `vmap` cannot do what a model does, or losses or gradients come out different.

    Args:
        targets: at least one.
        rows_at_once: see `Graph`; None for as many as the device's memory holds.
    """
    first = targets[0]
    if first.samples.tensors is None or (first.control_variates and first.num_samples % first.batch_size):
        return None
    if any(_shape(target) != _shape(first) for target in targets):
        return None
    try:
        graph = Graph(targets, _affordable_rows(first) if rows_at_once is None else rows_at_once)
        return graph if _agrees(graph, targets) else None
    except torch.OutOfMemoryError:
        raise
    except Exception:  # vmap and the models that it cannot do raise many kinds
        return None


def _affordable_rows(target: Target) -> int:
    """Rows whose gradients fit into half of the free memory of a CUDA device, from what one takes."""
    if target.device.type != "cuda":
        return _ROWS_ON_A_CPU
    minibatch = next(target.minibatches(torch.Generator().manual_seed(0)))
    torch.cuda.reset_peak_memory_stats(target.device)
    before = torch.cuda.memory_allocated(target.device)
    target.evaluate(target.origin, minibatch)
    taken = torch.cuda.max_memory_allocated(target.device) - before
    return max(1, int(devices.free_memory(target.device) / 2 / max(1, taken)))


def _agrees(graph: Graph, targets: Sequence[Target]) -> bool:
    """Whether a graph's losses and gradients are those that its targets give by themselves, in float32."""
    rng = torch.Generator().manual_seed(0)
    minibatches = [next(target.minibatches(rng)) for target in targets]
    origins = torch.stack([target.origin for target in targets])
    away = torch.randn(origins.shape, generator=rng, dtype=origins.dtype).to(origins.device)
    sizes = _AWAY * origins.norm(dim=1, keepdim=True).clamp(min=1e-3) / away.norm(dim=1, keepdim=True)
    positions = origins + sizes * away
    indices = torch.stack([minibatch.indices for minibatch in minibatches]).to(origins.device)
    scale = torch.tensor([minibatch.scale for minibatch in minibatches], dtype=torch.float64).to(origins.device)
    losses, gradients = graph.losses_and_gradients(positions, graph.places(targets), indices, scale, "float32")
    for row, (target, minibatch) in enumerate(zip(targets, minibatches, strict=True)):
        with target.exactly():
            loss, gradient = target.losses_and_gradient(positions[row], minibatch)
        for ours, theirs, tolerance in (
            (losses[row], loss, _SAME_LOSSES),
            (gradients[row], gradient, _SAME_GRADIENTS),
        ):
            if not float((ours - theirs).norm()) <= tolerance * float(theirs.norm()):
                return False
    return True


def _shape(target: Target) -> tuple:
    shapes = [(tensor.shape, tensor.dtype) for tensor in target.samples.tensors or ()]
    return target.weights.kind, shapes, target.batch_size, target.precision, target.positions
