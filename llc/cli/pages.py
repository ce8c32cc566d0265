"""Commands that draw and write: plot, report; and demo, which is all of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from llc.cli.group import FOLDER, main
from llc.cli.shared import open_experiment, show_figures, show_progress, show_summary


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--figure", "names", multiple=True, help="Only this one, such as losses, llc or pca; again for others.")
def plot(folder: Path, names: tuple[str, ...]) -> None:
    """Draw the figures of an experiment into its folder.

    \b
    Examples:
      llc plot runs/tiny
      llc plot runs/tiny --figure pca
    """
    from llc import figures

    written, missing = figures.save_figures(open_experiment(folder), list(names))
    show_figures(written, missing)
    if names and missing:
        sys.exit(1)


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--out", type=click.Path(path_type=Path), default=None, help="File.  [default: FOLDER/report.html]")
def report(folder: Path, out: Path | None) -> None:
    """One page of everything: summary in words, figures to zoom into, tables that sort, settings, commands.

    Made of what is there; what is not is named, with the command that makes it. The page needs no network and nothing
    beside it, so it can be sent to somebody.

    \b
    Examples:
      llc report runs/tiny
      llc report runs/tiny --out ~/tiny.html
    """
    from llc.report import write_report

    with show_progress("parts") as tell:
        path = write_report(open_experiment(folder), out, progress=tell)
    click.echo(f"Wrote {path}")


@main.command()
@click.option("--out", type=FOLDER, default=Path("runs/demo"), show_default=True, help="Folder of the experiment.")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Workers.  [default: one a core or GPU]")
def demo(out: Path, jobs: int | None) -> None:
    """Everything at once on the tiny preset: train, estimate-llc, pca, stages, plot, report.

    \b
    Example:
      llc demo --out runs/demo
    """
    from llc import development, figures, study, training
    from llc.errors import StoreError
    from llc.report import write_report
    from llc.study import presets as study_presets
    from llc.training import presets

    click.echo(f"1/6  llc train --preset tiny --out {out}")
    with show_progress("steps") as progress:
        experiment = training.train(presets.tiny(), out, jobs=jobs, progress=progress)
    settings: dict[str, Any] = study_presets.TINY
    steps = study_presets.TINY_STEPS
    options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in settings.items())
    click.echo(f"2/6  llc estimate-llc {out} --steps {steps} {options}")
    with show_progress("checkpoints") as progress:
        estimates = study.estimate_llc_over_training(experiment, steps=steps, jobs=jobs, progress=progress, **settings)
    click.echo(study.format_estimates(estimates))
    click.echo(f"3/6  llc pca {out}")
    with show_progress("checkpoints") as progress:
        development.joint_pca(experiment, progress=progress)
    click.echo(f"4/6  llc stages {out}")

    def attempt(analyse: Callable[..., Any], **options: Any) -> Any:
        try:
            return analyse(experiment, **options)
        except (development.NothingToStage, StoreError) as error:  # figures and the report show what there is
            click.echo(f"Left out: {error}")
            return None

    with show_progress("checkpoints") as progress:
        found = attempt(development.find_stages, progress=progress)
        attempt(development.tradeoff, progress=progress)
        attempt(development.essential_dynamics)
    if found is not None:
        click.echo(development.format_stages(development.stage_rows(found)))
    click.echo(f"5/6  llc plot {out}")
    show_figures(*figures.save_figures(experiment))
    click.echo(f"6/6  llc report {out}")
    click.echo(f"Wrote {write_report(experiment)}")
    show_summary(experiment)
