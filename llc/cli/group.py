"""The program itself, and how it ends where something is wrong. Commands are in the files beside it."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import click

from llc.cli.shared import say


class Folder(click.Path):
    """A folder; an empty name, such as that of an unset variable, is not the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("an empty name given, expected a folder", param, ctx)
        return super().convert(value, param, ctx)


FOLDER = Folder(path_type=Path, file_okay=False)


class Group(click.Group):
    """A group that says in one sentence, and no traceback, what the library finds wrong or warns of."""

    def invoke(self, ctx: click.Context) -> Any:
        from llc.errors import Interrupted, InvalidInput, LLCError, ended_by

        # Threads that wait for one another sleep meanwhile. PyTorch's would spin, which takes them eight times as long
        # where another program has one of the cores; it reads this as it is loaded, which no command has done yet.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            with warnings.catch_warnings():  # which puts back how they are shown
                if not ctx.params.get("debug"):
                    warnings.showwarning = _say_warning
                return super().invoke(ctx)
        except (LLCError, KeyboardInterrupt) as error:
            if ctx.params.get("debug"):
                raise
            if isinstance(error, Interrupted | KeyboardInterrupt):
                say("Stopped. What was finished is kept; run the same command again to go on.")
                sys.exit(1)
            say(f"Error: {error}")
            sys.exit(2 if isinstance(error, InvalidInput) else 1)
        except (click.exceptions.Exit, click.ClickException, click.Abort, BrokenPipeError):  # click ends these
            raise
        except SystemExit as error:  # of no command of ours
            if ctx.params.get("debug"):
                raise
            say(f"Error: {ended_by(error)}")
            sys.exit(1)
        except Exception as error:  # whatever the library did not foresee
            if ctx.params.get("debug"):
                raise
            if sentence := _of_the_machine(error):
                say(f"Error: {sentence}")
                sys.exit(1)
            said = " ".join(str(error).split())[:300]
            say(f"Error: {type(error).__name__}: {said} (llc --debug COMMAND shows where)")
            sys.exit(1)


def _of_the_machine(error: Exception) -> str:
    """What memory or files refuse, in a sentence; empty for anything else."""
    from llc.errors import beyond_memory

    if said := beyond_memory(error):
        return f"this {said}"
    if isinstance(error, OSError) and error.strerror:
        where = f"{str(error.filename)[:100]}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return ""


def _say_warning(message: Warning | str, *where: Any, **to: Any) -> None:
    """One sentence, without the place in the code that gave it."""
    say(f"Warning: {message}")


class Auto(click.ParamType):
    """A number, or `auto` for a choice from the data (None)."""

    name = "number|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        if value in (None, "auto"):
            return None
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} given, expected a number or auto", param, ctx)


def _cite(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from llc.citation import citation

        click.echo(citation())
        ctx.exit()


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback of an error, and where warnings come from.")
@click.version_option(package_name="local-learning-coefficient", prog_name="llc")
@click.option(
    "--cite", is_flag=True, is_eager=True, expose_value=False, callback=_cite, help="How to cite llc, and exit."
)
def main(debug: bool) -> None:
    """How a network's complexity develops over training.

    Train a sweep of models, estimate the local learning coefficient (LLC) at their checkpoints, and
    see their joint trajectories. Long work (training, estimates, imports, validation) can be
    stopped with Ctrl-C and run again to go on.

    \b
    Example, the whole of it in a few minutes:
      llc demo
    """
