"""Commands about λ̂: estimate-llc, calibrate, validate."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from llc.cli import fields
from llc.cli.group import FOLDER, main
from llc.cli.shared import but, draw_figure, given, open_experiment, patterns, say_next, show_progress, show_summary

# What a calibration may be told of the estimates that it is for.
_CALIBRATED = (
    "sampler",
    "chains",
    "draws",
    "num_samples",
    "batch_size",
    "nbeta",
    "gamma",
    "parameters",
    "loss",
    "seed",
)


@main.command("estimate-llc")
@click.argument("folder", type=FOLDER)
@click.option("--steps", default="log:12", show_default=True, help="log:N, linear:N, all, last, or 500,1000.")
@fields.settings(leave_out=("plateau", "loss"))
@click.option("--loss", default="task", show_default=True,
              help="task, the task's own, averaged over positions; nll, the negative log-likelihood of a sequence; or "
              "FILE.py:FUNCTION, with --model and --data.")  # fmt: skip
@click.option("--model", default=None, metavar="FILE.py:FUNCTION", help="Makes the model that checkpoints are of.")
@click.option("--data", default=None, metavar="FILE.py:FUNCTION", help="Gives the data that llc is sampled on.")
@click.option("--out", type=FOLDER, default=None, help="Where results of --model go.  [default: FOLDER/llc]")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or mps; auto: the fastest there is.")
@click.option("--settings", "file", type=click.Path(path_type=Path), default=None, help="File of llc calibrate.")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Workers.  [default: one a core or GPU]")
@click.option("--scheduler", default=None, metavar="ADDRESS", help="Dask scheduler whose workers do the work.")
@click.option("--overwrite", is_flag=True, help="Replace estimates made with other settings.")
@click.pass_context
def estimate_llc(
    ctx: click.Context,
    /,
    folder: Path,
    jobs: int | None,
    scheduler: str | None,
    device: str,
    overwrite: bool,
    steps: str,
    file: Path | None,
    model: str | None,
    data: str | None,
    out: Path | None,
    **settings: Any,
) -> None:
    """Estimate the local learning coefficient over training.

    FOLDER is an experiment of llc train or llc import; or, with --model, --data and --loss, a folder of anyone's
    checkpoints, whose names hold the step, such as step_1000.pt or checkpoint-1000/. The functions are called without
    arguments, but for the loss: loss(model, batch) gives one number a sample.

    The same checkpoints of every run, all with one nbeta and gamma; the step size follows the curvature at each
    checkpoint unless it is given. Finished checkpoints are kept, so more steps can be added later. Options given here
    go before those of a settings file.

    \b
    Examples:
      llc estimate-llc runs/tiny
      llc estimate-llc runs/tiny --steps 500,1000,5000 --target-error 0.05 --gamma 100
      llc estimate-llc runs/tiny --steps last --sampler sgld --draws 2000
      llc estimate-llc runs/tiny --steps log:20 --settings runs/tiny/calibration.toml
      llc estimate-llc checkpoints/ --model net.py:Net --data net.py:test_set --loss net.py:cross_entropy
    """
    from llc import study

    if {"model", "data", "out"} & given(ctx) or ":" in settings["loss"]:
        told = {"model": model, "data": data, "loss": settings.pop("loss")}
        _over_checkpoints(
            ctx, folder, told, settings, steps=steps, out=out, jobs=jobs, overwrite=overwrite, device=device
        )
        return

    _check_not_checkpoints(folder)
    experiment = open_experiment(folder)
    settings["parameters"] = patterns(settings["parameters"])
    if file is not None:
        settings = {**settings, **but(ctx, study.settings_from(file))}
    with show_progress("checkpoints") as progress:
        estimates = study.estimate_llc_over_training(
            experiment,
            steps=steps,
            jobs=jobs,
            overwrite=overwrite,
            scheduler=scheduler,
            device=device,
            progress=progress,
            **settings,
        )
    click.echo(study.format_estimates(estimates) + "\n")
    show_summary(experiment)
    say_next(f"llc plot {experiment.path}")


def _check_not_checkpoints(folder: Path) -> None:
    """Say what a folder of somebody's checkpoints takes."""
    from llc import store
    from llc.errors import InvalidInput

    ours = (folder / name for name in (store.EXPERIMENT_FILE, store.RUN_FILE))
    if not folder.is_dir() or any(store.is_there(path) for path in ours):
        return
    try:
        files, _ = store.checkpoints_in(folder)
    except InvalidInput:
        return
    raise InvalidInput(
        f"{folder} is no experiment, but has checkpoints such as {next(iter(files.values())).name}; give --model, "
        "--data and --loss, each as FILE.py:FUNCTION"
    )


def _over_checkpoints(
    ctx: click.Context,
    folder: Path,
    told: dict[str, str | None],
    settings: dict[str, Any],
    *,
    out: Path | None,
    **how: Any,
) -> None:
    """Estimates at anyone's checkpoints, with the functions that the options name."""
    from llc import own_code, store, study, trusted
    from llc.errors import InvalidInput

    for name, place in told.items():
        if place is None or ":" not in place:
            what = "not" if place in {None, "task"} else place
            raise InvalidInput(
                f"--{name} {what} given, expected FILE.py:FUNCTION; a folder of checkpoints takes --model, "
                "--data and --loss"
            )
    for name in ("num_samples", "positions", "file", "scheduler"):
        if name in given(ctx):
            flag = "settings" if name == "file" else name.replace("_", "-")
            raise InvalidInput(f"--{flag} given, which is for experiments; leave it out with --model")
    trusted.give(trusted.code_of(str(place), f"--{name}") for name, place in told.items())
    model, loss = (own_code.named(str(told[name]), asked_by=f"--{name}") for name in ("model", "loss"))
    settings = {name: value for name, value in settings.items() if name not in ("num_samples", "positions")}
    settings["parameters"] = patterns(settings["parameters"])
    settings = {name: value for name, value in settings.items() if name in given(ctx)}
    out = out or folder / "llc"
    with show_progress("checkpoints") as progress:
        found = study.estimate_llc_over_checkpoints(
            folder,
            model,
            loss,
            own_code.called(str(told["data"]), {}, asked_by="--data"),
            out=out,
            progress=progress,
            **how,
            **settings,
        )
    click.echo(study.format_estimates(found))
    draw_figure("llc_over_training", found, store.own_folder(out / "figures") / "llc.png")
    click.echo(f"Wrote {out / 'llc.nc'}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--steps", default="last", show_default=True, help="log:N, linear:N, all, last, or 500,1000.")
@click.option("--points", type=int, default=3, show_default=True, help="Checkpoints to use, of all runs' steps.")
@fields.settings(*_CALIBRATED, sampler="kinetic", draws=100)
def calibrate(folder: Path, steps: str, points: int, **settings: Any) -> None:
    """Choose nbeta, gamma and the step size on a few checkpoints.

    Says what each checkpoint would take by itself, how llc moves at half and at twice what suits all, and what the
    prior alone would give. Writes calibration.toml, which estimate-llc --settings takes, calibration.nc and figures.

    \b
    Examples:
      llc calibrate runs/tiny --num-samples 1024 --batch-size 64
      llc estimate-llc runs/tiny --settings runs/tiny/calibration.toml
    """
    from llc import estimate, store, study

    experiment = open_experiment(folder)
    settings["parameters"] = patterns(settings["parameters"])
    folder_of_figures = store.own_folder(experiment.path / "figures")
    with show_progress("trials") as progress:
        _, dataset = study.calibrate_experiment(experiment, steps=steps, points=points, progress=progress, **settings)
    click.echo(estimate.format_calibration(dataset))
    for name in ("calibration_scale", "calibration_traces"):
        draw_figure(name, dataset, folder_of_figures / f"{name}.png")
    say_next(f"llc estimate-llc {experiment.path} --settings {experiment.path / 'calibration.toml'}")


@main.command()
@click.option("--suite", default="quick", show_default=True, help="quick, full, tuned-quick, tuned or draws.")
@click.option("--sampler", default="default", show_default=True, help="What estimate_llc chooses, or one by name.")
@click.option("--against", default=None, help="Others; '' for none.  [default: sgld, and peers that are installed]")
@click.option("--out", type=FOLDER, default=Path("benchmarks/results"), show_default=True, help="Where results go.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the chains.")
@click.option(
    "--problems",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Draw of the problems: another number gives other networks, data and wells.",
)
@click.option("--repeats", type=click.IntRange(min=1), default=None, help="Of suite draws.  [default: 200]")
@click.option("--only", multiple=True, help="Cases whose names hold this; again for others.  [default: all]")
@click.option("--jobs", type=click.IntRange(min=1), default=None, help="Worker processes.  [default: one a core]")
def validate(
    suite: str,
    sampler: str,
    against: str | None,
    out: Path,
    seed: int,
    problems: int,
    repeats: int | None,
    only: tuple[str, ...],
    jobs: int | None,
) -> None:
    """Hold the estimator against exact learning coefficients on this machine.

    The suites quick (minutes) and full (an hour or more) give the estimator a model, a loss and data, and nothing else:
    regression with noisy labels and flat directions, classification, deep linear networks, autoencoders, superposition,
    normal crossings, and weights that training has left above the floor of their basin, whose learning coefficients
    are known. Errors and coverage are over estimates called `converged`; the others are counted as failures.
    devinterp's and canonical-interp's SGLD get as many gradients; other samplers of ours choose their own number.

    tuned-quick and tuned give settings that suit each case, and have Gaussian wells and larger networks.

    draws holds what losses say along the draws (kernel, influence, susceptibility, functional variance, per-sample llc)
    against closed forms, on fresh problems again and again.

    \b
    Examples:
      llc validate --suite quick
      llc validate --suite full --against ""
      llc validate --problems 1
      llc validate --suite draws --repeats 20
      llc validate --suite full --problems 26 --only "7-10-4, rank 4" --against ""
    """
    from llc import store, validation
    from llc.validation.peers import PEERS

    if suite == "draws":
        if only or against or sampler != "default":
            raise click.UsageError("suite draws takes --repeats, --seed, --problems, --jobs and --out, and no others")
        name = "validate_draws" + (f"_problems{problems}" if problems else "")
        unfinished = out / f"{name}.unfinished"
        with show_progress("repetitions") as progress:
            found = validation.validate_draws(
                repeats or 200, seed=seed, problems=problems, jobs=jobs, folder=unfinished, progress=progress
            )
        store.write_dataset(out / f"{name}.nc", found, {"suite": suite, "seed": seed, "problems": problems})
        store.remove_folder(unfinished, rf"[0-9a-f]{{16}}\.toml|{re.escape(store.LOCK_FILE)}")
        click.echo(validation.format_draws(found))
        click.echo(f"Wrote {out / name}.nc")
        return
    if repeats is not None:
        raise click.UsageError(f"--repeats {repeats} given with suite {suite}; it is of suite draws")
    if against is None:
        against = ",".join(["sgld", *(name for name, peer in PEERS.items() if peer.installed)])
    others = [method.strip() for method in against.split(",") if method.strip() not in {"", sampler}]
    name = f"validate_{suite}_{sampler}" + (f"_problems{problems}" if problems else "")
    name += f"_{store.table_hash({'only': sorted(only)})[:8]}" if only else ""
    unfinished = out / f"{name}.unfinished"
    with show_progress("cases") as progress:
        result = validation.validate(
            suite,
            methods=(sampler, *others),
            seed=seed,
            problems=problems,
            only=only,
            jobs=jobs,
            folder=unfinished,
            progress=progress,
        )
    settings = {"suite": suite, "sampler": sampler, "seed": seed, "problems": problems, "only": list(only)}
    store.write_dataset(out / f"{name}.nc", result, settings)
    store.remove_folder(unfinished, rf"[0-9a-f]{{16}}\.toml|{re.escape(store.LOCK_FILE)}")
    click.echo(validation.format_validation(result))
    click.echo(f"Wrote {out / name}.nc")
    draw_figure("validation", result, out / f"{name}.png")
