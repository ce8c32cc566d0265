"""A study in one file outside the package goes through every command on its folder alone."""

import html
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import llc
from llc.cli import main

FILE = Path(__file__).parent / "studies" / "slopes.py"
ESTIMATE = (
    "--steps 20,24,28,32,36,40 --num-samples 64 --draws 30 --chains 2 --warmup 8 --nbeta 1000 --gamma 1000 "
    "--max-rhat 3 --max-gradients 300"
)


def run(*arguments: str):
    found = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("outside") / "slopes"
    run("train", "--system", f"{FILE}:study", "--out", str(out), "--jobs", "1")
    run("estimate-llc", str(out), *ESTIMATE.split(), "--jobs", "1")
    return out


def test_it_is_trained_over_its_own_axes(folder):
    found = llc.open(folder)
    metrics = found.metrics
    assert metrics.loss.dims == ("slope", "width", "seed", "step", "test_set")
    assert metrics.distance.dims == ("slope", "width", "seed", "step", "test_set", "reference")
    assert list(metrics.test_set.values) == ["own", "steep"]
    assert set(metrics.reference.values) == {"mean", "first", "zero"}
    assert "position" not in metrics.dims
    assert metrics.width.values.tolist() == [2, 8]
    assert {path.name for path in folder.glob("slope=*")} == {f"slope=0.5,width={width},seed=0" for width in (2, 8)}
    one = found.run(width=8, slope=0.5)
    assert one.task.slope == 0.5
    assert one.model(40).into.out_features == 8
    best = metrics.loss.sel(test_set="steep").isel(step=slice(None)).idxmin("step")
    np.testing.assert_array_equal(metrics.step_critical, best)


def test_lambda_is_estimated_by_its_own_axes(folder):
    tree = llc.open(folder).llc
    assert tree.llc.dims[:4] == ("slope", "width", "seed", "step")
    assert np.isfinite(tree.llc).all()


def test_the_other_commands_work_on_the_folder_alone(folder):
    for command in ("pca", "stages", "behaviour", "readouts", "compare", "report", "show"):
        run(command, str(folder))
    found = llc.open(folder)
    drawn = ("losses_by_axis", "llc_by_axis", "pca", "compare")  # the report has them all, drawn otherwise
    run("plot", str(folder), *(f"--figure={name}" for name in drawn))
    assert {path.stem for path in (folder / "figures").iterdir()} == {*drawn}
    assert found.pca.score_reference.dims == ("slope", "width", "seed", "reference", "component")
    assert found.behaviour.loss.dims == ("slope", "width", "seed", "step", "test_set")
    assert found.readouts.gain.dims == ("slope", "width", "seed", "step")
    assert found.compare.excess.dims == ("slope", "width", "seed", "step", "test_set", "reference")
    assert (folder / "report.html").exists()


def test_its_report_says_how_it_was_made(folder):
    from llc.report.commands import commands

    assert commands(llc.open(folder))[0] == f"llc train --system {FILE}:study --out {folder}"


def test_a_study_whose_function_is_gone_is_still_reported(folder, tmp_path):
    from llc.report.commands import commands

    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    text = (copy / "experiment.toml").read_text().partition("\n")[2]  # without its checksum
    (copy / "experiment.toml").write_text(text.replace(f"{FILE}:study", "no.such.module:study"))
    first = commands(llc.open(copy))[0]
    assert first == f"llc train --system no.such.module:study --out {copy}  # with the settings in experiment.toml"


@pytest.mark.slow
def test_a_folder_keeps_the_code_that_it_was_made_with(tmp_path):
    """Another process opens it where the study's file, which defines its task and its model, is gone."""
    file = tmp_path / "gone" / "study.py"
    file.parent.mkdir()
    file.write_text(FILE.read_text().replace('"slopes"', '"gone-slopes"'))
    out = tmp_path / "slopes"
    steps = "--set training.steps=4 --set checkpoints.every=4 --set checkpoints.logarithmic=0"
    run("train", "--system", f"{file}:study", "--out", str(out), "--jobs", "1", *steps.split())
    file.unlink()
    moved = out.rename(tmp_path / "elsewhere")
    assert len(list((moved / "code").iterdir())) == 1

    def llc_command(name: str):
        command = [sys.executable, "-m", "llc", name, str(moved)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    found = llc_command("report")
    assert found.returncode == 0, found.stderr
    again = f"llc train --system {file}:study --out {moved} --set training.steps=4"
    assert again in html.unescape((moved / "report.html").read_text())
    (moved / "code").rename(tmp_path / "code")
    found = llc_command("behaviour")
    assert found.returncode == 2
    assert f"kind = gone-slopes is defined in {file}, which cannot be imported" in found.stderr


@pytest.mark.slow
def test_a_study_whose_file_was_moved_goes_on(tmp_path):
    """Another process, which finds the file elsewhere, resumes and grows the sweep; an edited file is another study."""
    old, new = tmp_path / "old" / "study.py", tmp_path / "new" / "study.py"
    old.parent.mkdir()
    old.write_text(FILE.read_text().replace('"slopes"', '"moved-slopes"'))
    out = tmp_path / "slopes"
    steps = "--jobs 1 --set training.steps=4 --set checkpoints.every=4 --set checkpoints.logarithmic=0"
    run("train", "--system", f"{old}:study", "--out", str(out), *steps.split())
    old.parent.rename(new.parent)

    def another(*commands: list[str]):
        """One process for all of them: most of what it takes is its imports."""
        code = "import sys, llc.cli as c\n" + "".join(
            f"c.main({command}, standalone_mode=False)\n" for command in commands
        )
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    widths = ["--sweep", "model.arguments.width=2,4,8"]
    again = ["train", "--system", f"{new}:study", "--out", str(out), *steps.split(), *widths]
    grown = another(again, ["pca", str(out)])
    assert grown.returncode == 0, grown.stderr
    assert {path.name for path in out.glob("*width=*")} == {f"slope=0.5,width={width},seed=0" for width in (2, 4, 8)}
    assert (out / "pca.nc").exists()
    new.write_text(new.read_text() + "\n# other\n")
    refused = another(again)
    assert refused.returncode == 1
    said = " ".join(refused.stderr.split())
    assert f"{new} was edited since {out} was begun with it" in said
    kept = said.partition("--system ")[2].removesuffix(":FUNCTION")
    goes_on = another(["train", "--system", f"{kept}:study", "--out", str(out), *steps.split(), *widths])
    assert goes_on.returncode == 0, goes_on.stderr
