"""Commands about what develops: pca, stages, behaviour, readouts, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from llc.cli.group import FOLDER, main
from llc.cli.shared import given, numbers, once, open_experiment, parse_values, say_next, show_progress


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--components", type=int, default=None, help="Principal components to keep.  [default: 4]")
@click.option("--sequences", type=int, default=512, show_default=True, help="Sequences in the probe.")
@click.option("--probe", default="own", show_default=True, help="own, the task's; or a test set to take them from.")
@click.option("--features", default="predictions", show_default=True, help="predictions, outputs or weights.")
@click.option("--weighting", default="checkpoints", show_default=True, help="What counts alike: checkpoints or runs.")
@click.option("--fit", metavar="AXIS=V,V,…", multiple=True, help="Fit to these runs; project the others.")
@click.option("--robustness", is_flag=True, help="How far two components turn with less: angles, nothing written.")
@click.pass_context
def pca(
    ctx: click.Context, /, folder: Path, components: int | None, robustness: bool, fit: tuple[str, ...], **settings: Any
) -> None:
    """Joint trajectory PCA over all checkpoints of all runs.

    References are projected into the same space, and are never part of the fit. Random walks with the same
    increments show what share of variance few components reach by themselves.

    \b
    Examples:
      llc pca runs/tiny --components 4
      llc pca runs/tiny --probe ood --weighting runs
      llc pca runs/tiny --fit num_tasks=1,4
      llc pca runs/tiny --robustness
    """
    from llc import development
    from llc.errors import InvalidInput

    others = sorted(given(ctx) - {"folder", "robustness"})
    if robustness and others:
        raise InvalidInput(f"--robustness varies what is analysed by itself; leave out --{', --'.join(others)}")
    experiment = open_experiment(folder)
    if robustness:
        with show_progress("checkpoints") as progress:
            table = development.pca_robustness(experiment, progress=progress)
        click.echo("Principal angles in degrees to the fit of everything, of the first two components:")
        click.echo(table.to_string(index=False, float_format="{:.2f}".format))
        return
    fitted = once("--fit", [parse_values("--fit", one) for one in fit])
    with show_progress("checkpoints") as progress:
        result = development.joint_pca(experiment, components, fit=fitted, progress=progress, **settings)
    click.echo(development.format_pca(result))
    say_next(f"llc plot {experiment.path}")


def _references(pair: str | None) -> tuple[str, ...] | None:
    """The names in SIMPLE,COMPLEX; None for the task's own."""
    return None if pair is None else tuple(name.strip() for name in pair.split(","))


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--method", default="turns", show_default=True, help="turns (maxima and minima) or trend (slopes).")
@click.option("--resamples", type=click.IntRange(min=20), default=400, show_default=True, help="For intervals.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the resampling.")
@click.option("--pair", metavar="SIMPLE,COMPLEX", default=None, help="References to trade off.  [default: the task's]")
@click.option("--csv", type=click.Path(path_type=Path), default=None, help="Write the table there too.")
@click.option("--latex", type=click.Path(path_type=Path), default=None, help="Write it as a LaTeX tabular (booktabs).")
def stages(
    folder: Path, method: str, resamples: int, seed: int, pair: str | None, csv: Path | None, latex: Path | None
) -> None:
    """Stages of every run, and the tradeoff of loss and complexity.

    Boundaries of llc(t), loss and principal components, with 90 % intervals from the errors of llc; what loss and llc
    do between them; t_crit with its interval; and the number of samples from which a complex solution is preferred.
    Only estimates that may be compared count: `converged` and `scale-dependent` ones.

    \b
    Examples:
      llc estimate-llc runs/tiny --steps log:20
      llc stages runs/tiny --latex stages.tex
    """
    from llc import development, store
    from llc.errors import LLCError

    experiment = open_experiment(folder)
    chosen = _references(pair)
    # Before minutes of work, not after.
    if chosen is not None:
        development.check_pair(experiment, chosen)
    for path in (csv, latex):
        if path is not None:
            store.check_regular(path)
    nothing = None
    try:
        with show_progress("checkpoints") as progress:
            found = development.find_stages(
                experiment, method=method, resamples=resamples, seed=seed, progress=progress
            )
        _say_stages(found, csv, latex)
    except development.NothingToStage as error:  # what comes after stands without them
        nothing = error
    if chosen is not None or experiment.task.pair is not None:
        try:
            with show_progress("runs") as progress:
                traded = development.tradeoff(experiment, pair=chosen, seed=seed, progress=progress)
            click.echo("\n" + development.format_tradeoff(traded))
        except LLCError as error:  # stages stand without it
            if chosen is not None:
                raise
            click.echo(f"\nNo tradeoff: {error}")
    if store.is_there(experiment.path / "pca.nc"):
        try:
            with show_progress("runs") as progress:
                number = len(development.form_rows(development.essential_dynamics(experiment, progress=progress)))
            click.echo(f"\n{number} forms of the trajectories (vertices, cusps) in {experiment.path / 'essential.nc'}")
        except LLCError as error:  # a pca.nc that serves other ends; what came before stands
            click.echo(f"\nNo forms of the trajectories: {error}")
    if nothing is not None:
        raise nothing
    say_next(f"llc report {experiment.path}")


def _say_stages(found: Any, csv: Path | None, latex: Path | None) -> None:
    """The table, where it is asked for as well, and the runs that have none."""
    from llc import development, store

    table = development.stage_rows(found)
    click.echo(development.format_stages(table))
    for reason in found.left_out.values.ravel():
        if reason:
            click.echo(f"No stages of {reason}")
    for path, text in ((csv, table.to_csv(index=False)), (latex, development.latex_stages(table))):
        if path is not None:
            store.write_text(path, text)
            click.echo(f"Wrote {path}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--pair", metavar="SIMPLE,COMPLEX", default=None, help="References to place it between.  [default: task's]"
)
def strategies(folder: Path, pair: str | None) -> None:
    """Where between two references every checkpoint of every run is, and whether complexity predicts it.

    1 is the simple reference, -1 the complex one; and how far a checkpoint is from any mixture of the two. A posterior
    over the two, with three numbers, is fitted to the whole map: with the bits of a description as complexity, and,
    once there is a tradeoff, with llc in their place.

    \b
    Examples:
      llc strategies runs/tiny
      llc stages runs/tiny; llc strategies runs/tiny --pair ridge,dmmse
    """
    from llc import development

    experiment = open_experiment(folder)
    chosen = _references(pair)
    with show_progress("runs") as progress:
        found = development.strategies(experiment, pair=chosen, progress=progress)
    click.echo(development.format_strategies(found))
    say_next(f"llc plot {experiment.path}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--steps", default="log:20", show_default=True, help="log:N, linear:N, all, last, or 500,1000.")
@click.option("--change", metavar="KEY=V,V,…", multiple=True, help="Settings of the task to change; repeatable.")
@click.option("--sequences", type=click.IntRange(min=2), default=None, help="Of each kind.  [default: as in training]")
@click.option("--icl-positions", metavar="K1,K2", default=None, help="Of the ICL score.  [default: K/2,K]")
def behaviour(
    folder: Path, steps: str, change: tuple[str, ...], sequences: int | None, icl_positions: str | None
) -> None:
    """Losses and distances to references on inputs that training did not show.

    Those that the task offers itself, or changed settings of it; and how much later predictions of a sequence are
    better than earlier ones (ICL score).

    \b
    Examples:
      llc behaviour runs/tiny
      llc behaviour runs/tiny --steps last --change noise_variance=0.01,1.0 --icl-positions 2,8
    """
    from llc import development
    from llc.errors import InvalidInput

    experiment = open_experiment(folder)
    positions = None if icl_positions is None else numbers("--icl-positions", icl_positions)
    if positions is not None and len(positions) != 2:
        raise InvalidInput(f"--icl-positions {icl_positions} given, expected two positions such as 4,8")
    with show_progress("checkpoints") as progress:
        found = development.shifted_behaviour(
            experiment,
            steps=steps,
            changed=once("--change", [parse_values("--change", one) for one in change]),
            sequences=sequences,
            icl_positions=None if positions is None else (int(positions[0]), int(positions[1])),
            progress=progress,
        )
    click.echo(development.format_behaviour(found))
    say_next(f"llc report {experiment.path}")


@main.command()
@click.argument("folder", type=FOLDER)
def claims(folder: Path) -> None:
    """What the preset's paper says of the whole study, as numbers with intervals and verdicts.

    Behaviour, llc and trajectories over the sweep; what is missing for a claim leaves it undecided.

    \b
    Examples:
      llc estimate-llc runs/tiny; llc pca runs/tiny; llc stages runs/tiny; llc strategies runs/tiny
      llc claims runs/tiny
    """
    from llc import development, systems

    experiment = open_experiment(folder)
    with show_progress("claims") as progress:
        found = development.study_claims(experiment, progress=progress)
    click.echo(systems.format_claims(systems.claim_rows(found)))
    say_next(f"llc report {experiment.path}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--steps", default="log:20", show_default=True, help="log:N, linear:N, all, last, or 500,1000.")
@click.option("--no-hessian", is_flag=True, help="Leave the Hessian's trace and eigenvalues out; they take longest.")
def readouts(folder: Path, steps: str, no_hessian: bool) -> None:
    """What models say of themselves over training, to set beside llc.

    Of our transformer: norms of blocks, gains of layer norms, entropy and previous-token share of every head, the
    embedding's spectrum. Of any model: what its own method readouts(batch) gives, and the Hessian's trace and largest
    eigenvalues.

    \b
    Examples:
      llc readouts runs/tiny
      llc readouts runs/tiny --steps 500,5000 --no-hessian
    """
    from llc import development

    experiment = open_experiment(folder)
    with show_progress("checkpoints") as progress:
        development.readouts(experiment, steps=steps, hessian=not no_hessian, progress=progress)
    click.echo(f"Read-outs are in {experiment.path / 'readouts.nc'}")
    say_next(f"llc report {experiment.path}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--steps", default="log:20", show_default=True, help="log:N, linear:N, all, last, or 500,1000.")
@click.option("--sequences", type=click.IntRange(min=2), default=4096, show_default=True, help="Of each test set.")
def compare(folder: Path, steps: str, sequences: int) -> None:
    """The trained models against their task's references over training, and a paper's claims as numbers.

    Losses on the same sequences, how far predictions lie apart, and where the task says what is asked, how much alike
    they react to it; on longer or shifted inputs too. A system of the literature says what its paper claims, and each
    claim comes out as supported, contradicted or undecided.

    \b
    Examples:
      llc train --preset he2025 --out runs/he2025
      llc compare runs/he2025
    """
    from llc import development, systems

    experiment = open_experiment(folder)
    with show_progress("checkpoints") as progress:
        found = development.compare(experiment, steps=steps, sequences=sequences, progress=progress)
    click.echo(development.compare_rows(found).to_string(index=False, float_format="{:.4f}".format))
    claims = systems.claim_rows(found)
    if len(claims):
        click.echo("\n" + systems.format_claims(claims))
    elif experiment.config.get("preset") in systems.SYSTEMS:
        click.echo("\nThe paper's claims are of the end of its preset's own task, model and training, not of this.")
    click.echo(f"All of it is in {experiment.path / 'compare.nc'}")
    say_next(f"llc plot {experiment.path}")
