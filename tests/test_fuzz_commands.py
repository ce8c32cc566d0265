"""Any command with any options: it says what it did or why not, and harms nothing."""

import os
import shutil

import click
import pytest
from click.testing import CliRunner
from fuzz import NUMBERS, TEXTS
from hypothesis import given, settings
from hypothesis import strategies as st

import llc
from llc.cli import main
from llc.errors import LLCError

# Long work is stopped where it would be handed to workers; what comes before is what looks at options.
WORK = [
    "llc.study.over_training.run_units",
    "llc.study.spread.run_units",
    "llc.training.sweep.run_units",
    "llc.validation.draws.run_units",
    "llc.validation.validation.run_units",
    "llc.study.over_training.settle",
    "llc.estimate.calibration.calibrate",
    "llc.study.calibration.calibrate",
    "llc.report.write_report",
]
# It measures the machine whatever it is told, which is in `test_doctor.py`.
COMMANDS = [name for name in main.commands if name != "doctor"]
# What works on, whatever its options, tries fewer lines.
SLOW = ("readouts", "compare", "plot", "claims", "strategies")
PLACES = ["own", "own/num_tasks=4,seed=0", "empty", "a file", "nowhere", "own/pca.nc", "new/a/b", "x" * 300, ".", ""]
# What was there, and when it was written, where all of it was found whole.
VERIFIED: list[dict] = []
WORDS = ["last", "log:3", "0,20", "num_tasks=2,4", "training.steps=2", "model.width=x", "ridge", "w*", "tiny", "he2025"]
WORDS += ["task.num_tasks=[1, 2]", "seed=0", "os:getcwd", "own/experiment.toml:x", "tcp://127.0.0.1:9", "id", "auto"]


def text(values):
    return values.map(str).filter(lambda value: "\0" not in value and value.isprintable())


def values(parameter: click.Parameter) -> st.SearchStrategy[str]:
    """What an option or argument is given."""
    name = parameter.type.name
    if name in {"directory", "path", "file"} or parameter.name in {"source", "record"}:
        return st.sampled_from(PLACES)
    if name.startswith(("integer", "float", "number")):
        return text(NUMBERS | st.integers(0, 4) | TEXTS)
    return text(st.sampled_from(WORDS) | TEXTS | NUMBERS)


@st.composite
def lines(draw, name):
    """Arguments of a command, mostly of a folder that is one."""
    found = []
    for parameter in main.commands[name].params:
        if isinstance(parameter, click.Argument):
            found.append(draw(st.just("own") | values(parameter)))
        elif parameter.name == "figure" or draw(st.integers(0, 2)) == 0:
            found.append(draw(st.sampled_from(parameter.opts)))
            found += [] if parameter.is_flag else [draw(values(parameter))]
    if draw(st.integers(0, 9)) == 0:
        found.insert(draw(st.integers(0, len(found))), draw(text(TEXTS)))
    return found


@pytest.fixture(scope="module")
def place(finished, tmp_path_factory):
    """A folder with a study, a file and an empty folder in it."""
    folder = tmp_path_factory.mktemp("commands")
    shutil.copytree(finished.path, folder / "own")
    (folder / "empty").mkdir()
    (folder / "a file").write_text("a = 1\n")
    return folder


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in COMMANDS])
def test_commands(name, place, monkeypatch):
    def stop(*_, **__):
        raise LLCError("here it would begin")

    for place_of_work in WORK:
        monkeypatch.setattr(place_of_work, stop)
    monkeypatch.chdir(place)

    @settings(max_examples=1 + settings.default.max_examples // (15 if name in SLOW else 3))
    @given(lines(name))
    def check(line):
        done = CliRunner().invoke(main, [name, *line])
        assert isinstance(done.exception, SystemExit | None), done.exception
        assert done.exit_code in {0, 1, 2}
        assert "Traceback" not in done.output
        if done.exit_code:
            assert "Error: " in done.output.splitlines()[-1], done.output
        assert not [one for _, _, files in os.walk(place) for one in files if one.endswith(".llc-part")]

    check()
    assert llc.open(place / "own").finished
    now = {path: path.stat().st_mtime_ns for path in (place / "own").rglob("*")}
    if now not in VERIFIED:
        shown = CliRunner().invoke(main, ["show", "own", "--verify"])
        assert shown.exit_code == 0, shown.output
        VERIFIED.append(now)
