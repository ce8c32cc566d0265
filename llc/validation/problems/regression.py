"""Linear regression at its least-squares solution, alone and with directions that nothing depends on."""

import torch
from torch import Tensor, nn

from llc.randomness import generator
from llc.validation.problems import chance
from llc.validation.problems.case import Case, Problem
from llc.validation.problems.losses import SQUARED, half_squared_errors, squared_loss

# What stands for nothing among the columns of x, or in how the weights are written.
FLAT = ("zeros", "copies", "mixed", "sum", "product")
# Singular values below this part of the largest are rounding.
_RANK = 1e-5


def regression(dim: int, samples: int, seed: int) -> Problem:
    """Ordinary linear regression with unit noise at its least-squares solution, loss half the squared error."""
    rng = generator("regression", seed)
    x = torch.randn(samples, dim, generator=rng)
    y = x @ torch.randn(dim, 1, generator=rng) + torch.randn(samples, 1, generator=rng)
    model = nn.Linear(dim, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(x.double(), y.double()).solution.T)
    return model, half_squared_errors, (x, y)


class TwoVectors(nn.Module):
    """x ↦ x·(u + v) or x·(u ∘ v), (B, D) -> (B, 1): two numbers for each that counts.

    Args:
        rule: `sum` or `product`.
    """

    def __init__(self, rule: str, dim: int) -> None:
        super().__init__()
        self.rule = rule
        self.u = nn.Parameter(torch.zeros(dim))
        self.v = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, 1)."""
        weight = self.u + self.v if self.rule == "sum" else self.u * self.v
        return x @ weight[:, None]


def least_squares(
    rank: int, extra: int, flat: str, samples: int, noise: float, loss: str, seed: int, *, redraw: int = 0
) -> Problem:
    """y = x·w + noise at the least-squares solution, with `extra` directions that do not count.

    The truth has entries ±[½, 1½] and x has `rank` standard normal columns z, then

        none: x = z.            zeros: columns of zeros too.      copies: columns of z again.
        mixed: x = zM, M rank × (rank + extra).
        sum: w = u + v.         product: w = u ∘ v, at u_i v_i ≠ 0.

    Args:
        loss: a name in `losses.SQUARED`.
        redraw: another sample of the same truth.
    """
    key = ("least squares", rank, extra, flat, seed)
    rng, sample = generator(*key), generator(*key, "sample", redraw)
    signs = torch.randint(0, 2, (rank,), generator=rng) * 2 - 1
    truth = signs * chance.sizes(rank, rng)
    z = torch.randn(samples, rank, generator=sample)
    y = (z @ truth + noise * torch.randn(samples, generator=sample))[:, None]
    x = _columns(z, flat, extra, rng)
    solution = _solve(x, y)[:, 0]
    if flat in {"sum", "product"}:
        spread = torch.randn(rank, generator=rng).double() / 2
        model: nn.Module = TwoVectors(flat, rank)
        u = solution / 2 + spread if flat == "sum" else solution.sign() * solution.abs().sqrt() * spread.exp()
        weights = [u, solution - u if flat == "sum" else solution / u]
    else:
        model, weights = nn.Linear(x.shape[1], 1, bias=False), [solution[None]]
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            parameter.copy_(weight)
    return model, SQUARED[loss], (x, y)


def lowest(data: tuple[Tensor, ...], loss: str) -> float:
    """The least mean loss of any linear map."""
    x, y = data
    return squared_loss(y.double() - x.double() @ _solve(x, y), loss)


def _columns(z: Tensor, flat: str, extra: int, rng: torch.Generator) -> Tensor:
    rank = z.shape[1]
    if flat == "zeros":
        return torch.cat([z, torch.zeros(len(z), extra)], 1)
    if flat == "copies":
        return torch.cat([z, z[:, torch.randint(0, rank, (extra,), generator=rng)]], 1)
    if flat == "mixed":
        return z @ (chance.sizes(rank, rng)[:, None] * chance.basis(rank + extra, rank, rng).T)
    return z


def _solve(x: Tensor, y: Tensor) -> Tensor:
    """The shortest least-squares solution, (D, K), float64."""
    return torch.linalg.lstsq(x.double(), y.double(), rcond=_RANK, driver="gelsd").solution


def regular(problems: int, index: int) -> Case:
    """Ordinary linear regression: λ = d/2."""
    rng = chance.stream("regression", problems, index)
    dim, samples, noise = chance.samples(2, 100, rng), chance.samples(1000, 20_000, rng), chance.real(0.1, 2, rng)
    return least_squares_case("linear regression", dim, samples, noise, rng, chance.number(problems, index))


def degenerate(problems: int, index: int) -> Case:
    """Linear regression with flat directions: λ = rank/2."""
    rng = chance.stream("flat regression", problems, index)
    rank, flat = chance.count(3, 40, rng), FLAT[index % len(FLAT)]
    extra = rank if flat in {"sum", "product"} else chance.count(1, rank, rng)
    samples, noise = chance.samples(1000, 20_000, rng), chance.real(0.1, 2, rng)
    seed = chance.number(problems, index)
    return least_squares_case("flat directions", rank, samples, noise, rng, seed, extra=extra, flat=flat)


def least_squares_case(
    kind: str,
    rank: int,
    samples: int,
    noise: float,
    rng: torch.Generator,
    seed: int,
    *,
    extra: int = 0,
    flat: str = "none",
) -> Case:
    """The case of a linear regression, its loss drawn."""
    loss = chance.one_of(("summed", "half"), rng)
    told = f"{rank} of {rank + extra} ({flat})" if extra else str(rank)
    return Case(
        name=f"{kind} {told}, n {samples}, noise {noise}, {loss}, #{seed}",
        kind=kind,
        build=least_squares,
        arguments=(rank, extra, flat, samples, noise, loss, seed),
        exact=rank / 2,
        multiplicity=1,
        parameters=rank + extra,
        settings={},
    )
