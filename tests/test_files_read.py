"""Files of ours that are another's, and what has the place of one and is none: told where they are read."""

import shutil

import pytest
from conftest import POSIX, SMALL_LLC, small_config
from test_files import run, special, unfinish
from test_training import assert_same_runs

import llc
from llc import store
from llc.errors import LLCError, StoreError

# That of the fixture `single`.
ONE = small_config(**{"sweep.axes": {"task.num_tasks": [4]}})


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


@pytest.mark.slow
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
    said = f"cannot read {path}: it is {special(kind, path)}"
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
    said = f"cannot read {path}: it is {special(kind, path)}, expected a regular file; move it away"
    assert store.verify(single) == [said]
    assert said in run("estimate-llc", single.path, "--steps", "1", "--settings", single.path / "llc.toml", code=1)
    assert (single.path / "llc.nc").read_bytes() == before
    assert not (folder / "000001.nc").exists()


def test_export_says_which_step_it_wrote(finished, tmp_path):
    for given, step in ([], 60), (["--step", 20], 20):
        said = run("export", finished.run(num_tasks=4).path, tmp_path / "model.pt", *given)
        assert said == f"Wrote {tmp_path / 'model.pt'}: the weights of step {step}"
