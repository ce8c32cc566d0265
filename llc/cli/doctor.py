"""doctor: what this machine and its Python offer."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llc.cli.group import FOLDER, main

if TYPE_CHECKING:
    from llc.doctor import Finding

_COLOURS = {"ok": "green", "slow": "yellow", "missing": "yellow", "unusable": "red"}


@main.command()
@click.argument("folder", type=FOLDER, default=Path("."))
@click.option("--json", "as_json", is_flag=True, help="The findings as JSON, with plain numbers.")
def doctor(folder: Path, as_json: bool) -> None:
    """Versions, devices, speed and disks, and what to do.

    FOLDER is where runs are to be kept; the working folder unless given. Takes some ten seconds, for rates are
    measured; what else uses the machine makes them lower. Each line begins with a word: ok; slow, work takes longer
    than it has to; missing, something cannot be done, such as what an optional package is for; unusable, llc cannot
    work. Exit code 1 if anything is unusable.

    \b
    Examples:
      llc doctor
      llc doctor runs
      llc doctor --json
    """
    from llc.doctor import as_table, examine, usable

    found = examine(folder)
    if as_json:
        click.echo(json.dumps(as_table(found), indent=2))
    else:
        for topic, findings in groupby(found, lambda one: one.topic):
            click.echo(topic)
            for one in findings:
                _show(one)
        click.echo(_summary(found))
    raise click.exceptions.Exit(0 if usable(found) else 1)


def _show(one: Finding) -> None:
    word = click.style(f"{one.status:9s}", fg=_COLOURS[one.status])
    click.echo(f"  {word} {one.name}: {one.said}")
    if one.advice:
        click.echo(f"            → {one.advice}")


def _summary(found: list[Finding]) -> str:
    counts = [f"{number} {word}" for word in _COLOURS if (number := sum(one.status == word for one in found))]
    broken = any(one.status == "unusable" for one in found)
    return f"llc {'cannot be used as it is' if broken else 'can be used'} here: {', '.join(counts)}."
