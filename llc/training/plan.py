"""What a sweep is going to take, before days are spent on it."""

import math
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from llc import behaviour, devices, models, own_code, store
from llc.errors import StoreError
from llc.parallel import default_threads, default_workers, torch_threads
from llc.tasks import PROBE_SEQUENCES
from llc.training.config import ExperimentConfig, RunConfig, checkpoint_steps, give_code, weight_steps
from llc.training.learner import Learner, kind_of, learner

# How long a trial may go on timing steps.
_TRIAL_SECONDS = 3.0


@dataclass(frozen=True)
class Plan:
    """What `train` would do, and what that takes.

    Attributes:
        runs: their number.
        parameters: P of each.
        jobs: workers.
        steps: updates a run.
        batch_size: sequences an update.
        checkpoints: recorded steps a run.
        weights: those whose weights are kept.
        flops: floating-point operations of all updates of all runs.
        disk, free: bytes that the experiment takes, and bytes that are free where it goes.
        step_seconds, checkpoint_seconds: of one update and one evaluation, as timed on this machine just now.
    """

    runs: int
    parameters: int
    jobs: int
    steps: int
    batch_size: int
    checkpoints: int
    weights: int
    flops: float
    disk: int
    free: int
    step_seconds: float
    checkpoint_seconds: float

    @property
    def seconds(self) -> float:
        """How long all of it takes, each worker training one run after another."""
        of_run = self.steps * self.step_seconds + self.checkpoints * self.checkpoint_seconds
        return math.ceil(self.runs / self.jobs) * of_run

    def __str__(self) -> str:
        rows = {
            "runs": f"{self.runs}, {self.jobs} at a time",
            "parameters": f"{self.parameters:,} a run",
            "training": f"{self.steps:,} steps of {self.batch_size:,} sequences a run, {self.flops:.2g} FLOPs in all",
            "checkpoints": f"{self.checkpoints:,} a run, {self.weights:,} of them with weights",
            "disk": f"{size(self.disk)}; {size(self.free)} are free"
            + ("" if self.disk <= self.free else ": too little"),
            "time": f"about {_duration(self.seconds)}: {self.step_seconds:.3g} s a step and "
            f"{self.checkpoint_seconds:.3g} s a checkpoint, timed here just now",
        }
        return "\n".join(f"{name:12s} {said}" for name, said in rows.items())


def plan(config: ExperimentConfig, out: str | Path, *, jobs: int | None = None, device: str = "auto") -> Plan:
    """What training a sweep would take: disk from the config, time from a trial of a few seconds. Writes nothing.

    Args:
        config: such as `llc.presets.tiny()`.
        out: the folder that it would go to; it need not be there.
        jobs: worker processes; by default one a core, or one a GPU.
        device: `cpu`, `cuda`, `mps`, or `auto` for the fastest there is.
    Raises:
        InvalidInput: no such device here.
    """
    runs, where = config.runs(), devices.choose_device(device)
    jobs = jobs or default_workers(len(runs), where)
    give_code(config)
    run = runs[-1]
    with torch_threads(default_threads(len(runs))):
        step_seconds, checkpoint_seconds = _probe(run, where)
    return Plan(
        runs=len(runs),
        parameters=max(count_parameters(of_run) for of_run in _kinds(runs)),
        jobs=min(jobs, len(runs)),
        steps=run.training.steps,
        batch_size=run.training.batch_size,
        checkpoints=len(checkpoint_steps(run)),
        weights=len(weight_steps(run)),
        flops=len(runs) * run.training.steps * update_flops(run),
        disk=disk_needed(config),
        free=_free(Path(out)),
        step_seconds=step_seconds,
        checkpoint_seconds=checkpoint_seconds,
    )


def update_flops(run: RunConfig) -> int:
    """Floating-point operations of the matrix products of one update, forwards and backwards.

    Where task and model are ours nothing is computed. Other people's may hold tensors, or look at values.
    """
    device = _where_to_count(run)
    model = models.build(run.model, run.task).to(device)
    batch = run.task.sample(run.training.batch_size, stream="plan").to(device)  # of full length in a curriculum too
    with FlopCounterMode(display=False) as counter:
        behaviour.TaskLoss(run.task)(model, batch).mean().backward()
    return counter.get_total_flops()


def disk_needed(config: ExperimentConfig) -> int:
    """Bytes that a sweep's checkpoints, states and metrics will take, within a few per cent."""
    runs = config.runs()
    needed = {kind_of(run): _disk_of(run) for run in _kinds(runs)}
    return sum(needed[kind_of(run)] for run in runs)


def _kinds(runs: Sequence[RunConfig]) -> list[RunConfig]:
    """One run of each kind."""
    return list({kind_of(run): run for run in runs}.values())


def _disk_of(run: RunConfig) -> int:
    weights = 4 * count_parameters(run)
    steps, kept = len(checkpoint_steps(run)), len(weight_steps(run))
    outputs = math.prod(run.task.shapes["targets"])
    predictions = (steps - kept) * 4 * PROBE_SEQUENCES * outputs
    metrics = steps * outputs * 8 * 12
    copies = 2 if run.training.average_steps else 1
    return steps * 4096 + copies * (kept + 4) * weights + predictions + metrics


def count_parameters(config: ExperimentConfig | RunConfig) -> int:
    """P, the number of parameters of the config's model; of a sweep's first run.

    Args:
        config: of a run or a sweep.
    """
    run = config.runs()[0] if isinstance(config, ExperimentConfig) else config
    with torch.device(_where_to_count(run)):
        model = models.build(run.model, run.task)
    return sum(parameter.numel() for parameter in model.parameters())


def _where_to_count(run: RunConfig) -> torch.device:
    factory = isinstance(run.model, models.FactoryConfig)
    ours = own_code.is_ours(type(run.task)) and own_code.is_ours(type(run.model)) and not factory
    return torch.device("meta" if ours else "cpu")


def check_room(config: ExperimentConfig, out: Path) -> None:
    """Raise StoreError if the disk cannot hold what is still to be written."""
    ours = store.own_folders(out, [store.run_name(run.place) for run in config.runs()])
    there = sum(path.lstat().st_size for folder in ours if folder.is_dir() for path in folder.iterdir())
    needed, free = disk_needed(config) - there, _free(out)
    if needed > free:
        steps = len(checkpoint_steps(config.runs()[0]))
        raise StoreError(
            f"{out} needs {size(needed)} for {len(config.runs())} runs of {steps} checkpoints, but its disk has "
            f"{size(free)} free; choose another disk, fewer checkpoints with --set checkpoints.every=…, or fewer "
            "weights among them with --set checkpoints.weights_every=…"
        )


def size(number: float) -> str:
    """Bytes for a reader: `1.5 GiB`."""
    power = min(4, int(math.log(max(number, 1), 1024)))
    return f"{number / 1024**power:.3g} {['B', 'KiB', 'MiB', 'GiB', 'TiB'][power]}"


def _free(out: Path) -> int:
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def _probe(run: RunConfig, device: torch.device) -> tuple[float, float]:
    """Seconds of one update, and of recording one checkpoint."""
    learned = learner([run], [None], ensemble=False, device=device)
    step_seconds = time_update(learned, [run])
    sets, probe = behaviour.eval_sets(run.task, run.behaviour.sequences), run.task.probe()
    started = time.perf_counter()
    behaviour.evaluate(learned.model(0), sets)
    behaviour.predict(learned.model(0), probe)
    return step_seconds, time.perf_counter() - started


def time_update(learned: Learner, configs: Sequence[RunConfig], seconds: float = _TRIAL_SECONDS) -> float:
    """Seconds that one update of these runs takes, batches included: the median of some, without the slow first."""
    times: list[float] = []
    while len(times) < 3 or (sum(times) < seconds and len(times) < 100):
        started = time.perf_counter()
        batches = [
            config.task.sample(config.training.batch_size, step=len(times), stream="timing") for config in configs
        ]
        learned.update(batches, len(times)).isfinite().all()  # waits for the device
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.{0 if seconds >= 20 * length else 1}f} {unit}"
    return f"{seconds:.0f} seconds"
