"""How the order of λ̂ over a sweep hangs on the scale that γ sets: checkpoints of a study, again at other γ.

    python benchmarks/scales.py runs/transient_ridge --only num_tasks=4,16,24,64,inf --steps 18000

Everything else is as in the study's `llc.toml`. Written, by checkpoint and γ: λ̂ with its interval and verdict.
"""

import argparse
import time
from fractions import Fraction
from pathlib import Path

import tomli_w

import llc
from llc.estimate.measure import estimate_at
from llc.parallel import run_units
from llc.study.points import LLCConfig, settings_from, study_point


def estimated(path: Path, step: int, factor: float, progress) -> dict:
    """One row."""
    run = llc.open(path)
    settings = settings_from(path.parent / "llc.toml")
    gamma = settings["gamma"] * factor
    config = LLCConfig(**settings | {"gamma": gamma})
    began = time.perf_counter()
    found = estimate_at(study_point(run, step, config), config, key=(config.seed, "scales", step, gamma))
    summary = found.summary
    progress(run.name, step, step, f"gamma x {factor:g}: {summary.llc:.1f} ± {summary.llc_se:.1f}, {found.verdict}")
    row = {name: float(value) for name, value in run.place.items()} | {
        "step": step,
        "gamma": gamma,
        "nbeta": config.nbeta,
    }
    row |= {name: round(float(getattr(summary, name)), 3) for name in ("llc", "llc_low", "llc_high")}
    return row | {"verdict": found.verdict, "seconds": round(time.perf_counter() - began, 1)}


def main() -> None:
    """Estimate, tell and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="values of an axis, such as num_tasks=4,16,inf")
    parser.add_argument("--seed", type=int, default=0, help="of the runs")
    parser.add_argument("--steps", default="last")
    parser.add_argument("--factors", default="1/4,4", help="of the study's gamma")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scales.toml"))
    given = parser.parse_args()
    axis, _, values = given.only.partition("=")
    chosen = [
        run
        for run in llc.open(given.folder).runs
        if run.place.get("seed", given.seed) == given.seed
        and (not axis or str(run.place[axis]).removesuffix(".0") in values.split(","))
    ]
    units = [
        (run.path.absolute(), step, float(Fraction(factor)))
        for factor in given.factors.split(",")
        for run in chosen
        for step in ([run.steps[-1]] if given.steps == "last" else map(int, given.steps.split(",")))
    ]
    rows = []
    for outcome in run_units(estimated, units, jobs=given.jobs, progress=lambda *told: print(*told, flush=True)):
        if outcome.error:
            raise outcome.error
        rows.append(outcome.result)
        given.out.write_text(tomli_w.dumps({"scales": sorted(rows, key=lambda row: tuple(map(str, row.values())))}))


if __name__ == "__main__":
    main()
