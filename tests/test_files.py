"""Nobody's files are lost: what is removed, what is replaced, what is read, and what is left alone."""

import os
import shutil
import socket
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import POSIX, SMALL_LLC, small_config
from test_training import assert_same_runs

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
# That of the fixture `single`.
ONE = small_config(**{"sweep.axes": {"task.num_tasks": [4]}})


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


def _special(kind: str, path: Path) -> str:
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
    said = _special(kind, path)
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


# What is read


def test_a_checkpoint_of_another_step_is_named(own, finished):
    folder = own.run(num_tasks=4).checkpoints
    moved = folder / "000040.safetensors"
    moved.write_bytes((folder / "000020.safetensors").read_bytes())
    said = run("show", own.path, "--verify", code=1)
    assert f"{moved} is damaged (it holds step 20, not 40); delete it and run the same `llc train`" in said
    with pytest.raises(StoreError, match="it holds step 20, not 40"):
        own.run(num_tasks=4).weights(40)
    moved.unlink()
    llc.train(small_config(), own.path, jobs=1)
    assert_same_runs(own.run(num_tasks=4), finished.run(num_tasks=4))


def test_predictions_in_the_place_of_weights_are_named(tmp_path):
    few = {"training.steps": 6, "training.warmup_steps": 0, "checkpoints.every": 2}
    config = small_config(**few, **{"checkpoints.weights_every": 3, "sweep.axes": {"task.num_tasks": [4]}})
    thin = llc.train(config, tmp_path / "x", jobs=1)
    made = thin.run(num_tasks=4)
    step = (set(made.recorded_steps) - set(made.steps)).pop()
    moved = made.checkpoints / f"{step:06d}.safetensors"
    moved.write_bytes((made.predicted / moved.name).read_bytes())
    assert f"{moved} is damaged (it is one of predictions, not of checkpoints)" in run(
        "show", thin.path, "--verify", code=1
    )


def test_an_estimate_of_another_step_or_run_is_named(own):
    (folder,) = (own.run(num_tasks=4).path / "llc").iterdir()
    moved, foreign = folder / "000040.nc", folder / "000020.nc"
    moved.write_bytes((folder / "000060.nc").read_bytes())
    foreign.write_bytes((own.run(num_tasks=1).path / "llc" / folder.name / "000020.nc").read_bytes())
    said = run("show", own.path, "--verify", code=1)
    assert f"{moved} is in another's place (it holds {folder.name}/000060); delete it" in said
    assert f"{foreign} was made from another folder (place.num_tasks: 1 there, 4 now" in said
    with pytest.raises(StoreError, match=r"000020.nc was made from another folder \(place.num_tasks: 1 there, 4 now"):
        llc.estimate_llc_over_training(own, steps="0", **SMALL_LLC)  # which merges all there are
    foreign.unlink()
    with pytest.raises(StoreError, match=r"000040.nc is in another's place \(it holds .*/000060\)"):
        llc.estimate_llc_over_training(own, steps="0", **SMALL_LLC)


def test_results_of_another_folder_are_named(own, tmp_path):
    """Of another experiment, of another run, and of a sweep that has runs which are not in this one."""
    other = shutil.copytree(own.path, tmp_path / "other")
    table = store.read_table(other / "experiment.toml")
    table["training"]["steps"] = 61
    store.write_table(other / "experiment.toml", table)
    swapped = own.run(num_tasks=4).path / "metrics.nc"
    swapped.write_bytes((own.run(num_tasks=1).path / "metrics.nc").read_bytes())
    damaged = own.run(num_tasks=1).checkpoints / "000040.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:100])
    said = run("show", own.path, "--verify", code=1)
    assert "num_tasks=1,seed=0: " in said  # what there is is told all the same
    assert f"{swapped} was made from another folder (place.num_tasks: 1 there, 4 now" in said
    assert f"{damaged} is damaged" in said
    with pytest.raises(StoreError, match="was made from another folder"):
        own.run(num_tasks=4).metrics  # noqa: B018
    foreign = llc.open(other)
    assert f"{other}/llc.nc was made from another folder (training.steps: 60 there, 61 now)" in " ".join(
        store.verify(foreign)
    )
    with pytest.raises(StoreError, match=r"llc.nc was made from another folder"):
        foreign.llc  # noqa: B018
    table = store.read_table(own.path / "experiment.toml")
    table["sweep"]["axes"]["task.num_tasks"].remove(1)
    store.write_table(own.path / "experiment.toml", table)
    with pytest.raises(StoreError, match=r"knows num_tasks=1,seed=0, which is not in this sweep"):
        llc.open(own.path).llc  # noqa: B018


def test_a_state_that_is_damaged_or_of_another_run_is_named(own):
    first, second = (own.run(num_tasks=number).state for number in (4, 1))
    store.write_state(first, {"step": 40}, config_hash=own.run(num_tasks=4).config_hash)
    assert "Every checkpoint and result is whole." in run("show", own.path, "--verify")
    second.write_bytes(first.read_bytes())
    whole = bytearray(first.read_bytes())
    whole[len(whole) // 2] ^= 1
    first.write_bytes(whole)
    said = run("show", own.path, "--verify", code=1)
    assert f"{first} is damaged (checksum differs)" in said
    assert f"{second} belongs to another run" in said


def test_a_run_in_the_place_of_another_is_named(own):
    shutil.rmtree(own.run(num_tasks=4).path)
    shutil.copytree(own.run(num_tasks=1).path, own.path / "num_tasks=4,seed=0")
    assert f"{own.path / 'num_tasks=4,seed=0'} holds the run num_tasks=1,seed=0; move it away" in run(
        "show", own.path, "--verify", code=1
    )


def test_foreign_files_are_named_and_in_nobodys_way(own):
    made = own.run(num_tasks=4)
    (settings,) = (made.path / "llc").iterdir()
    foreign = [
        made.checkpoints / "000006 (copy).safetensors",
        made.checkpoints / "7.safetensors",
        made.checkpoints / "²³.safetensors",
        made.predicted / "0_notes.safetensors",
        made.path / "llc" / "notes.txt",
        settings / "000020 (copy).nc",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    folders = [made.checkpoints / "before", own.path / "num_tasks=4,seed=0 (copy)", own.path / "docs"]
    for folder in folders:
        folder.mkdir()
        (folder / "config.toml").write_text("theirs = 1")
    (own.path / "theirs.nc").write_text("x")
    unfinish(own)
    llc.train(small_config(), own.path, jobs=1)
    (settings / "000020.nc").unlink()  # an estimate that is made where foreign files lie
    run("estimate-llc", own.path, "--steps", "0,20,60", "--settings", own.path / "llc.toml")
    run("pca", own.path, "--sequences", "8")
    run("report", own.path)
    said = run("show", own.path, "--verify")
    assert "Every checkpoint and result is whole." in said
    for path in [*foreign, *folders]:
        assert f"{path} is not of this experiment; it is ignored" in said
    assert "theirs.nc" not in said


# What has the place of a file of ours and is none


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "device", "dangling"])
def test_what_is_no_checkpoint_is_refused_and_not_taken_for_absent(kind, single, monkeypatch):
    (made,) = single.runs
    path = made.checkpoints / "000060.safetensors"
    path.unlink()
    monkeypatch.chdir(made.checkpoints)
    said = f"cannot read {path}: it is {_special(kind, path)}"
    assert made.steps[-1] == 60
    assert len(found := store.verify(single)) == 1
    assert found[0].startswith(said)
    assert f"9 checkpoints; {said}" in store.describe(single)
    for attempt in (lambda: made.weights(60), lambda: made.finished, lambda: single.finished):
        with pytest.raises(StoreError, match=f"cannot read {path}: .* move it away"):
            attempt()


@POSIX
def test_no_command_passes_over_what_is_no_checkpoint(single, tmp_path):
    (made,) = single.runs
    path = made.checkpoints / "000060.safetensors"
    path.unlink()
    path.mkdir()
    said = f"cannot read {path}: it is a folder, expected a regular file; move it away"
    for command in (
        ["pca", single.path, "--sequences", "8"],
        ["export", made.path, tmp_path / "model.pt"],
        ["estimate-llc", single.path, "--steps", "20", "--settings", single.path / "llc.toml"],
    ):
        assert said in run(*command, code=1)
    assert not (single.path / "pca.nc").exists()
    assert not (tmp_path / "model.pt").exists()
    for unfinished in (single.path, made.path):  # all is trained, and then it is not
        (unfinished / "metrics.nc").unlink()
        with pytest.raises(LLCError, match=r"1 of 1 runs failed: cannot read .* it is a folder"):
            llc.train(ONE, single.path, jobs=1)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_estimate_is_refused_before_others_are_made(kind, single):
    (folder,) = (single.run(num_tasks=4).path / "llc").iterdir()
    path, before = folder / "000020.nc", (single.path / "llc.nc").read_bytes()
    path.unlink()
    said = f"cannot read {path}: it is {_special(kind, path)}, expected a regular file; move it away"
    assert store.verify(single) == [said]
    assert said in run("estimate-llc", single.path, "--steps", "1", "--settings", single.path / "llc.toml", code=1)
    assert (single.path / "llc.nc").read_bytes() == before
    assert not (folder / "000001.nc").exists()


def test_export_says_which_step_it_wrote(finished, tmp_path):
    for given, step in ([], 60), (["--step", 20], 20):
        said = run("export", finished.run(num_tasks=4).path, tmp_path / "model.pt", *given)
        assert said == f"Wrote {tmp_path / 'model.pt'}: the weights of step {step}"


# The state to go on from
