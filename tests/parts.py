"""Parts of what `conftest.py` makes, and processes of one's own: what several files need, and workers import."""

import shutil
from pathlib import Path

from conftest import SMALL_LLC, small_config

import llc
from llc.parallel import pools

# Settings of the estimates there are: their γ is kept, which for a radius is that of all runs.
SAME_LLC = {**SMALL_LLC, "radius": None}


def part_of(whole: llc.Experiment, folder: Path, *numbers: int) -> llc.Experiment:
    """An experiment of some of a finished one's runs, with their estimates and its γ: nothing is trained or sampled."""
    config = small_config(**{"sweep.axes": {"task.num_tasks": list(numbers)}})
    llc.store.claim(folder, llc.store.EXPERIMENT_FILE, config.to_table(), whole.provenance)
    for number in numbers:
        run = whole.run(num_tasks=number).path
        shutil.copytree(run, folder / run.name)
    shutil.copy(whole.path / "llc.toml", folder)
    experiment = llc.train(config, folder, jobs=1)
    llc.estimate_llc_over_training(experiment, steps="0,20,60", **SAME_LLC)
    return experiment


def start(target, *arguments):
    """A process to be killed; a fork of the server that has imported most of what workers need."""
    process = pools._processes("llc.study.over_training").Process(target=target, args=arguments, daemon=True)
    process.start()
    return process
