"""Models whose posterior is known in closed form, shared by the tests of samplers and estimates."""

import torch
from torch import nn

from llc.randomness import generator
from llc.sampling import Target, sampler_named

CURVATURES = [0.0, 0.1, 1.0, 4.0, 10.0]
NBETA, GAMMA = 50.0, 2.0


class Well(nn.Module):
    """L(w) = ½ (w − w*)ᵀ H (w − w*), the same for every sample; w* are the weights it is made with."""

    def __init__(self, hessian: torch.Tensor, center: torch.Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("hessian", hessian.double())
        center = torch.zeros(len(hessian)) if center is None else center
        self.register_buffer("center", center.double().clone())
        self.weight = nn.Parameter(center.double().clone())

    def forward(self) -> torch.Tensor:
        away = self.weight - self.center
        return 0.5 * away @ self.hessian @ away


class Hole(nn.Module):
    """A hole of some depth in a plain: L(w) = depth (1 − exp(−h ‖w‖²/2 depth)), a quadratic of curvature h near 0."""

    def __init__(self, parameters: int, depth: float, curvature: float) -> None:
        super().__init__()
        self.depth, self.curvature = depth, curvature
        self.weight = nn.Parameter(torch.zeros(parameters))

    def forward(self) -> torch.Tensor:
        rise = self.curvature * self.weight.square().sum() / 2
        return self.depth * (1 - torch.exp(-rise / self.depth))


def well_loss(model: Well | Hole, batch: tuple[torch.Tensor]) -> torch.Tensor:
    return model().expand(len(batch[0]))


def diagonal_well() -> Well:
    return Well(torch.diag(torch.tensor(CURVATURES)))


def correlated_hessian() -> torch.Tensor:
    """A dense 4 × 4 Hessian with eigenvalues 0.5, 1, 3 and 8."""
    rng = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(4, 4, generator=rng, dtype=torch.float64))
    return basis @ torch.diag(torch.tensor([0.5, 1.0, 3.0, 8.0], dtype=torch.float64)) @ basis.T


def exact_llc(curvatures=CURVATURES, nbeta=NBETA, gamma=GAMMA) -> float:
    """½ Σ nβh/(nβh + γ)."""
    return sum(0.5 * nbeta * h / (nbeta * h + gamma) for h in curvatures)


def data(samples: int = 8) -> tuple[torch.Tensor]:
    return (torch.zeros(samples),)


def network(seed: int = 0):
    """A small two-layer network on noisy data, in double precision."""
    rng = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.Tanh(), nn.Linear(6, 1, bias=False)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
        xs = torch.randn(256, 4, generator=rng, dtype=torch.float64)
        ys = model(xs).squeeze(-1) + 0.1 * torch.randn(256, generator=rng, dtype=torch.float64)
    return model, (xs, ys)


def squared_errors(model, batch):
    return (model(batch[0]).squeeze(-1) - batch[1]) ** 2


def noisy_well(samples: int = 256):
    """ℓ_i(w) = ½ wᵀHw + s_i·w with Σ s_i = 0: a quadratic whose minibatch gradients have the same noise everywhere."""
    slopes = 3.0 * torch.randn(samples, 5, generator=generator("slopes"), dtype=torch.float64)
    slopes = (slopes - slopes.mean(0)) * torch.tensor(CURVATURES, dtype=torch.float64).sqrt()

    def loss(model, batch):
        return model() + batch[0] @ model.weight

    return diagonal_well(), loss, (slopes,)


def settings_for(name: str, curvature: float) -> dict[str, float]:
    return sampler_named(name).default_settings(curvature, GAMMA, 200)


def regression(samples: int = 23):
    rng = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    xs = torch.randn(samples, 3, generator=rng, dtype=torch.float64)
    ys = torch.randn(samples, generator=rng, dtype=torch.float64)
    return model, (xs, ys)


def make_target(samples: int = 23, **settings) -> Target:
    model, batch = regression(samples)
    return Target(
        model, data=batch, **{"loss": squared_errors, "nbeta": 7.0, "gamma": 0.3, "batch_size": 5, **settings}
    )
