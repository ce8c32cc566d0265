"""The command about the systems of the literature: list them, rebuild them."""

from __future__ import annotations

from pathlib import Path

import click

from llc.cli.group import FOLDER, main
from llc.cli.shared import show_figures, show_progress


@main.command()
@click.option("--run", "names", metavar="NAME", multiple=True, help="Rebuild this preset, or all; repeatable.")
@click.option("--out", type=FOLDER, default=Path("runs"), show_default=True, help="Folder of the rebuilt ones.")
@click.option("--no-llc", is_flag=True, help="Leave out the estimates of llc over training, the longest part.")
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    default=None,
    help="File of what was measured: read, and with --run written.",
)
@click.option(
    "--keep", "kept", type=FOLDER, default=None, help="Copy results without draws, and figures, to KEEP/NAME."
)
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Workers.  [default: one a core or GPU]")
def systems(
    names: tuple[str, ...], out: Path, no_llc: bool, record: Path | None, kept: Path | None, jobs: int | None
) -> None:
    """The systems of the literature: their claims, what was published and what was measured.

    Without --run, a table (Markdown) of what was recorded, in RECORD or, in a checkout, in the project's own. With
    --run: train, compare with the references, the claims, estimate llc over training, pca, stages and figures, in
    OUT/NAME; what is there already is kept.

    \b
    Examples:
      llc systems
      llc systems --run huang2023 --out runs
      llc systems --run all --no-llc --record benchmarks/results/systems.toml
    """
    from llc import store
    from llc.errors import InvalidInput, LLCError
    from llc.extras import require
    from llc.systems import SYSTEMS
    from llc.systems.record import FIGURES, RECORD, keep, read_record, systems_table

    if names:
        require("llc systems --run", "study", "plots")
    known = read_record(RECORD if record is None else record)  # named before hours of work where it is none
    if record is not None and not store.is_there(record):
        if not names:
            raise InvalidInput(f"--record {record} given; there is no such file, and without --run none is written")
        if not record.parent.is_dir():
            raise InvalidInput(f"--record {record} given; there is no folder {record.parent}")
    if not names:
        if kept is not None:
            raise InvalidInput("--keep given without --run; name what to rebuild, such as --run all")
        click.echo(systems_table(SYSTEMS, known))
    failed = []
    for name in expanded(names):
        try:
            _rebuild(name, out / name, estimate=not no_llc, record=record, jobs=jobs)
            if kept is not None:
                for path in keep(out / name, kept / name, FIGURES):
                    click.echo(f"Wrote {path}")
        except LLCError as error:  # the others are rebuilt all the same
            if len(names) == 1 and names != ("all",):
                raise
            failed.append(name)
            click.echo(f"{name}: {error}", err=True)
    if failed:
        raise LLCError(f"{', '.join(failed)} could not be rebuilt, as said above")


def expanded(names: tuple[str, ...]) -> list[str]:
    """Names of presets for `all`; an unknown one is named."""
    from llc.errors import InvalidInput, did_you_mean
    from llc.systems import SYSTEMS

    for name in names:
        if name not in {*SYSTEMS, "all"}:
            raise InvalidInput(f"--run {name} given; {did_you_mean(name, [*SYSTEMS, 'all'])}")
    return list(SYSTEMS) if "all" in names else list(dict.fromkeys(names))


def _rebuild(name: str, folder: Path, *, estimate: bool, record: Path | None, jobs: int | None) -> None:
    """Everything of one preset."""
    import time

    from llc import development, figures, study, training
    from llc.errors import StoreError
    from llc.systems import claim_rows, estimate_settings, format_claims, preset
    from llc.systems.record import write_record

    click.echo(f"{name}: llc train --preset {name} --out {folder}")
    began, fresh = time.monotonic(), not folder.exists()
    with show_progress("steps") as progress:
        experiment = training.train(preset(name), folder, jobs=jobs, progress=progress)
    seconds = time.monotonic() - began if fresh else None
    sequences = experiment.config["behaviour"]["sequences"]
    click.echo(f"{name}: llc compare {folder} --steps log:20 --sequences {sequences}")
    with show_progress("checkpoints") as progress:
        compared = development.compare(experiment, steps="log:20", sequences=sequences, progress=progress)
    click.echo(format_claims(claim_rows(compared)))
    if record is not None:
        write_record(record, name, compared, seconds, jobs)
    if estimate:
        settings = estimate_settings(name)
        options = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in settings.items())
        click.echo(f"{name}: llc estimate-llc {folder} {options}")
        with show_progress("checkpoints") as progress:
            found = study.estimate_llc_over_training(experiment, jobs=jobs, progress=progress, **settings)
        click.echo(study.format_estimates(found))
    stages = f"llc stages {folder}; " if estimate else ""
    click.echo(f"{name}: llc pca {folder}; {stages}llc plot {folder}")
    with show_progress("checkpoints") as progress:
        development.joint_pca(experiment, progress=progress)
    if estimate:
        try:
            with show_progress("checkpoints") as progress:
                ends = development.find_stages(experiment, progress=progress)
            click.echo(development.format_stages(development.stage_rows(ends)))
        except (development.NothingToStage, StoreError) as error:  # figures show what there is
            click.echo(f"Left out: {error}")
    show_figures(*figures.save_figures(experiment))
