"""Commands that draw and write: plot, report."""

from __future__ import annotations

from pathlib import Path

import click

from llc.cli.group import FOLDER, main
from llc.cli.shared import open_experiment, show_figures, show_progress


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

    experiment = open_experiment(folder)
    written, missing = figures.save_figures(experiment, list(names))
    show_figures(written, missing)
    for name in sorted(set(experiment.results) - set(experiment.damaged())):
        if lacking := experiment.incomplete(name):
            click.echo(lacking)
    if names and missing:
        raise click.exceptions.Exit(1)


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

    experiment = open_experiment(folder)
    with show_progress("parts") as tell:
        path = write_report(experiment, out, progress=tell)
    for why in experiment.damaged().values():
        click.echo(f"Left out: {why}")
    click.echo(f"Wrote {path}")
