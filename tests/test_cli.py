import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import POSIX, small_config
from conftest import SMALL_LLC as SETTINGS

import llc
from llc.cli import main

ROOT = Path(__file__).parent.parent
COMMANDS = ["train", "import", "export", "estimate-llc", "calibrate", "pca", "stages", "behaviour", "readouts"]
COMMANDS += ["compare", "show", "plot", "report", "validate", "demo", "doctor"]
SMALL_LLC = [
    part for name, value in SETTINGS.items() if name != "jobs" for part in (f"--{name.replace('_', '-')}", str(value))
]


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def flags(config) -> list[str]:
    """`--set` options that turn the tiny preset into a small config."""
    tiny = llc.presets.tiny()
    options = []
    for key in ("task", "model", "training", "checkpoints", "behaviour"):
        ours, theirs = getattr(config, key).to_table(), getattr(tiny, key).to_table()
        options += [f"--set={key}.{name}={value}" for name, value in ours.items() if value != theirs.get(name)]
    swept = [f"--sweep={key}={','.join(map(str, values))}" for key, values in config.sweep.axes.items()]
    return [option.replace("'", '"') for option in options] + swept


@pytest.mark.parametrize("program", [["-m", "llc"], [str(ROOT / "cli.py")]])
def test_all_names_are_the_same_program(program):
    done = subprocess.run([sys.executable, *program, "--help"], capture_output=True, text=True, check=True, cwd=ROOT)
    for command in COMMANDS:
        assert command in done.stdout


def test_help_loads_nothing_heavy():
    code = """
import sys
from click.testing import CliRunner
from llc.cli import main
for command in ([], ["train"], ["estimate-llc"], ["pca"], ["show"], ["plot"], ["demo"], ["doctor"]):
    assert CliRunner().invoke(main, [*command, "--help"]).exit_code == 0
heavy = {"torch", "xarray", "sklearn", "matplotlib", "pandas", "numpy", "pydantic"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    said = run(command, "--help").output
    assert re.search(rf"Examples?:\n(\s+llc .*\n)*?\s+llc {command}", said), said


def test_train_and_show(tmp_path):
    out = tmp_path / "x"
    settings = [flag for flag in flags(small_config()) if "task.num_tasks" not in flag]
    done = run("train", "--out", out, "--jobs", 1, "--num-tasks", "1,inf", *settings)
    assert "t_crit" in done.output
    assert f"llc estimate-llc {out}" in done.output
    again = run("train", "--out", out, "--num-tasks", "1,inf", *settings)
    assert "nothing to do" in again.output
    assert "num_tasks=1,seed=0: 9 checkpoints" in run("show", out).output
    assert "training.steps = 60" in run("show", out / "num_tasks=1,seed=0").output


def test_a_plan_writes_nothing(tmp_path):
    said = run("train", "--out", tmp_path / "planned", "--plan", *flags(small_config())).output
    assert "3, " in said
    assert "about" in said
    assert not (tmp_path / "planned").exists()


def test_estimate_pca_and_plot(own):
    done = run("estimate-llc", own.path, "--steps", "0,20,60", *SMALL_LLC)
    assert "nothing to do" in done.output
    assert "±" in done.output
    said = str(own.llc.reason.sel(num_tasks=4, seed=0, step=20).item())
    assert said in done.output  # every verdict with its reason
    done = run("pca", own.path, "--sequences", 8)
    assert "Variance explained by each component" in done.output
    assert "figures/pca.png" in run("plot", own.path, "--figure", "pca").output


BAD = {
    "unknown preset": (["train", "--preset", "tinny"], "unknown preset tinny; did you mean tiny?"),
    "unknown key": (["train", "--set", "train.step=5"], "unknown key train.step; did you mean training.steps?"),
    "no value": (["train", "--set", "training.steps"], "expected KEY=VALUE"),
    "wrong type": (["train", "--set", "training.steps=lots"], "training.steps = 'lots' given, expected a whole number"),
    "negative noise": (["train", "--set", "task.noise_variance=-1.0"], "task.noise_variance = -1.0 given"),
    "no tasks": (["train", "--num-tasks", "0"], "expected a whole number of tasks from 1 up, or inf"),
    "seeds twice": (["train", "--seeds", "0,1", "--sweep", "seed=3"], "the sweep is given seed twice ([3] and [0, 1])"),
    "a setting twice": (
        ["train", "--set", "training.steps=3", "--set", "training.steps=4"],
        "training.steps twice (3 and 4)",
    ),
    "words for tasks": (["train", "--num-tasks", "few"], "--num-tasks few given, expected whole numbers or inf"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_training_input_is_one_sentence_and_writes_nothing(case, tmp_path):
    arguments, said = BAD[case]
    done = run(*arguments, "--out", tmp_path / "x", code=2)
    assert said in done.output
    assert done.output.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_an_empty_folder_name_is_not_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "an empty name given, expected a folder" in run("train", "--out", "", code=2).output
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("train", "--out", tmp_path / "file" / "x", code=1)
    assert f"cannot write {tmp_path / 'file' / 'x'}" in done.output


def test_a_folder_inside_a_run(own):
    out = own.runs[0].path / "checkpoints"
    assert "lies in, the single run" in run("train", "--out", out, code=1).output


def test_diversity_of_the_task_itself_is_refused(tmp_path):
    done = run("train", "--out", tmp_path / "x", "--set", "task.num_tasks=16", code=2)
    assert "the sweep sets it; give --sweep task.num_tasks=16" in done.output


@pytest.mark.parametrize("name", ["experiment.toml", "num_tasks=4,seed=0/config.toml"])
def test_an_emptied_config_is_named(name, own):
    (own.path / name).write_text("")
    assert f"{own.path / name} is damaged" in run("show", own.path, code=1).output


def test_what_nobody_foresaw_is_still_one_sentence(own, monkeypatch):
    monkeypatch.setattr("llc.store.describe", lambda _: 1 / 0)
    done = run("show", own.path, code=1)
    assert done.output == "Error: ZeroDivisionError: division by zero (llc --debug COMMAND shows where)\n"


def test_a_folder_of_another_config(own):
    done = run("train", "--out", own.path, code=1)
    assert "was made with another config" in done.output
    assert "training.steps: 60 there, 5000 now" in done.output


@pytest.mark.parametrize("command", ["estimate-llc", "pca", "show", "plot"])
def test_a_folder_that_is_not_a_run(command, tmp_path):
    assert "is not an experiment: it has no experiment.toml" in run(command, tmp_path, code=1).output
    assert "does not exist" in run(command, tmp_path / "nothing", code=1).output


def test_a_single_run_is_no_experiment(own):
    done = run("pca", own.runs[0].path, code=2)
    assert f"give the experiment above it, {own.path}" in done.output


ESTIMATES = {
    "missing step": (["--steps", "41"], 1, "has no checkpoint at step 41; nearest are 40 and 60"),
    "no such steps": (["--steps", "early"], 2, "steps = 'early' given"),
    "zero nbeta": (["--nbeta", "0"], 2, "nbeta = 0.0 given"),
    "negative gamma": (["--gamma=-3"], 2, "gamma = -3.0 given"),
    "gamma twice": (["--gamma", "3", "--radius", "0.3"], 2, "gamma = 3.0 and radius = 0.3 given; they are one setting"),
    "a pattern that matches nothing": (["--parameters", "block.*"], 2, "no parameter matches 'block.*'"),
    "R-hat of one chain": (["--max-rhat", "1.1", "--chains", "1"], 2, "expected at least 2 chains"),
    "no settings file": (["--settings", "none.toml"], 1, "no settings file none.toml; llc calibrate makes one"),
    "a word for gamma": (["--gamma", "big"], 2, "'big' given, expected a number or auto"),
    "unknown sampler": (["--sampler", "hmcc"], 2, "sampler = 'hmcc' given"),
}


@pytest.mark.parametrize("case", ESTIMATES)
def test_bad_estimate_input(case, own):
    arguments, code, said = ESTIMATES[case]
    before = {path: path.stat().st_mtime_ns for path in own.path.rglob("*.nc")}
    assert said in run("estimate-llc", own.path, *arguments, code=code).output
    assert before == {path: path.stat().st_mtime_ns for path in own.path.rglob("*.nc")}


def test_a_truncated_checkpoint_is_named(own):
    (estimate,) = own.run(num_tasks=4).path.glob("llc/*/000020.nc")
    estimate.unlink()  # the only one to be made again
    bad = own.run(num_tasks=4).checkpoints / "000020.safetensors"
    bad.write_bytes(bad.read_bytes()[:100])
    done = run("estimate-llc", own.path, "--steps", "20", *SMALL_LLC, "--jobs", 1, code=1)
    assert f"{bad} is damaged" in done.output


def test_options_that_robustness_would_pass_over_are_refused(finished):
    said = run("pca", finished.path, "--robustness", "--probe", "ood", "--components", 4, code=2).output
    assert "leave out --components, --probe" in said


@pytest.mark.filterwarnings("always:edited since")
def test_a_warning_is_one_sentence_and_debug_says_where_it_comes_from(finished, monkeypatch):
    """Under --debug it is shown as Python does, which a test's own recorder hears in place of the command line."""
    table = llc.store.summary_table

    def warned(experiment):
        warnings.warn("edited since", stacklevel=1)
        return table(experiment)

    monkeypatch.setattr(llc.store, "summary_table", warned)
    assert "Warning: edited since\n" in run("show", finished.path).output
    with pytest.warns(UserWarning, match="edited since") as heard:
        assert "Warning: " not in run("--debug", "show", finished.path).output
    assert heard[0].filename == __file__


def test_a_study_of_ones_own_has_no_preset(tmp_path):
    said = run("train", "--preset", "tiny", "--system", "x.py:y", "--out", tmp_path / "x", code=2).output
    assert "--preset tiny and --system x.py:y given, expected one of them" in said


def test_unknown_figure(own):
    assert "unknown figure pcaa; did you mean pca?" in run("plot", own.path, "--figure", "pcaa", code=2).output


def test_debug_shows_the_traceback(tmp_path):
    result = CliRunner().invoke(main, ["--debug", "show", str(tmp_path)])
    assert isinstance(result.exception, llc.errors.StoreError)


@POSIX
def test_ctrl_c_keeps_what_is_finished_and_resumes(tmp_path):
    """SIGINT during training in worker processes: exit 1 with a word on how to go on, and the same command goes on."""
    config = small_config(
        **{"training.steps": 150, "checkpoints.every": 75, "sweep.axes": {"task.num_tasks": [1, "inf"]}}
    )
    command = ["train", "--out", str(tmp_path / "x"), *flags(config), "--jobs"]
    process = subprocess.Popen(
        [sys.executable, "-m", "llc", *command, "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    while not list(tmp_path.glob("x/*/checkpoints/*.safetensors")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the parent and its workers
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert "run the same command again to go on" in said
    assert "Traceback" not in said
    assert list(tmp_path.glob("x/*/resume.pt"))
    run(*command, "1")
    straight = llc.train(config, tmp_path / "straight", jobs=1)
    assert straight.metrics.drop_attrs().identical(llc.open(tmp_path / "x").metrics.drop_attrs())


@pytest.mark.slow
def test_a_folder_may_be_shown_to_a_reader_that_has_gone(finished):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "llc", "show", str(finished.path)]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    os.close(writer)
    assert result.stderr == ""


def test_a_reader_that_has_gone_is_no_error():
    """As in `llc show FOLDER | head`; of a command that has nothing to load first."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "llc", "show", "--help"]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    os.close(writer)
    assert result.stderr == ""


def test_what_needs_no_stages_is_made_where_there_are_none(own):
    """Three estimates a run are too few; the forms of the trajectories come from the PCA alone."""
    found = CliRunner().invoke(main, ["stages", str(own.path)])
    assert found.exit_code == 1
    assert (own.path / "essential.nc").exists()
    assert not (own.path / "stages.nc").exists()
    assert "No tradeoff: " in found.output


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("ridge,nope", "unknown reference nope"),
        ("ridge", "expected two references, of"),
        ("ridge,ridge", "expected two references, of"),
        ("ridge,zero", "unknown reference zero"),
    ],
)
def test_a_pair_is_checked_first(own, pair, said):
    found = CliRunner().invoke(main, ["stages", str(own.path), "--pair", pair])
    assert found.exit_code == 2
    assert said in found.output
    assert not (own.path / "essential.nc").exists()
