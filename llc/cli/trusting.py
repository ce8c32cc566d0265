"""The command about other people's code: what a folder names, and what of it may run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from llc.cli.group import FOLDER, main

if TYPE_CHECKING:
    from llc.trusted import Code, Trusted

# Of a file, for a first look.
_FIRST_LINES = 5


@main.command()
@click.argument("folder", type=FOLDER, required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--forget", is_flag=True, help="Take the code that FOLDER names off the list.")
def trust(folder: Path | None, yes: bool, forget: bool) -> None:
    """Look at the code that an experiment or a run from elsewhere names, and let it run.

    A folder can name any function as its model, its task or its study. Commands run none of that until you trust it
    here: a file as it is, until it is edited; a function of a module by name, with whatever arguments. What you name
    yourself on a command line, train or import is trusted without asking. Without FOLDER: the list of all that is
    trusted.

    \b
    Examples:
      llc trust runs/theirs
      llc trust runs/theirs --yes
      llc trust runs/theirs --forget
      llc trust
    """
    from llc import store, trusted
    from llc.errors import InvalidInput

    if folder is None:
        if yes or forget:
            raise InvalidInput(f"--{'forget' if forget else 'yes'} given without a folder; name the one it is about")
        _list(trusted.read())
        return
    codes = store.code_of(store.open_folder(folder))
    if not codes:
        click.echo(f"{folder} names no code but llc's own.")
        return
    for code in codes:
        _describe(code)
    if forget:
        store.distrust(codes)
        click.echo("Trusted no longer.")
    elif yes or click.confirm("Let all of this run, whenever a folder names it?"):
        store.trust(folder)
        click.echo(f"Trusted; noted in {trusted.place()}")


def _describe(code: Code) -> None:
    """One function or file, for somebody who is to judge it."""
    from llc import trusted

    path = code.file
    if path is None or not path.is_file():
        click.echo(f"{code} ({code.asked_by})" + ("" if path is None else ": there is no such file"))
        return
    data = path.read_bytes()
    state = ", trusted" if trusted.is_allowed(code, data) else ""
    click.echo(f"{code} ({code.asked_by}): {len(data)} bytes, SHA-256 {trusted.digest(data)[:16]}{state}")
    lines = data.decode("utf-8", errors="replace").splitlines()
    for line in lines[:_FIRST_LINES]:
        click.echo(f"    {''.join(letter if letter.isprintable() else ' ' for letter in line)[:100]}")
    if len(lines) > _FIRST_LINES:
        click.echo(f"    … {len(lines) - _FIRST_LINES} more lines")


def _list(known: Trusted) -> None:
    from llc import trusted

    for function in known.functions:
        click.echo(function)
    for one in known.files:
        names = ", ".join(filter(None, one.names))
        click.echo(f"{one.path}, SHA-256 {one.sha256[:16]}" + (f": {names}" if names else ""))
    if known == trusted.Trusted():
        click.echo("Nothing is trusted yet; llc trust FOLDER trusts what a folder names.")
