"""What losses say along the draws, held against closed forms and quadrature: kernel, influence, χ, V, per-sample λ̂."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy import integrate
from torch import Tensor, nn

from llc import store
from llc.errors import InvalidInput
from llc.estimate.estimate import estimate_llc
from llc.estimate.observed import influence, loss_kernel, per_sample_llc, susceptibility, waic
from llc.parallel import Progress, default_jobs, quiet, raise_failures, run_units
from llc.randomness import generator
from llc.sampling import Losses
from llc.validation.compared import Compared, compared_with

# Draws of each of two chains, and before them; K = x²y⁴, whose valleys are crossed slowly, takes more …
_DRAWS, _WARMUP, _GAMMA = 400, 100, 1.0
_SLOW_DRAWS, _SLOW_WARMUP = 2000, 1000
# … and is repeated so many times less often.
_SLOW, _RARER = "x^2 y^4", 4


def validate_draws(
    repeats: int = 200,
    *,
    seed: int = 0,
    problems: int = 0,
    jobs: int | None = None,
    folder: Path | None = None,
    progress: Progress = quiet,
) -> xr.Dataset:
    """Estimates of second-order quantities whose values are known, each repeated on fresh problems and chains.

    Linear regression, on the whole dataset and from minibatches, has Cov(ℓ_i, ℓ_j) = g_iᵀΣg_j + ½ tr(H_iΣH_jΣ) with
    Σ = (nβH + γI)⁻¹ and g at the posterior's mean; the anharmonic well λx²/2 + αx³/6 + ζx⁴/24 and K = x²y⁴, which is no
    quadratic anywhere near 0, are integrated numerically.

    Args:
        repeats: of each kind of problem, a quarter as many of the slowest.
        seed: of the chains.
        problems: another number draws other problems.
        jobs: worker processes; by default one a core.
        folder: keeps what is finished as it comes; calling again goes on from there.
        progress: told ("repetitions", done, total, note).
    Returns:
        By (quantity, repeat): `believed`, 0 where the verdict says that the draws will not do; `held`, the share of a
        quantity's numbers whose 90 % interval holds the exact one; `within_3`, the share within three standard errors;
        `worst`, the largest error in standard errors; `slope`, of the found numbers on the exact ones, through 0.
    Raises:
        InvalidInput: no repeats; a problem that could not be estimated.
    """
    if repeats < 1:
        raise InvalidInput(f"repeats = {repeats} given, expected 1 or more")
    rarer = {_SLOW: -(-repeats // _RARER)}
    units = [
        (name, number, seed, problems, folder)
        for number in range(repeats)
        for name in _PROBLEMS
        if number < rarer.get(name, repeats)
    ]
    found: dict[tuple[str, int], dict[str, dict[str, float]]] = {}
    failures = []
    with store.folder_lock(folder) if folder else contextlib.nullcontext():
        for outcome in run_units(_repetition, units, jobs=jobs or default_jobs(len(units)), progress=quiet):
            name, number, *_ = units[outcome.index]
            if outcome.error:
                failures.append(outcome.error)
            else:
                found[name, number] = outcome.result
                progress("repetitions", len(found), len(units), f"{name} {number}")
    raise_failures(failures, f"{len(failures)} of {len(units)} repetitions failed", InvalidInput)
    quantities = list(dict.fromkeys(f"{name}: {q}" for (name, _), of in sorted(found.items()) for q in of))
    data: dict = {}
    for score, said in _SCORES.items():
        values = np.full((len(quantities), repeats), np.nan)
        for (name, number), of in found.items():
            for quantity, scores in of.items():
                values[quantities.index(f"{name}: {quantity}"), number] = scores[score]
        data[score] = (("quantity", "repeat"), values, {"long_name": said, "units": "1"})
    places = {
        "quantity": ("quantity", quantities, {"long_name": "kind of problem, and what of it", "units": "1"}),
        "repeat": ("repeat", np.arange(repeats), {"long_name": "repetition", "units": "1"}),
    }
    return xr.Dataset(data, places, attrs={"seed": seed, "problems": problems})


_SCORES = {
    "believed": "whether the verdict on the draws is converged or scale-dependent",
    "held": "share of 90 % intervals that hold the exact number",
    "within_3": "share of numbers within three standard errors of the exact one",
    "worst": "largest error, in standard errors",
    "slope": "found numbers on exact ones, through 0",
}


def format_draws(result: xr.Dataset) -> str:
    """A table, a row a quantity, of the repetitions that are believed.

    Args:
        result: of `validate_draws`.
    """
    lines = [f"{'quantity':36} repeats  believed    held  within 3 se  found on exact"]
    for quantity in result.quantity.values:
        made = result.sel(quantity=quantity).dropna("repeat")
        of = made.isel(repeat=np.flatnonzero(made.believed.values == 1))
        slopes = of.slope.values
        row = f"{quantity:36} {made.sizes['repeat']:7d} {len(slopes):9d}"
        if len(slopes):
            error = slopes.std(ddof=1) / np.sqrt(len(slopes)) if len(slopes) > 1 else np.nan
            shares = f"  {float(of.held.mean()):6.1%}  {float(of.within_3.mean()):11.1%}"
            row += f"{shares}   {slopes.mean():6.3f} ± {error:.3f}"
        lines.append(row)
    return "\n".join(lines)


def _repetition(
    name: str, number: int, seed: int, problems: int, folder: Path | None, _progress: Progress = quiet
) -> dict[str, dict[str, float]]:
    told = {"name": name, "number": number, "seed": seed, "problems": problems, "draws": _DRAWS}
    kept = None if folder is None else folder / f"{store.table_hash(told)}.toml"
    if kept is not None and kept.exists():
        return store.read_table(kept)["scores"]
    rng = generator("draws", name, problems, number)
    chains = seed * 1_000_003 + number
    scores = {quantity: compared.scores for quantity, compared in _PROBLEMS[name](rng, chains)}
    if kept is not None:
        store.write_table(kept, {**told, "scores": scores})
    return scores


# Samples whose kernel is looked at.
_FEW = 40
Quantities = Iterator[tuple[str, Compared]]


class _Line(nn.Module):
    """x·w."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())

    def forward(self, xs: Tensor) -> Tensor:
        return xs @ self.weight


def _half_squares(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return 0.5 * (model(batch[0]) - batch[1]).square()


def _regression(rng: torch.Generator, seed: int, *, batch: int | None = None) -> Quantities:
    """Two to five weights a little off their minimum, noisy labels."""
    size = int(torch.randint(2, 6, (), generator=rng))
    n = 8 * size if batch is None else 10 * batch
    xs = torch.randn(n, size, generator=rng, dtype=torch.float64)
    weight = torch.randn(size, generator=rng, dtype=torch.float64)
    ys = xs @ weight + 0.5 * torch.randn(n, generator=rng, dtype=torch.float64)
    model, nbeta = _Line(weight), n / float(np.log(n))
    tree = estimate_llc(
        model,
        _half_squares,
        (xs, ys),
        nbeta=nbeta,
        gamma=_GAMMA,
        draws=_DRAWS,
        warmup=_WARMUP,
        batch_size=batch,
        seed=seed,
        observables=[Losses("own")],
    )
    exact = GaussianLosses(xs.numpy(), ys.numpy(), weight.numpy(), nbeta, _GAMMA)
    few = slice(0, _FEW)
    kernel = loss_kernel(tree, "own").isel(sample=few, other_sample=few)
    yield "kernel", compared_with(kernel, "kernel", exact.kernel[few, few])
    yield "influence", compared_with(influence(tree, "own"), "influence", -exact.kernel)
    chi = susceptibility(tree, "own", whole="own")
    yield "susceptibility", compared_with(chi, "susceptibility", -nbeta * (exact.kernel.mean(0) - exact.kernel.mean()))
    yield "per-sample llc", compared_with(per_sample_llc(tree, "own"), "llc", exact.per_sample)
    numbers = waic(tree, "own")
    yield "functional variance", compared_with(numbers, "functional_variance", np.trace(exact.kernel))
    yield "training loss T", compared_with(numbers, "training_loss", exact.training)
    yield "WAIC", compared_with(numbers, "waic", exact.training + nbeta / n * np.trace(exact.kernel) / n)


class GaussianLosses:
    """Moments of ℓ_i = ½(x_i·w − y_i)² under exp(−nβL − γ/2 ‖w − w*‖²), a Gaussian about μ with Σ = (nβH + γI)⁻¹.

    Attributes:
        kernel: Cov(ℓ_i, ℓ_j) = g_iᵀΣg_j + ½ tr(H_iΣH_jΣ), g at μ, (n, n).
        per_sample: nβ(E ℓ_i − ℓ_i(w*)), (n,).
        training: −mean log E e^{−ℓ_i}, Gaussian integrals over x_i·w.
    """

    def __init__(self, xs: np.ndarray, ys: np.ndarray, center: np.ndarray, nbeta: float, gamma: float) -> None:
        covariance = np.linalg.inv(nbeta * xs.T @ xs / len(xs) + gamma * np.eye(len(center)))
        slope = xs.T @ (xs @ center - ys) / len(xs)
        residual = xs @ (center - nbeta * covariance @ slope) - ys
        gradients = residual[:, None] * xs
        spread = xs @ covariance @ xs.T
        self.kernel = gradients @ covariance @ gradients.T + 0.5 * np.square(spread)
        baseline = 0.5 * np.square(xs @ center - ys)
        spreads = np.diag(spread)
        self.per_sample = nbeta * (0.5 * np.square(residual) + 0.5 * spreads - baseline)
        self.training = float(np.mean(0.5 * np.log1p(spreads) + 0.5 * np.square(residual) / (1 + spreads)))


class _Point(nn.Module):
    """A point in one or two dimensions, at 0."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(dim, dtype=torch.float64))


def _of(function: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, tuple[Tensor]], Tensor]:
    """A loss that is the same function of the point for every sample."""

    def loss(model: nn.Module, batch: tuple[Tensor]) -> Tensor:
        assert isinstance(model.x, Tensor)
        return function(model.x).expand(len(batch[0]))

    return loss


def _anharmonic(rng: torch.Generator, seed: int) -> Quantities:
    """λx²/2 + αx³/6 + ζx⁴/24: t² Cov[x², x], which goes to −2α/λ³."""
    stiff, skew, tail = 1.0, float(0.2 + 0.4 * torch.rand((), generator=rng)), 1.0
    nbeta = float(torch.randint(50, 800, (), generator=rng))

    def potential(x: Any) -> Any:
        return stiff * x**2 / 2 + skew * x**3 / 6 + tail * x**4 / 24

    tree = estimate_llc(
        _Point(1),
        _of(lambda x: potential(x[0])),
        (torch.zeros(2),),
        nbeta=nbeta,
        gamma=_GAMMA,
        draws=_DRAWS,
        warmup=_WARMUP,
        seed=seed,
        observables=[Losses("square", loss=_of(lambda x: x[0] ** 2)), Losses("place", loss=_of(lambda x: x[0]))],
    )

    def mean(function: Callable[[Any], Any]) -> float:
        return _mean_on_a_line(function, lambda x: nbeta * potential(x) + _GAMMA / 2 * x**2, 12 / np.sqrt(nbeta))

    exact = mean(lambda x: x**3) - mean(lambda x: x**2) * mean(lambda x: x)
    found = loss_kernel(tree, "square", "place").isel(sample=[0], other_sample=[0])
    yield "Cov(x^2, x)", compared_with(found, "kernel", np.full((1, 1), exact))


def _mean_on_a_line(function: Callable, potential: Callable, reach: float) -> float:
    """E function(x) under exp(−potential), by quadrature on [−reach, reach]."""

    def integral(of: Callable) -> float:
        return integrate.quad(lambda x: of(x) * np.exp(-potential(x)), -reach, reach, epsabs=0, points=[0.0])[0]

    return integral(function) / integral(lambda _x: 1.0)


def _degenerate(rng: torch.Generator, seed: int) -> Quantities:
    """K = x²y⁴: nβ E K, E x² and Cov(x², y²), singular wherever x or y is 0."""
    nbeta = float(10 ** (2 + 2 * torch.rand((), generator=rng)))
    tree = estimate_llc(
        _Point(2),
        _of(lambda p: p[0] ** 2 * p[1] ** 4),
        (torch.zeros(2),),
        nbeta=nbeta,
        gamma=2.0,
        draws=_SLOW_DRAWS,
        warmup=_SLOW_WARMUP,
        seed=seed,
        observables=[
            Losses("x", loss=_of(lambda p: p[0] ** 2)),
            Losses("y", loss=_of(lambda p: p[1] ** 2)),
            Losses("k"),
        ],
    )
    exact = degenerate_means(nbeta, 2.0)
    for name in ("k", "x"):
        found = per_sample_llc(tree, name).isel(sample=[0])
        yield {"k": "nbeta E K", "x": "nbeta E x^2"}[name], compared_with(found, "llc", np.array([nbeta * exact[name]]))
    found = loss_kernel(tree, "x", "y").isel(sample=[0], other_sample=[0])
    yield "Cov(x^2, y^2)", compared_with(found, "kernel", np.array([[exact["xy"] - exact["x"] * exact["y"]]]))


def degenerate_means(nbeta: float, gamma: float) -> dict[str, float]:
    """E K, E x², E y², E x²y² for K = x²y⁴ under exp(−nβK − γ/2 (x² + y²)): x is Gaussian given y."""

    def integral(of: Callable) -> float:
        def density(y: float) -> float:
            precision = 2 * nbeta * y**4 + gamma
            return of(y, 1 / precision) * np.exp(-gamma / 2 * y**2) / np.sqrt(precision)

        edges = np.concatenate([[0], np.geomspace(1e-4, 12 / np.sqrt(gamma), 40)])
        return sum(integrate.quad(density, a, b)[0] for a, b in itertools.pairwise(edges))

    whole = integral(lambda _y, _v: 1.0)
    means = {"k": lambda y, v: v * y**4, "x": lambda _y, v: v, "y": lambda y, _v: y**2, "xy": lambda y, v: v * y**2}
    return {name: integral(of) / whole for name, of in means.items()}


def _from_minibatches(rng: torch.Generator, seed: int) -> Quantities:
    return _regression(rng, seed, batch=32)


_PROBLEMS: dict[str, Callable[[torch.Generator, int], Quantities]] = {
    "regression": _regression,
    "minibatches": _from_minibatches,
    "anharmonic well": _anharmonic,
    _SLOW: _degenerate,
}
