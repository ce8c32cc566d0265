"""Exact learning coefficients: what an estimate has to come out at.

λ and its multiplicity m describe the free energy of a singular model, F_n = nL_n(w*) + λ log n − (m − 1) log log n +
O(1) (Watanabe 2009). At finite nβ the expectation behind λ̂ lies below λ by about (m − 1)/log nβ.
"""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from llc.errors import InvalidInput, check_whole, shown


class LearningCoefficient(NamedTuple):
    """λ and its multiplicity m.

    Attributes:
        value: λ, exact.
        multiplicity: m ≥ 1.
    """

    value: Fraction
    multiplicity: int

    def __float__(self) -> float:
        return float(self.value)


def gaussian_well(curvatures: Iterable[float], *, nbeta: float, gamma: float = 0.0) -> float:
    """What λ̂ estimates at finite nβ and γ on a quadratic loss: ½ Σ_i nβh_i/(nβh_i + γ).

    The posterior is Gaussian with precisions nβh_i + γ, so nβE[L − L*] is the sum above; and γE‖w − w*‖²/2 makes up
    the rest of d/2. As γ → 0 it tends to half the number of directions with h_i > 0, the regular model's λ.

    Args:
        curvatures: h_i ≥ 0, eigenvalues of the mean loss's Hessian.
        nbeta: nβ > 0.
        gamma: γ ≥ 0.
    Raises:
        InvalidInput: a value out of range.
    """
    try:
        curvatures = [float(h) for h in curvatures]
        nbeta, gamma = float(nbeta), float(gamma)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"curvatures, nbeta and gamma have to be numbers ({error})") from None
    if not all(0 <= h < math.inf for h in curvatures):
        raise InvalidInput(f"curvatures = {shown(curvatures)} given, expected all >= 0 and finite")
    if not 0 < nbeta < math.inf or not 0 <= gamma < math.inf:
        raise InvalidInput(f"nbeta = {nbeta} and gamma = {gamma} given, expected > 0 and >= 0, and finite")
    return sum(nbeta * h / (nbeta * h + gamma) for h in curvatures if h > 0) / 2


def regular(num_parameters: int) -> LearningCoefficient:
    """A regular model (positive definite Fisher information): λ = d/2, m = 1."""
    num_parameters = check_whole("num_parameters", num_parameters, 0)
    return LearningCoefficient(Fraction(num_parameters, 2), 1)


def normal_crossing(half_exponents: Sequence[int]) -> LearningCoefficient:
    """At the origin of K(w) = Π_i w_i^{2k_i}: λ = min_i 1/(2k_i), m how many i reach it.

    Directions with k_i = 0 are flat and play no part. Source: Watanabe (2009), Algebraic Geometry and Statistical
    Learning Theory, from the poles of ∫ K(w)^z dw.

    Args:
        half_exponents: the k_i, whole numbers ≥ 0, at least one of them > 0.
    """
    half_exponents = _counts("half_exponents", half_exponents)
    largest = max(half_exponents, default=0)
    if largest == 0:
        raise InvalidInput(f"half_exponents = {half_exponents} given, expected at least one > 0")
    return LearningCoefficient(Fraction(1, 2 * largest), half_exponents.count(largest))


def deep_linear(widths: Sequence[int], rank: int) -> LearningCoefficient:
    """A deep linear network W_L ⋯ W_1 at a true product of rank r, where every factor has rank exactly r.

    With M_s = H_s − r in ascending order, take M_1, M_2, … while Σ ≥ ℓ·(the next one), ℓ one less than the number
    taken. With 𝓜 those taken, Σ their sum, M = ⌈Σ/ℓ⌉ and a = Σ − (M − 1)ℓ,

        λ = r(H_1 + H_{L+1} − r)/2 + [(M−1)²ℓ + (2M−1)a − Σ_{i∈𝓜} M_i²]/4,   m = a(ℓ − a) + 1.

    Aoyagi (2024), Neural Networks 172, 106132. Elsewhere on the true set λ(w*) is larger: see `two_layer_local`.

    Args:
        widths: H_1 (input), …, H_{L+1} (output), L ≥ 1 layers.
        rank: r of the product, at most the smallest width.
    Returns:
        λ and m of squared error, with inputs whose covariance is positive definite.
    Raises:
        InvalidInput: fewer than two widths, or a rank that the widths do not allow.
    """
    widths, rank = _counts("widths", widths), check_whole("rank", rank, 0)
    if len(widths) < 2:
        raise InvalidInput(f"widths = {widths} given, expected an input and an output width at least")
    if not 0 <= rank <= min(widths):
        raise InvalidInput(f"rank = {rank} given, expected 0 to the smallest width, {min(widths)}")
    excess = sorted(width - rank for width in widths)
    taken = 2
    while taken < len(excess) and sum(excess[:taken]) >= (taken - 1) * excess[taken]:
        taken += 1
    chosen, layers = excess[:taken], taken - 1
    total = sum(chosen)
    ceiling = -(-total // layers)
    a = total - (ceiling - 1) * layers
    singular = (ceiling - 1) ** 2 * layers + (2 * ceiling - 1) * a - sum(value**2 for value in chosen)
    value = Fraction(rank * (widths[0] + widths[-1] - rank), 2) + Fraction(singular, 4)
    return LearningCoefficient(value, a * (layers - a) + 1)


def reduced_rank(inputs: int, hidden: int, outputs: int, rank: int) -> LearningCoefficient:
    """Reduced-rank regression, a two-layer linear network M → H → N at a true map of rank r.

    Aoyagi & Watanabe (2005), Neural Networks 18: with the three triangle inequalities of M, N and H + r,

        λ = [2(H+r)(M+N) + 2MN − (H+r)² − M² − N² + odd]/8,   m = 1 + odd,   odd = (M + H + N + r) mod 2,

    else one of the three sides is too long and λ is (HM − Hr + Nr)/2, (HN − Hr + Mr)/2 or MN/2, m = 1. Written down
    apart from `deep_linear`, which has to agree.
    """
    inputs, hidden, outputs = _counts("widths", [inputs, hidden, outputs])
    rank = check_whole("rank", rank, 0)
    if not 0 <= rank <= min(inputs, hidden, outputs):
        raise InvalidInput(f"rank = {rank} given, expected 0 to {min(inputs, hidden, outputs)}")
    m, h, n, r = inputs, hidden, outputs, rank
    if m + h < n + r:
        return LearningCoefficient(Fraction(h * m - h * r + n * r, 2), 1)
    if n + h < m + r:
        return LearningCoefficient(Fraction(h * n - h * r + m * r, 2), 1)
    if m + n < h + r:
        return LearningCoefficient(Fraction(m * n, 2), 1)
    odd = (m + h + n + r) % 2
    doubled = 2 * (h + r) * (m + n) + 2 * m * n - (h + r) ** 2 - m**2 - n**2 + odd
    return LearningCoefficient(Fraction(doubled, 8), 1 + odd)


def two_layer_local(
    inputs: int, hidden: int, outputs: int, *, rank_in: int, rank_out: int, rank: int
) -> LearningCoefficient:
    """λ(w*) of a two-layer linear network M → H → N at true factors A, B of any rank, rank(BA) = r.

    With α = rank A − r, β = rank B − r, M' = M − r, H' = H − r, N' = N − r: the first-order part of the product fixes
    r(M+N−r) + N'α + (M'−α)β directions, and what is left is a smaller network at zero,

        λ(w*) = r(M+N−r)/2 + [N'α + (M'−α)β]/2 + λ(M'−α, H'−α−β, N'−β; rank 0).

    With α = β = 0 this is `deep_linear([M, H, N], r)`, the smallest value on the true set.

    Args:
        rank_in: rank of A (H × M).
        rank_out: rank of B (N × H).
        rank: r of BA.
    Raises:
        InvalidInput: ranks that no such factors have.
    """
    inputs, hidden, outputs = _counts("widths", [inputs, hidden, outputs])
    rank_in, rank_out, rank = _counts("ranks", [rank_in, rank_out, rank])
    a, b = rank_in - rank, rank_out - rank
    fits = rank >= 0 and a >= 0 and b >= 0 and rank_in <= inputs and rank_out <= outputs
    if not fits or rank + a + b > hidden:
        raise InvalidInput(
            f"factor ranks {rank_in} and {rank_out} with product rank {rank} given, which a network "
            f"{inputs} -> {hidden} -> {outputs} cannot have"
        )
    m, h, n = inputs - rank, hidden - rank, outputs - rank
    rest = deep_linear([m - a, h - a - b, n - b], 0)
    smooth = Fraction(rank * (inputs + outputs - rank) + n * a + (m - a) * b, 2)
    return LearningCoefficient(smooth + rest.value, rest.multiplicity)


def _counts(name: str, values: Iterable[int]) -> list[int]:
    """Whole numbers ≥ 0, or InvalidInput."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidInput(f"{name} = {shown(values)} given, expected whole numbers >= 0")
    return [check_whole(name, value, 0) for value in values]
