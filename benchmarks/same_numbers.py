"""Whether the linear-regression study gives the same numbers at two commits, bit for bit on one machine.

    python benchmarks/same_numbers.py 337b152 HEAD     # before and after studies became general; three minutes

Each commit is unpacked into a folder of its own, trains `tiny` for so many steps, and projects it, with the interpreter
that runs this script. Compared are all weights of all checkpoints, losses, distances, losses of references and the
principal components. Datasets of version 0.1, whose names encode test sets and references (`distance_ridge_id`), are
read as what they became.

Prints how many numbers were compared and how many differ; ends with 1 where any does.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[1]
TEST_SETS, REFERENCES = ("id", "ood", "root"), ("ridge", "dmmse", "zero")


def made(commit: str, folder: Path, steps: int, seed: int) -> Path:
    """The study as that commit's code makes it."""
    tree = folder / "tree"
    tree.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "x", "-C", str(tree)], input=archive, check=True)
    run, environment = folder / "run", {**os.environ, "PYTHONPATH": str(tree), "CUDA_VISIBLE_DEVICES": ""}
    train = ["train", "--preset", "tiny", "--set", f"training.steps={steps}", "--seeds", str(seed), "--device", "cpu"]
    for command in ([*train, "--out", str(run)], ["pca", str(run)]):
        subprocess.run([sys.executable, "-m", "llc", *command], cwd=tree, env=environment, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
    return run


def weights(run: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every weight of every checkpoint, by M, step and name; M is in the run's folder, `M=4,…` or `num_tasks=4,…`."""
    for path in sorted(run.glob("*/checkpoints/*.safetensors")):
        place = path.parts[-3].replace("num_tasks=", "M=")
        for name, values in load_file(path).items():
            yield f"weights {place} {path.stem} {name}", values


def values(run: Path) -> Iterator[tuple[str, np.ndarray]]:
    """What was measured, by what it is, whatever it was called."""
    metrics, pca = (xr.load_dataset(run / f"{name}.nc") for name in ("metrics", "pca"))
    new = "loss" in metrics
    for test_set in TEST_SETS:
        yield f"loss {test_set}", (metrics.loss.sel(test_set=test_set) if new else metrics[f"loss_{test_set}"]).values
        for reference in REFERENCES:
            place = {"test_set": test_set, "reference": reference}
            old = f"{reference}_loss_{test_set}"
            found = metrics.reference_loss.sel(place) if new else metrics[old]
            yield f"loss of {reference} {test_set}", found.values
            if reference != "zero":
                found = metrics.distance.sel(place) if new else metrics[f"distance_{reference}_{test_set}"]
                yield f"distance {reference} {test_set}", found.values
    for name in ("learning_rate", "weight_norm"):
        yield name, metrics[name].values
    for name in ("score", "explained_variance_ratio", "explained_variance_null"):
        yield f"pca {name}", pca[name].values
    loading = pca.loading.transpose("sequence", "position", "component")
    yield "pca loading", loading.values
    # ridge has one place for all runs in 0.1
    shape = (*metrics.learning_rate.shape[:2], pca.sizes["component"])
    ridge = pca.score_reference.sel(reference="ridge").values if new else np.broadcast_to(pca.score_ridge, shape)
    dmmse = pca.score_reference.sel(reference="dmmse").values if new else pca.score_dmmse.values[:, None]
    yield "pca ridge", ridge
    yield "pca dmmse", np.broadcast_to(dmmse, shape)


def gap(before: np.ndarray, after: np.ndarray) -> str:
    """How two arrays differ, in words."""
    if before.shape != after.shape or before.dtype != after.dtype:
        return f"{before.dtype} of {before.shape} before, {after.dtype} of {after.shape} after"
    return f"by {np.nanmax(np.abs(after.astype(float) - before)):.3g} at most, of {np.nanmax(np.abs(before)):.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after", nargs="?", default="HEAD")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            made(commit, Path(folder, name), arguments.steps, arguments.seed)
            for name, commit in (("before", arguments.before), ("after", arguments.after))
        ]
        before, after = ({**dict(weights(run)), **dict(values(run))} for run in runs)
    if not any(name.startswith("weights") for name in before):
        sys.exit("no weights were found")
    lacking = sorted(set(before) ^ set(after))
    other = {
        name: gap(before[name], after[name])
        for name in sorted(set(before) & set(after))
        if before[name].dtype != after[name].dtype or not np.array_equal(before[name], after[name], equal_nan=True)
    }
    print(f"{len(before)} arrays, {sum(array.size for array in before.values()):,} numbers: {len(other)} arrays differ")
    for name, said in list(other.items())[:20]:
        print(f"  {name}: {said}")
    for name in lacking:
        print(f"  only on one side: {name}")
    sys.exit(1 if other or lacking else 0)


if __name__ == "__main__":
    main()
