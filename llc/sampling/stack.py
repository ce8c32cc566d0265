"""Targets looked at together: one row a chain, whatever the chains' targets are."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Self

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from llc import devices
from llc.devices import Precision, autocast, matmul_precision
from llc.objective import Objective
from llc.sampling.target import Evaluation, Minibatch, Target, double, mean_over_positions

# How far losses and gradients of one graph may be from those computed one by one, relative to their size, …
_SAME_LOSSES, _SAME_GRADIENTS = 1e-3, 1e-2
# … at so far from w*, relative to ‖w*‖: at w* itself a gradient may be nothing but rounding.
_AWAY = 0.01


class Stack:
    """R targets, each the target of one chain, with every number of `Target` by row.

    Row by row it is a loop; in one graph, `vmap` over rows gives every chain's gradient from one batch of matrix
    products, which is what keeps a GPU busy. Both compute the same up to rounding.

    Args:
        targets: of each row; the same one may stand in many rows.
        graph: to compute rows in one graph; None to take them one by one.

    Attributes:
        center: w* of each row, (R, P). nbeta, gamma: (R, 1).
    """

    def __init__(self, targets: Sequence[Target], graph: "Graph | None" = None) -> None:
        self.targets = list(targets)
        self.graph = graph
        first = self.targets[0]
        self.center = torch.stack([target.center for target in self.targets])
        self.nbeta = _numbers(target.nbeta for target in self.targets)[:, None].to(self.center)
        self.gamma = _numbers(target.gamma for target in self.targets)[:, None].to(self.center)
        self.full_batch = first.batch_size == first.num_samples
        self.positions = first.positions

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: Sequence[int]) -> Self:
        """A stack of some of the rows."""
        return type(self)([self.targets[row] for row in rows], self.graph)

    def evaluate(self, position: Tensor, minibatches: Sequence[Minibatch]) -> Evaluation:
        """What `Target.evaluate` tells of each row's position, (R, P), from its own minibatch."""
        if self.graph is not None:
            return self._evaluate_together(self.graph, position, minibatches)
        seen = [
            target.evaluate(at, minibatch)
            for target, at, minibatch in zip(self.targets, position, minibatches, strict=True)
        ]
        by_position = [one.by_position for one in seen if one.by_position is not None]
        return Evaluation(
            _numbers(one.difference for one in seen),
            _numbers(one.loss for one in seen),
            torch.stack([one.gradient for one in seen]),
            _numbers(one.potential for one in seen),
            torch.stack(by_position) if by_position else None,
        )

    def difference(self, position: Tensor) -> Tensor:
        """L_n(w) − L_n(w*) over the whole dataset, (R,)."""
        if self.graph is not None:
            baseline = self.graph.baseline[self._places]
            return (self.graph.losses(position, self._places) - baseline).mean(1).cpu()
        return _numbers(
            [float((t.losses(at) - t.baseline).mean()) for t, at in zip(self.targets, position, strict=True)]
        )

    def rounding(self, position: Tensor, difference: Tensor) -> Tensor:
        """What the precision adds to that difference, (R,)."""
        if self.graph is None or self.graph.precision == "float32":
            return _numbers([t.rounding(at) for t, at in zip(self.targets, position, strict=True)])
        exact = self.graph.losses(position, self._places, "float32") - self.graph.exact_baseline[self._places]
        return difference - exact.mean(1).cpu()

    def potential(self, position: Tensor) -> Tensor:
        """U(w) − U(w*) on the whole dataset, (R,)."""
        if self.graph is None:
            return _numbers([target.potential(at) for target, at in zip(self.targets, position, strict=True)])
        prior = double(self.gamma[:, 0]) / 2 * double(position - self.center).square().sum(1)
        return double(self.nbeta[:, 0]).cpu() * self.difference(position) + prior.cpu()

    @cached_property
    def _places(self) -> Tensor:
        assert self.graph is not None
        return self.graph.places(self.targets)

    def _evaluate_together(self, graph: "Graph", position: Tensor, minibatches: Sequence[Minibatch]) -> Evaluation:
        for target in self.targets:
            target.gradients += 1
        indices = torch.stack([minibatch.indices for minibatch in minibatches]).to(position.device)
        scale = _numbers([minibatch.scale for minibatch in minibatches]).to(position.device)
        every, gradient = graph.losses_and_gradients(position, self._places, indices, scale)
        places = self._places[:, None]
        losses = mean_over_positions(every, 2)
        displacement = position - self.center
        difference = (losses - graph.baseline[places, indices]).sum(1) * scale
        gradient.mul_(self.nbeta)
        corrections = [minibatch.correction for minibatch in minibatches if minibatch.correction is not None]
        if corrections:
            correction = torch.stack(corrections)
            gradient.add_(self.nbeta * correction)
            difference += double((correction * displacement).sum(1))
        gradient.add_(self.gamma * displacement)
        away = double(displacement).square().sum(1)
        by_position = None
        if graph.baseline_by_position is not None:
            paired = every - graph.baseline_by_position[places, indices]
            by_position = paired.sum(1) * scale[:, None]
        potential = double(self.nbeta[:, 0]) * difference + double(self.gamma[:, 0]) / 2 * away
        difference, loss, potential = torch.stack([difference, losses.sum(1) * scale, potential]).cpu()
        return Evaluation(difference, loss, gradient, potential, by_position)


class Graph:
    """Several targets of one shape in one graph: their data, baselines and what does not move, stacked.

    Baselines are computed in the graph too: what it rounds otherwise than the targets do must cancel in differences.

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
        self._objective = Objective(first.model, first.loss)
        self._shapes = {f"model.{name}": parameter.shape for name, parameter in first.moving.items()}
        parts = zip(*(target.data for target in several if isinstance(target.data, tuple)), strict=True)
        self._data = [torch.stack(part).to(self._device) for part in parts]
        still = [_still(target) for target in several]
        self._still = {f"model.{name}": torch.stack([of_one[name] for of_one in still]) for name in still[0]}
        centers = torch.stack([target.center for target in several])
        by_position = self._every_loss(centers, self.places(several), self.precision)
        self.baseline_by_position = by_position if first.positions is not None else None
        self.baseline = self.exact_baseline = mean_over_positions(by_position, 2)
        if self.precision != "float32":
            self.exact_baseline = self.losses(centers, self.places(several), "float32")

    def places(self, targets: Sequence[Target]) -> Tensor:
        """Where each target's data stand, (R,)."""
        return torch.tensor([self._sources[id(target.model)] for target in targets], device=self._device)

    def losses(self, position: Tensor, places: Tensor, precision: Precision | None = None) -> Tensor:
        """ℓ_i(w) of all n samples of each row, averaged over positions, float64, (R, n)."""
        return mean_over_positions(self._every_loss(position, places, precision or self.precision), 2)

    def losses_and_gradients(
        self, position: Tensor, places: Tensor, indices: Tensor, scale: Tensor, precision: Precision | None = None
    ) -> tuple[Tensor, Tensor]:
        """ℓ_i(w) of a minibatch a row, (R, B) or (R, B, K), float64, and ∇L_B(w), (R, P)."""
        precision = precision or self.precision
        losses, gradients = [], []
        for at, where, chosen, of_piece in self._pieces(position.detach(), places, indices, scale):
            with torch.inference_mode(False), torch.enable_grad():
                leaf = at.clone().requires_grad_()
                found = self._losses(leaf, where, chosen, precision)
                total = (found.flatten(1).sum(1) * (of_piece / self._positions).to(found.dtype)).sum()
                with matmul_precision(precision):
                    gradients.append(torch.autograd.grad(total, leaf)[0])
            losses.append(double(found.detach()))
        return torch.cat(losses), torch.cat(gradients)

    @torch.no_grad()
    def _every_loss(self, position: Tensor, places: Tensor, precision: Precision) -> Tensor:
        """(R, n), or (R, n, K), float64."""
        found = []
        for part in torch.arange(self._data[0].shape[1], device=self._device).split(self._batch_size):
            pieces = self._pieces(position, places, part.expand(len(position), -1))
            rows = [double(self._losses(at, where, chosen, precision)) for at, where, chosen in pieces]
            found.append(torch.cat(rows))
        return torch.cat(found, 1)

    def _pieces(self, *by_row: Tensor) -> Iterator[tuple[Tensor, ...]]:
        return zip(*(tensor.split(self.rows_at_once) for tensor in by_row), strict=True)

    def _losses(self, position: Tensor, places: Tensor, indices: Tensor, precision: Precision) -> Tensor:
        """Rows in one graph: (R, B), or (R, B, K)."""
        batch = tuple(tensor[places[:, None], indices] for tensor in self._data)
        one = len(self._sources) == 1  # whose rows need no copies
        still = {
            name: tensor.expand(len(places), *tensor.shape[1:]) if one else tensor[places]
            for name, tensor in self._still.items()
        }
        with matmul_precision(precision), autocast(precision, self._device):
            return vmap(self._row)(position, still, batch)

    def _row(self, position: Tensor, still: dict[str, Tensor], batch: tuple[Tensor, ...]) -> Tensor:
        parts = position.split([shape.numel() for shape in self._shapes.values()])
        moving = {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}
        return functional_call(self._objective, {**still, **moving}, (batch,))


def graph_where_it_pays(targets: Sequence[Target], chains: int) -> Graph | None:
    """The targets' graph where chains in one graph are faster than one by one: on a CUDA device.

    On a CPU a graph of transformers is no faster than a loop, and cores are kept busy by processes instead.
    """
    if targets[0].device.type != "cuda" or len(targets) * chains < 2:
        return None
    return one_graph(targets, _affordable_rows(targets[0]))


def _affordable_rows(target: Target) -> int:
    """Rows whose gradients fit into half of the free memory of a CUDA device, from what one takes."""
    minibatch = next(target.minibatches(torch.Generator().manual_seed(0)))
    torch.cuda.reset_peak_memory_stats(target.device)
    before = torch.cuda.memory_allocated(target.device)
    target.evaluate(target.center, minibatch)
    taken = torch.cuda.max_memory_allocated(target.device) - before
    return max(1, int(devices.free_memory(target.device) / 2 / max(1, taken)))


def one_graph(targets: Sequence[Target], rows_at_once: int) -> Graph | None:
    """These targets in one graph.

    None where that cannot be: shapes differ, data are no tensors, minibatches of control variates have several sizes,
    `vmap` cannot do what a model does, or losses or gradients come out different.
    """
    first = targets[0]
    if not isinstance(first.data, tuple) or (first.control_variates and first.num_samples % first.batch_size):
        return None
    if any(_shape(target) != _shape(first) for target in targets):
        return None
    try:
        graph = Graph(targets, rows_at_once)
        return graph if _agrees(graph, targets) else None
    except torch.OutOfMemoryError:
        raise
    except Exception:  # vmap and the models that it cannot do raise many kinds
        return None


def _agrees(graph: Graph, targets: Sequence[Target]) -> bool:
    """Whether a graph's losses and gradients are those that its targets give by themselves, in float32."""
    draw = torch.Generator().manual_seed(0)
    minibatches = [next(target.minibatches(draw)) for target in targets]
    centers = torch.stack([target.center for target in targets])
    away = torch.randn(centers.shape, generator=draw, dtype=centers.dtype).to(centers.device)
    sizes = _AWAY * centers.norm(dim=1, keepdim=True).clamp(min=1e-3) / away.norm(dim=1, keepdim=True)
    positions = centers + sizes * away
    indices = torch.stack([minibatch.indices for minibatch in minibatches]).to(centers.device)
    scale = _numbers(minibatch.scale for minibatch in minibatches).to(centers.device)
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
    data = [(tensor.shape, tensor.dtype) for tensor in target.data] if isinstance(target.data, tuple) else []
    named = [*target.model.named_parameters(), *target.model.named_buffers()]
    model = [(name, tensor.shape, tensor.dtype) for name, tensor in named]
    return type(target.model), model, list(target.moving), data, target.batch_size, target.precision, target.positions


def _still(target: Target) -> dict[str, Tensor]:
    """Parameters and buffers that do not move, by name."""
    every = {**dict(target.model.named_parameters()), **dict(target.model.named_buffers())}
    return {name: tensor.detach() for name, tensor in every.items() if name not in target.moving}


def _numbers(values: Iterable[float | Tensor]) -> Tensor:
    return torch.tensor([float(value) for value in values], dtype=torch.float64)
