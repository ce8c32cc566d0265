"""How fast it is, against a plain PyTorch loop, devinterp and canonical-interp, on this machine.

    python benchmarks/speed.py                      # half an hour; the machine should have nothing else to do
    python benchmarks/speed.py --only training      # or sampling, workers, memory, pca

Everything is measured in turns, so that a machine whose speed changes changes it for both sides; what counts are the
ratios. Prints a table; leaves `results/speed.toml` with the machine and the versions.
"""

import argparse
import importlib.metadata
import os
import platform
import tomllib
from pathlib import Path

import speed_memory
import speed_sampling
import speed_training
import tomli_w
import torch
from speed_rows import Row

from llc.doctor.machine import processor

RESULTS = Path(__file__).resolve().parent / "results" / "speed.toml"
PARTS = {
    "training": speed_training.measure,
    "sampling": speed_sampling.measure,
    "workers": speed_sampling.measure_workers,
    "memory": speed_memory.measure,
    "pca": speed_memory.measure_pca,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="parts to measure")
    parts = parser.parse_args().only
    found = tomllib.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in parts:
        print(f"{part} …", flush=True)
        rows: list[Row] = PARTS[part]()
        found[part] = {"machine": machine(), "rows": [row.table() for row in rows]}
        for row in rows:
            print(f"  {row}", flush=True)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(tomli_w.dumps(found))
    print(f"Wrote {RESULTS}")


def machine() -> dict[str, str | int]:
    names = ("torch", "devinterp", "canonical-interp", "numpy")
    versions = {name: _version(name) for name in names}
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return {
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        **gpu,
        **versions,
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
