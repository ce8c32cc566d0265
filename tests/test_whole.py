"""`llc demo`: every command of a study, as it is printed; what stops it and what does not."""

import re

import pytest
from click.testing import CliRunner
from conftest import SMALL_LLC, small_config

import llc
from llc import systems
from llc.cli import main
from llc.study import presets
from llc.training.config import weight_steps


@pytest.fixture
def tiny(monkeypatch):
    """The preset at a size that takes seconds."""
    estimates = {name: value for name, value in SMALL_LLC.items() if name != "jobs"}
    axes = {"task.num_tasks": [4, "inf"]}
    monkeypatch.setitem(systems.PRESETS, "tiny", lambda: small_config(preset="tiny", **{"sweep.axes": axes}))
    monkeypatch.setitem(presets.ESTIMATES, "tiny", {"steps": "20,60", **estimates})


def test_a_whole_study(tiny, tmp_path):
    """Eight commands, of which stages have nothing to find here; what is kept opens without runs."""
    command = ["demo", "--out", str(tmp_path / "demo"), "--jobs", "1", "--keep", str(tmp_path / "kept")]
    made = CliRunner().invoke(main, command)
    assert made.exit_code == 0, made.output
    said = re.findall(r"^(\d)/8  llc (\S+)", made.output, re.MULTILINE)
    names = ["train", "estimate-llc", "pca", "stages", "strategies", "claims", "plot", "report"]
    assert said == [(str(number), name) for number, name in enumerate(names, 1)]
    assert "Next:" not in made.output  # what comes next comes
    assert made.output.count("Left out: ") == 1, made.output
    assert "--draws 16" in made.output
    assert (tmp_path / "demo" / "report.html").exists()
    kept = llc.open_results(tmp_path / "kept")
    assert {"llc", "pca", "claims"} <= set(kept.results)
    assert (kept.path / "losses.png").exists()
    single = CliRunner().invoke(main, ["pca", str(tmp_path / "demo")])
    assert "Next: llc plot" in single.output


def test_what_comes_after_needs_what_came_before(tiny, tmp_path, monkeypatch):
    """A failed estimate ends it with its message."""
    broken = {**presets.ESTIMATES["tiny"], "steps": "61"}
    monkeypatch.setitem(presets.ESTIMATES, "tiny", broken)
    stopped = CliRunner().invoke(main, ["demo", "--out", str(tmp_path / "demo"), "--jobs", "1"])
    assert stopped.exit_code == 1
    assert "61" in stopped.output
    assert "3/8" not in stopped.output


def test_a_preset_that_is_no_whole_study_is_named():
    refused = CliRunner().invoke(main, ["demo", "--preset", "smal"])
    assert refused.exit_code == 2
    assert "--preset smal given; did you mean small?" in refused.output


@pytest.mark.parametrize("preset", presets.ESTIMATES)
def test_estimates_are_of_checkpoints_that_there_are(preset):
    steps = presets.ESTIMATES[preset]["steps"].split(",")
    assert {int(step) for step in steps} <= set(weight_steps(systems.preset(preset)))
    assert int(steps[-1]) == systems.preset(preset).training.steps
