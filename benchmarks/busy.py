"""What a busy machine does to threads that wait for one another: one estimate on one and on two, at both policies.

    python benchmarks/busy.py --busy 1

Beside so many processes that compute all the time. Prints seconds of the wall and of the processor.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys

ESTIMATE = """
import time, torch, llc
torch.set_num_threads({threads})
torch.manual_seed(0)
layer = torch.nn.TransformerEncoderLayer(64, 2, 128, dropout=0.0, batch_first=True)
model = torch.nn.Sequential(layer, torch.nn.Linear(64, 1))
data = torch.randn(512, 16, 64), torch.randn(512, 16)
loss = lambda model, batch: (model(batch[0])[..., 0] - batch[1]).square()
begun, used = time.time(), time.process_time()
llc.estimate_llc(model, loss, data, nbeta=30.0, gamma=30.0, draws=20, batch_size=64)
print(f"{{time.time() - begun:6.1f}} s, {{time.process_time() - used:6.1f}} s of the processor")
"""


def _compute() -> None:
    while True:
        sum(range(10**6))


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=1, help="other processes")
    others = [multiprocessing.Process(target=_compute, daemon=True) for _ in range(parser.parse_args().busy)]
    for other in others:
        other.start()
    for threads in (1, 2):
        for policy in ("ACTIVE", "PASSIVE"):
            surroundings = {**os.environ, "OMP_WAIT_POLICY": policy}
            command = [sys.executable, "-c", ESTIMATE.format(threads=threads)]
            said = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True).stdout
            print(f"{threads} threads, {policy:8s}{said.strip()}", flush=True)
    for other in others:
        other.terminate()


if __name__ == "__main__":
    main()
