"""λ̂ of models that are nobody's study: a CNN over its training, and the heads of a Hugging Face GPT-2, one by one.

    python benchmarks/anyone.py --jobs 2     # some minutes on two cores that have nothing else to do

The CNN learns scikit-learn's digits, at fifteen checkpoints, with everything at its defaults; the GPT-2 learns
sequences that repeat with a period of their own, and each of its four heads then moves alone, within 6,000 gradients.
Prints each estimate with its verdict, and the seconds of all; writes `results/anyone.toml`.
"""

import argparse
import copy
import time
import tomllib
from pathlib import Path

import tomli_w
import torch
from sklearn.datasets import load_digits
from torch import nn

import llc

OUT = Path(__file__).resolve().parent / "results" / "anyone.toml"
STEPS = [0, 5, 10, 20, 30, 50, 70, 100, 150, 200, 300, 400, 600, 800, 1000]


def digits(jobs: int):
    """λ̂ at fifteen checkpoints of the CNN."""
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    xs, ys = torch.as_tensor(images[:1000, None].reshape(-1, 1, 8, 8) / 16).float(), torch.as_tensor(labels[:1000])
    model = nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 10))

    def losses(model, batch):
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")

    optimiser, checkpoints = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), {}
    for step in range(STEPS[-1] + 1):
        if step in STEPS:
            checkpoints[step] = copy.deepcopy(model)
        chosen = torch.randint(len(xs), (64,))
        optimiser.zero_grad()
        losses(model, (xs[chosen], ys[chosen])).mean().backward()
        optimiser.step()
    found = llc.estimate_llc_over_checkpoints(checkpoints, None, losses, (xs, ys), jobs=jobs)
    for step in STEPS:
        one = found.sel(step=step)
        yield f"digits, step {step}", float(one.llc), float(one.llc_se), one.verdict.item()


def gpt2_heads(jobs: int):
    """λ̂ of every head by itself."""
    import transformers  # takes seconds to load

    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=8, n_positions=12, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config)

    def tokens(number):
        pieces, periods = torch.randint(8, (number, 6)), torch.randint(3, 7, (number, 1))
        return pieces.gather(1, torch.arange(12)[None] % periods)

    def loss(model, batch):
        return nn.functional.cross_entropy(
            model(batch[:, :-1]).logits.transpose(1, 2), batch[:, 1:], reduction="none"
        ).mean(1)

    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(1000):
        optimiser.zero_grad()
        loss(model, tokens(64)).mean().backward()
        optimiser.step()
    data = tokens(128)
    for name, head in llc.heads(model).items():
        found = llc.estimate_llc(model.eval(), loss, data, parameters=head, max_gradients=6000)
        yield f"gpt-2, head {name}", float(found.llc), float(found.llc_se), found.verdict.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["digits", "gpt2_heads"], nargs="+", default=["digits", "gpt2_heads"])
    parser.add_argument("--jobs", type=int, default=2, help="workers")
    given = parser.parse_args()
    jobs = given.jobs
    found = tomllib.loads(OUT.read_text()) if OUT.exists() else {}
    for name in given.only:
        measure = {"digits": digits, "gpt2_heads": gpt2_heads}[name]
        rows, began = [], time.perf_counter()
        for what, value, error, verdict in measure(jobs):
            rows.append({"name": what, "llc": value, "llc_se": error, "verdict": verdict})
            print(f"{what}: {value:.2f} ± {error:.2f}, {verdict}", flush=True)
        found[name] = {"seconds": time.perf_counter() - began, "jobs": jobs, "rows": rows}
        print(f"{name}: {found[name]['seconds']:.0f} s with training", flush=True)
        OUT.write_text(tomli_w.dumps(found))


if __name__ == "__main__":
    main()
