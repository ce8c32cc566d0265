"""demo: a whole study, each of its commands as one would type it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from llc.cli.group import FOLDER, main
from llc.cli.shared import open_experiment, show_summary


@main.command()
@click.option("--preset", default="tiny", show_default=True, help="tiny, minutes; or small, hours.")
@click.option("--out", type=FOLDER, default=None, help="Folder of the experiment.  [default: runs/demo, runs/PRESET]")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Workers.  [default: one a core or GPU]")
@click.option(
    "--keep", "kept", type=FOLDER, default=None, help="Copy results without draws, and figures, to this folder."
)
def demo(preset: str, out: Path | None, jobs: int | None, kept: Path | None) -> None:
    """A whole study at once: train, estimate-llc, pca, stages and all that is made of them, to the report.

    Each command is printed as one would type it. What is finished is kept: the same command goes on where it stopped.

    \b
    Examples:
      llc demo --out runs/demo
      llc demo --preset small --out runs/small --keep results
    """
    from llc.errors import InvalidInput, LLCError, did_you_mean
    from llc.extras import require
    from llc.study.presets import ESTIMATES

    require("llc demo", "report", "study")
    if preset not in ESTIMATES:
        raise InvalidInput(f"--preset {preset} given; {did_you_mean(preset, ESTIMATES)}")
    out = out or Path("runs") / ("demo" if preset == "tiny" else preset)
    workers = [] if jobs is None else ["--jobs", str(jobs)]
    commands = _commands(preset, str(out), ESTIMATES[preset], workers)
    for number, (command, needed) in enumerate(commands, 1):
        click.echo(f"{number}/{len(commands)}  llc {shlex.join(command)}")
        name, *options = command
        try:
            main.commands[name].main(options, prog_name=f"llc {name}", standalone_mode=False, obj={"chained": True})
        except LLCError as error:
            if needed:
                raise
            click.echo(f"Left out: {error}")  # the report shows what there is
    if kept is not None:
        from llc.systems.record import keep

        for path in keep(out, kept):
            click.echo(f"Wrote {path}")
    show_summary(open_experiment(out))


def _commands(preset: str, out: str, estimates: dict[str, Any], workers: list[str]) -> list[tuple[list[str], bool]]:
    """Every command, and whether those after it need it."""
    options = [word for name, value in estimates.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return [
        (["train", "--preset", preset, "--out", out, *workers], True),
        (["estimate-llc", out, *options, *workers], True),
        (["pca", out], True),
        (["stages", out], False),
        (["strategies", out], False),
        (["claims", out], False),
        (["plot", out], True),
        (["report", out], True),
    ]
