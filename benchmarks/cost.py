"""What a learning coefficient costs: gradients and seconds to λ̂ within 5 % of a reference, at 2 % standard error.

    python benchmarks/cost.py            # under an hour on one core; chains that were made before are used again

The kinetic sampler with control variates and paired losses against devinterp 2.0.1's SGLD at its best step size with
its own estimator, on one posterior: n = 2^14 sequences of in-context linear regression, a transformer of 51,717
parameters, minibatches of 256. Prints a table; leaves `results/cost.nc` and `results/cost.png` beside this file. Chains
are kept in `runs/benchmark_cost/`.
"""

import argparse
import shutil
import time
from pathlib import Path

import torch
from cost_chains import Ours, Problem, Traces, our_chains, our_estimates, seconds_per_gradient, their_chains
from cost_estimates import Curve, init_noise, ours, over_calls, settled, theirs
from cost_figure import draw
from cost_report import Check, Findings, Row, as_dataset, as_text

import llc
from llc import store
from llc.training import RunConfig

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "runs" / "benchmark_cost"
RESULTS = HERE / "results"

SEQUENCES = 2**14
# The reference: batches so large that minibatches add about one per cent, which is predicted and taken off.
REFERENCE, REFERENCE_CHAINS, REFERENCE_STEPS = Ours(friction=3, batch_size=4096), 3, 220
# Ours: how many chains of how many steps. The first has the step and friction that `estimate_llc` starts from.
OURS = {
    Ours(friction=2, step=0.8): (4, 360),
    Ours(friction=2, step=0.8, control_variates=False): (4, 300),
    Ours(friction=5): (4, 320),
    Ours(friction=10, step=0.8): (4, 360),
}
# How many seeds of `estimate_llc` itself, by draws.
ESTIMATES = {50: 1, 100: 1}
# devinterp's step sizes, up to nearly where its chains run away (4/a), with chains and steps.
THEIRS = {5e-6: (1, 3072), 1e-5: (3, 2560), 1.4e-5: (2, 2048), 2e-5: (2, 2048), 4e-5: (1, 768)}


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"[{time.monotonic() - started:6.0f} s] {what}", flush=True)

    run = llc.Run(arguments.run) if arguments.run else _trained(arguments.train_steps)
    step = run.steps[-1]
    data = RunConfig.from_table(run.config).task.sample(SEQUENCES, stream="llc")
    traces = FOLDER / "traces"
    if arguments.fresh:
        shutil.rmtree(traces, ignore_errors=True)
    problem = Problem.of(llc.load_model(run, step), data, arguments.gamma, traces)

    made = our_chains(problem, REFERENCE, chains=REFERENCE_CHAINS, steps=REFERENCE_STEPS, say=say)
    findings = Findings(reference=settled(made, 1 / 3), settings=REFERENCE, init_noise=init_noise(problem))
    findings.seconds = seconds_per_gradient(problem, next(iter(OURS)), min(THEIRS))
    for settings, (chains, steps) in OURS.items():
        _ours(findings, problem, settings, our_chains(problem, settings, chains=chains, steps=steps, say=say))
    for step_size, (chains, steps) in THEIRS.items():
        _theirs(findings, problem, step_size, their_chains(problem, step_size, chains=chains, steps=steps, say=say))
    for draws, seeds in ESTIMATES.items():
        findings.estimates[draws] = our_estimates(problem, draws, seeds=seeds, say=say)

    result = as_dataset(findings, problem, trained=f"preset {run.config['preset']}, step {step}")
    RESULTS.mkdir(exist_ok=True)
    store.labelled(result).to_netcdf(RESULTS / "cost.nc")
    draw(result).savefig(RESULTS / "cost.png", dpi=150)
    print(as_text(result))
    say("done")


def _ours(findings: Findings, problem: Problem, settings: Ours, traces: Traces) -> None:
    """What the kinetic sampler's chains say of estimates from four chains, as is the default, and from one."""
    findings.checks.append(Check(str(settings), *settled(traces, 1 / 2)))
    for chains in (4, 1):
        curve = ours(traces, findings.llc, chains=chains, n=problem.n, variates=settings.control_variates)
        name = f"{chains} chain{'s'[: chains > 1]}"
        findings.rows.append(Row("kinetic", name, str(settings), curve, curve.reached()))


def _theirs(findings: Findings, problem: Problem, step_size: float, traces: Traces) -> None:
    """What devinterp's chains say of its own estimator, and of the same with what ails it mended step by step."""
    side, setting = "devinterp SGLD", f"ε = {step_size:g}"

    def curve(noise: float, drop: bool) -> Curve:
        return theirs(traces, findings.llc, n=problem.n, init_noise=noise, drop=drop)

    own = curve(findings.init_noise, False)
    findings.rows.append(Row(side, "own, one call", setting, own, own.reached()))
    findings.rows.append(Row(side, "own, mean of calls", setting, own, over_calls(own)))
    whole, dropped = curve(0.0, False), curve(0.0, True)
    findings.rows.append(Row(side, "init loss on all data", setting, whole, whole.reached()))
    findings.rows.append(Row(side, "same, burn-in dropped", setting, dropped, dropped.reached()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train-steps", type=int, default=20_000, help="of the network, trained if it is not there")
    parser.add_argument("--run", type=Path, help="the folder of a run of that preset trained before, to use instead")
    parser.add_argument("--gamma", type=float, help="γ; by default what `estimate_llc` chooses")
    parser.add_argument("--fresh", action="store_true", help="make all chains again, as after a change to the sampler")
    return parser.parse_args()


def _trained(steps: int) -> llc.Run:
    """The preset's network, trained once."""
    config = llc.presets.hoogland().override({"training.steps": steps})
    return llc.train(config, FOLDER / f"training-{steps}", report=_report).run(None)


def _report(unit: str, done: int, total: int, note: str) -> None:
    if done % 1000 == 0:
        print(f"{unit}: {done}/{total} {note}", flush=True)


if __name__ == "__main__":
    main()
