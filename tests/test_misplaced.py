"""Files in another's place, and configs that were edited: named where they are read, and by `llc show --verify`."""

import datetime
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import POSIX, small_config
from test_damage import RUN

import llc
from llc import development, store
from llc.cli import main
from llc.errors import LLCError, StoreError


def test_a_result_in_the_place_of_another_is_named(own):
    shutil.copy(own.path / "pca.nc", own.path / "llc.nc")
    with pytest.raises(
        StoreError, match=r"llc.nc is in another's place \(it holds pca\); delete it, and `llc estimate"
    ):
        own.llc  # noqa: B018
    assert "llc.nc is in another's place" in " ".join(store.verify(own))


def test_metrics_of_a_run_in_the_place_of_those_of_all_are_named(own):
    """Also where the run's task is that of the sweep."""
    run, path = own.run(num_tasks=None), own.path / "metrics.nc"
    shutil.copy(path, run.path / "all.nc")
    shutil.copy(run.path / "metrics.nc", path)
    with pytest.raises(StoreError, match=r"metrics.nc was made from another folder \(place: "):
        own.metrics  # noqa: B018
    (run.path / "all.nc").replace(run.path / "metrics.nc")
    with pytest.raises(StoreError, match=r"metrics.nc was made from another folder \(place: "):
        run.metrics  # noqa: B018


def test_an_estimate_with_other_settings_is_named(own):
    (folder,) = (own.path / RUN / "llc").iterdir()
    other = folder.with_name("0123456789abcdef")
    shutil.copytree(folder, other)
    with pytest.raises(StoreError, match=f"000020.nc is in another's place \\(it holds {folder.name}/000020\\)"):
        store.read_numbered(other / "000020.nc")
    assert f"{other / '000020.nc'} is in another's place" in " ".join(store.verify(own.run(num_tasks=4)))


def test_averaged_and_trained_weights_are_not_mixed_up(own):
    run = own.run(num_tasks=4)
    run.trained.mkdir()
    shutil.copy(run.checkpoints / "000020.safetensors", run.trained)
    with pytest.raises(StoreError, match=r"000020.safetensors is damaged \(it is one of checkpoints, not of trained\)"):
        run.read(run.trained, 20)


def edit(path: Path, changed: Callable[[dict], None]) -> None:
    """As a user does who deletes the line with the checksum."""
    table = store.read_table(path)
    changed(table)
    store.write_table(path, table)


def test_line_ends_of_another_system_are_no_edit(own):
    """As an editor or git on Windows makes them; what we write has the same bytes everywhere."""
    path = own.path / "experiment.toml"
    before = store.read_table(path)
    assert b"\r" not in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert store.read_table(path) == before


def test_a_config_that_was_edited_is_told(own):
    path = own.path / RUN / "config.toml"
    path.write_text(path.read_text().replace("batch_size = 16", "batch_size = 17"))
    with pytest.raises(StoreError, match=r"config.toml is damaged, or was edited \(checksum differs\); restore it"):
        own.run(num_tasks=4)
    edited = path.read_text().partition("\n")[2]
    path.write_text(edited)
    run = own.run(num_tasks=4)
    with pytest.raises(StoreError, match=r"belongs to another config .*, or restore the config if that was edited"):
        run.weights(20)
    with pytest.raises(StoreError, match=r"training\.batch_size: 16 there, 17 now"):
        run.metrics  # noqa: B018
    said = " ".join(store.verify(own))
    assert f"{path} does not belong to {own.path / 'experiment.toml'} (training.batch_size: 16 there, 17 now)" in said


def test_an_experiments_config_that_was_edited_is_told(own):
    edit(own.path / "experiment.toml", lambda table: table["behaviour"].update(sequences=33))
    again = llc.open(own.path)
    with pytest.raises(StoreError, match=r"behaviour\.sequences: 32 there, 33 now"):
        again.pca  # noqa: B018
    for path in own.path.glob("*.nc"):
        path.unlink()
    said = store.verify(again)
    assert len(said) == 3
    assert all("does not belong to" in one and "behaviour.sequences: 33 there, 32 now" in one for one in said)


def test_an_edited_config_is_told_before_anything_is_written(own):
    """NaN, which is not itself, among what is edited."""
    edit(own.path / "experiment.toml", lambda table: table["training"].update(learning_rate=float("nan")))
    before = {path: path.read_bytes() for path in own.path.glob("[a-z]*.*")}
    again = llc.open(own.path)
    for attempt in (
        llc.joint_pca,
        development.find_stages,
        llc.compare,
        partial(llc.estimate_llc_over_training, steps="last"),
    ):
        with pytest.raises(StoreError, match=r"does not belong to .*training\.learning_rate: nan there, 0\.\d+ now"):
            attempt(again)
    assert before == {path: path.read_bytes() for path in own.path.glob("[a-z]*.*")}


def test_settings_that_are_not_those_of_the_estimates_are_told(own):
    assert store.verify(own) == []
    edit(own.path / "llc.toml", lambda table: table.update(draws=99))
    (said,) = store.verify(own)
    assert f"{own.path / 'llc.toml'} is not what {own.path / 'llc.nc'} was made with (draws: 16 there, 99 now)" in said


def test_a_folder_of_version_0_1_is_refused(tmp_path):
    """Its axes had no names, and its runs no place; it is said before what else differs, and nothing is changed."""
    (tmp_path / "M=1,seed=0").mkdir()
    settings = (
        'preset = "tiny"\n[task]\nkind = "linear-regression"\n[model]\nkind = "transformer"\n[training]\nsteps = 6\n'
    )
    (tmp_path / "experiment.toml").write_text(settings + "[sweep]\nnum_tasks = [1]\nseeds = [0]\n")
    (tmp_path / "M=1,seed=0" / "config.toml").write_text("seed = 0\n" + settings)
    for attempt in (
        lambda: llc.open(tmp_path).runs,
        lambda: llc.open(tmp_path / "M=1,seed=0").place,
        lambda: llc.train(llc.presets.tiny(), tmp_path),
    ):
        with pytest.raises(StoreError, match=r"is of version 0\.1, .* train it again into another folder"):
            attempt()
    assert {path.name for path in tmp_path.iterdir()} - {".llc-lock"} == {"M=1,seed=0", "experiment.toml"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table["sweep"]["axes"].update({"task.num_tasks": [1, 1]}), "none twice"),
        (lambda table: table["sweep"]["axes"].update({"task.num_tasks": list(range(99_999))}), "at most 10000 runs"),
        (lambda table: table["sweep"].update(axes=[1]), "lists by name"),
        (lambda table: table.update(training=[{"steps": 3}]), "training is no table"),
        (lambda table: table["training"].update(steps=datetime.date(1979, 5, 27)), "training.steps is a time"),
    ],
)
def test_an_experiments_config_that_cannot_be_is_told(own, change, said):
    edit(own.path / "experiment.toml", change)
    with pytest.raises(StoreError, match=rf"experiment\.toml is damaged.*{said}"):
        llc.joint_pca(llc.open(own.path))


# Links that lead nowhere, and names that reach the terminal


def said_by(*command) -> str:
    """What a command that has to fail says, on one line."""
    result = CliRunner().invoke(main, [str(argument) for argument in command])
    assert result.exit_code == 1, result.output
    return " ".join(result.output.split())


def turned(path: Path, leads: str) -> str:
    """A link in the place of a file or folder, and what is said of it."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(path.name if leads == "itself" else "nothing")
    return f"cannot read {path}: it is a symbolic link that leads to no file ("


@pytest.mark.parametrize("leads", ["itself", "nothing"])
@POSIX
def test_a_config_that_is_a_link_to_nothing_is_refused_and_not_taken_for_absent(leads, single):
    (run,) = single.runs
    said = turned(run.path / "config.toml", leads)
    assert said in said_by("show", single.path)
    assert said in said_by("pca", single.path, "--sequences", "8")
    assert turned(single.path / "experiment.toml", leads) in said_by("show", single.path)
    with pytest.raises(StoreError, match=r"experiment\.toml: it is a symbolic link that leads to no file"):
        llc.train(small_config(), single.path, jobs=1)


@POSIX
def test_a_result_that_is_a_link_to_nothing_is_refused_before_the_work(single, monkeypatch):
    said = turned(single.path / "pca.nc", "nothing")
    monkeypatch.setattr("llc.development.pca.Rows", lambda *_: pytest.fail("worked"))
    assert said in said_by("pca", single.path, "--sequences", "8")


@pytest.mark.parametrize("leads", ["itself", "nothing"])
@POSIX
def test_links_to_nothing_are_named_and_the_rest_is_looked_at(leads, single):
    (run,) = single.runs
    for path in (single.path / "metrics.nc", single.path / "llc.toml", run.checkpoints / "000040.safetensors"):
        turned(path, leads)
    whole = run.checkpoints / "000060.safetensors"
    whole.write_bytes(whole.read_bytes()[:100])
    found = store.verify(single)
    assert sum("it is a symbolic link that leads to no file" in one for one in found) == 3
    assert any(f"{whole} is damaged" in one for one in found)


@pytest.mark.parametrize("leads", ["itself", "nothing"])
@POSIX
def test_a_folder_of_ours_that_is_a_link_to_nothing_is_refused(leads, single):
    (run,) = single.runs
    turned(run.checkpoints, leads)
    said = f"cannot look into {run.checkpoints}: "
    assert said_by("show", single.path, "--verify").count(said) == 2
    assert said in said_by("pca", single.path, "--sequences", "8")
    turned(run.path, leads)
    assert f"cannot read {run.path}: it is no folder, or a link that leads to none" in said_by("show", single.path)


@POSIX
def test_a_state_that_is_a_link_is_refused_before_training(single, monkeypatch):
    (run,) = single.runs
    for path in (run.path / "metrics.nc", single.path / "metrics.nc"):
        path.unlink()
    turned(run.state, "itself")
    monkeypatch.setattr("llc.training.loop._train", lambda *_: pytest.fail("trained"))
    with pytest.raises(LLCError, match=r"resume\.pt: it is a symbolic link, .* move it away"):
        llc.train(small_config(**{"sweep.axes": {"task.num_tasks": [4]}}), single.path, jobs=1)
    assert "resume.pt: it is a symbolic link that leads to no file" in " ".join(store.verify(run))


def test_what_a_folder_says_breaks_no_line_of_ours(single):
    metrics = single.metrics
    edit(single.path / "experiment.toml", lambda table: table.update(preset="tiny\nError: all is well\x1b[2J\x00"))
    edit(single.path / RUN / "config.toml", lambda table: table["behaviour"].update(note="a\nb"))
    metrics.num_tasks.attrs["symbol"] = "M\x1b[31m\n"
    named = metrics.assign_coords(reference=[f"{name}\x1b]\n" for name in metrics.reference.values])
    table = store.summary_table(single, {"metrics": named})
    shown = store.format_table(table, named)
    for text, lines in ((store.describe(llc.open(single.path)), None), (shown, 1 + len(table))):
        assert all(line.isprintable() for line in text.split("\n"))
        assert lines is None or len(text.split("\n")) == lines
    assert r"preset tiny\nError: all is well\x1b[2J\x00, 1 runs" in store.describe(llc.open(single.path))
    assert r"  behaviour.note = a\nb" in store.describe(llc.open(single.path / RUN)).split("\n")
    path = single.path / RUN / "checkpoints" / "x\ny"
    if os.name != "nt":
        path.touch()
        assert any(r"x\ny is not of this" in said for said in store.passed_over(llc.open(single.path)))
