"""Cases with known learning coefficients, and what the estimator makes of them."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from llc.complexity import learning_coefficient
from llc.complexity.estimate import estimate_numbers
from llc.errors import InvalidInput, did_you_mean
from llc.models.deep_linear import DeepLinear
from llc.parallel import Report, default_jobs, quiet, raise_failures, run_units
from llc.randomness import generator


@dataclass(frozen=True)
class Case:
    """One problem with its answer, small enough to send to a worker.

    Attributes:
        name: says all that determines it. kind: groups cases in the report.
        build: makes (model, loss, data) when called with no arguments but `arguments`.
        exact: what λ̂ should come out at. settings: of `estimate_numbers`.
    """

    name: str
    kind: str
    build: Callable[..., tuple[nn.Module, Callable, tuple[Tensor, ...]]]
    arguments: tuple
    exact: float
    multiplicity: int
    parameters: int
    settings: dict[str, Any]


class Polynomial(nn.Module):
    """K(w) = Σ_i c_i w_i² or Π_i w_i^{2k_i}, as a loss that is the same for every sample."""

    numbers: Tensor

    def __init__(self, kind: str, numbers: Sequence[float]) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("numbers", torch.tensor(numbers))
        self.weight = nn.Parameter(torch.zeros(len(numbers)))

    def forward(self) -> Tensor:
        """K(w), a scalar."""
        squares = self.weight.square()
        if self.kind == "well":
            return (self.numbers * squares).sum() / 2
        return (squares**self.numbers).prod()


def polynomial_case(kind: str, numbers: Sequence[float]):
    """A model that is its own loss, the same for each of eight samples."""

    def loss(model: Polynomial, batch: tuple[Tensor]) -> Tensor:
        return model().expand(len(batch[0]))

    return Polynomial(kind, numbers), loss, (torch.zeros(8),)


def deep_linear_case(widths: Sequence[int], rank: int, samples: int, seed: int):
    """A deep linear network that is its own teacher: x ~ U(−10, 10), no noise, squared error averaged over outputs."""
    draw = generator("deep linear", seed)
    model = DeepLinear(widths)
    model.set_to_rank(rank, draw)
    x = 20 * torch.rand(samples, widths[0], generator=draw) - 10
    with torch.no_grad():
        y = model(x)
    return model, mean_squared_errors, (x, y)


def mean_squared_errors(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """(B,): squared error averaged over outputs."""
    x, y = batch
    return (model(x) - y).square().mean(-1)


def regression_case(dim: int, samples: int, seed: int):
    """Ordinary linear regression with unit noise at its least-squares solution, loss half the squared error."""
    draw = generator("regression", seed)
    x = torch.randn(samples, dim, generator=draw)
    y = x @ torch.randn(dim, 1, generator=draw) + torch.randn(samples, 1, generator=draw)
    model = nn.Linear(dim, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(x.double(), y.double()).solution.T)
    return model, half_squared_errors, (x, y)


def half_squared_errors(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """(B,): half the squared error."""
    x, y = batch
    return (model(x) - y).square().sum(-1) / 2


# Where the asymptotics of λ are nearly reached: the prior is about as wide as the weights, so that products of many
# small factors still count, and directions that the data hold are far narrower.
_NBETA, _GAMMA = 1e5, 3.0


def suite(name: str) -> list[Case]:
    """The cases of a suite, `quick` or `full`.

    Raises:
        InvalidInput: there is none of that name.
    """
    sizes = {"quick": (12, 200, 600), "full": (100, 500, 2000)}
    if name not in sizes:
        raise InvalidInput(f"unknown suite {name}; {did_you_mean(name, sizes)}")
    networks, least, most = sizes[name]
    return [
        *(_well(seed) for seed in range(networks // 4)),
        *(_crossing(half_exponents) for half_exponents in ([1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 2.0])),
        *(_regression(dim) for dim in (5, 20, 50)),
        *(_deep_linear(seed, least, most) for seed in range(networks)),
    ]


def _well(seed: int) -> Case:
    draw = np.random.default_rng(seed)
    curvatures = (10.0 ** draw.uniform(-3, 1, size=20)).tolist()
    exact = learning_coefficient.gaussian_well(curvatures, nbeta=500.0, gamma=1.0)
    return Case(
        name=f"Gaussian well {seed}",
        kind="Gaussian well",
        build=polynomial_case,
        arguments=("well", curvatures),
        exact=exact,
        multiplicity=1,
        parameters=20,
        settings={"nbeta": 500.0, "gamma": 1.0, "draws": 1000},
    )


def _crossing(half_exponents: list[float]) -> Case:
    exact = learning_coefficient.normal_crossing([int(k) for k in half_exponents])
    return Case(
        name=f"normal crossing {'·'.join(f'w^{2 * k:g}' for k in half_exponents)}",
        kind="normal crossing",
        build=polynomial_case,
        arguments=("crossing", half_exponents),
        exact=float(exact.value),
        multiplicity=exact.multiplicity,
        parameters=len(half_exponents),
        settings={"nbeta": _NBETA, "gamma": 1.0, "draws": 2000},
    )


def _regression(dim: int) -> Case:
    return Case(
        name=f"linear regression {dim}",
        kind="regular regression",
        build=regression_case,
        arguments=(dim, 2000, dim),
        exact=float(learning_coefficient.regular(dim).value),
        multiplicity=1,
        parameters=dim,
        settings={"gamma": 1.0, "draws": 1000, "batch_size": 500},
    )


def _deep_linear(seed: int, least: int, most: int) -> Case:
    """Two to six layers of random widths, between `least` and `most` parameters, of random rank from 0 up."""
    draw = np.random.default_rng([7, seed])
    while True:
        layers = int(draw.integers(2, 7))
        typical = (draw.uniform(least, most) / layers) ** 0.5
        widths = [max(2, int(typical * draw.uniform(0.6, 1.4))) for _ in range(layers + 1)]
        parameters = sum(a * b for a, b in itertools.pairwise(widths))
        if least <= parameters <= most:
            break
    rank = int(draw.integers(0, min(widths) + 1))
    exact = learning_coefficient.deep_linear(widths, rank)
    return Case(
        name=f"deep linear {'-'.join(map(str, widths))}, rank {rank}",
        kind=f"deep linear, {layers} layers",
        build=deep_linear_case,
        arguments=(tuple(widths), rank, 512, seed),
        exact=float(exact.value),
        multiplicity=exact.multiplicity,
        parameters=parameters,
        settings={"nbeta": _NBETA, "gamma": _GAMMA, "draws": 1500, "batch_size": 512},
    )


def validate(
    name: str = "quick", *, sampler: str = "kinetic", jobs: int | None = None, seed: int = 0, report: Report = quiet
) -> xr.Dataset:
    """Run the estimator on a suite with known answers.

    Args:
        name: `quick` or `full`.
        sampler: see `llc.sampling`.
        jobs: worker processes; by default one a core. seed: of the chains.
    Returns:
        By `case`: `exact`, `llc`, `llc_se`, `llc_low`, `llc_high`, `verdict`, `reason`, `gradients`, `seconds`,
        `kind`, `multiplicity`, `parameters`.
    """
    cases = suite(name)
    units = [(case, sampler, seed) for case in cases]
    rows: dict[int, dict] = {}
    failures = []
    for outcome in run_units(_validate_case, units, jobs=jobs or default_jobs(len(units)), report=report):
        if outcome.error:
            failures.append(outcome.error)
        else:
            rows[outcome.index] = outcome.result
            report("cases", len(rows), len(cases), cases[outcome.index].name)
    raise_failures(failures, f"{len(failures)} of {len(cases)} cases could not be run", InvalidInput)
    return _label([cases[i] for i in sorted(rows)], [rows[i] for i in sorted(rows)])


def _validate_case(case: Case, sampler: str, seed: int, _report: Report) -> dict:
    started = time.perf_counter()
    estimate = estimate_numbers(
        *case.build(*case.arguments),
        **{
            "nbeta": None,
            "gamma": None,
            "step_size": None,
            "chains": 4,
            "warmup": None,
            "batch_size": None,
            "control_variates": False,
            **case.settings,
        },
        sampler=sampler,
        key=(seed, "validate", case.name),
    )
    found = estimate.summary
    return {
        "llc": found.llc,
        "llc_se": found.llc_se,
        "llc_low": found.llc_low,
        "llc_high": found.llc_high,
        "verdict": estimate.verdict,
        "reason": estimate.reason,
        "gradients": estimate.gradients,
        "seconds": time.perf_counter() - started,
    }


_COLUMNS = {
    "kind": "kind of problem",
    "exact": "exact learning coefficient (at finite nbeta and gamma for Gaussian wells)",
    "multiplicity": "its multiplicity",
    "parameters": "number of parameters",
    "llc": "estimated learning coefficient",
    "llc_se": "standard error of llc",
    "llc_low": "lower end of the 90 % interval of llc",
    "llc_high": "upper end of the 90 % interval of llc",
    "verdict": "what the estimate is worth",
    "reason": "why",
    "gradients": "gradients computed",
    "seconds": "time taken on one core",
}


def _label(cases: list[Case], rows: list[dict]) -> xr.Dataset:
    values = {
        name: [row[name] if name in row else getattr(case, name) for case, row in zip(cases, rows, strict=True)]
        for name in _COLUMNS
    }
    data = {
        name: ("case", values[name], {"long_name": said, "units": "s" if name == "seconds" else "1"})
        for name, said in _COLUMNS.items()
    }
    return xr.Dataset(data, {"case": ("case", [case.name for case in cases], {"long_name": "case", "units": "1"})})


def scores(result: xr.Dataset) -> dict[str, float]:
    """What a validation adds up to.

    Returns:
        `median_error`, `p95_error`, `worst_error`: relative, over estimates whose verdict is `converged`;
        `order_preservation`: the share of pairs with different exact values that converged estimates put in order;
        `coverage`: the share of their 90 % intervals that hold the exact value;
        `unconverged`: the share of cases with another verdict.
    """
    good = result.where(result.verdict == "converged", drop=True)
    exact, found = good.exact.values.astype(float), good.llc.values.astype(float)
    error = np.abs(found / exact - 1)
    above = np.subtract.outer(exact, exact) > 1e-9
    inside = (good.llc_low <= good.exact) & (good.exact <= good.llc_high)
    return {
        "cases": float(result.sizes["case"]),
        "median_error": float(np.median(error)),
        "p95_error": float(np.quantile(error, 0.95)),
        "worst_error": float(error.max()),
        "order_preservation": float((np.subtract.outer(found, found) > 0)[above].mean()),
        "coverage": float(inside.mean()),
        "unconverged": 1 - good.sizes["case"] / result.sizes["case"],
    }


def format_validation(result: xr.Dataset) -> str:
    """The result as text: a line a case, then what it adds up to."""
    lines = [f"{'case':42s} {'exact':>8s} {'estimate':>17s} {'interval':>19s} {'error':>7s} {'gradients':>9s}  verdict"]
    for i in range(result.sizes["case"]):
        row = result.isel(case=i)
        exact, found = float(row.exact), float(row.llc)
        lines.append(
            f"{str(row.case.item())[:42]:42s} {exact:8.2f} {found:9.2f} ± {float(row.llc_se):5.2f} "
            f"{float(row.llc_low):9.2f} {float(row.llc_high):9.2f} {100 * (found / exact - 1):+6.1f}% "
            f"{int(row.gradients):9d}  {row.verdict.item()}"
        )
    total = scores(result)
    lines.append(
        f"Of {total['cases']:.0f} cases {100 * total['unconverged']:.0f} % were not called converged. Of the others: "
        f"median error {100 * total['median_error']:.1f} %, 95th percentile {100 * total['p95_error']:.1f} %, worst "
        f"{100 * total['worst_error']:.1f} %; pairs in order {total['order_preservation']:.3f}; 90 % intervals cover "
        f"{100 * total['coverage']:.0f} %."
    )
    return "\n".join(lines)
