"""The command line: parse, call one library function, show. Heavy imports wait until a command needs them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from llc.store import Experiment
    from llc.training import ExperimentConfig


class Folder(click.Path):
    """A folder; an empty name, such as that of an unset variable, is not the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("an empty name given, expected a folder", param, ctx)
        return super().convert(value, param, ctx)


FOLDER = Folder(path_type=Path, file_okay=False)


class Group(click.Group):
    """A group whose commands end with one sentence instead of a traceback when the library says what is wrong."""

    def invoke(self, ctx: click.Context) -> Any:
        from llc.errors import Interrupted, InvalidInput, LLCError

        try:
            return super().invoke(ctx)
        except (LLCError, KeyboardInterrupt) as error:
            if ctx.params.get("debug"):
                raise
            if isinstance(error, Interrupted | KeyboardInterrupt):
                _say("Stopped. What was finished is kept; run the same command again to go on.")
                sys.exit(1)
            _say(f"Error: {error}")
            sys.exit(2 if isinstance(error, InvalidInput) else 1)
        except (click.exceptions.Exit, click.ClickException, click.Abort, BrokenPipeError):  # click ends these
            raise
        except Exception as error:  # whatever the library did not foresee
            if ctx.params.get("debug"):
                raise
            said = " ".join(str(error).split())[:300]
            _say(f"Error: {type(error).__name__}: {said} (llc --debug COMMAND shows where)")
            sys.exit(1)


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


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="local-learning-coefficient", prog_name="llc")
def main(debug: bool) -> None:
    """How a network's complexity develops over training.

    Train in-context regression transformers, estimate the local learning coefficient (LLC) at their checkpoints, and
    see their joint trajectories. Every command can be stopped with Ctrl-C and run again to go on.

    \b
    Example, the whole of it in a few minutes:
      llc demo
    """


@main.command()
@click.option("--preset", default="tiny", show_default=True, help="tiny, small, hoogland, raventos or carroll.")
@click.option("--out", type=FOLDER, default=None, help="Folder of the experiment.  [default: runs/PRESET]")
@click.option("--num-tasks", metavar="M,M,…", default=None, help="Task diversities, such as 1,4,16,inf.")
@click.option("--seeds", metavar="S,S,…", default=None, help="Seeds of initial weights and data, such as 0,1.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Override a setting; repeatable.")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Worker processes.  [default: one a core]")
@click.option("--scheduler", default=None, metavar="ADDRESS", help="Dask scheduler whose workers do the work.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or mps; auto: the fastest there is.")
@click.option("--precision", default=None, help="float32, tf32 or bf16.  [default: float32]")
@click.option("--together", type=click.IntRange(min=1), default=None, help="Runs in one graph.  [default: as it pays]")
@click.option("--plan", is_flag=True, help="Only say what it would take: disk, FLOPs, and time from a short probe.")
def train(
    preset: str,
    out: Path | None,
    num_tasks: str | None,
    seeds: str | None,
    settings: tuple[str, ...],
    jobs: int | None,
    device: str,
    precision: str | None,
    together: int | None,
    scheduler: str | None,
    plan: bool,
) -> None:
    """Train a sweep of runs and save dense checkpoints.

    Every task diversity M is trained with every seed, side by side on the cores there are.

    \b
    Examples:
      llc train --preset tiny --out runs/tiny
      llc train --out runs/mine --num-tasks 1,16,inf --seeds 0,1 --set training.steps=2000
      llc train --preset carroll --set checkpoints.weights_every=20 --plan
    """
    from llc import training

    config, out = _config(preset, num_tasks, seeds, settings), out or Path("runs") / preset
    if precision is not None:
        config = config.override({"training.precision": precision})
    if plan:
        click.echo(f"{out}\n{training.plan(config, out, jobs=jobs, device=device)}")
        return
    with _progress("steps") as report:
        experiment = training.train(
            config, out, jobs=jobs, together=together, device=device, scheduler=scheduler, report=report
        )
    _show_summary(experiment)
    _next(f"llc estimate-llc {experiment.path}", f"llc pca {experiment.path}", f"llc plot {experiment.path}")


@main.command("import")
@click.argument("source", type=Folder(path_type=Path))
@click.option("--out", type=FOLDER, required=True, help="Folder of the experiment to make.")
@click.option("--preset", default="tiny", show_default=True, help="Whose task and model the weights are of.")
@click.option("--num-tasks", metavar="M,M,…", default=None, help="Task diversities, such as 1,4,16,inf.")
@click.option("--seeds", metavar="S,S,…", default=None, help="Seeds, for names of runs.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Override a setting; repeatable.")
@click.option("--factory", metavar="PLACE:NAME", default=None, help="Function that makes the model, instead of ours.")
def import_(
    source: Path,
    out: Path,
    preset: str,
    num_tasks: str | None,
    seeds: str | None,
    settings: tuple[str, ...],
    factory: str | None,
) -> None:
    """Make an experiment of weights that were trained elsewhere.

    SOURCE holds a state_dict for each step, with the step in its name (step_1000.pt, 1000.safetensors); for a sweep, a
    folder of them for each run, named M=16,seed=0. The model is the preset's, or what --factory returns: an nn.Module
    whose forward(xs, ys) gives predictions (B, K).

    \b
    Examples:
      llc import theirs/checkpoints --out runs/theirs --preset hoogland --num-tasks inf
      llc import theirs/checkpoints --out runs/theirs --num-tasks 16 --factory theirs/model.py:build
    """
    from llc import training

    config = _config(preset, num_tasks, seeds, settings)
    if factory is not None:
        config = training.with_factory(config, factory)
    with _progress("checkpoints") as report:
        experiment = training.import_weights(source, out, config, report=report)
    _show_summary(experiment)
    _next(f"llc estimate-llc {experiment.path}", f"llc pca {experiment.path}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--step", type=int, default=None, help="Which checkpoint.  [default: the last]")
def export(folder: Path, path: Path, step: int | None) -> None:
    """Write a checkpoint of a run as a plain state_dict, .pt or .safetensors.

    \b
    Example:
      llc export "runs/tiny/M=16,seed=0" model.pt --step 2000
    """
    from llc import store, training
    from llc.errors import InvalidInput

    run = store.open_folder(folder)
    if not isinstance(run, store.Run):
        raise InvalidInput(f"{folder} is an experiment; name one of its runs: {', '.join(r.name for r in run.runs)}")
    training.export_weights(run, run.steps[-1] if step is None and run.steps else step or 0, path)
    click.echo(f"Wrote {path}")


@main.command("estimate-llc")
@click.argument("folder", type=FOLDER)
@click.option("--steps", default="log:12", show_default=True, help="log:N, linear:N, all, last, or 500,1000.")
@click.option("--sampler", default=None, help="kinetic, gle, sgld, rmsprop-sgld, mala or hmc.  [default: what suits]")
@click.option(
    "--target-error", type=float, default=0.1, show_default=True, help="Half-width of the interval, relative."
)
@click.option("--max-gradients", type=int, default=6000, show_default=True, help="After which no round is begun.")
@click.option("--headline", default="auto", show_default=True, help="Which llc: auto, w* (at the weights), or basin.")
@click.option("--chains", type=int, default=2, show_default=True, help="Chains at each of two temperatures.")
@click.option("--draws", type=int, default=None, help="Draws a chain keeps.  [default: as --target-error takes]")
@click.option("--warmup", type=int, default=None, help="Draws before those, never averaged.  [default: found]")
@click.option("--num-samples", type=int, default=4096, show_default=True, help="n, sequences in the dataset.")
@click.option("--batch-size", type=int, default=None, help="Sequences a draw.  [default: 256]")
@click.option("--nbeta", type=Auto(), default="auto", show_default=True, help="Inverse temperature; auto: chosen.")
@click.option("--gamma", type=Auto(), default="auto", show_default=True, help="Localisation; auto: chosen.")
@click.option("--radius", type=float, default=None, help="gamma as the prior's radius over |w*|.  [default: found]")
@click.option("--step-size", type=Auto(), default="auto", show_default=True, help="auto: follows the curvature.")
@click.option(
    "--control-variates", is_flag=True, default=None, help="Correct minibatch gradients by their error at w*."
)
@click.option("--parameters", metavar="PATTERN,…", default=None, help="Only these move, such as 'blocks.0.*'.")
@click.option("--positions", is_flag=True, help="Also tell llc apart by position in the sequence.")
@click.option("--full-loss-every", type=int, default=None, help="Whole dataset's loss at every k-th draw.")
@click.option("--max-rhat", type=float, default=None, help="R-hat above which chains disagree.  [default: 1.05]")
@click.option("--loss", default="mse", show_default=True, help="mse or nll.")
@click.option("--precision", default="float32", show_default=True, help="float32, tf32 or bf16; its part is taken off.")
@click.option("--compile", is_flag=True, default=None, help="Compile gradients first: for long studies.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or mps; auto: the fastest there is.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the chains.")
@click.option("--settings", "file", type=click.Path(path_type=Path), default=None, help="File of llc calibrate.")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Worker processes.  [default: one a core]")
@click.option("--scheduler", default=None, metavar="ADDRESS", help="Dask scheduler whose workers do the work.")
@click.option("--overwrite", is_flag=True, help="Replace estimates made with other settings.")
@click.pass_context
def estimate_llc(
    ctx: click.Context,
    folder: Path,
    jobs: int | None,
    scheduler: str | None,
    device: str,
    overwrite: bool,
    steps: str,
    file: Path | None,
    **settings: Any,
) -> None:
    """Estimate the local learning coefficient over training.

    The same checkpoints of every run, all with one nbeta and gamma; the step size follows the curvature at each
    checkpoint unless it is given. Finished checkpoints are kept, so more steps can be added later. Options given here
    go before those of a settings file.

    \b
    Examples:
      llc estimate-llc runs/tiny
      llc estimate-llc runs/tiny --steps 500,1000,5000 --target-error 0.05 --gamma 100
      llc estimate-llc runs/tiny --steps last --sampler sgld --draws 2000
      llc estimate-llc runs/tiny --steps log:20 --settings runs/tiny/calibration.toml
    """
    from llc import study

    experiment = _experiment(folder)
    settings["parameters"] = _patterns(settings["parameters"])
    if file is not None:
        settings = {**settings, **_but(ctx, study.settings_from(file))}
    with _progress("checkpoints") as report:
        estimates = study.estimate_llc_over_training(
            experiment,
            steps=steps,
            jobs=jobs,
            overwrite=overwrite,
            scheduler=scheduler,
            device=device,
            report=report,
            **settings,
        )
    click.echo(study.format_estimates(estimates) + "\n")
    _show_summary(experiment)
    _next(f"llc plot {experiment.path}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--steps", default="last", show_default=True, help="log:N, linear:N, all, last, or 500,1000.")
@click.option("--points", type=int, default=3, show_default=True, help="Checkpoints to use, of all runs' steps.")
@click.option("--sampler", default="kinetic", show_default=True, help="kinetic, sgld, rmsprop-sgld, mala or hmc.")
@click.option("--chains", type=int, default=2, show_default=True, help="Chains at each of two temperatures, a trial.")
@click.option("--draws", type=int, default=100, show_default=True, help="Draws a chain keeps.")
@click.option("--num-samples", type=int, default=4096, show_default=True, help="n, sequences in the dataset.")
@click.option("--batch-size", type=int, default=None, help="Sequences a draw.  [default: 256]")
@click.option("--nbeta", type=Auto(), default="auto", show_default=True, help="Keep this one; auto: choose.")
@click.option("--gamma", type=Auto(), default="auto", show_default=True, help="Keep this one; auto: choose.")
@click.option("--parameters", metavar="PATTERN,…", default=None, help="Only these move, such as 'blocks.0.*'.")
@click.option("--loss", default="mse", show_default=True, help="mse or nll.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the chains.")
def calibrate(folder: Path, steps: str, points: int, **settings: Any) -> None:
    """Choose nbeta, gamma and the step size on a few checkpoints.

    Says what each checkpoint would take by itself, how llc moves at half and at twice what suits all, and what the
    prior alone would give. Writes calibration.toml, which estimate-llc --settings takes, calibration.nc and figures.

    \b
    Examples:
      llc calibrate runs/tiny --num-samples 1024 --batch-size 64
      llc estimate-llc runs/tiny --settings runs/tiny/calibration.toml
    """
    from llc import estimate, plots, study

    experiment = _experiment(folder)
    settings["parameters"] = _patterns(settings["parameters"])
    with _progress("trials") as report:
        found, dataset = study.calibrate_experiment(experiment, steps=steps, points=points, report=report, **settings)
    click.echo(estimate.format_calibration(found))
    for name, figure in (("scale", plots.calibration_scale(dataset)), ("traces", plots.calibration_traces(dataset))):
        path = plots.save_figure(figure, experiment.path / "figures" / f"calibration_{name}.png")
        click.echo(f"Drew {path}")
    _next(f"llc estimate-llc {experiment.path} --settings {experiment.path / 'calibration.toml'}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--components", type=int, default=4, show_default=True, help="Principal components to keep.")
@click.option("--sequences", type=int, default=512, show_default=True, help="Sequences in the probe.")
@click.option("--probe", metavar="M", default="1", show_default=True, help="Take them from q_M; inf for fresh tasks.")
@click.option("--features", default="predictions", show_default=True, help="predictions, outputs or weights.")
@click.option("--weighting", default="checkpoints", show_default=True, help="What counts alike: checkpoints or runs.")
@click.option("--fit-num-tasks", metavar="M,M,…", default=None, help="Fit to these runs; project the others.")
@click.option("--robustness", is_flag=True, help="How far two components turn with less: angles, nothing written.")
def pca(
    folder: Path, components: int, robustness: bool, probe: str, fit_num_tasks: str | None, **settings: Any
) -> None:
    """Joint trajectory PCA over all checkpoints of all runs.

    Ridge and dMMSE are projected into the same space, and are never part of the fit. Random walks with the same
    increments show what share of variance few components reach by themselves.

    \b
    Examples:
      llc pca runs/tiny --components 4
      llc pca runs/tiny --probe inf --weighting runs
      llc pca runs/tiny --robustness
    """
    from llc import development

    experiment = _experiment(folder)
    if robustness:
        with _progress("checkpoints") as report:
            table = development.pca_robustness(experiment, report=report)
        click.echo("Principal angles in degrees to the fit of everything, of the first two components:")
        click.echo(table.to_string(index=False, float_format="{:.2f}".format))
        return
    fitted = None if fit_num_tasks is None else [float(m) for m in _numbers("--fit-num-tasks", fit_num_tasks, ("inf",))]
    (chosen,) = _numbers("--probe", probe, ("inf",))
    with _progress("checkpoints") as report:
        result = development.joint_pca(
            experiment, components, probe=float(chosen), fit_num_tasks=fitted, report=report, **settings
        )
    click.echo(development.format_pca(result))
    _next(f"llc plot {experiment.path}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--method", default="turns", show_default=True, help="turns (maxima and minima) or trend (slopes).")
@click.option("--resamples", type=click.IntRange(min=20), default=400, show_default=True, help="For intervals.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the resampling.")
@click.option("--csv", type=click.Path(path_type=Path), default=None, help="Write the table there too.")
@click.option("--latex", type=click.Path(path_type=Path), default=None, help="Write it as a LaTeX tabular (booktabs).")
def stages(folder: Path, method: str, resamples: int, seed: int, csv: Path | None, latex: Path | None) -> None:
    """Stages of every run, and the tradeoff of loss and complexity.

    Boundaries of llc(t), loss and principal components, with 90 % intervals from the errors of llc; what loss and llc
    do between them; t_crit with its interval; and the number of samples from which a complex solution is preferred.
    Only estimates that are `converged` count.

    \b
    Examples:
      llc estimate-llc runs/tiny --steps log:20
      llc stages runs/tiny --latex stages.tex
    """
    from llc import development, store
    from llc.errors import LLCError

    experiment = _experiment(folder)
    for path in (csv, latex):  # before minutes of work, not after
        if path is not None:
            store.check_regular(path)
    with _progress("checkpoints") as report:
        found = development.find_stages(experiment, method=method, resamples=resamples, seed=seed, report=report)
    table = development.stage_rows(found)
    click.echo(development.format_stages(table))
    for reason in found.left_out.values.ravel():
        if reason:
            click.echo(f"No stages of {reason}")
    for path, text in ((csv, table.to_csv(index=False)), (latex, development.latex_stages(table))):
        if path is not None:
            store.write_text(path, text)
            click.echo(f"Wrote {path}")
    with _progress("runs") as report:
        traded = development.tradeoff(experiment, seed=seed, report=report)
    click.echo("\n" + development.format_tradeoff(traded))
    if (experiment.path / "pca.nc").exists():
        try:
            number = len(development.form_rows(development.essential_dynamics(experiment)))
            click.echo(f"\n{number} forms of the trajectories (vertices, cusps) in {experiment.path / 'essential.nc'}")
        except LLCError as error:  # a pca.nc that serves other ends; what came before stands
            click.echo(f"\nNo forms of the trajectories: {error}")
    _next(f"llc report {experiment.path}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--steps", default="log:20", show_default=True, help="log:N, linear:N, all, last, or 500,1000.")
@click.option("--scales", metavar="C,C,…", default="0.5,2", show_default=True, help="Factors of the covariates.")
@click.option("--noises", metavar="F,F,…", default="0.25,4", show_default=True, help="Factors of the noise variance.")
@click.option("--num-tasks", metavar="M,M,…", default="1,inf", show_default=True, help="Other task diversities M'.")
@click.option("--sequences", type=click.IntRange(min=2), default=None, help="Of each kind.  [default: as in training]")
@click.option("--icl-positions", metavar="K1,K2", default=None, help="Of the ICL score.  [default: K/2,K]")
def behaviour(
    folder: Path,
    steps: str,
    scales: str,
    noises: str,
    num_tasks: str,
    sequences: int | None,
    icl_positions: str | None,
) -> None:
    """Losses and distances to ridge and dMMSE on inputs that training did not show.

    Covariates scaled, noise changed, tasks from another M'; and how much later predictions of a sequence are better
    than earlier ones (ICL score).

    \b
    Examples:
      llc behaviour runs/tiny
      llc behaviour runs/tiny --steps last --scales 0.1,0.5,2,10 --icl-positions 2,8
    """
    from llc import development
    from llc.errors import InvalidInput

    experiment = _experiment(folder)
    positions = None if icl_positions is None else _numbers("--icl-positions", icl_positions)
    if positions is not None and len(positions) != 2:
        raise InvalidInput(f"--icl-positions {icl_positions} given, expected two positions such as 4,8")
    with _progress("checkpoints") as report:
        found = development.shifted_behaviour(
            experiment,
            steps=steps,
            scales=_floats("--scales", scales),
            noises=_floats("--noises", noises),
            num_tasks=[float(m) for m in _numbers("--num-tasks", num_tasks, ("inf",))],
            sequences=sequences,
            icl_positions=None if positions is None else (int(positions[0]), int(positions[1])),
            report=report,
        )
    click.echo(development.format_behaviour(found))
    _next(f"llc report {experiment.path}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--steps", default="log:20", show_default=True, help="log:N, linear:N, all, last, or 500,1000.")
@click.option("--no-hessian", is_flag=True, help="Leave the Hessian's trace and eigenvalues out; they take longest.")
def readouts(folder: Path, steps: str, no_hessian: bool) -> None:
    """What weights and attention heads look like over training, to set beside llc.

    Norms of blocks, gains of layer norms, entropy and previous-token share of every head, the embedding's spectrum,
    and the Hessian's trace and largest eigenvalues.

    \b
    Examples:
      llc readouts runs/tiny
      llc readouts runs/tiny --steps 500,5000 --no-hessian
    """
    from llc import development

    experiment = _experiment(folder)
    with _progress("checkpoints") as report:
        development.readouts(experiment, steps=steps, hessian=not no_hessian, report=report)
    click.echo(f"Wrote {experiment.path / 'readouts.nc'}")
    _next(f"llc report {experiment.path}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--verify", is_flag=True, help="Read every checkpoint and result, and name those that are damaged.")
def show(folder: Path, verify: bool) -> None:
    """What an experiment or a run holds.

    \b
    Examples:
      llc show runs/tiny
      llc show "runs/tiny/M=16,seed=0"
      llc show runs/tiny --verify
    """
    from llc import store

    found = store.open_folder(folder)
    click.echo(store.describe(found))
    if verify:
        damaged = store.verify(found)
        click.echo("\n".join(damaged) or "Every checkpoint and result is whole.")
        for said in store.passed_over(found):
            click.echo(said)
        if damaged:
            sys.exit(1)
    if isinstance(found, store.Experiment) and found.has_metrics:
        _show_summary(found)


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--figure", "figures", multiple=True, help="Only this one, such as losses, llc, pca or stages.")
def plot(folder: Path, figures: tuple[str, ...]) -> None:
    """Draw the figures of an experiment into its folder.

    \b
    Examples:
      llc plot runs/tiny
      llc plot runs/tiny --figure pca
    """
    from llc import plots

    written, missing = plots.save_figures(_experiment(folder), list(figures))
    _show_figures(written, missing)
    if figures and missing:
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

    with _progress("parts") as tell:
        path = write_report(_experiment(folder), out, report=tell)
    click.echo(f"Wrote {path}")


@main.command()
@click.option("--suite", default="quick", show_default=True, help="quick, full, tuned-quick or tuned.")
@click.option("--sampler", default="default", show_default=True, help="What estimate_llc chooses, or one by name.")
@click.option("--against", default=None, help="Others; '' for none.  [default: sgld, and devinterp where installed]")
@click.option("--out", type=FOLDER, default=Path("benchmarks/results"), show_default=True, help="Where results go.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the chains.")
@click.option(
    "--problems",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Draw of the problems: another number gives other networks, data and wells.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Worker processes.  [default: one a core]")
def validate(
    suite: str, sampler: str, against: str | None, out: Path, seed: int, problems: int, jobs: int | None
) -> None:
    """Hold the estimator against exact learning coefficients on this machine.

    The suites quick (minutes) and full (half an hour) give the estimator a model, a loss and data, and nothing else:
    regression with noisy labels and flat directions, classification, deep linear networks, autoencoders, superposition,
    normal crossings, and weights that training has left above the floor of their basin, whose learning coefficients
    are known. Errors and coverage are over estimates called `converged`; the others are counted as failures. SGLD and
    devinterp's SGLD get the same number of gradients.

    tuned-quick and tuned give settings that suit each case, and have Gaussian wells and larger networks.

    \b
    Examples:
      llc validate --suite quick
      llc validate --suite full --against ""
      llc validate --problems 1
    """
    from importlib.util import find_spec

    from llc import plots, store, validation

    if against is None:
        against = "sgld,devinterp" if find_spec("devinterp") else "sgld"
    others = [method.strip() for method in against.split(",") if method.strip() not in {"", sampler}]
    name = f"validate_{suite}_{sampler}" + (f"_problems{problems}" if problems else "")
    unfinished = out / f"{name}.unfinished"
    with _progress("cases") as report:
        result = validation.validate(
            suite,
            methods=(sampler, *others),
            seed=seed,
            problems=problems,
            jobs=jobs,
            folder=unfinished,
            report=report,
        )
    settings = {"suite": suite, "sampler": sampler, "seed": seed, "problems": problems}
    store.write_dataset(out / f"{name}.nc", result, settings)
    plots.save_figure(plots.validation(result), out / f"{name}.png")
    store.remove_folder(unfinished, rf"[0-9a-f]{{16}}\.toml|{re.escape(store.LOCK_FILE)}")
    click.echo(validation.format_validation(result))
    click.echo(f"Wrote {out / name}.nc and .png")


@main.command()
@click.option("--out", type=FOLDER, default=Path("runs/demo"), show_default=True, help="Folder of the experiment.")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Worker processes.  [default: one a core]")
def demo(out: Path, jobs: int | None) -> None:
    """Everything at once on the tiny preset: train, estimate-llc, pca, stages, plot, report.

    \b
    Example:
      llc demo --out runs/demo
    """
    from llc import development, plots, study, training
    from llc.errors import StoreError
    from llc.report import write_report
    from llc.study import presets as study_presets
    from llc.training import presets

    click.echo(f"1/6  llc train --preset tiny --out {out}")
    with _progress("steps") as report:
        experiment = training.train(presets.tiny(), out, jobs=jobs, report=report)
    settings: dict[str, Any] = study_presets.TINY
    steps = study_presets.TINY_STEPS
    options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in settings.items())
    click.echo(f"2/6  llc estimate-llc {out} --steps {steps} {options}")
    with _progress("checkpoints") as report:
        estimates = study.estimate_llc_over_training(experiment, steps=steps, jobs=jobs, report=report, **settings)
    click.echo(study.format_estimates(estimates))
    click.echo(f"3/6  llc pca {out}")
    with _progress("checkpoints") as report:
        development.joint_pca(experiment, report=report)
    click.echo(f"4/6  llc stages {out}")

    def attempt(analyse: Callable[..., Any], **options: Any) -> Any:
        try:
            return analyse(experiment, **options)
        except (development.NothingToStage, StoreError) as error:  # figures and the report show what there is
            click.echo(f"Left out: {error}")
            return None

    with _progress("checkpoints") as report:
        found = attempt(development.find_stages, report=report)
        attempt(development.tradeoff, report=report)
        attempt(development.essential_dynamics)
    if found is not None:
        click.echo(development.format_stages(development.stage_rows(found)))
    click.echo(f"5/6  llc plot {out}")
    _show_figures(*plots.save_figures(experiment))
    click.echo(f"6/6  llc report {out}")
    click.echo(f"Wrote {write_report(experiment)}")
    _show_summary(experiment)


def _config(preset: str, num_tasks: str | None, seeds: str | None, settings: tuple[str, ...]) -> ExperimentConfig:
    """A preset with what the options change."""
    from llc.config import parse_setting
    from llc.training import presets

    overrides = dict(parse_setting(setting) for setting in settings)
    if num_tasks is not None:
        overrides["sweep.num_tasks"] = _numbers("--num-tasks", num_tasks, also=("inf",))
    if seeds is not None:
        overrides["sweep.seeds"] = _numbers("--seeds", seeds)
    return presets.preset(preset).override(overrides)


def _experiment(folder: Path) -> Experiment:
    """The experiment in a folder, or one sentence that says what the folder is instead."""
    from llc import store
    from llc.errors import InvalidInput

    found = store.open_folder(folder)
    if isinstance(found, store.Run):
        raise InvalidInput(f"{folder} is a single run; give the experiment above it, {folder.parent}")
    return found


def _numbers(option: str, text: str, also: tuple[str, ...] = ()) -> list[int | str]:
    """A comma-separated list of whole numbers and the words in `also`."""
    from llc.errors import InvalidInput

    parts = [part.strip() for part in text.split(",")]
    try:
        return [part if part in also else int(part) for part in parts]
    except ValueError:
        words = "".join(f" or {word}" for word in also)
        raise InvalidInput(f"{option} {text} given, expected whole numbers{words} with commas between") from None


def _floats(option: str, text: str) -> list[float]:
    """A comma-separated list of numbers > 0."""
    from llc.errors import InvalidInput

    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(0 < value < float("inf") for value in values):
        raise InvalidInput(f"{option} {text} given, expected numbers > 0 with commas between")
    return values


def _patterns(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",")]


def _but(ctx: click.Context, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a file, without those that the command line itself gives."""
    given = click.core.ParameterSource.COMMANDLINE
    replaced = {name for name in settings if ctx.get_parameter_source(name) == given}
    if {"gamma", "radius"} & {name for name in ctx.params if ctx.get_parameter_source(name) == given}:
        replaced |= {"gamma", "radius"}
    return {name: value for name, value in settings.items() if name not in replaced}


def _progress(unit: str):
    from llc.progress import progress

    return progress(unit)


def _show_summary(experiment: Experiment) -> None:
    from llc import development

    table = development.summary_table(experiment)
    if len(table):
        click.echo(development.format_table(table))


def _show_figures(written: list[Path], missing: dict[str, str]) -> None:
    for path in written:
        click.echo(f"Drew {path}")
    for name, why in missing.items():
        click.echo(f"Left out {name}: {why}")


def _next(*commands: str) -> None:
    click.echo("Next: " + "   ".join(commands))


def _say(message: str) -> None:
    click.echo(message, err=True)


if __name__ == "__main__":
    main()
