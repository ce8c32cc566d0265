"""Which size and training shows a transient ridge: many runs of one shape in one graph, on a GPU.

    python benchmarks/recipes.py --name d3 --depth 3 --batch 64 --tasks 24,32,48,inf --rates 1e-3 --seconds 200

Every run has its own M and learning rate; data, Adam and an average over about 1,000 steps are on the device, and the
whole update is one CUDA graph. What is written, by run: how far the OOD loss of the averaged weights came from the zero
predictor's (0) to ridge's (1), at best and at the end, and how far in-distribution loss came from ridge's (0) to
dMMSE_M's (1). `results/recipes.toml` holds what was tried on an H200, with this script's first form, several at a time.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import tomli_w
import torch
import torch.nn.functional as F
from torch import Tensor

from llc.predictors import dmmse, ridge

RECENT = 1000
WARMUP = 500
TEST = 2048
BETAS = (0.9, 0.999)


class Stack:
    """R transformers as `llc.models.Transformer` has them, as one flat (R, P) tensor of weights."""

    def __init__(self, runs: int, given: argparse.Namespace, device: torch.device) -> None:
        self.runs, self.dim, self.examples, self.width = runs, given.dim, given.examples, given.width
        self.depth, self.heads, self.device = given.depth, given.heads, device
        width, mlp, tokens = given.width, given.mlp, 2 * given.examples
        shapes = {"embedding": (given.dim + 1, width), "positions": (tokens, width)}
        for layer in range(given.depth):
            shapes |= {
                f"{layer}.norm": (2, width), f"{layer}.qkv": (width, 3 * width), f"{layer}.out": (width, width),
                f"{layer}.norm_mlp": (2, width), f"{layer}.in": (width, mlp), f"{layer}.in_bias": (mlp,),
                f"{layer}.back": (mlp, width), f"{layer}.back_bias": (width,),
            }  # fmt: skip
        self.shapes = shapes | {"norm": (2, width), "readout": (width, given.dim + 1), "readout_bias": (given.dim + 1,)}
        self.sizes = [math.prod(shape) for shape in self.shapes.values()]
        self.future = torch.full((tokens, tokens), -math.inf, device=device).triu(1)

    def initial(self, rng: torch.Generator) -> Tensor:
        """Weights as `llc.models.transformer.initialise` draws them, (R, P)."""
        fan_in = {"in_bias": "in", "back_bias": "back", "readout_bias": "readout"}
        parts = []
        for name, shape in self.shapes.items():
            layer, _, kind = name.rpartition(".")
            if kind.startswith("norm"):
                value = torch.tensor([1.0, 0.0])[:, None].expand(self.runs, *shape)
            elif kind == "positions":
                value = 0.02 * torch.randn(self.runs, *shape, generator=rng)
            else:
                of = f"{layer}.{fan_in[kind]}" if layer and kind in fan_in else fan_in.get(kind, name)
                value = (2 * torch.rand(self.runs, *shape, generator=rng) - 1) / math.sqrt(self.shapes[of][0])
            parts.append(value.flatten(1))
        return torch.cat(parts, 1).to(self.device)

    def losses(self, flat: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
        """Mean squared errors (R,) on xs (R, B, K, D) and ys (R, B, K)."""
        weights = {
            name: part.view(self.runs, *shape)
            for (name, shape), part in zip(self.shapes.items(), flat.split(self.sizes, 1), strict=True)
        }
        batch, tokens = xs.shape[1], 2 * self.examples
        pairs = torch.stack((F.pad(xs, (1, 0)), F.pad(ys[..., None], (0, self.dim))), 3)
        x = torch.bmm(pairs.view(self.runs, batch * tokens, -1), weights["embedding"])
        x = (x.view(self.runs, batch, tokens, -1) + weights["positions"][:, None]).flatten(1, 2)
        for layer in range(self.depth):
            x = self._block(x, {name[2:]: one for name, one in weights.items() if name.startswith(f"{layer}.")}, batch)
        asked = _norm(x, weights["norm"]).view(self.runs, batch, tokens, -1)[:, :, ::2].flatten(1, 2)
        said = torch.baddbmm(weights["readout_bias"][:, None], asked, weights["readout"])[..., 0]
        return (said.view(self.runs, batch, self.examples) - ys).square().mean((1, 2))

    def _block(self, x: Tensor, weights: dict[str, Tensor], batch: int) -> Tensor:
        tokens, size = 2 * self.examples, self.width // self.heads
        qkv = torch.bmm(_norm(x, weights["norm"]), weights["qkv"])
        q, k, v = qkv.view(self.runs * batch, tokens, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        pattern = torch.softmax(q @ k.transpose(-1, -2) * size**-0.5 + self.future, -1)
        x = x + torch.bmm((pattern @ v).transpose(1, 2).reshape(x.shape), weights["out"])
        hidden = torch.baddbmm(weights["in_bias"][:, None], _norm(x, weights["norm_mlp"]), weights["in"]).relu()
        return x + torch.baddbmm(weights["back_bias"][:, None], hidden, weights["back"])


def _norm(x: Tensor, weights: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:]) * weights[:, :1] + weights[:, 1:]


class Data:
    """Sequences of R task distributions, M tasks each, drawn on the device."""

    def __init__(self, tasks: list[float], given: argparse.Namespace, device: torch.device) -> None:
        self.tasks, self.given, self.device = tasks, given, device
        most = max([int(m) for m in tasks if math.isfinite(m)], default=1)
        rng = torch.Generator().manual_seed(given.seed)
        self.pool = torch.randn(most, given.dim, generator=rng).to(device)
        self.finite = torch.tensor([math.isfinite(m) for m in tasks], device=device)[:, None, None]
        self.count = torch.tensor([m if math.isfinite(m) else 1 for m in tasks], device=device)[:, None]

    def sample(self, batch: int) -> tuple[Tensor, Tensor]:
        """xs (R, B, K, D) and ys (R, B, K)."""
        shape = (len(self.tasks), batch)
        chosen = (torch.rand(shape, device=self.device) * self.count).long()
        fresh = torch.randn(*shape, self.given.dim, device=self.device)
        vectors = torch.where(self.finite, self.pool[chosen], fresh)
        xs = torch.randn(*shape, self.given.examples, self.given.dim, device=self.device)
        noise = torch.randn(xs.shape[:-1], device=self.device)
        return xs, (xs * vectors[:, :, None]).sum(-1) + math.sqrt(self.given.noise) * noise


def trained(
    stack: Stack, data: Data, rates: Tensor, given: argparse.Namespace
) -> tuple[Callable[[], None], Tensor, Tensor]:
    """An update of all runs, their number of updates, and the averaged weights."""
    flat = stack.initial(torch.Generator().manual_seed(given.seed)).requires_grad_()
    flat.grad = torch.zeros_like(flat)
    first, second, average = torch.zeros_like(flat), torch.zeros_like(flat), flat.detach().clone()
    done = torch.zeros((), device=stack.device)
    cuda = stack.device.type == "cuda"
    losses = torch.compile(stack.losses) if cuda else stack.losses

    def update() -> None:
        xs, ys = data.sample(given.batch)
        flat.grad.zero_()  # type: ignore[union-attr]
        losses(flat, xs, ys).sum().backward()
        with torch.no_grad():
            done.add_(1)
            gradient = flat.grad
            first.lerp_(gradient, 1 - BETAS[0])
            second.lerp_(gradient**2, 1 - BETAS[1])
            step = first / (1 - BETAS[0] ** done) / ((second / (1 - BETAS[1] ** done)).sqrt() + 1e-8)
            flat.sub_(rates[:, None] * (done / WARMUP).clamp(max=1) * step)
            average.lerp_(flat, 1 / RECENT)

    if not cuda:
        return update, done, average
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            update()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        update()
    return graph.replay, done, average


def main() -> None:
    """Train one stack for a while, and write what came of each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = {"dim": 4, "examples": 8, "width": 64, "depth": 2, "heads": 4, "mlp": 256, "batch": 128, "seed": 0}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--noise", type=float, default=0.125)
    parser.add_argument("--tasks", default="16,24,32,48,64,inf")
    parser.add_argument("--rates", default="1e-3,3e-3")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--name", required=True)
    parser.add_argument("--out", type=Path, default=Path())
    given = parser.parse_args()
    began = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.manual_seed(given.seed)
    runs = [(float(rate), float(m)) for rate in given.rates.split(",") for m in given.tasks.split(",")]
    data = Data([m for _, m in runs], given, device)
    stack = Stack(len(runs), given, device)
    update, done, average = trained(stack, data, torch.tensor([rate for rate, _ in runs], device=device), given)
    inside = data.sample(TEST)
    outside = tuple(one[-1:] for one in Data([math.inf], given, device).sample(TEST))
    zero = float(outside[1].square().mean())
    known = float(
        (ridge(*(one[0].cpu() for one in outside), noise_variance=given.noise).to(device) - outside[1][0])
        .square()
        .mean()
    )

    def ways(sequences: tuple[Tensor, ...]) -> Tensor:
        with torch.no_grad():
            parts = [stack.losses(average, *(one.expand(len(runs), -1, *one.shape[2:])[:, start : start + 256]
                                             for one in sequences)) for start in range(0, TEST, 256)]  # fmt: skip
        return torch.stack(parts).mean(0).cpu()

    marks = sorted({round(10 ** (place / 10)) for place in range(20, 71)})
    best: dict[int, tuple[float, int]] = {}
    while time.monotonic() - began < given.seconds:
        wanted = next(mark for mark in marks if mark > int(done))
        while int(done) < wanted and time.monotonic() - began < given.seconds:
            for _ in range(min(100, wanted - int(done))):
                update()
        for run, loss in enumerate(ways(outside).tolist()):
            way = (zero - loss) / (zero - known)
            best[run] = max(best.get(run, (-math.inf, 0)), (way, int(done)))
    ends, own = ways(outside).tolist(), ways(inside).tolist()
    rows = []
    for run, (rate, m) in enumerate(runs):
        xs, ys = (one[run].cpu() for one in inside)
        memorised = math.nan
        if math.isfinite(m):
            levels = [float((said - ys).square().mean()) for said in
                      (ridge(xs, ys, noise_variance=given.noise),
                       dmmse(xs, ys, tasks=data.pool[: int(m)].cpu(), noise_variance=given.noise))]  # fmt: skip
            memorised = (levels[0] - own[run]) / (levels[0] - levels[1])
        row = {"rate": rate, "tasks": m, "best": best[run][0], "best_step": best[run][1],
               "end": (zero - ends[run]) / (zero - known), "memorised": memorised}  # fmt: skip
        rows.append(row)
        print({key: round(value, 4) for key, value in row.items()}, file=sys.stderr)
    settings = {key: value for key, value in vars(given).items() if isinstance(value, int | float) and key != "seconds"}
    table = {given.name: {**settings, "steps": int(done), "parameters": sum(stack.sizes), "runs": rows}}
    (given.out / f"{given.name}.toml").write_text(tomli_w.dumps(table))


if __name__ == "__main__":
    main()
