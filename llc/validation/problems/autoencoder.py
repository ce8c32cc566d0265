"""Low-rank linear autoencoders at the principal components of their data."""

import torch
from torch import Tensor, nn

from llc.randomness import generator
from llc.validation.problems import chance
from llc.validation.problems.case import Case, Problem
from llc.validation.problems.losses import SQUARED


class LinearAutoencoder(nn.Module):
    """x ↦ D E x, or WᵀW x where it is tied, (B, d) -> (B, d), without biases.

    Args:
        dim: d.
        rank: r, rows of E.
        tied: D = Eᵀ.
    """

    def __init__(self, dim: int, rank: int, tied: bool) -> None:
        super().__init__()
        self.encoder = nn.Parameter(torch.zeros(rank, dim))
        self.decoder = None if tied else nn.Parameter(torch.zeros(dim, rank))

    def forward(self, x: Tensor) -> Tensor:
        """(B, d) -> (B, d)."""
        return x @ self.encoder.T @ (self.encoder if self.decoder is None else self.decoder.T)


def autoencoder(dim: int, rank: int, tied: bool, samples: int, loss: str, seed: int, *, redraw: int = 0) -> Problem:
    """Σ_n ‖x_n − DEx_n‖² at its minimum DE = VVᵀ, V the r leading eigenvectors of Σ_n x_n x_nᵀ.

    x has r directions of variance 1 to 4 and else 0.1 to 0.5. E = QVᵀ and D = VQ⁻¹ for a random Q, orthogonal where
    they are tied. Minima are the orbit of GL(r), or O(r) for tied ones, and between the r-th eigenvalue and the next
    there is a gap, so that the loss is curved across the orbit and

        λ = (2rd − r²)/2,   or   (rd − r(r − 1)/2)/2   where they are tied.

    Args:
        loss: a name in `losses.SQUARED`.
        redraw: another sample of the same truth.
    """
    key = ("autoencoder", dim, rank, seed)
    rng, sample = generator(*key), generator(*key, "sample", redraw)
    spread = torch.cat([1 + torch.rand(rank, generator=rng), 0.3 + 0.4 * torch.rand(dim - rank, generator=rng)])
    axes = chance.basis(dim, dim, rng)
    x = torch.randn(samples, dim, generator=sample) * spread @ axes.T
    _, vectors = torch.linalg.eigh(x.double().T @ x.double())
    leading = vectors[:, -rank:]
    turn = (chance.basis(rank, rank, rng) if tied else chance.matrix(rank, rng)).double()
    model = LinearAutoencoder(dim, rank, tied)
    with torch.no_grad():
        model.encoder.copy_(turn @ leading.T)
        if model.decoder is not None:
            model.decoder.copy_(leading @ torch.linalg.inv(turn))
    return model, SQUARED[loss], (x, x)


def principal(problems: int, index: int) -> Case:
    """An autoencoder at its principal components, every other one tied."""
    rng = chance.stream("autoencoder", problems, index)
    dim, tied, seed = chance.count(5, 25, rng), index % 2 == 1, chance.number(problems, index)
    rank = chance.count(1, min(6, dim - 2), rng)
    samples, loss = chance.samples(1000, 10_000, rng), chance.one_of(tuple(SQUARED), rng)
    orbit = rank * (rank - 1) // 2 if tied else rank**2
    parameters = rank * dim * (1 if tied else 2)
    return Case(
        name=f"{'tied ' if tied else ''}linear autoencoder {dim}-{rank}-{dim}, n {samples}, {loss}, #{seed}",
        kind="linear autoencoder",
        build=autoencoder,
        arguments=(dim, rank, tied, samples, loss, seed),
        exact=(parameters - orbit) / 2,
        multiplicity=1,
        parameters=parameters,
        settings={},
    )
