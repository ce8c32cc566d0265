import re
import subprocess
import sys

import numpy as np
import psutil
import pytest
import torch
import xarray as xr

from llc import figures, store
from llc.errors import StoreError
from llc.store.checkpoints import read_checkpoint, write_checkpoint
from llc.store.labels import value_label


def weights():
    return {"a": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), "b": torch.arange(5)}


def test_checkpoint_round_trip_is_exact(tmp_path):
    path = tmp_path / "000007.safetensors"
    write_checkpoint(path, weights(), step=7, config_hash="abc")
    back = read_checkpoint(path, config_hash="abc")
    assert back.keys() == weights().keys()
    assert all(torch.equal(back[name], value) for name, value in weights().items())


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_a_truncated_checkpoint_is_named(tmp_path, keep):
    path = tmp_path / "000007.safetensors"
    write_checkpoint(path, weights(), step=7, config_hash="abc")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"000007.safetensors is damaged"):
        read_checkpoint(path)


def test_a_flipped_bit_is_seen(tmp_path):
    path = tmp_path / "000007.safetensors"
    write_checkpoint(path, weights(), step=7, config_hash="abc")
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="checksum differs"):
        read_checkpoint(path)


def test_a_foreign_checkpoint_is_refused(tmp_path):
    path = tmp_path / "000007.safetensors"
    write_checkpoint(path, weights(), step=7, config_hash="abc")
    with pytest.raises(StoreError, match="belongs to another config"):
        read_checkpoint(path, config_hash="xyz")


def test_a_failed_write_leaves_the_old_file_and_no_scratch(tmp_path):
    path = tmp_path / "file.txt"
    store.write_text(path, "old")

    def fail() -> None:
        with store.atomic_path(path) as scratch:
            scratch.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=re.escape(f"cannot write {tmp_path / 'file' / 'x'}")):
        store.write_text(tmp_path / "file" / "x", "text")


def test_one_writer_a_folder(tmp_path):
    code = f"""
from pathlib import Path
from llc import figures, store
with store.folder_lock(Path({str(tmp_path)!r})):
    print("held", flush=True)
    input()
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"in use by process {holder.pid}"), store.folder_lock(tmp_path):
            pass
        holder.kill()
    with store.folder_lock(tmp_path):  # the dead holder's lock is free
        pass


def test_another_config_is_refused_with_the_difference(tmp_path):
    store.claim(tmp_path, "config.toml", {"training": {"steps": 5}, "seed": 0})
    store.claim(tmp_path, "config.toml", {"training": {"steps": 5}, "seed": 0})
    with pytest.raises(StoreError, match=r"training.steps: 5 there, 6 now"):
        store.claim(tmp_path, "config.toml", {"training": {"steps": 6}, "seed": 0})


def test_a_study_whose_file_was_edited_is_told(tmp_path):
    """The copy is what it was begun with."""
    file, folder = tmp_path / "study.py", tmp_path / "runs"
    folder.mkdir()
    file.write_text("width = 2")
    table = {"task": {"defined_in": str(file)}}
    for _ in range(2):
        store.keep_code(folder, table)
    store.check_code_unchanged(folder, table)
    file.write_text("width = 4")
    with pytest.raises(StoreError, match=f"{file} was edited since {folder} was begun with it"):
        store.check_code_unchanged(folder, table)
    store.keep_code(folder, table)
    (kept,) = (folder / "code").iterdir()
    assert kept.read_text() == "width = 2"


def test_every_result_says_what_it_is(finished):
    for name in ("metrics", "llc", "pca"):
        with xr.open_dataset(finished.path / f"{name}.nc") as data:
            assert {"config", "library", "created"} <= set(data.attrs)
            for variable in data.variables.values():
                assert variable.attrs["long_name"]
                assert variable.attrs["units"]
            order = [dim for dim in store.results.DIMS if dim in data.dims]
            for variable in (one for one in data.data_vars.values() if "seed" in one.dims):
                assert variable.dims[:2] == ("num_tasks", "seed")
                mine = [dim for dim in variable.dims if dim in order]
                assert mine == [dim for dim in order if dim in mine]


def test_an_unlabelled_variable_is_refused(tmp_path):
    with pytest.raises(ValueError, match="variable loss has no long_name and units"):
        store.write_dataset(tmp_path / "x.nc", xr.Dataset({"loss": ("step", np.zeros(3))}), {})


def test_opening_what_is_not_there_or_not_a_run(tmp_path, finished):
    with pytest.raises(StoreError, match="does not exist"):
        store.open_folder(tmp_path / "nothing")
    with pytest.raises(StoreError, match=r"is not an experiment: it has no experiment.toml"):
        store.open_folder(tmp_path)
    with pytest.raises(StoreError, match=r"no run with num_tasks = 3; runs there: num_tasks=1,seed=0"):
        finished.run(num_tasks=3)
    assert isinstance(store.open_folder(finished.runs[0].path), store.Run)


def test_a_missing_step_names_its_neighbours(finished):
    with pytest.raises(StoreError, match="has no checkpoint at step 41; nearest are 40 and 60"):
        finished.run(num_tasks=4).weights(41)


def test_a_result_not_made_yet_names_the_command(own):
    (own.path / "llc.nc").unlink()
    with pytest.raises(StoreError, match=f"make it with: llc estimate-llc {own.path}"):
        _ = own.llc


def test_a_damaged_result_is_named(own):
    (own.path / "pca.nc").write_bytes(b"not netCDF")
    with pytest.raises(StoreError, match=r"pca.nc cannot be read"):
        _ = own.pca


def test_traces_are_read_when_asked_for_and_no_file_stays_open(own):
    """A file that is closed whenever memory is cleaned up would get in HDF5's way, which does one thing at a time."""
    llc = own.llc
    whole = xr.load_dataset(own.path / "llc.nc")
    names = store.large(whole)
    assert names
    for name in names:
        some = {"step": [0, -1], "chain": 0, "draw": slice(2, 9, 3)}
        xr.testing.assert_identical(llc[name].isel(some).drop_encoding(), whole[name].isel(some).drop_encoding())
        assert not llc[name].variable._in_memory
        held = [file.path for file in psutil.Process().open_files()]
        assert not [path for path in held if path.endswith(".nc")]
        xr.testing.assert_identical(llc[name].drop_encoding(), whole[name].drop_encoding())
        llc[name][:] = 0.0
        assert not llc[name].any()
        assert own.llc[name].any()


def test_traces_of_a_file_that_was_written_again_are_not_mixed_in(own):
    llc = own.llc
    name = store.large(llc)[0]
    store.write_dataset(own.path / "llc.nc", own.llc, {})
    with pytest.raises(StoreError, match=r"llc.nc has been written again since it was opened"):
        llc[name].load()


def test_a_damaged_result_does_not_keep_others_from_being_shown(own):
    (own.path / "stages.nc").write_bytes(b"not netCDF")
    said = store.describe(own)
    assert "stages.nc cannot be read" in said
    assert said.count("stages.nc") == 2  # once, with what to do
    written, missing = figures.save_figures(own, ["losses", "stages"])
    assert [path.name for path in written] == ["losses.png"]
    assert "stages.nc cannot be read" in missing["stages"]


@pytest.mark.parametrize("others", [[5, 15], [20, 30], [0, 10], [10]])
def test_runs_with_other_steps_are_merged_at_all_of_them(others):
    """Also where the steps of one lie between those of the other, as in runs trained elsewhere."""

    def part(width: int, steps: list[int]) -> xr.Dataset:
        loss = ("width", "seed", "step"), [[[width * step for step in steps]]]
        return xr.Dataset({"loss": loss}, {"width": [width], "seed": [0], "step": steps})

    found = store.merge([part(1, [0, 10, 20]), part(4, others)]).loss.isel(seed=0)
    assert found.step.values.tolist() == sorted({0, 10, 20, *others})
    for width, steps in ((1, [0, 10, 20]), (4, others)):
        of_run = found.sel(width=width).dropna("step")
        assert of_run.step.values.tolist() == steps
        np.testing.assert_array_equal(of_run, np.multiply(width, steps))


def test_places_are_told_apart():
    """Whole numbers in full, though an axis with ∞ holds floating-point numbers."""
    said = [value_label(value) for value in (4.0, 20240101.0, 2.0**20, 1e-3, 1e20, float("inf"), "word")]
    assert said == ["4", "20240101", "1048576", "0.001", "1e+20", "∞", "word"]
