"""What several commands have in common: read an option, open a folder, say what was found."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from llc.parallel import Progress
    from llc.store import Experiment
    from llc.training import ExperimentConfig


def experiment_config(
    preset: str,
    system: str | None,
    num_tasks: str | None,
    seeds: str | None,
    axes: tuple[str, ...],
    settings: tuple[str, ...],
) -> ExperimentConfig:
    """A preset, or what a function of the user's returns, with what the options change."""
    from llc import own_code, trusted
    from llc.config import parse_setting
    from llc.errors import InvalidInput
    from llc.systems import preset as preset_named
    from llc.training import ExperimentConfig

    if system is None:
        config = preset_named(preset)
    elif "preset" in given(click.get_current_context()):
        raise InvalidInput(f"--preset {preset} and --system {system} given, expected one of them")
    else:
        trusted.give([trusted.code_of(system, "--system")])
        config = own_code.called(own_code.absolute(system), {}, asked_by="--system")
        if not isinstance(config, ExperimentConfig):
            raise InvalidInput(f"{system} returned a {type(config).__name__}, expected an ExperimentConfig")
    axes_given = [parse_values("--sweep", axis) for axis in axes]
    if num_tasks is not None:
        axes_given.append(("task.num_tasks", numbers("--num-tasks", num_tasks, also=("inf",))))
    if seeds is not None:
        axes_given.append(("seed", numbers("--seeds", seeds)))
    swept = {**config.sweep.axes, **once("the sweep", axes_given)}
    changed = once("--set", [parse_setting(setting) for setting in settings])
    for key in changed.keys() & swept.keys():
        raise InvalidInput(
            f"--set {key}={changed[key]} given, but the sweep sets it; give --sweep {key}={changed[key]}"
        )
    return config.override({"sweep.axes": swept, **changed})


def once(option: str, given: list[tuple[str, Any]]) -> dict[str, Any]:
    """Values by name, or InvalidInput if one is given twice."""
    from llc.errors import InvalidInput

    found: dict[str, Any] = {}
    for key, value in given:
        if key in found:
            raise InvalidInput(f"{option} is given {key} twice ({found[key]} and {value}); give it once")
        found[key] = value
    return found


def parse_values(option: str, text: str) -> tuple[str, list[Any]]:
    """`model.heads=1,2,4` as a name and values, each written as in TOML; what is no TOML value is a plain string."""
    from llc.config import parse_setting
    from llc.errors import InvalidInput

    key, equals, values = text.partition("=")
    if not equals or not values:
        raise InvalidInput(f"{option} {text} given, expected KEY=VALUE,VALUE such as model.heads=1,2,4")
    if values.startswith("["):  # an array as TOML has it, for values that hold commas themselves
        return key.strip(), list(parse_setting(text)[1])
    words = {"true": True, "false": False, "True": True, "False": False}
    return key.strip(), [words.get(value, parse_setting(f"{key}={value}")[1]) for value in values.split(",")]


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


def patterns(text: str | None) -> list[str] | None:
    """The patterns that an option names, with commas between; those inside of brackets belong to a slice."""
    return None if text is None else [part.strip() for part in re.split(r",(?![^\[]*\])", text)]


def but(ctx: click.Context, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a file, without those that the command line itself gives."""
    replaced = given(ctx)
    if {"gamma", "radius"} & replaced:
        replaced |= {"gamma", "radius"}
    return {name: value for name, value in settings.items() if name not in replaced}


def given(ctx: click.Context) -> set[str]:
    """Names of the options and arguments that the command line itself gives."""
    return {name for name in ctx.params if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE}


def show_progress(unit: str) -> AbstractContextManager[Progress]:
    """A line of progress while the work in its block goes on."""
    from llc.progress import show_progress

    return show_progress(unit)


def show_summary(experiment: Experiment) -> None:
    """A row a run, where there are any."""
    from llc import store

    table = store.summary_table(experiment)
    if len(table):
        click.echo(store.format_table(table, experiment.metrics))


def show_figures(written: list[Path], missing: dict[str, str]) -> None:
    """What was drawn, and what was not and why."""
    for path in written:
        click.echo(f"Drew {path}")
    for name, why in missing.items():
        click.echo(f"Left out {name}: {why}")


def draw_figure(name: str, shown: Any, path: Path) -> None:
    """Draw what a function of `llc.figures` shows of a result; that it cannot be drawn loses nobody the result.

    Args:
        name: of the function.
        shown: the result.
    """
    from llc.extras import MissingExtra

    try:
        from llc import figures
    except MissingExtra as error:
        click.echo(f"Left out {path.name}: {error}")
        return
    figures.save_figure(figures.draw(getattr(figures, name)(shown)), path)
    click.echo(f"Drew {path}")


def say_next(*commands: str) -> None:
    """Which commands come next, unless they come by themselves."""
    chained = (click.get_current_context().find_root().obj or {}).get("chained", False)
    if not chained:
        click.echo("Next: " + "   ".join(commands))


def say(message: str) -> None:
    """A line beside the output."""
    click.echo(message, err=True)
