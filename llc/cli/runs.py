"""Commands that make and show experiments: train, import, export, show."""

from __future__ import annotations

from pathlib import Path

import click

from llc.cli.group import FOLDER, Folder, main
from llc.cli.shared import experiment_config, say_next, show_progress, show_summary


@main.command()
@click.option(
    "--preset",
    default="tiny",
    show_default=True,
    help="tiny, small, hoogland, raventos, carroll; or a paper's, which llc systems lists.",
)
@click.option("--out", type=FOLDER, default=None, help="Folder of the experiment.  [default: runs/PRESET]")
@click.option(
    "--system", metavar="PLACE:NAME", default=None, help="Function that returns a study of your own, instead."
)
@click.option("--num-tasks", metavar="M,M,…", default=None, help="Task diversities: --sweep task.num_tasks=….")
@click.option("--seeds", metavar="S,S,…", default=None, help="Seeds of initial weights and data: --sweep seed=….")
@click.option("--sweep", metavar="KEY=V,V,…", multiple=True, help="Values of any setting to train; repeatable.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Override a setting; repeatable.")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Workers.  [default: one a core or GPU]")
@click.option("--scheduler", default=None, metavar="ADDRESS", help="Dask scheduler whose workers do the work.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or mps; auto: the fastest there is.")
@click.option("--precision", default=None, help="float32, tf32 or bf16.  [default: the config's]")
@click.option("--together", type=click.IntRange(min=1), default=None, help="Runs in one graph.  [default: as it pays]")
@click.option("--plan", is_flag=True, help="Only say what it would take: disk, FLOPs, and time from a short probe.")
def train(
    preset: str,
    out: Path | None,
    system: str | None,
    num_tasks: str | None,
    seeds: str | None,
    sweep: tuple[str, ...],
    settings: tuple[str, ...],
    jobs: int | None,
    device: str,
    precision: str | None,
    together: int | None,
    scheduler: str | None,
    plan: bool,
) -> None:
    """Train a sweep of runs and save dense checkpoints.

    Every combination of the sweep's values is trained, side by side on the cores there are. Any setting can be swept; a
    study of your own is a function in a file that returns an ExperimentConfig.

    \b
    Examples:
      llc train --preset tiny --out runs/tiny
      llc train --out runs/mine --num-tasks 1,16,inf --seeds 0,1 --set training.steps=2000
      llc train --out runs/heads --sweep model.heads=1,2,4 --num-tasks 16
      llc train --out runs/own --system my_study.py:my_study
      llc train --preset carroll --set checkpoints.weights_every=20 --plan
    """
    from llc import training

    config = experiment_config(preset, system, num_tasks, seeds, sweep, settings)
    out = out or Path("runs") / (preset if system is None else system.rpartition(":")[2])
    if precision is not None:
        config = config.override({"training.precision": precision})
    if plan:
        click.echo(f"{out}\n{training.plan(config, out, jobs=jobs, device=device)}")
        return
    with show_progress("steps") as progress:
        experiment = training.train(
            config,
            out,
            jobs=jobs,
            together=together,
            device=device,
            scheduler=scheduler,
            system=system,
            progress=progress,
        )
    show_summary(experiment)
    say_next(f"llc estimate-llc {experiment.path}", f"llc pca {experiment.path}", f"llc plot {experiment.path}")


@main.command("import")
@click.argument("source", type=Folder(path_type=Path))
@click.option("--out", type=FOLDER, required=True, help="Folder of the experiment to make.")
@click.option("--preset", default="tiny", show_default=True, help="Whose task and model the weights are of.")
@click.option(
    "--system", metavar="PLACE:NAME", default=None, help="Function that returns a study of your own, instead."
)
@click.option("--num-tasks", metavar="M,M,…", default=None, help="Task diversities: --sweep task.num_tasks=….")
@click.option("--seeds", metavar="S,S,…", default=None, help="Seeds: --sweep seed=….")
@click.option("--sweep", metavar="KEY=V,V,…", multiple=True, help="Values of any setting; repeatable.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Override a setting; repeatable.")
@click.option("--factory", metavar="PLACE:NAME", default=None, help="Function that makes the model, instead of ours.")
def import_(
    source: Path,
    out: Path,
    preset: str,
    system: str | None,
    num_tasks: str | None,
    seeds: str | None,
    sweep: tuple[str, ...],
    settings: tuple[str, ...],
    factory: str | None,
) -> None:
    """Make an experiment of weights that were trained elsewhere.

    SOURCE holds a state_dict for each step, with the step in its name (step_1000.pt, 1000.safetensors); for a sweep, a
    folder of them for each run, named num_tasks=16,seed=0. The model is the preset's, or what --factory returns: an
    nn.Module whose forward(*inputs) gives outputs of the targets' shape.

    \b
    Examples:
      llc import theirs/checkpoints --out runs/theirs --preset hoogland --num-tasks inf
      llc import theirs/checkpoints --out runs/theirs --num-tasks 16 --factory theirs/model.py:build
    """
    from llc import training

    config = experiment_config(preset, system, num_tasks, seeds, sweep, settings)
    if factory is not None:
        config = training.with_factory(config, factory)
    with show_progress("checkpoints") as progress:
        experiment = training.import_weights(source, out, config, system=system, progress=progress)
    show_summary(experiment)
    say_next(f"llc estimate-llc {experiment.path}", f"llc pca {experiment.path}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--step", type=int, default=None, help="Which checkpoint.  [default: the last]")
def export(folder: Path, path: Path, step: int | None) -> None:
    """Write a checkpoint of a run as a plain state_dict: .safetensors, or PyTorch's own .pt, .pth, .ckpt or .bin.

    \b
    Example:
      llc export "runs/tiny/num_tasks=8,seed=0" model.pt --step 2000
    """
    from llc import store, training
    from llc.errors import InvalidInput

    run = store.open_folder(folder)
    if not isinstance(run, store.Run):
        raise InvalidInput(f"{folder} is an experiment; name one of its runs: {', '.join(r.name for r in run.runs)}")
    step = run.steps[-1] if step is None and run.steps else step or 0
    training.export_weights(run, step, path)
    click.echo(f"Wrote {path}: the weights of step {step}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--verify", is_flag=True, help="Read every checkpoint and result, and name those that are damaged.")
def show(folder: Path, verify: bool) -> None:
    """What an experiment or a run holds.

    \b
    Examples:
      llc show runs/tiny
      llc show "runs/tiny/num_tasks=8,seed=0"
      llc show runs/tiny --verify
    """
    from llc import store

    found = store.open_folder(folder)
    click.echo(store.describe(found))
    if verify:
        damaged, unknown = store.verify(found), store.without_checksum(found)
        whole = "No damage was found." if unknown else "Every checkpoint and result is whole."
        click.echo("\n".join(damaged) or whole)
        for said in (*unknown, *store.passed_over(found)):
            click.echo(said)
        if damaged:
            raise click.exceptions.Exit(1)
    if isinstance(found, store.Experiment) and found.has_metrics:
        show_summary(found)
