"""What a GPU does with this tool: that its numbers are right there, and how fast it is. Some ten minutes on one GPU.

    python benchmarks/gpu.py                        # all parts
    python benchmarks/gpu.py --only chains graphs   # some of them
    python benchmarks/gpu.py --device cpu --quick   # that it runs at all

Prints as it goes; leaves `results/gpu.toml` with the machine and the versions, each part once it is done.
"""

import argparse
import math
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tomli_w
import torch
from regressions import problems
from speed import machine
from speed_sampling import BATCH, EPSILON, GAMMA, devinterp_chain_rate

import llc
from llc import behaviour, devices, models
from llc.sampling import Target, one_graph, run_many, sampler_named
from llc.training.learner import learner
from llc.training.plan import time_update, update_flops

RESULTS = Path(__file__).resolve().parent / "results" / "gpu.toml"
SAMPLES = 4096


@dataclass(frozen=True)
class Where:
    """The device, and whether everything is to be short."""

    device: torch.device
    quick: bool

    def seconds(self, work: Callable[[], object], times: int = 20) -> float:
        """Seconds of one call, the device waited for; the first calls, which compile and allocate, left out."""
        times = 2 if self.quick else times
        for _ in range(2):
            work()
        self.wait()
        started = time.perf_counter()
        for _ in range(times):
            work()
        self.wait()
        return (time.perf_counter() - started) / times

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def presets(self) -> list[str]:
        return ["tiny"] if self.quick else ["tiny", "small", "carroll"]


def agreement(where: Where) -> Iterator[dict]:
    """The same estimates on the CPU and here, in standard errors; the same losses in training, relative."""
    config = llc.presets.tiny().override({"training.steps": 100, "training.warmup_steps": 20})
    run = config.runs()[-1]
    losses = []
    for device in (torch.device("cpu"), where.device):
        learned = learner([run], [None], ensemble=False, device=device)
        for step in range(100):
            loss = float(learned.update([run.task.sample(run.training.batch_size, step=step)], step))
        losses.append(loss)
    model, batch = learned.model(0), run.task.sample(512).flat
    yield {"what": "loss after 100 updates of tiny", "cpu": losses[0], "here": losses[1], "unit": "mean squared error"}
    given = {"nbeta": 100.0, "gamma": 1000.0, "draws": 20 if where.quick else 100, "seed": 1}
    for sampler in llc.sampling.SAMPLERS:
        size = {"batch_size": 512 if sampler_named(sampler).full_batch else 256}
        found = [
            llc.estimate_llc(
                model, behaviour.flat_loss(run.task), batch, sampler=sampler, device=str(device), **given, **size
            )
            for device in ("cpu", where.device)
        ]
        cpu, here = (float(one.llc) for one in found)
        error = math.hypot(*(float(one.llc_se) for one in found))
        yield {"what": f"llc by {sampler}", "cpu": cpu, "here": here, "unit": "nats", "z": (here - cpu) / error}


def defaults(where: Where) -> Iterator[dict]:
    """λ̂ of known λ with nothing given, where all chains share a graph; `benchmarks/regressions.py` has a CPU's."""
    for name, exact, problem in problems(0):
        given = {"max_gradients": 500} if where.quick else {}
        started = time.perf_counter()
        tree = llc.estimate_llc(*problem, device=str(where.device), **given)
        yield {
            "what": f"llc at the defaults, {name}",
            "exact": exact,
            **{key: float(tree[key]) for key in ("llc", "llc_low", "llc_high", "gradients")},
            "verdict": tree.verdict.item(),
            "seconds": time.perf_counter() - started,
        }


def updates(where: Where) -> Iterator[dict]:
    """Training updates, batches and Adam included, as a share of the same precision's matrix products."""
    for name in where.presets():
        for precision in ("float32", "tf32", "bf16"):
            if precision == "tf32" and where.device.type != "cuda":
                continue
            run = llc.presets.preset(name).override({"training.precision": precision}).runs()[-1]
            learned = learner([run], [None], ensemble=False, device=where.device)
            seconds = time_update(learned, [run], 1.0)
            peak = devices.matmul_rate(where.device, precision, seconds=0.1 if where.quick else 1.0) / 1e3
            reached = update_flops(run) / seconds / 1e12
            yield {
                "what": f"an update of {name} in {precision}",
                "ms": 1e3 * seconds,
                "tflops": reached,
                "matmul_tflops": peak,
                "share": reached / peak,
            }


def ensemble(where: Where) -> Iterator[dict]:
    """A sweep's runs in one graph against one by one: where an ensemble pays."""
    for name in where.presets():
        config = llc.presets.preset(name)
        runs = config.override({"sweep.axes": {"task.num_tasks": [1, 4, 16, 64, "inf"]}}).runs()
        one = time_update(learner(runs[:1], [None], ensemble=False, device=where.device), runs[:1], 1.0)
        all_of_them = time_update(learner(runs, [None] * len(runs), ensemble=True, device=where.device), runs, 1.0)
        yield {
            "what": f"five runs of {name} in one graph against one by one",
            "flops": float(update_flops(runs[0])),
            "ms_together": 1e3 * all_of_them,
            "ms_one_by_one": 1e3 * len(runs) * one,
            "ratio": len(runs) * one / all_of_them,
        }


def chains(where: Where) -> Iterator[dict]:
    """Chain-steps a second: one by one, four in a graph, those of eight checkpoints in a graph, and devinterp's."""
    steps = 10 if where.quick else 60
    for name in where.presets():
        run = llc.presets.preset(name).runs()[-1]
        several = [models.build(run.model, run.task, seed).to(where.device) for seed in range(8)]
        data = run.task.sample(SAMPLES).flat
        targets = [
            Target(model, behaviour.flat_loss(run.task), data, nbeta=_NBETA, gamma=GAMMA, batch_size=BATCH)
            for model in several
        ]

        def rate(count: int, together: bool, targets=targets) -> float:
            chosen = targets[:count]
            graph = one_graph(chosen) if together else None
            if together and graph is None:
                return math.nan
            go = lambda: run_many(  # noqa: E731
                chosen,
                sampler_named("sgld"),
                [{"step_size": EPSILON}] * count,
                chains=4,
                warmup=0,
                draws=steps,
                keys=[(0, place) for place in range(count)],
                graph=graph,
            )
            return count * 4 * steps / where.seconds(go, 1)

        row = {
            "what": f"chain-steps of sgld on {name}, batch 256",
            "one_by_one": rate(1, False),
            "four_in_a_graph": rate(1, True),
            "thirty_two_in_a_graph": rate(8, True),
            "unit": "steps/s",
        }
        try:
            row["devinterp"] = devinterp_chain_rate(several[0], behaviour.flat_loss(run.task), data, steps)
        except Exception as error:
            print(f"  devinterp left out: {error!r}", flush=True)
        yield row


def graphs(where: Where) -> Iterator[dict]:
    """A gradient launched kernel by kernel, compiled, and replayed as a CUDA graph: what launching costs."""
    for name in where.presets():
        run = llc.presets.preset(name).runs()[-1]
        model = models.build(run.model, run.task).to(where.device)
        few, loss = run.task.sample(256).to(where.device).flat, behaviour.flat_loss(run.task)

        def gradient(model=model, data=few, loss=loss) -> None:
            for parameter in model.parameters():
                parameter.grad = None
            loss(model, data).mean().backward()

        row = {"what": f"a gradient of {name}, batch 256", "ms_eager": 1e3 * where.seconds(gradient)}
        data = run.task.sample(SAMPLES).flat
        for compile in (False, True):
            target = Target(
                model,
                behaviour.flat_loss(run.task),
                data,
                nbeta=1.0,
                gamma=1.0,
                batch_size=256,
                compile=compile,
                device=where.device,
            )
            minibatch = next(target.minibatches(torch.Generator()))
            work = lambda target=target, minibatch=minibatch: target.losses_and_gradient(target.center, minibatch)  # noqa: E731
            row["ms_target_compiled" if compile else "ms_target"] = 1e3 * where.seconds(work)
        if where.device.type == "cuda":
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                for _ in range(3):
                    gradient()
            torch.cuda.current_stream().wait_stream(side)
            captured = torch.cuda.CUDAGraph()
            with torch.cuda.graph(captured):
                gradient()
            row["ms_cuda_graph"] = 1e3 * where.seconds(captured.replay)
        yield row


def study(where: Where) -> Iterator[dict]:
    """What training all of `small` would take, from the time of its first steps."""
    name, short = ("tiny", 50) if where.quick else ("small", 300)
    config = llc.presets.preset(name)
    every = {"training.steps": short, "training.warmup_steps": 10, "checkpoints.every": short // 5}
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        for steps in (short, 3 * short):
            started = time.perf_counter()
            llc.train(
                config.override({**every, "training.steps": steps, "checkpoints.logarithmic": 0}),
                Path(folder) / str(steps),
                device=str(where.device),
            )
            seconds[steps] = time.perf_counter() - started
        a_step = (seconds[3 * short] - seconds[short]) / (2 * short)
        whole = seconds[short] + a_step * (config.training.steps - short)
        yield {
            "what": f"training {name}, {len(config.runs())} runs",
            "ms_a_step_of_all": 1e3 * a_step,
            "minutes_for_all_steps_at_this_rate": whole / 60,
        }


_NBETA = SAMPLES / math.log(SAMPLES)
PARTS: dict[str, Callable[[Where], Iterator[dict]]] = {
    "agreement": agreement,
    "defaults": defaults,
    "updates": updates,
    "ensemble": ensemble,
    "chains": chains,
    "graphs": graphs,
    "study": study,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="parts to measure")
    parser.add_argument("--device", default="cuda", help="cpu, to see that it runs")
    parser.add_argument("--quick", action="store_true", help="short runs of tiny; nothing is written")
    given = parser.parse_args()
    where = Where(devices.choose_device(given.device), given.quick)
    found = tomllib.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in given.only:
        print(f"{part} …", flush=True)
        rows, started = [], time.perf_counter()
        try:
            for row in PARTS[part](where):
                rows.append(row)
                said = (f"{key} {value:.4g}" if isinstance(value, float) else str(value) for key, value in row.items())
                print("  " + ", ".join(said), flush=True)
                found[part] = {"machine": machine(), "seconds": time.perf_counter() - started, "rows": rows}
                if not given.quick:
                    RESULTS.write_text(tomli_w.dumps(found))
        except Exception as error:  # one part's failure must not cost the others their time on a lent machine
            print(f"  FAILED: {type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    main()
