"""What several commands have in common: read an option, open a folder, say what was found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from llc.store import Experiment
    from llc.training import ExperimentConfig


def preset_config(preset: str, num_tasks: str | None, seeds: str | None, settings: tuple[str, ...]) -> ExperimentConfig:
    """A preset with what the options change."""
    from llc.config import parse_setting
    from llc.training import presets

    overrides = dict(parse_setting(setting) for setting in settings)
    if num_tasks is not None:
        overrides["sweep.num_tasks"] = numbers("--num-tasks", num_tasks, also=("inf",))
    if seeds is not None:
        overrides["sweep.seeds"] = numbers("--seeds", seeds)
    return presets.preset(preset).override(overrides)


def open_experiment(folder: Path) -> Experiment:
    """The experiment in a folder, or one sentence that says what the folder is instead."""
    from llc import store
    from llc.errors import InvalidInput

    found = store.open_folder(folder)
    if isinstance(found, store.Run):
        raise InvalidInput(f"{folder} is a single run; give the experiment above it, {folder.parent}")
    return found


def numbers(option: str, text: str, also: tuple[str, ...] = ()) -> list[int | str]:
    """A comma-separated list of whole numbers and the words in `also`."""
    from llc.errors import InvalidInput

    parts = [part.strip() for part in text.split(",")]
    try:
        return [part if part in also else int(part) for part in parts]
    except ValueError:
        words = "".join(f" or {word}" for word in also)
        raise InvalidInput(f"{option} {text} given, expected whole numbers{words} with commas between") from None


def floats(option: str, text: str) -> list[float]:
    """A comma-separated list of numbers > 0."""
    from llc.errors import InvalidInput

    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(0 < value < float("inf") for value in values):
        raise InvalidInput(f"{option} {text} given, expected numbers > 0 with commas between")
    return values


def patterns(text: str | None) -> list[str] | None:
    """The patterns that an option names, with commas between."""
    return None if text is None else [part.strip() for part in text.split(",")]


def but(ctx: click.Context, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a file, without those that the command line itself gives."""
    given = click.core.ParameterSource.COMMANDLINE
    replaced = {name for name in settings if ctx.get_parameter_source(name) == given}
    if {"gamma", "radius"} & {name for name in ctx.params if ctx.get_parameter_source(name) == given}:
        replaced |= {"gamma", "radius"}
    return {name: value for name, value in settings.items() if name not in replaced}


def progress(unit: str):
    """A line of progress while the work in its block goes on."""
    from llc.progress import progress

    return progress(unit)


def show_summary(experiment: Experiment) -> None:
    """A row a run, where there are any."""
    from llc import development

    table = development.summary_table(experiment)
    if len(table):
        click.echo(development.format_table(table))


def show_figures(written: list[Path], missing: dict[str, str]) -> None:
    """What was drawn, and what was not and why."""
    for path in written:
        click.echo(f"Drew {path}")
    for name, why in missing.items():
        click.echo(f"Left out {name}: {why}")


def say_next(*commands: str) -> None:
    """Which commands come next."""
    click.echo("Next: " + "   ".join(commands))


def say(message: str) -> None:
    """A line beside the output."""
    click.echo(message, err=True)
