"""Targets looked at together: one row a chain, whatever the chains' targets are."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from llc.devices import double
from llc.sampling.data import Minibatch
from llc.sampling.gradient import mean_over_positions
from llc.sampling.graph import Graph
from llc.sampling.sampler import Evaluation
from llc.sampling.target import Target


class Ensemble:
    """R targets, each the target of one chain, with every number of `Target` by row.

    Row by row it is a loop; in one graph, `vmap` over rows gives every chain's gradient from one batch of matrix
    products, which is what keeps a GPU busy. Both compute the same up to rounding.

    Args:
        targets: of each row; the same one may stand in many rows, and so may others of its model and data that differ
            in nβ, γ or center (`Target.at`).
        graph: to compute rows in one graph, see `one_graph`; None to take them one by one.

    Attributes:
        center: what γ holds each row to, (R, P).
        origin: w* of each row, (R, P).
        nbeta, gamma: (R, 1).
    """

    def __init__(self, targets: Sequence[Target], graph: Graph | None = None) -> None:
        self.targets = list(targets)
        self.graph = graph
        first = self.targets[0]
        self.center = self.origin = torch.stack([target.center for target in self.targets])
        if any(target.center is not target.origin for target in self.targets):
            self.origin = torch.stack([target.origin for target in self.targets])
        self.nbeta = _numbers(target.nbeta for target in self.targets)[:, None].to(self.center)
        self.gamma = _numbers(target.gamma for target in self.targets)[:, None].to(self.center)
        self.full_batch = first.batch_size == first.num_samples
        self.positions = first.positions

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: Sequence[int]) -> Self:
        """An ensemble of some of the rows."""
        return type(self)([self.targets[row] for row in rows], self.graph)

    def only(self, rows: np.ndarray) -> Self:
        """An ensemble of the rows that a mask chooses."""
        return self if rows.all() else self.take(np.flatnonzero(rows).tolist())

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
        return self.differences(position).mean(1).cpu()

    def differences(self, position: Tensor) -> Tensor:
        """ℓ_i(w) − ℓ_i(w*) of all n samples, averaged over positions if there are any, float64, (R, n)."""
        if self.graph is not None:
            return self.graph.losses(position, self._places) - self.graph.baseline[self._places]
        return torch.stack([t.losses(at) - t.baseline for t, at in zip(self.targets, position, strict=True)])

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

    def _evaluate_together(self, graph: Graph, position: Tensor, minibatches: Sequence[Minibatch]) -> Evaluation:
        for target in self.targets:
            target.gradients += 1
        indices = None
        if not self.full_batch:
            indices = torch.stack([minibatch.indices for minibatch in minibatches]).to(position.device)
        scale = _numbers([minibatch.scale for minibatch in minibatches]).to(position.device)
        every, gradient = graph.losses_and_gradients(position, self._places, indices, scale)
        which = (self._places,) if indices is None else (self._places[:, None], indices)
        losses = mean_over_positions(every, 2)
        displacement = position - self.center
        difference = (losses - graph.baseline[which]).sum(1) * scale
        gradient.mul_(self.nbeta)
        corrections = [minibatch.correction for minibatch in minibatches if minibatch.correction is not None]
        if corrections:
            correction = torch.stack(corrections)
            gradient.add_(self.nbeta * correction)
            difference += double((correction * (position - self.origin)).sum(1))
        gradient.add_(self.gamma * displacement)
        away = double(displacement).square().sum(1)
        by_position = None
        if graph.baseline_by_position is not None:
            paired = every - graph.baseline_by_position[which]
            by_position = paired.sum(1) * scale[:, None]
        potential = double(self.nbeta[:, 0]) * difference + double(self.gamma[:, 0]) / 2 * away
        difference, loss, potential = torch.stack([difference, losses.sum(1) * scale, potential]).cpu()
        return Evaluation(difference, loss, gradient, potential, by_position)


def _numbers(values: Iterable[float | Tensor]) -> Tensor:
    return torch.tensor([float(value) for value in values], dtype=torch.float64)
