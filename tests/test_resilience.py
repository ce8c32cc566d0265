"""What real studies meet: kills in the middle of a write, full and read-only disks, two processes on one folder.

After each: no half file is read, what was finished stays, `llc show` says what is missing, the same command again
completes, and what it ends with equals an undisturbed run.
"""

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import xarray as xr
from click.testing import CliRunner
from conftest import POSIX, SMALL_LLC, small_config
from parts import SAME_LLC, part_of, start
from test_training import assert_same_runs

import llc
from llc import store
from llc.cli import main
from llc.errors import Interrupted, StoreError
from llc.store import checkpoints


def victim(said: Connection, hang: str, function: Callable, arguments: tuple, settings: dict) -> None:
    """Do what is told, but the write that `hang` names stops half-way, says so, and waits to be killed."""
    save, to_netcdf, written = checkpoints.save_file, xr.Dataset.to_netcdf, []

    def half(path) -> None:
        data = Path(path).read_bytes()
        Path(path).write_bytes(data[: len(data) // 2])
        said.send("half")
        time.sleep(60)

    def save_half(tensors, path, **options):
        save(tensors, path, **options)
        written.append(path)
        if hang == "checkpoint" and len(written) == 5:
            half(path)

    def netcdf_half(self, path, **options):
        to_netcdf(self, path, **options)
        if f"{hang}.nc." in str(path):
            half(path)

    checkpoints.save_file, xr.Dataset.to_netcdf = save_half, netcdf_half
    function(*arguments, **settings)


def kill_half_way(hang: str, function: Callable, *arguments, **settings) -> None:
    here, there = multiprocessing.Pipe(duplex=False)
    process = start(victim, there, hang, function, arguments, settings)
    there.close()  # so that a victim that ends by itself is noticed
    assert here.recv() == "half"
    process.kill()
    process.join()


def hold(said: Connection, folder: Path) -> None:
    with store.folder_lock(folder):
        said.send("held")
        time.sleep(60)


def shown(folder: Path, *options: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["show", str(folder), *options])
    assert result.exit_code == code, result.output
    return result.output


def assert_same_experiments(ours: llc.Experiment, theirs: llc.Experiment) -> None:
    assert ours.finished
    for one, other in zip(ours.runs, theirs.runs, strict=True):
        assert_same_runs(one, other)
    assert ours.metrics.drop_attrs().identical(theirs.metrics.drop_attrs())


def estimate(experiment: llc.Experiment, steps: str = "0,20,60"):
    return llc.estimate_llc_over_training(experiment, steps=steps, **SAME_LLC)


def assert_no_scratch(folder: Path) -> None:
    assert not list(folder.rglob("*.llc-part"))


@pytest.mark.slow
def test_killed_in_the_middle_of_a_write_while_training(finished, tmp_path):
    """Half a checkpoint, half a run's metrics.nc, half a merged one: none is ever seen."""
    folder = tmp_path / "runs"
    for hang in ("checkpoint", "seed=0/.metrics", "runs/.metrics"):
        kill_half_way(hang, llc.train, small_config(), folder, jobs=1)
        assert list(folder.rglob("*.llc-part"))
        assert "not finished; run the same `llc train` command to go on" in shown(folder)
        assert store.verify(llc.open(folder)) == []
    assert_same_experiments(llc.train(small_config(), folder, jobs=1), finished)
    assert_no_scratch(folder)


@pytest.mark.slow
def test_killed_in_the_middle_of_a_write_while_importing(finished, tmp_path):
    source, config = tmp_path / "theirs", small_config(**{"sweep.axes": {"task.num_tasks": [1, 4]}})
    for run in finished.runs[:2]:
        (source / run.name).mkdir(parents=True)
        for step in (0, 20, 60):
            llc.export_weights(run, step, source / run.name / f"step_{step}.pt")
    for hang in ("checkpoint", "ours/.metrics"):
        kill_half_way(hang, llc.import_weights, source, tmp_path / "ours", config)
        assert "not finished" in shown(tmp_path / "ours")
        assert store.verify(llc.open(tmp_path / "ours")) == []
    ours = llc.import_weights(source, tmp_path / "ours", config)
    undisturbed = llc.import_weights(source, tmp_path / "undisturbed", config)
    assert ours.metrics.drop_attrs().identical(undisturbed.metrics.drop_attrs())
    assert_no_scratch(tmp_path / "ours")


@pytest.mark.slow
def test_killed_in_the_middle_of_a_write_while_estimating(single):
    """Half of one checkpoint's estimate, half of the merged llc.nc."""
    before = single.llc.load()
    for path in [single.path / "llc.nc", *single.path.glob("*/llc/*/000020.nc")]:
        path.unlink()
    for hang in ("/.000020", "/.llc"):
        kill_half_way(hang, estimate, single)
        assert "no llc.nc yet" in shown(single.path)
        assert store.verify(single) == []
    assert estimate(single).drop_attrs().identical(before.drop_attrs())


@pytest.mark.slow
@POSIX
def test_a_worker_killed_while_estimating_is_replaced(finished, own):
    """Of two estimates that are to be made, each kills the first worker that it gets."""
    for path in [own.path / "llc.nc", *sorted(own.path.glob("*/llc/*/000020.nc"))[:2]]:
        path.unlink()
    code = f"""
import os, signal, llc
from llc.study import over_training
from pathlib import Path

unit = over_training._estimate_unit

def estimate(places, *others):
    ((path, step),) = places
    mark = Path({str(own.path)!r}) / f"died-{{path.name}}-{{step}}"
    if step == 20 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    unit(places, *others)

over_training._estimate_unit = estimate
if __name__ == "__main__":
    llc.estimate_llc_over_training(
        llc.open({str(own.path)!r}), steps="0,20,60", **{ {**SMALL_LLC, "jobs": 2}!r},
        progress=lambda *message: print(message[-1], flush=True),
    )
"""
    script = own.path / "victim.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert "a worker process was lost" in done.stdout
    assert len(list(own.path.glob("died-*"))) >= 1
    assert own.llc.drop_attrs().identical(finished.llc.drop_attrs())


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small tmpfs")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    ballast = place / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"0" * 4096)
        except OSError:
            return ballast


def test_a_disk_that_fills_up_while_training(finished, small_disk, monkeypatch):
    folder = small_disk / "runs"
    asked = iter([False] * 33 + [True])
    monkeypatch.setattr("llc.training.loop.check_interrupt", lambda: next(asked))
    with pytest.raises(Interrupted):
        llc.train(small_config(), folder, jobs=1)
    monkeypatch.undo()
    ballast = fill(small_disk)
    result = CliRunner().invoke(main, ["train", "--out", str(folder), "--jobs", "1", *_flags()])
    assert result.exit_code == 1
    assert "but its disk has 0 B free" in result.output
    assert store.verify(llc.open(folder)) == []
    ballast.unlink()
    assert_same_experiments(llc.train(small_config(), folder, jobs=1), finished)


def test_a_disk_that_fills_up_behind_the_check(finished, small_disk, monkeypatch):
    """Space that is gone after the check: one sentence that names file and reason, and nothing lost."""
    folder = small_disk / "runs"
    monkeypatch.setattr("llc.training.sweep.check_room", lambda *_: None)
    ballast = fill(small_disk)
    with open(ballast, "rb+") as file:
        file.truncate(ballast.stat().st_size - 50_000)
    with pytest.raises(llc.LLCError, match=r"cannot write .*: No space left on device"):
        llc.train(small_config(), folder, jobs=1)
    assert_no_scratch(folder)
    assert store.verify(llc.open(folder)) == []
    ballast.unlink()
    assert_same_experiments(llc.train(small_config(), folder, jobs=1), finished)


@pytest.mark.slow
def test_a_disk_that_fills_up_while_estimating(finished, small_disk):
    experiment = part_of(finished, small_disk / "runs", 4)
    before = experiment.llc.load()
    for path in [experiment.path / "llc.nc", *experiment.path.glob("*/llc/*/000020.nc")]:
        path.unlink()
    ballast = fill(small_disk)
    with open(ballast, "rb+") as file:
        file.truncate(ballast.stat().st_size - 20_000)
    with pytest.raises(llc.LLCError, match=r"cannot write .*: No space left on device"):
        estimate(experiment)
    assert_no_scratch(experiment.path)
    ballast.unlink()
    assert estimate(experiment).drop_attrs().identical(before.drop_attrs())


def test_a_read_only_disk(finished, small_disk):
    folder = small_disk / "runs"
    shutil.copytree(finished.path, folder)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert "3 runs" in shown(folder)
    for command in (["estimate-llc", str(folder)], ["pca", str(folder)], ["train", "--out", str(folder), *_flags()]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 1
        assert f"cannot write {folder}: Read-only file system; choose a folder you can write to" in result.output


def test_a_second_process_is_refused_and_told_of_the_first(own):
    here, there = multiprocessing.Pipe(duplex=False)
    holder = start(hold, there, own.path)
    there.close()
    assert here.recv() == "held"
    for command in (
        ["estimate-llc", str(own.path)],
        ["pca", str(own.path)],
        ["train", "--out", str(own.path), *_flags()],
    ):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 1
        assert f"is in use by process {holder.pid}; wait for it to end, or stop it" in result.output
    assert "3 runs" in shown(own.path)
    holder.kill()
    holder.join()
    assert CliRunner().invoke(main, ["pca", str(own.path)]).exit_code == 0  # a lock that a dead process left is no lock


def test_damaged_and_foreign_checkpoints_are_named_by_show(own, finished):
    assert "Every checkpoint and result is whole." in shown(own.path, "--verify")
    truncated, flipped, foreign = (own.run(num_tasks=m).checkpoints / "000040.safetensors" for m in (1, 4, None))
    truncated.write_bytes(truncated.read_bytes()[:300])
    data = bytearray(flipped.read_bytes())
    data[-1] ^= 1
    flipped.write_bytes(data)
    foreign.write_bytes((finished.run(num_tasks=4).checkpoints / "000040.safetensors").read_bytes())
    (own.path / "pca.nc").write_bytes(b"half")
    said = shown(own.path, "--verify", code=1)
    assert f"{truncated} is damaged or cut short" in said
    assert f"{flipped} is damaged (checksum differs)" in said
    assert f"{foreign} belongs to another config" in said
    assert f"{own.path / 'pca.nc'} cannot be read" in said
    for path in (truncated, flipped, foreign):
        path.unlink()
    assert_same_experiments(llc.train(small_config(), own.path, jobs=1), finished)


@pytest.mark.parametrize("clock", [0, pytest.param(2**31, marks=pytest.mark.slow)])
def test_clocks_that_change(clock, single):
    """Files from the past or the future: nothing is done again, and nothing is taken for newer than it is."""
    llc.joint_pca(single, sequences=16)
    for path in single.path.rglob("*"):
        os.utime(path, (clock, clock))
    before = {path: path.stat().st_mtime_ns for path in single.path.rglob("*.nc")}
    llc.train(small_config(**{"sweep.axes": {"task.num_tasks": [4]}}), single.path, jobs=1)
    estimate(single)
    llc.joint_pca(single, sequences=16)
    assert before == {path: path.stat().st_mtime_ns for path in single.path.rglob("*.nc")}
    time.sleep(0.01)
    assert 40 in estimate(single, "40").step


def _flags() -> list[str]:
    from test_cli import flags

    return flags(small_config())


@pytest.mark.parametrize("name", ["resume.pt", "config.toml", "metrics.nc", "checkpoints/000000.safetensors"])
@POSIX
def test_a_pipe_in_the_place_of_a_file_is_named_and_not_waited_for(name, own):
    run = own.runs[0]
    path = run.path / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    readers = {
        "resume.pt": lambda: store.read_state(path, config_hash=""),
        "config.toml": lambda: store.Run(run.path).config,
        "metrics.nc": lambda: store.Run(run.path).metrics,
        "checkpoints/000000.safetensors": lambda: store.read_checkpoint(path),
    }
    with pytest.raises(StoreError, match="it is a named pipe"):
        readers[name]()
