"""What directions with curvature hold of λ, against closed forms and exact eigenvalues."""

import math

import pytest
import torch
from torch import nn
from wells import Well, data, make_target, well_loss

from llc.estimate.scale import Rung
from llc.estimate.spectrum import Held, spectrum
from llc.models.deep_linear import DeepLinear
from llc.sampling import Target

PLENTY = 10**6


def network_target(widths: tuple[int, ...], rank: int, noise: float = 0.0, samples: int = 400) -> Target:
    rng = torch.Generator().manual_seed(3)
    model = DeepLinear(list(widths))
    model.set_to_rank(rank, rng)
    x = torch.randn(samples, widths[0], generator=rng)
    with torch.no_grad():
        y = model(x)
    y = y + noise * torch.randn(y.shape, generator=rng)
    return Target(
        model, lambda model, batch: (model(batch[0]) - batch[1]).square().sum(1), (x, y), nbeta=1.0, gamma=1.0,
        batch_size=samples,
    )  # fmt: skip


def test_products_are_those_of_the_whole_hessian():
    """Differences of gradients in double precision, microbatches and positions aside."""
    target = make_target(batch_size=5)
    vector = torch.randn(target.num_parameters, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    everything = make_target(batch_size=23)
    (minibatch,) = [next(everything.minibatches(torch.Generator().manual_seed(0)))]
    ahead, behind = (
        everything.losses_and_gradient(everything.origin + sign * 1e-5 * vector, minibatch)[1] for sign in (1, -1)
    )
    torch.testing.assert_close(target.hessian_product(vector), (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-8)
    assert target.gradients == 3 * 5


def rotated(curvatures: list[float]) -> Target:
    """A well with these curvatures along directions of no one's choosing."""
    rng = torch.Generator().manual_seed(1)
    basis, _ = torch.linalg.qr(torch.randn(len(curvatures), len(curvatures), generator=rng, dtype=torch.float64))
    hessian = basis @ torch.diag(torch.tensor(curvatures, dtype=torch.float64)) @ basis.T
    return Target(Well(hessian), well_loss, data(), nbeta=1.0, gamma=1.0, batch_size=8)


CURVATURES = [0.0] * 60 + [0.3] * 60 + [1.0] * 60 + [4.0] * 60


@pytest.mark.parametrize("rho", [0.01, 0.5, 10.0])
@pytest.mark.parametrize(("budget", "whole"), [(PLENTY, True), (20 * 3 * 200, False)])
def test_a_quadratic_wells_directions_count_as_they_do_in_its_llc(rho, budget, whole):
    """½ Σ h/(h + ρ): exactly from all products, within three standard errors from five random vectors."""
    found, gradients = spectrum(rotated(CURVATURES), budget)
    held, error = found.held(rho)
    exact = sum(0.5 * h / (h + rho) for h in CURVATURES)
    assert abs(held - exact) < 3 * error + 1e-6
    assert (error == 0) == whole
    assert error < 0.1 * exact
    assert gradients == 3 * (240 if whole else 5 * 4)  # one Lanczos step an eigenvalue


@pytest.mark.parametrize("decades", [1.0, 2.0, 4.0])
def test_what_is_not_told_from_flat_directions_is_not_counted(decades):
    """Curvatures all the way down: at most ½ Σ h/(h + ρ) is held after forty steps, and most of it where that is told.

    Without residuals the lowest Ritz value would count every flat direction, twice the truth.
    """
    steep = torch.logspace(-decades, 0, 250, dtype=torch.float64).tolist()
    found, _ = spectrum(rotated([*steep, *[0.0] * 250]), PLENTY)
    assert len(found.curvatures) == 12
    held, error = found.held(1e-6)
    exact = sum(0.5 * h / (h + 1e-6) for h in steep)
    assert held < exact + 3 * error
    if decades <= 2:
        assert held > 0.75 * exact


def test_curvatures_no_larger_than_the_most_negative_one_are_noise():
    target = Target(
        Well(torch.diag(torch.tensor([3.0, 0.9e-2, -1e-2]))), well_loss, data(), nbeta=1.0, gamma=1.0, batch_size=8
    )
    assert spectrum(target, PLENTY)[0].held(1e-6)[0] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(("widths", "rank", "held"), [((8, 10, 6), 6, 24.0), ((6, 4, 6), 2, 10.0)])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_of_deep_linear_networks(widths, rank, held, noise):
    """½ rank H = ½ r(H_in + H_out − r) at a minimum of rank r, all of λ where r is the largest there can be.

    Also with labels whose noise lends flat directions curvatures of both signs.
    """
    found, _ = spectrum(network_target(widths, rank, noise), PLENTY)
    value, error = found.held(1e-5 * float(found.curvatures[0].max()))
    assert error == 0
    assert value == pytest.approx(held, abs=0.1)


def test_a_well_without_curvature_holds_nothing():
    found, _ = spectrum(network_target((6, 4, 6), 0), PLENTY)
    assert found.held(1e-3) == (0.0, 0.0)


class Kinked(nn.Module):
    """Something of somebody's that has a gradient, and no second one."""

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, values):
            ctx.save_for_backward(values)
            return values.square().sum()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, grad):
            return 2 * grad * ctx.saved_tensors[0]

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self):
        return self.Once.apply(self.weight)


def test_what_has_no_second_derivative_or_no_budget_is_not_looked_at():
    target = Target(Kinked(), well_loss, data(), nbeta=1.0, gamma=1.0, batch_size=8)
    assert spectrum(target, PLENTY)[0] is None
    assert spectrum(network_target((6, 4, 6), 2), 100) == (None, 0)
    assert math.isfinite(spectrum(network_target((6, 4, 6), 2), PLENTY)[0].held(1.0)[0])


def test_what_flatter_curvatures_explain_is_what_they_count_less():
    """From ρ to ρ' at a fourth of every curvature: ½ Σ h/(h + ρ) − ½ Σ h/(h + 4ρ'); nothing where ρ' is finer yet."""
    held, h = Held(rotated(CURVATURES), PLENTY), torch.tensor(CURVATURES)
    near, same, finer = Rung(2.0, 1.0, 0.0, 0.0), Rung(2.0, 1.0, 0.0, 0.0), Rung(2.0, 0.1, 0.0, 0.0)
    expected = 0.5 * float((h / (h + 0.5) - h / (h + 2.0)).sum())
    assert held.lost_to_flatter(near, same) == pytest.approx(expected, rel=1e-5)
    assert held.lost_to_flatter(near, finer) == 0.0
    assert Held(rotated(CURVATURES), 10).lost_to_flatter(near, same) == 0.0  # too dear to look
