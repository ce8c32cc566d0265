"""Whether estimates at one checkpoint of a transformer agree: seeds, samplers, and half or twice of nβ, γ and n.

    make demo && python benchmarks/agreement.py runs/demo        # on two cores
    llc train --preset hoogland --set training.steps=10000 --set checkpoints.every=5000 --out runs/hoogland
    python benchmarks/agreement.py runs/hoogland                 # sooner on a GPU

At the first, middle and last checkpoint of every run, with the nβ and γ that the study took, or would take. Prints a
line an estimate, which of them leave the interval of the study's own estimate, and the floor; writes
`results/agreement_NAME.nc` and `.png`.
"""

import argparse
import itertools
import math
from pathlib import Path

import numpy as np
import xarray as xr

import llc
from llc import devices, store
from llc.estimate.measure import estimate_at
from llc.parallel import available_cores, quiet, run_units
from llc.study import presets
from llc.study.pilots import settle
from llc.study.points import LLCConfig, choose_steps, study_point

HERE = Path(__file__).resolve().parent
OWN = "as it is"
FACTORS = {"half": 0.5, "twice": 2.0}


def variations(config: LLCConfig) -> dict[str, dict]:
    """What is changed, by its name. Samplers that get about more slowly get more draws."""
    more = {"draws": 6 * config.draws} if config.draws else {"max_gradients": 2 * config.max_gradients}
    changed: dict[str, dict] = {OWN: {}, "seed 1": {"seed": 1}, "seed 2": {"seed": 2}}
    changed |= {"sgld": {"sampler": "sgld", **more}, "gle": {"sampler": "gle"}}
    for name in ("nbeta", "gamma"):
        changed |= {f"{how} {name}": {name: factor * getattr(config, name)} for how, factor in FACTORS.items()}
    return changed | {f"{how} n": {"num_samples": int(factor * config.num_samples)} for how, factor in FACTORS.items()}


def study_settings(experiment: store.Experiment, where: str) -> LLCConfig:
    """Those that the study's estimates were made with; else what they would be."""
    made = experiment.path / "llc.toml"
    if made.is_file():
        return LLCConfig.from_table(store.read_table(made))
    own = presets.ESTIMATES.get(str(experiment.config.get("preset")), {})
    own = {name: value for name, value in own.items() if name != "steps"}
    return settle(LLCConfig(**own), experiment.runs, devices.choose_device(where))


def estimate(path: Path, step: int, config: LLCConfig, changed: str, where: str, _progress=quiet) -> dict:
    """One estimate as a row."""
    run = store.Run(path)
    config = config.model_copy(update=variations(config)[changed])
    key = (config.seed, "agreement", changed, run.name, step)
    found = estimate_at(study_point(run, step, config), config, key=key, device=devices.choose_device(where))
    numbers = {name: float(getattr(found.summary, name)) for name in ("llc", "llc_se", "llc_low", "llc_high")}
    wanted = ("llc_at_w", "llc_basin", "floor_nats", "floor_nats_se", "slope_nbeta", "slope_gamma", "gradients")
    numbers |= {name: float(getattr(found, name)) for name in wanted}
    return {"run": run.name, "step": step, "changed": changed, **numbers, "verdict": found.verdict}


def dataset(rows: list[dict]) -> xr.Dataset:
    """The rows with labels."""
    said = {
        "run": "run",
        "step": "training step",
        "changed": "seed, sampler or setting that differs",
        "llc": "estimated local learning coefficient",
        "llc_se": "standard error of llc",
        "llc_low": "lower end of the 90 % interval of llc",
        "llc_high": "upper end of the 90 % interval of llc",
        "llc_at_w": "llc with the loss at w* subtracted",
        "llc_basin": "llc of the basin",
        "floor_nats": "height of w* above the floor of its basin",
        "floor_nats_se": "standard error of floor_nats",
        "slope_nbeta": "change of llc at w* with log nbeta",
        "slope_gamma": "change of llc at w* with log gamma",
        "gradients": "minibatch gradients",
        "verdict": "what the estimate is worth",
    }
    data = {
        name: ("estimate", [row[name] for row in rows], {"long_name": text, "units": "1"})
        for name, text in said.items()
    }
    return xr.Dataset(data)


def report(result: xr.Dataset) -> str:
    """By checkpoint: the study's own estimate, its floor, what half and twice do; then how the seeds agree."""
    lines, scores = [], []
    for (run, step), rows in result.to_dataframe().groupby(["run", "step"]):
        group = rows.set_index("changed")
        own = group.loc[OWN]
        half = (own.llc_high - own.llc_low) / 2
        lines.append(
            f"{run} step {step}: {own.llc:.3g} ± {half:.2g} {own.verdict}; floor {own.floor_nats:.3g} ± "
            f"{own.floor_nats_se:.2g} nats below w*, llc at w* {own.llc_at_w:.3g}, of the basin {own.llc_basin:.3g}"
        )
        others = group.drop(index=OWN)
        out = [
            f"{name} {one.llc:.3g} ({100 * (one.llc / own.llc - 1):+.0f} %)"
            for name, one in others.iterrows()
            if not abs(one.llc - own.llc) <= half + (one.llc_high - one.llc_low) / 2
        ]
        lines.append("    intervals that do not overlap with it: " + (", ".join(out) or "none"))
        seeds = group.loc[[OWN, "seed 1", "seed 2"]]
        for (_, a), (_, b) in itertools.combinations(seeds.iterrows(), 2):
            scores.append(abs(a.llc - b.llc) / math.hypot(a.llc_se, b.llc_se))
    z = np.array(scores)
    lines.append(
        f"{len(z)} pairs of seeds: apart by {np.sqrt((z**2).mean()):.2f} combined errors (rms), at most {z.max():.2f}"
    )
    counts = result.verdict.to_series().value_counts()
    lines.append("verdicts: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return "\n".join(lines)


def draw(result: xr.Dataset, path: Path) -> None:
    """A row a checkpoint: the study's own estimate with its interval, and what each change makes of it."""
    import matplotlib.pyplot as plt

    from llc import figures

    frame = result.to_dataframe()
    points = list(frame.groupby(["run", "step"]))
    names = [name for name in dict.fromkeys(frame.changed) if name != OWN]
    colours = dict(zip(names, plt.get_cmap("tab10").colors, strict=False))
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.62 * len(points)), layout="constrained")
    for row, (_, rows) in enumerate(points):
        group = rows.set_index("changed")
        own = group.loc[OWN]
        axes.fill_betweenx([row - 0.42, row + 0.42], own.llc_low, own.llc_high, color="0.88", zorder=0)
        axes.plot([own.llc, own.llc], [row - 0.42, row + 0.42], color="0.3", lw=1)
        for place, name in enumerate(names):
            one = group.loc[name]
            height = row - 0.36 + 0.72 * place / (len(names) - 1)
            axes.plot([one.llc_low, one.llc_high], [height, height], color=colours[name], lw=1)
            axes.plot(one.llc, height, "o", ms=4, color=colours[name], label=name if row == 0 else None)
    axes.set_yticks(range(len(points)), [f"{run}, step {step}" for (run, step), _ in points])
    axes.set(xlabel="LLC; grey: the study's own 90 % interval", ylim=(len(points) - 0.5, -0.5))
    axes.set_xscale("symlog", linthresh=10)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figures.save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="an experiment, such as runs/demo")
    parser.add_argument("--steps", default="linear:3", help="which checkpoints of each run")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=available_cores())
    parser.add_argument("--out", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    experiment = llc.open(arguments.folder)
    config = study_settings(experiment, arguments.device)
    print(config.model_dump(exclude_unset=True), flush=True)
    units = [
        (run.path, step, config, changed, arguments.device)
        for run in experiment.runs
        for step in choose_steps(arguments.steps, run)
        for changed in variations(config)
    ]
    rows = []
    for outcome in run_units(estimate, units, jobs=arguments.jobs):
        if outcome.error:
            raise outcome.error
        rows.append(outcome.result)
        one = rows[-1]
        print(
            f"{len(rows)}/{len(units)} {one['run']} {one['step']} {one['changed']}: {one['llc']:.4g} ± "
            f"{one['llc_se']:.2g} floor {one['floor_nats']:.3g} ± {one['floor_nats_se']:.2g} {one['verdict']}",
            flush=True,
        )
    order = list(variations(config))
    rows.sort(key=lambda row: (row["run"], row["step"], order.index(row["changed"])))
    result, name = dataset(rows), f"agreement_{experiment.path.name}"
    store.write_dataset(arguments.out / f"{name}.nc", result, config.model_dump())
    draw(result, arguments.out / f"{name}.png")
    print(report(result))


if __name__ == "__main__":
    main()
