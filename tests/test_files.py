"""Nobody's files are lost: what is removed, what is replaced, and what is left alone."""

import os
import shutil
import socket
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import POSIX, SMALL_LLC, small_config

import llc
from llc import store
from llc.cli import main
from llc.errors import LLCError, StoreError


def run(*arguments, code=0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def unfinish(experiment: llc.Experiment) -> None:
    """Let the next `train` have something to do."""
    (experiment.path / "metrics.nc").unlink()


# Settings that are not those of the estimates there are.
OTHER = {**SMALL_LLC, "chains": 1, "max_gradients": 50}


# What is removed


@POSIX
def test_only_our_own_leftovers_are_removed_and_only_where_we_write(own, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (own.path / "figures").symlink_to(elsewhere)
    inside = own.run(num_tasks=4).path
    (estimates,) = (inside / "llc").iterdir()
    ours = [folder / ".x.abc.llc-part" for folder in (own.path, inside, inside / "checkpoints", estimates)]
    theirs = [
        own.path / ".film.mkv.part",
        inside / "checkpoints" / ".x.part",
        elsewhere / ".x.abc.llc-part",
        own.path / "notes" / ".x.abc.llc-part",
        own.path / "x.llc-part",
    ]
    for path in [*ours, *theirs]:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    link = own.path / ".link.llc-part"
    link.symlink_to(theirs[0])
    unfinish(own)
    llc.train(small_config(), own.path, jobs=1)
    assert not [path for path in ours if path.exists()]
    assert all(path.read_text() == "half" for path in [*theirs, link])


@POSIX
def test_estimates_of_other_settings_go_when_asked_and_nothing_else(own, tmp_path):
    folder = own.run(num_tasks=4).path / "llc"
    (before,) = folder.iterdir()
    elsewhere = tmp_path / "0123456789abcdef"
    elsewhere.mkdir()
    theirs = [folder / "notes.txt", folder / "drafts" / "000020.nc", elsewhere / "000020.nc", before / "a (copy).nc"]
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (folder / elsewhere.name).symlink_to(elsewhere)
    other = own.run(num_tasks=1).path / "llc"
    llc.estimate_llc_over_training(own, steps="20", overwrite=True, **OTHER)
    assert all(path.read_text() == "mine" for path in theirs)
    assert os.listdir(before) == ["a (copy).nc"]
    assert len(list(other.iterdir())) == 1  # nobody's files kept this one


def test_estimates_stay_unless_they_are_to_be_replaced(single):
    """Without its `llc.toml` an experiment does not know that it has others."""
    (single.path / "llc.toml").unlink()
    before = sorted(single.path.glob("*/llc/*/*.nc"))
    llc.estimate_llc_over_training(single, steps="20", **OTHER)
    assert before
    assert all(path.exists() for path in before)


@POSIX
def test_validation_removes_its_own_folder_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr("llc.validation.validate", lambda *_, **__: None)
    monkeypatch.setattr("llc.validation.format_validation", lambda _: "")
    monkeypatch.setattr("llc.store.write_dataset", lambda *_: None)
    monkeypatch.setattr("llc.figures.validation", lambda _: None)
    monkeypatch.setattr("llc.figures.draw", lambda _: None)
    monkeypatch.setattr("llc.figures.save_figure", lambda *_: None)
    unfinished = tmp_path / "validate_quick_default.unfinished"
    unfinished.mkdir()
    for name in ("0123456789abcdef.toml", ".llc-lock", "notes.toml"):
        (unfinished / name).write_text("")
    run("validate", "--out", tmp_path)
    assert os.listdir(unfinished) == ["notes.toml"]
    (unfinished / "notes.toml").unlink()
    run("validate", "--out", tmp_path)
    assert not unfinished.exists()
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "0123456789abcdef.toml").write_text("")
    unfinished.symlink_to(tmp_path / "real")
    run("validate", "--out", tmp_path)
    assert unfinished.is_symlink()
    assert os.listdir(tmp_path / "real") == ["0123456789abcdef.toml"]


@pytest.mark.parametrize(
    ("inside", "command"),
    [
        ("figures", llc.figures.save_figures),
        ("num_tasks=4,seed=0/llc", lambda own: llc.estimate_llc_over_training(own, steps="40", **SMALL_LLC)),
        ("num_tasks=4,seed=0/checkpoints", lambda own: llc.train(small_config(), own.path, jobs=1)),
    ],
)
@POSIX
def test_a_folder_of_ours_that_is_a_link_is_not_written_into(inside, command, own, tmp_path):
    link, elsewhere = own.path / inside, tmp_path / "elsewhere"
    link.mkdir(exist_ok=True)
    shutil.move(link, elsewhere)
    link.symlink_to(elsewhere)
    before = {path: path.stat().st_mtime_ns for path in elsewhere.rglob("*")}
    unfinish(own)
    (own.run(num_tasks=4).path / "metrics.nc").unlink()
    with pytest.raises(LLCError, match=f"{link}: it is a symbolic link, expected a folder or nothing; move it away"):
        command(own)
    assert before == {path: path.stat().st_mtime_ns for path in elsewhere.rglob("*")}


def test_numbers_that_are_needed_for_a_while_have_no_name(tmp_path):
    with store.scratch_file(tmp_path) as file:
        file.write(b"12")
        assert not list(tmp_path.iterdir())
    file.seek(0)
    assert file.read() == b"12"
    file.close()
    with pytest.raises(KeyError), store.scratch_file(tmp_path) as file:
        raise KeyError
    assert file.closed


# What is replaced


def special(kind: str, path: Path) -> str:
    if os.name == "nt":
        pytest.skip("needs POSIX")
    if kind == "link":
        target = path.parent / "target"
        target.write_text("theirs")
        path.symlink_to(target)
        return "a symbolic link"
    if kind == "dangling":
        path.symlink_to(path.parent / "nothing")
        return "a symbolic link"
    if kind == "pipe":
        os.mkfifo(path)
        return "a named pipe"
    if kind == "folder":
        path.mkdir()
        return "a folder"
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(path))  # its name has to be short
        return "a socket"
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("needs the right to make a device")
    return "a device"


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder", "socket", "device"])
def test_only_regular_files_are_replaced(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "out.csv"
    said = special(kind, path)
    before = path.lstat()
    with pytest.raises(StoreError, match=f"out.csv: it is {said}, expected a regular file or nothing; choose"):
        store.write_text(path, "text")
    assert os.path.samestat(path.lstat(), before)
    if kind == "link":
        assert path.read_text() == "theirs"
    assert not list(tmp_path.glob(".*"))


@POSIX
def test_what_came_while_writing_is_not_replaced(tmp_path):
    path = tmp_path / "out.csv"

    def write() -> None:
        with store.atomic_path(path) as scratch:
            scratch.write_text("ours")
            path.symlink_to("/dev/null")

    with pytest.raises(StoreError, match="it is a symbolic link"):
        write()
    assert path.is_symlink()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("option", ["--csv", "--latex"])
@POSIX
def test_tables_do_not_take_the_place_of_a_link(option, own, tmp_path):
    link = tmp_path / "out"
    link.symlink_to("/dev/stdout")
    before = sorted(own.path.rglob("*"))
    assert f"Error: cannot write {link}: it is a symbolic link" in run("stages", own.path, option, link, code=1)
    assert link.is_symlink()
    assert sorted(own.path.rglob("*")) == before  # it was said before the work was done


@POSIX
def test_no_output_takes_the_place_of_a_link(own, tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    outputs = {
        tmp_path / "model.pt": ["export", own.run(num_tasks=4).path, tmp_path / "model.pt"],
        tmp_path / "page.html": ["report", own.path, "--out", tmp_path / "page.html"],
        own.path / "figures" / "losses.png": ["plot", own.path, "--figure", "losses"],
        own.path / "pca.nc": ["pca", own.path, "--sequences", "8"],
    }
    for path, command in outputs.items():
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(tmp_path / "theirs")
        said = run(*command, code=1)
        assert "it is a symbolic link" in said or f"{path} cannot be read" in said
        assert path.is_symlink()
        assert (tmp_path / "theirs").read_text() == "theirs"


@POSIX
def test_a_lock_that_is_a_link_leaves_its_target_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    (tmp_path / store.LOCK_FILE).symlink_to("thesis.txt")
    with pytest.raises(StoreError, match=r"\.llc-lock: it is a symbolic link"), store.folder_lock(tmp_path):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_lock_of_another_tool_is_left_alone(tmp_path):
    (tmp_path / ".lock").write_text("theirs")
    with store.folder_lock(tmp_path):
        assert (tmp_path / ".lock").read_text() == "theirs"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("metrics.nc", "metrics.nc but no experiment.toml"),
        ("num_tasks=4,seed=0/checkpoints", "checkpoints but no config.toml"),
    ],
)
def test_a_folder_of_somebody_else_is_not_moved_into(name, said, tmp_path):
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(llc.LLCError, match=f"holds {said}, so it is not known whose they are; choose another folder"):
        llc.train(small_config(**{"sweep.axes": {"task.num_tasks": [4]}}), tmp_path, jobs=1)
    assert not list((tmp_path / name).iterdir())
