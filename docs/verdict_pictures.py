"""The pictures of the pages on verdicts, an estimate that ends with each: `python docs/verdict_pictures.py`.

Takes a minute or two of one core. The problems are small ones whose learning coefficients are known.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import nn
from xarray import DataTree

import llc
from llc.models.deep_linear import DeepLinear

FOLDER = Path(__file__).parent / "figures" / "verdicts"


class Weights(nn.Module):
    """A few weights that are all there is to a model."""

    def __init__(self, at: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(at, dtype=torch.float64))

    def forward(self) -> torch.Tensor:
        """Them."""
        return self.weight


def network() -> tuple[DeepLinear, Callable, tuple[torch.Tensor, torch.Tensor]]:
    """Two linear layers, 6-4-6, at a map of rank 2, without noise: λ = 13.5."""
    rng = torch.Generator().manual_seed(0)
    model = DeepLinear((6, 4, 6))
    model.set_to_rank(2, rng)
    xs = 20 * torch.rand(128, 6, generator=rng) - 10
    with torch.no_grad():
        ys = model(xs)
    return model, squared_errors, (xs, ys)


def squared_errors(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """One a sample."""
    return (model(batch[0]) - batch[1]).square().mean(-1)


def of_network(**settings) -> tuple[DataTree, float]:
    """An estimate of it with these settings, and the exact value."""
    model, loss, data = network()
    zero = {"the zero predictor": float(data[1].square().mean())}
    exact = float(llc.learning_coefficient.deep_linear((6, 4, 6), 2).value)
    return llc.estimate_llc(model, loss, data, reference_losses=zero, **settings), exact


def diverged() -> tuple[DataTree, float]:
    """1 − √(1 − x²), which is no number beyond x = 1."""

    def loss(model: nn.Module, batch: tuple[torch.Tensor]) -> torch.Tensor:
        x, y = model()
        return (1 - (1 - x**2).sqrt() + y**2 / 2).expand(len(batch[0]))

    given = {"nbeta": 6.0, "gamma": 0.5, "draws": 150, "chains": 6, "step_size": 0.2}
    return llc.estimate_llc(Weights([0.0, 0.0]), loss, (torch.zeros(16),), **given), 1.0


def off_minimum() -> tuple[DataTree, float]:
    """The network's weights shaken, and λ̂ asked for where they stand."""
    model, loss, data = network()
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=rng))
    exact = float(llc.learning_coefficient.deep_linear((6, 4, 6), 2).value)
    return llc.estimate_llc(model, loss, data, headline="w*"), exact


def scale_dependent() -> tuple[DataTree, float]:
    """Curvatures over six orders of magnitude: λ̂ counts those above γ/nβ, and some lie on either side of any."""
    curvatures = torch.logspace(-4, 2, 60, dtype=torch.float64)

    def loss(model: nn.Module, batch: tuple[torch.Tensor]) -> torch.Tensor:
        return ((curvatures * model() ** 2).sum() / 2).expand(len(batch[0]))

    tree = llc.estimate_llc(Weights([0.0] * 60), loss, (torch.zeros(16),), nbeta=1000.0, gamma=100.0, draws=1500)
    return tree, 30.0


def step_size_biased() -> tuple[DataTree, float]:
    """Five weights, of which every sample has another slope: minibatches of 8 heat the chains."""
    rng = torch.Generator().manual_seed(0)
    slopes = 3 * torch.randn(256, 5, generator=rng, dtype=torch.float64)
    slopes -= slopes.mean(0)
    curvatures = torch.tensor([0.0, 0.1, 1.0, 4.0, 10.0], dtype=torch.float64)

    def loss(model: nn.Module, batch: tuple[torch.Tensor]) -> torch.Tensor:
        return (curvatures * model() ** 2).sum() / 2 + batch[0] @ model()

    heated = {"batch_size": 8, "control_variates": False, "draws": 1000, "step_size": 0.03}
    return llc.estimate_llc(Weights([0.0] * 5), loss, (slopes,), nbeta=50.0, gamma=2.0, **heated), 2.0


MADE: dict[str, Callable[[], tuple[DataTree, float]]] = {
    "converged": of_network,
    "drifting": lambda: of_network(nbeta=1e6, gamma=0.1, draws=60),
    "diverged": diverged,
    "prior-dominated": lambda: of_network(nbeta=1e4, gamma=1e7, draws=300),
    "delocalised": lambda: of_network(nbeta=0.05, gamma=0.01, draws=300),
    "off-minimum": off_minimum,
    "scale-dependent": scale_dependent,
    "step-size-biased": step_size_biased,
}


def picture(verdict: str, tree: DataTree, exact: float) -> None:
    """The traces, burn-in in grey, with λ̂, its interval and the exact value."""
    figure, axes = plt.subplots(figsize=(6.4, 3), layout="constrained")
    burnt = tree["warmup_posterior"].llc
    for chain in burnt:
        axes.plot(range(-burnt.sizes["draw"], 0), chain, color="#aaaaaa", linewidth=0.8)
    for chain in tree["posterior"].llc:
        axes.plot(chain.draw, chain, linewidth=0.8)
    axes.axhline(float(tree.llc), color="black", linewidth=1.2, label=f"λ̂ = {float(tree.llc):.3g}")
    axes.axhspan(float(tree.llc_low), float(tree.llc_high), color="black", alpha=0.12, label="its 90 % interval")
    axes.axhline(exact, color="black", linestyle="--", linewidth=1, label=f"λ = {exact:g}")
    axes.set(xlabel="draw", ylabel="nβ (L(w) − L(w*))", title=verdict)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / f"{verdict}.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    for wanted, make in MADE.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of steps above the stable one, which are meant
            tree, exact = make()
        found = str(tree.verdict.values)
        print(f"{wanted}: {found}, λ̂ = {float(tree.llc):.3g} ± {float(tree.llc_se):.2g}, λ = {exact:g}")
        print(f"    {tree.reason.values}")
        if found != wanted:
            raise SystemExit(f"{found} came out where {wanted} was to be shown")
        picture(wanted, tree, exact)
