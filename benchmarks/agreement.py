"""Whether estimates on the demo's transformers agree with each other: seeds, samplers, and full batches.

    make demo && python benchmarks/agreement.py          # about twenty minutes on two cores

Three seeds of the demo's own setting at each of its checkpoints; at the last ones also SGLD and chains on full batches,
which nothing heats. Prints what disagrees and writes `results/agreement.nc`. Estimates that are not called converged
are counted and left out.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import xarray as xr

import llc
from llc import store
from llc.estimate.measure import estimate_at
from llc.parallel import available_cores, quiet, run_units
from llc.study import presets
from llc.study.points import LLCConfig, study_point

HERE = Path(__file__).resolve().parent
SETTINGS = {
    "seed 0": {"seed": 0},
    "seed 1": {"seed": 1},
    "seed 2": {"seed": 2},
    "sgld": {"sampler": "sgld", "draws": 600},
    "full batch": {"batch_size": presets.TINY["num_samples"], "draws": 200},
}
SEEDS = ("seed 0", "seed 1", "seed 2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=HERE.parent / "runs" / "demo", help="the demo's experiment")
    parser.add_argument("--jobs", type=int, default=available_cores())
    arguments = parser.parse_args()
    experiment = llc.open(arguments.folder)
    gamma = store.read_table(experiment.path / "llc.toml")["gamma"]
    steps = [int(step) for step in presets.TINY_STEPS.split(",")]
    units = [
        (run.path, step, {**presets.TINY, "gamma": gamma, **SETTINGS[name]}, name)
        for run, step, name in itertools.product(experiment.runs, steps, SETTINGS)
        if name in SEEDS or step == steps[-1]
    ]
    rows = []
    for outcome in run_units(estimate, units, jobs=arguments.jobs):
        if outcome.error:
            raise outcome.error
        rows.append(outcome.result)
        print(f"{len(rows)}/{len(units)}", *rows[-1].values(), flush=True)
    rows.sort(key=lambda row: (row["run"], row["step"], row["method"]))
    result = dataset(rows)
    store.write_dataset(HERE / "results" / "agreement.nc", result, {"gamma": gamma, **presets.TINY})
    print(report(result))


def estimate(path: Path, step: int, settings: dict, method: str, _report=quiet) -> dict:
    """One estimate as a row."""
    run, config = store.Run(path), LLCConfig(**settings)
    point = study_point(run, step, config)
    found = estimate_at(point, config, key=(config.seed, "agreement", method, run.name, step))
    numbers = {name: float(getattr(found.summary, name)) for name in ("llc", "llc_se", "llc_low", "llc_high")}
    return {"run": run.name, "step": step, "method": method, **numbers, "verdict": found.verdict}


def dataset(rows: list[dict]) -> xr.Dataset:
    """The rows with labels."""
    said = {
        "run": "run",
        "step": "training step",
        "method": "seed, sampler or batch",
        "llc": "estimated local learning coefficient",
        "llc_se": "standard error of llc",
        "llc_low": "lower end of the 90 % interval of llc",
        "llc_high": "upper end of the 90 % interval of llc",
        "verdict": "what the estimate is worth",
    }
    data = {
        name: ("estimate", [row[name] for row in rows], {"long_name": text, "units": "1"})
        for name, text in said.items()
    }
    return xr.Dataset(data)


def report(result: xr.Dataset) -> str:
    """By pairs of converged estimates at one checkpoint: whether 90 % intervals overlap, and how far apart they are."""
    lines, scores = [], {"seeds": [], "methods": []}
    frame = result.to_dataframe()
    for (run, step), group in frame.groupby(["run", "step"]):
        good = group[group.verdict == "converged"]
        for (_, a), (_, b) in itertools.combinations(good.iterrows(), 2):
            kind = "seeds" if {a.method, b.method} <= set(SEEDS) else "methods"
            apart = abs(a.llc - b.llc) / np.hypot(a.llc_se, b.llc_se)
            overlap = a.llc_low <= b.llc_high and b.llc_low <= a.llc_high
            scores[kind].append((apart, overlap))
            if not overlap:
                lines.append(
                    f"{run} step {step}: {a.method} {a.llc:.1f} ± {a.llc_se:.1f}, {b.method} {b.llc:.1f} ± "
                    f"{b.llc_se:.1f} do not overlap"
                )
    for kind, found in scores.items():
        z = np.array([apart for apart, _ in found])
        overlaps = sum(overlap for _, overlap in found)
        lines.append(
            f"{kind}: {len(found)} pairs of converged estimates, {overlaps} overlap; differences in combined standard "
            f"errors: rms {np.sqrt(np.mean(z**2)):.2f}, largest {z.max():.2f}"
        )
    bad = frame.verdict.value_counts()
    lines.append("verdicts: " + ", ".join(f"{count} {verdict}" for verdict, count in bad.items()))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
