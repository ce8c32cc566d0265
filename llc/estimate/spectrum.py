"""The curvatures at w*: how much of λ the directions hold along which the loss is a square."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from llc.errors import InvalidInput
from llc.estimate import scale
from llc.estimate.scale import Rung
from llc.randomness import generator
from llc.sampling import Target

# Random vectors at most and at least, and Lanczos steps from each.
_MOST, _LEAST, _STEPS = 12, 4, 40
# Of the gradients that an estimate may take, these may take this share.
_SHARE = 0.05
# Models for which Lanczos vectors would take more bytes are not looked at.
_BYTES = 2**30
# Along a valley of like solutions curvatures may be flatter than at w* by this factor, and often are. Eight two-layer
# networks whose chains do leave lose 2.3 to 90 times what that explains; a five-layer one whose chains stay, 0.4.
_FLATTER = 4.0
# Curvatures below this share of the steepest are rounding in single precision.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class Spectrum:
    """The eigenvalues of H = ∇²L_n(w*), or what stochastic Lanczos quadrature saw of them.

    Attributes:
        curvatures, weights: Ritz values from each random vector, and the share of the vector that each has; one set,
            of all eigenvalues in equal shares, where they are known.
        parameters: P.
    """

    curvatures: list[Tensor]
    weights: list[Tensor]
    parameters: int

    def held(self, rho: float) -> tuple[float, float]:
        """½ tr f(H), f(h) = h/(h + ρ): what directions with curvature hold of λ, and its standard error.

        At a minimum the loss is, in suitable coordinates, a sum of rank H squares and a function of the other variables
        (the splitting lemma), so that λ is ½ rank H and the coefficient of that function.

        At weights that noisy labels were not fitted with, flat directions are lent curvatures of both signs: as steep
        as the most negative one, a positive one is noise as well, and f = 0.
        """
        noise = -min(float(curvatures.min()) for curvatures in self.curvatures)
        found = []
        for curvatures, weights in zip(self.curvatures, self.weights, strict=True):
            steepest = float(curvatures.abs().max())
            known = curvatures > max(noise, _ROUNDING * steepest)
            felt = torch.where(known, curvatures / (curvatures + rho), 0.0)
            found.append(0.5 * self.parameters * float((weights * felt).sum()))
        if len(found) == 1:
            return found[0], 0.0
        every = torch.tensor(found, dtype=torch.float64)
        return float(every.mean()), float(every.std()) / math.sqrt(len(found))


class Held:
    """What directions with curvature hold of the rungs of one ladder; looks at the curvatures when first needed.

    Attributes:
        gradients: minibatch gradients that this took so far.
    """

    def __init__(self, target: Target, max_gradients: int) -> None:
        self._target, self._max_gradients = target.at(), max_gradients
        self._seen: Spectrum | None = None
        self._looked = False
        self.gradients = 0

    def on(self, rung: Rung) -> Rung:
        """The rung, with what is held of it: where all curvatures are cheap, or it is degenerate and it can be told."""
        wanted = _affordable(self._target, self._max_gradients) or rung.degeneracy >= scale.DEGENERATE
        seen = self._look() if wanted else None
        if seen is None:
            return rung
        held, held_se = seen.held(rung.resolution)
        return replace(rung, held=held, held_se=held_se)

    def lost_to_flatter(self, near: Rung, far: Rung) -> float:
        """How much lower λ̂ may be farther out for no more than curvatures that are flatter there, by `_FLATTER`.

        ½ tr H(H + ρ)⁻¹ at the ρ of `near`, less ½ tr H(H + 4ρ)⁻¹ at that of `far`, or 0 if that is negative: where ρ is
        small beside all curvatures there is nothing to lose. 0 too where the curvatures cannot be told.

        Args:
            near, far: rungs of a larger and a smaller γ.
        """
        seen = self._look()
        if seen is None:
            return 0.0
        return max(0.0, seen.held(near.resolution)[0] - seen.held(_FLATTER * far.resolution)[0])

    def _look(self) -> Spectrum | None:
        if not self._looked:
            self._looked = True
            self._seen, self.gradients = spectrum(self._target, self._max_gradients)
        return self._seen


def spectrum(target: Target, max_gradients: int, *, seed: int = 0) -> tuple[Spectrum | None, int]:
    """Of the whole dataset's loss at w*: all eigenvalues of a small model, else what random signs see of them.

    (Ubaru, Chen & Saad 2017, SIAM J. Matrix Anal. Appl. 38.)

    Args:
        max_gradients: that the whole estimate may take; a twentieth of it is for this.
    Returns:
        It, or None where that is too little or the model cannot be differentiated twice; and the minibatch gradients
        that it took.
    """
    before, size = target.gradients, target.num_parameters
    products = _products(target, max_gradients)
    steps = min(_STEPS, size)
    vectors = min(_MOST, products // steps) if 8 * steps * size <= _BYTES else 0
    try:
        if _affordable(target, max_gradients):  # then it is no dearer than what follows
            found = [_whole(target)]
        elif vectors >= _LEAST:
            rng = generator(seed, "spectrum")
            found = [_lanczos(target, _signs(target, rng), steps) for _ in range(vectors)]
        else:
            return None, 0
    except InvalidInput:  # of somebody's model, in which something has no second derivative, or none that is finite
        return None, target.gradients - before
    values, weights = zip(*found, strict=True)
    return Spectrum(list(values), list(weights), size), target.gradients - before


def _products(target: Target, max_gradients: int) -> int:
    """Hessian-vector products that the share of the gradients pays for."""
    return int(_SHARE * max_gradients // target.price_of_a_product)


def _affordable(target: Target, max_gradients: int) -> bool:
    """Whether all eigenvalues are."""
    return target.num_parameters <= min(_products(target, max_gradients), _MOST * _STEPS)


def _whole(target: Target) -> tuple[Tensor, Tensor]:
    """All eigenvalues, in equal shares."""
    axes = torch.eye(target.num_parameters).to(target.origin)
    hessian = torch.stack([_product(target, axis) for axis in axes]).cpu()
    values = torch.linalg.eigvalsh((hessian + hessian.T) / 2)
    return values, torch.full_like(values, 1 / len(values))


def _product(target: Target, vector: Tensor) -> Tensor:
    """Hv in double precision."""
    found = target.hessian_product(vector.to(target.origin)).double()
    if not bool(found.isfinite().all()):
        raise InvalidInput("the curvature of the loss at w* is not finite")
    return found


def _signs(target: Target, rng: torch.Generator) -> Tensor:
    return torch.randint(0, 2, (target.num_parameters,), generator=rng).to(target.origin) * 2 - 1


def _lanczos(target: Target, start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Ritz values from a start, and their weights, which add up to 1; every vector is kept orthogonal to all others.

    Each value is brought nearer to 0 by its residual |β s|, s the last entry of its eigenvector: within that an
    eigenvalue lies (Parlett 1998, §13.2), and what has not been told from the flat directions counts as flat.
    """
    basis = torch.empty(steps, len(start), dtype=torch.float64, device=start.device)
    basis[0] = start / start.norm()
    diagonal: list[float] = []
    beside: list[float] = []
    for step in range(steps):
        image = _product(target, basis[step])
        diagonal.append(float(basis[step] @ image))
        known = basis[: step + 1]
        for _ in range(2):  # once more, for what rounding leaves
            image = image - known.T @ (known @ image)
        beside.append(float(image.norm()))
        largest = max(map(abs, [*diagonal, *beside]))
        if beside[-1] <= _ROUNDING * largest or step + 1 == steps:
            break
        basis[step + 1] = image / beside[-1]
    ends = torch.tensor(beside[:-1], dtype=torch.float64)
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64)) + torch.diag(ends, 1) + torch.diag(ends, -1)
    values, vectors = torch.linalg.eigh(matrix)
    residuals = beside[-1] * vectors[-1].abs()
    return values.sign() * (values.abs() - residuals).clamp(min=0), vectors[0].square()
