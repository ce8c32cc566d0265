"""How steep the loss is: what a stable step size depends on."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from llc.errors import InvalidInput, check_whole, shown
from llc.randomness import generator
from llc.sampling.ensemble import Ensemble
from llc.sampling.graph import Graph
from llc.sampling.sampler import Evaluation
from llc.sampling.target import Target


def largest_curvature(target: Target, *, iterations: int = 20, seed: int = 0) -> float:
    """nβ h_max at w*: the largest absolute eigenvalue of nβ ∇²L, by power iteration on one minibatch.

    A few per cent of accuracy is enough for a step size; a minibatch's largest eigenvalue is on average above the
    full data's, which errs on the safe side. See `power_iteration`.

    Args:
        target: model, data, nβ and γ.
        iterations: of the power iteration, two gradients each.
        seed: of the minibatch and the first direction.
    """
    return largest_curvatures([target], iterations=iterations, seed=seed)[0]


def largest_curvatures(
    targets: Sequence[Target], graph: Graph | None = None, *, iterations: int = 20, seed: int = 0
) -> list[float]:
    """`largest_curvature` of several targets, in one graph if there is one.

    Args:
        targets: one or more.
        graph: the targets', from `one_graph`; None for one target after another.
        iterations: as for `largest_curvature`.
        seed: of every target's minibatch and first direction.
    """
    targets = list(targets) if isinstance(targets, Iterable) else [targets]
    for target in targets:
        if not isinstance(target, Target):
            raise InvalidInput(f"{shown(target)} given, expected an llc.sampling.Target(model, loss, data, …)")
    check_whole("iterations", iterations, 1)
    ensembles = [Ensemble(targets, graph)] if graph is not None else [Ensemble([target]) for target in targets]
    found: list[float] = []
    for ensemble in ensembles:
        draws = [generator(seed, "curvature") for _ in ensemble.targets]
        minibatches = [next(target.minibatches(rng)) for target, rng in zip(ensemble.targets, draws, strict=True)]
        directions = [random_direction(target, rng) for target, rng in zip(ensemble.targets, draws, strict=True)]
        evaluate = partial(ensemble.evaluate, minibatches=minibatches)
        values, _ = power_iteration(evaluate, ensemble.gamma, ensemble.center, torch.stack(directions), iterations)
        found += values.tolist()
    return found


def random_direction(target: Target, rng: torch.Generator) -> Tensor:
    """A direction to start a power iteration from, (P,)."""
    return torch.randn(target.center.shape, generator=rng, dtype=target.center.dtype).to(target.device)


def power_iteration(
    evaluate: Callable[[Tensor], Evaluation],
    gamma: float | Tensor,
    position: Tensor,
    direction: Tensor,
    iterations: int,
) -> tuple[Tensor, Tensor]:
    """The largest absolute eigenvalue of nβ ∇²L at a position, and the direction where it was found.

        v ← Hv/‖Hv‖,   Hv ≈ nβ [∇L(w + δv) − ∇L(w − δv)]/(2δ),   δ = 10⁻³ max(1, ‖w‖)

    Differences of gradients ask nothing of the model but a gradient; each iteration takes two.

    Args:
        evaluate: gives ∇Û from one minibatch, always the same.
        gamma: γ, or (R, 1).
        position: (P,), or R of them, (R, P).
        direction: where to start, likewise; the last one found makes a few iterations enough.
    Returns:
        The eigenvalue, () or (R,), and the direction.
    """
    size = 1e-3 * position.norm(dim=-1, keepdim=True).clamp(min=1.0)
    value = torch.zeros_like(size)
    for _ in range(iterations):
        direction = direction / direction.norm(dim=-1, keepdim=True)
        ahead = evaluate(position + size * direction).gradient
        behind = evaluate(position - size * direction).gradient
        product = (ahead - behind) / (2 * size) - gamma * direction
        value = product.norm(dim=-1, keepdim=True)
        usable = value.isfinite() & (value > 0)
        direction = torch.where(usable, product, direction)
        if not usable.any():
            break
    return value[..., 0], direction
