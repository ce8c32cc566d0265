"""Numbers and names that no machine can do anything with: one sentence each, at once, and no checkpoint written.

Sizes of memory are beyond any address space, so that they are refused however much a system promises.
"""

import numpy as np
import pytest
from click.testing import CliRunner

import llc
from llc.cli import main
from llc.errors import InvalidInput
from llc.study.points import chosen_steps
from llc.training.fit import check_fit

HUGE = "99999999999999999999"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--num-tasks", HUGE], "task.num_tasks = 99999999999999999999 given, expected at most"),
        (["--num-tasks", "1e40"], "--num-tasks 1e40 given, expected whole numbers or inf"),
        (["--seeds", "-1"], "seed = -1 given, expected greater than or equal to 0"),
        (["--seeds", HUGE], f"seed = {HUGE} given, expected less than"),
        (["--scheduler", "zzz"], "scheduler = 'zzz' given, expected its address, such as tcp://localhost:8786"),
        (["--set", f"training.steps={HUGE}"], "run, expected at most 1,000,000; set a larger checkpoints.every"),
        (["--set", "training.batch_size=1000000000000000"], "more memory than there is (8,000,000.0 GB at once)"),
        (["--set", f"model.depth={HUGE}"], "model.depth = 99999999999999999999 given"),
        (["--set", "model.width=4000000"], "more memory than there is"),
        (
            ["--set", "task.dim=100000000000000", "--num-tasks", "inf"],
            "LinearRegression.sample(2) takes more memory than there is",
        ),
        (
            ["--set", "checkpoints.logarithmic=100000000000"],
            "and checkpoints.logarithmic = 100000000000 asks for 100,000,000,025 checkpoints a run, expected at most "
            "1,000,000; set a smaller checkpoints.logarithmic",
        ),
        (["--set", "preset=a\nb"], r"preset = 'a\nb' given, expected text without line breaks"),
        (["--set", "task.noise_variance=1e400"], "task.noise_variance = inf given, expected a finite number"),
    ],
)
def test_training_nobody_can_do(options, said, tmp_path):
    made = CliRunner().invoke(main, ["train", "--out", str(tmp_path / "x"), "--jobs", "1", *options])
    assert made.exit_code in (1, 2)
    assert said in made.output
    assert len(made.output.strip().splitlines()) == 1
    assert not list(tmp_path.glob("x/*/checkpoints/*"))
    assert "scheduler" not in said or not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["estimate-llc", "--steps", "last", "--chains", "9999999"], "chains = 9999999 given, expected less than or"),
        (["estimate-llc", "--steps", "last", "--draws", "999999999999"], "draws = 999999999999 given, expected less"),
        (["behaviour", "--sequences", "1000000000000000"], "more memory than there is"),
        (["compare", "--sequences", "1000000000000000"], "more memory than there is"),
        (["pca", "--components", "99999"], "components = 99999 given, expected 1 to"),
        (["stages", "--resamples", "1000000000000"], "resamples = 1000000000000 given, expected a whole number from 1"),
    ],
)
def test_analyses_nobody_can_do(command, said, own):
    name, *options = command
    made = CliRunner().invoke(main, [name, str(own.path), *options])
    assert made.exit_code in (1, 2)
    assert said in made.output


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (10**14, r"Regression\.sample\(10+\) takes more memory than there is \([\d,.]+ GB at once\); give fewer"),
        (10**15 + 1, "size = 1000000000000001 given, expected a whole number from 1 to 1000000000000000"),
        (10**30, "size = 10+ given, expected a whole number"),
    ],
)
def test_samples_that_no_memory_holds(size, said):
    with pytest.raises(InvalidInput, match=said):
        llc.tasks.LinearRegression(dim=2, num_examples=3, noise_variance=0.1, num_tasks=2).sample(size)


def test_a_model_that_no_memory_holds_is_told_so_and_not_that_it_is_wrong(monkeypatch):
    def forward(*_):
        raise RuntimeError("CUDA out of memory. Tried")

    monkeypatch.setattr(llc.models.Transformer, "forward", forward)
    with pytest.raises(InvalidInput, match=r"^this takes more memory than there is; give fewer"):
        check_fit(llc.presets.tiny().runs()[0])


def test_a_step_beyond_any_is_shown_as_it_was_given():
    with pytest.raises(InvalidInput, match=f"a step of '{HUGE}' given, expected at most 18 digits"):
        chosen_steps(f"0, {HUGE}", [0, 10], lambda _: None)


@pytest.mark.parametrize("kind", ["log", "linear"])
def test_more_steps_than_there_are_is_all_of_them(kind):
    available = [*range(0, 2000, 10)]
    assert chosen_steps(f"{kind}:3000000000", available, lambda _: None) == available
    some = chosen_steps(f"{kind}:12", available, lambda _: None)
    assert len(some) <= 12
    assert {0, 1990} <= set(some)


def test_a_name_too_long_for_a_file_is_said(tmp_path):
    made = CliRunner().invoke(main, ["train", "--out", str(tmp_path / ("x" * 300))])
    assert made.exit_code == 1
    assert "File name too long" in made.output
    assert "OSError" not in made.output


def test_numbers_of_numpy_are_numbers():
    config = llc.presets.tiny().override(
        {"training.steps": np.int64(300), "task.noise_variance": np.float32(0.5), "sweep.axes": {"seed": [np.int32(1)]}}
    )
    assert (config.training.steps, config.task.noise_variance, config.runs()[0].seed) == (300, 0.5, 1)
