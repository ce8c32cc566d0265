"""Training: steps a second of a sweep against a plain loop, and gradients against the machine's matrix products."""

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from speed_rows import Row, compared, in_turns

import llc
from llc import behaviour, devices, models
from llc.devices import matmul_rate
from llc.sampling import Target
from llc.training import ExperimentConfig
from llc.training.learner import learner
from llc.training.plan import time_update, update_flops

FEW, MANY = 100, 700
_CPU = torch.device("cpu")


def measure() -> list[Row]:
    tiny = llc.presets.tiny()
    rows = [
        in_turns(
            "steps of a five-run sweep of tiny, all cores, against a plain PyTorch loop",
            lambda: our_rate(tiny),
            lambda: in_a_process(plain_rate, tiny, MANY),
            unit="steps/s",
            wanted=1.3,
        )
    ]
    carroll = llc.presets.carroll()
    rows.append(
        in_turns(
            "steps of carroll, all cores, against a plain PyTorch loop",
            lambda: in_a_process(update_rate, _only_last(carroll), False, None),
            lambda: in_a_process(plain_rate, _only_last(carroll), 6, 1),
            unit="steps/s",
        )
    )
    for name, config, wanted in (("tiny", tiny, None), ("carroll", carroll, 0.7)):
        rows.append(
            compared(
                f"a {name}-size update, Adam and data included, against the float32 matrix product",
                in_a_process(update_flop_rates, config),
                unit="GFLOP/s",
                wanted=wanted,
            )
        )
    for precision, wanted in (("float32", 0.7), ("bf16", 1.4 if has_bfloat16() else None)):
        rows.append(
            compared(
                f"a carroll-size gradient in {precision}, against the float32 matrix product",
                in_a_process(gradient_rates, carroll, precision),
                unit="GFLOP/s",
                wanted=wanted,
            )
        )
    for batch_size in (8, 32, 128):
        config = tiny.override({"training.batch_size": batch_size})
        flops = update_flops(config.runs()[0])
        rows.append(
            in_turns(
                f"five runs of tiny in one graph, batch {batch_size} ({flops:.1e} FLOPs), against one by one, one core",
                lambda config=config: in_a_process(update_rate, config, True),
                lambda config=config: in_a_process(update_rate, config, False),
                unit="steps/s",
            )
        )
    return rows


def in_a_process(work, *arguments):
    """A fresh process has torch's own number of threads and nothing warmed up by others."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def our_rate(config: ExperimentConfig) -> float:
    """Steps a second over all runs of `llc.train`; starting up and the last checkpoint cancel in the difference."""
    seconds = {}
    for steps in (FEW, MANY):
        with tempfile.TemporaryDirectory() as folder:
            settings = {"training.steps": steps, "checkpoints.every": steps, "checkpoints.logarithmic": 0}
            short = config.override({**settings, "training.warmup_steps": 0})
            started = time.perf_counter()
            llc.train(short, Path(folder) / "sweep")
            seconds[steps] = time.perf_counter() - started
    return len(config.runs()) * (MANY - FEW) / (seconds[MANY] - seconds[FEW])


def _only_last(config: ExperimentConfig) -> ExperimentConfig:
    """The sweep's last run alone."""
    return config.override({"sweep.axes": {"task.num_tasks": ["inf"]}})


def plain_rate(config: ExperimentConfig, steps: int, few: int = FEW) -> float:
    """What anybody would write: eager, Adam, one run after another, on all cores; of steps after the first few."""
    seconds = 0.0
    for run in config.runs():
        model = models.build(run.model, run.task, run.seed)
        optimiser = torch.optim.Adam(model.parameters(), lr=run.training.learning_rate)
        for step in range(steps):
            if step == few:
                started = time.perf_counter()
            xs, ys = run.task.sample(run.training.batch_size, step=step).inputs
            loss = (model(xs, ys) - ys).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        seconds += time.perf_counter() - started
    return len(config.runs()) * (steps - few) / seconds


def gradient_rates(config: ExperimentConfig, precision: devices.Precision) -> list[tuple[float, float]]:
    """GFLOP/s of a gradient, as a target of the samplers makes it, and of matrix products, turn and turn about."""
    run = config.runs()[-1]
    size = run.training.batch_size
    target = Target(
        models.build(run.model, run.task),
        behaviour.flat_loss(run.task),
        run.task.sample(size).flat,
        nbeta=1.0,
        gamma=1.0,
        batch_size=size,
        precision=precision,
    )
    minibatch = next(target.minibatches(torch.Generator()))
    gradient = lambda: target.losses_and_gradient(target.center, minibatch)  # noqa: E731
    _seconds(gradient)
    return [(update_flops(run) / _seconds(gradient) / 1e9, matmul_rate(_CPU)) for _ in range(7)]


def has_bfloat16() -> bool:
    """Whether the CPU multiplies matrices in bfloat16 itself."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return "amx_bf16" in flags or "avx512_bf16" in flags


def update_flop_rates(config: ExperimentConfig) -> list[tuple[float, float]]:
    """GFLOP/s of the last run's updates and of matrix products, turn and turn about, on all cores."""
    runs = config.runs()[-1:]
    learned, flops = learner(runs, [None], ensemble=False), update_flops(runs[0])
    return [(flops / time_update(learned, runs) / 1e9, matmul_rate(_CPU)) for _ in range(5)]


def update_rate(config: ExperimentConfig, together: bool, threads: int | None = 1) -> float:
    """Updates a second, all runs counted if together; on so many threads, or all there are."""
    if threads:
        torch.set_num_threads(threads)
    runs = config.runs()
    if together:
        return len(runs) / time_update(learner(runs, [None] * len(runs), ensemble=True), runs)
    return 1 / time_update(learner(runs[:1], [None], ensemble=False), runs[:1])


def _seconds(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
