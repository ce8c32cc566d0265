"""Peak memory over the number of checkpoints and of chains, and of the joint PCA at paper scale."""

import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from speed_rows import Row
from speed_training import in_a_process

import llc
from llc import behaviour, models, store
from llc.development import principal
from llc.sampling import SAMPLERS, Target, run_chains
from llc.study import over_training
from llc.study.points import LLCConfig

SETTINGS = {"gamma": 100.0, "num_samples": 256, "batch_size": 64, "draws": 200, "warmup": 200}
PAPER = (66_000, 8192)


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        return [
            _flat("peak memory of merging estimates, 10 against 1000 checkpoints", merging, folder, 10, 1000),
            _flat("peak memory of sampling, 4 against 64 chains", sampling, folder, 4, 64),
            _flat("peak memory of training, 10 against 1000 checkpoints", training, folder, 10, 1000),
        ]


def measure_pca() -> list[Row]:
    seconds, peak = in_a_process(joint_pca)
    print(f"  principal components of {PAPER[0]} × {PAPER[1]}: {seconds:.0f} s")
    return [
        Row(
            "peak memory of the joint PCA of 66,000 × 8192, against 8 GiB",
            peak,
            8.0,
            "GiB",
            8 / peak,
            8 / peak,
            8 / peak,
            1.0,
        )
    ]


def _flat(name: str, work, folder: str, few: int, many: int) -> Row:
    small, large = in_a_process(work, folder, few), in_a_process(work, folder, many)
    ratio = small / large
    return Row(name, small, large, "GiB", ratio, ratio, ratio, 1 / 1.1)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def merging(folder: str, checkpoints: int) -> float:
    """One estimate, copied to as many steps, merged into llc.nc."""
    out = Path(folder) / f"merge{checkpoints}"
    small = llc.presets.tiny().override(
        {"training.steps": 20, "training.warmup_steps": 0, "sweep.axes": {"task.num_tasks": [4]}}
    )
    experiment = llc.train(small, out, jobs=1)
    llc.estimate_llc_over_training(experiment, steps="last", jobs=1, **SETTINGS)
    (made,) = out.glob("*/llc/*/*.nc")
    before = store.read_dataset(made)
    for step in range(checkpoints):
        moved = before.assign_coords(step=("step", [step], before.step.attrs))
        moved.to_netcdf(made.parent / f"{step:06d}.nc")
    del before
    config = LLCConfig.from_table(store.read_table(out / "llc.toml"))
    over_training._merge(experiment, experiment.runs, config)
    assert experiment.llc.sizes["step"] >= checkpoints
    shutil.rmtree(out)
    return _peak()


def sampling(_folder: str, chains: int) -> float:
    torch.set_num_threads(1)
    run = llc.presets.tiny().runs()[-1]
    data = run.task.sample(4096).flat
    target = Target(
        models.build(run.model, run.task), behaviour.flat_loss(run.task), data, nbeta=500, gamma=100, batch_size=256
    )
    kinetic = SAMPLERS["kinetic"]
    settings = kinetic.default_settings(1e4, 100, 100)
    run_chains(target, kinetic, settings, chains=chains, warmup=0, draws=30, key=(0,))
    return _peak()


def training(folder: str, checkpoints: int) -> float:
    torch.set_num_threads(1)
    settings = {
        "training.steps": checkpoints,
        "training.warmup_steps": 0,
        "checkpoints.every": 1,
        "sweep.axes": {"task.num_tasks": [4]},
    }
    out = Path(folder) / f"train{checkpoints}"
    llc.train(llc.presets.tiny().override({**settings, "behaviour.sequences": 256}), out, jobs=1)
    shutil.rmtree(out)
    return _peak()


def joint_pca() -> tuple[float, float]:
    """Axes of random walks in float32, made anew in each pass; seconds and peak GiB."""
    started = time.perf_counter()

    def chunks() -> Iterator[np.ndarray]:
        for run in range(PAPER[0] // 2200):
            rng = np.random.default_rng(run)
            yield rng.standard_normal((2200, PAPER[1]), dtype=np.float32).cumsum(0)

    found = principal.fit(chunks, PAPER, 4)
    for chunk in chunks():
        found.scores(chunk)
    return time.perf_counter() - started, _peak()
