"""Files that were damaged: whatever byte it is, they read as they were or are named, and nothing else happens."""

import builtins
import errno
import itertools
import multiprocessing
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner
from parts import start
from test_report import text_of

from llc import figures, store
from llc.cli import main
from llc.errors import StoreError
from llc.report import write_report
from llc.store import contents
from llc.study.labels import joined

RUN = "num_tasks=4,seed=0"
KINDS = {
    "result": "pca.nc",
    "merged": "llc.nc",
    "traces": "llc.nc",
    "behaviour": f"{RUN}/metrics.nc",
    "estimate": f"{RUN}/llc/*/000020.nc",
    "weights": f"{RUN}/checkpoints/000020.safetensors",
    "state": f"{RUN}/resume.pt",
    "config": f"{RUN}/config.toml",
    "settings": "llc.toml",
}
# A trial that takes longer hangs.
_SECONDS = 120


def reader(kind: str, path: Path) -> Callable[[], object]:
    """How the library reads a kind of file."""
    readers = {
        "result": lambda: store.read_dataset(path),
        "merged": lambda: store.read_dataset(path, lazy=True).drop_dims("draw"),
        "traces": lambda: store.read_dataset(path, lazy=True).load(),
        "behaviour": lambda: store.Run(path.parent).metrics,
        "estimate": lambda: store.read_numbered(path).load(),
        "weights": lambda: store.read_checkpoint(path),
        "state": lambda: store.read_state(path, config_hash="ours"),
        "config": lambda: store.read_table(path),
        "settings": lambda: store.read_table(path),
    }
    return readers[kind]


def same(one, other) -> bool:
    """Whether two of what readers return say the same."""
    if isinstance(one, xr.Dataset):
        return one.identical(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return one == other


def flipped(data: bytes, chance: random.Random, trials: int) -> Iterator[bytes]:
    """One bit."""
    for _ in range(trials):
        place = chance.randrange(8 * len(data))
        found = bytearray(data)
        found[place // 8] ^= 1 << place % 8
        yield bytes(found)


def cut(data: bytes, chance: random.Random, trials: int) -> Iterator[bytes]:
    """The end is missing, or all of it."""
    for length in [0, len(data) - 1, len(data) - 15, *(chance.randrange(len(data)) for _ in range(trials))]:
        yield data[:length]


def zeroed(data: bytes, chance: random.Random, trials: int) -> Iterator[bytes]:
    """A range is zero, as where a disk has lost a block; that at the end too."""
    for trial in range(trials):
        first = chance.randrange(len(data))
        last = len(data) if trial % 3 == 0 else min(len(data), first + 1 + chance.randrange(4096))
        yield data[:first] + bytes(last - first) + data[last:]


def serve(line) -> None:
    """Read damaged files as long as there are any; tell what went wrong with each, or that nothing did."""
    while True:
        kind, path, trials, seed = line.recv()
        read = reader(kind, path)
        whole, data, chance = read(), path.read_bytes(), random.Random(seed)
        kinds = (flipped(data, chance, trials), cut(data, chance, trials // 3), zeroed(data, chance, trials // 3))
        for damaged in itertools.chain(*kinds):
            path.unlink()  # another file, as a replaced one is
            path.write_bytes(damaged)
            try:
                wrong = "" if same(read(), whole) else "another value"
            except StoreError as error:
                wrong = "" if str(path) in str(error) else f"not named: {error}"
            except BaseException as error:
                wrong = f"{type(error).__name__}: {error}"
            line.send(wrong)
        line.send(None)


@pytest.fixture(scope="module")
def line():
    """To a process that reads: it may die or hang."""
    here, there = multiprocessing.Pipe()
    process = start(serve, there)
    there.close()
    yield here
    process.kill()
    process.join()


def check(kind: str, folder: Path, line, trials: int, seed: int) -> None:
    if kind == "state":
        store.write_state(folder / KINDS[kind], {"step": 3, "model": {"w": torch.randn(30)}}, config_hash="ours")
    (path,) = folder.glob(KINDS[kind])
    line.send((kind, path, trials, seed))
    told: list[str] = []
    while None not in told:
        assert line.poll(_SECONDS), f"trial {len(told)} hangs"
        try:
            told.append(line.recv())
        except EOFError:
            pytest.fail(f"trial {len(told)} ended the process")
    assert len(told) > trials
    assert {number: wrong for number, wrong in enumerate(told) if wrong} == {}


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_named_or_does_nothing(kind, own, line):
    check(kind, own.path, line, trials=15, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_named_or_does_nothing_however_often(kind, own, line):
    check(kind, own.path, line, trials=300, seed=1)


# What a checksum says


def said(path: Path) -> str:
    """The checksum of a file's contents, as anyone reads it."""
    with netCDF4.Dataset(path) as file:
        return file.getncattr(contents.CHECKSUM)


def test_the_same_result_has_the_same_checksum_and_another_has_another(own, tmp_path):
    metrics, names = own.metrics, list(own.metrics.data_vars)
    one, other = tmp_path / "one" / "metrics.nc", tmp_path / "other" / "metrics.nc"
    store.write_dataset(one, metrics, own.config)
    store.write_dataset(other, metrics[names[::-1]].assign_attrs(created="then"), own.config)
    assert said(one) == said(other)
    for changed in (
        metrics.assign(loss=metrics.loss + 1e-12),
        metrics.isel(step=slice(1, None)),
        metrics.rename(weight_norm="norm"),
        metrics.assign_coords(step=metrics.step + 1),
    ):
        for name, variable in changed.variables.items():
            variable.attrs |= metrics[name].attrs if name in metrics.variables else {"long_name": "norm", "units": "1"}
        store.write_dataset(other, changed, own.config)
        assert said(one) != said(other)
    with netCDF4.Dataset(one, "a") as file:
        file["loss"].units = "bit"
    with pytest.raises(StoreError, match=r"metrics.nc is damaged \(its contents are not those that were written\)"):
        store.read_dataset(one)


def test_a_result_that_is_merged_of_more_has_another_checksum(own, tmp_path):
    parts, found = sorted(own.path.glob(f"{RUN}/llc/*/*.nc")), []
    for number in (2, 3, 3):
        store.write_merged(tmp_path / "llc.nc", parts[:number], joined(parts[:number]), {})
        found.append(said(tmp_path / "llc.nc"))
    assert found[0] != found[1] == found[2]


def test_a_copy_of_other_hands_is_read_as_long_as_it_says_the_same(own):
    """xarray writes the attribute again, and no end of ours."""
    path, known = own.path / "llc.nc", own.llc.load()
    copy = xr.load_dataset(path)
    path.unlink()
    copy.to_netcdf(path)
    assert own.llc.load().identical(known)
    copy["llc"][0, 0, 0] += 1
    path.unlink()
    copy.to_netcdf(path)
    with pytest.raises(StoreError, match=r"llc.nc is damaged \(its contents are not those that were written\)"):
        own.llc  # noqa: B018


def test_a_file_without_a_checksum_opens_and_verify_says_so(own):
    path = own.path / "pca.nc"
    theirs = own.pca
    path.unlink()
    theirs.to_netcdf(path)
    assert store.open_results(own.path).pca.identical(theirs)
    shown = CliRunner().invoke(main, ["show", str(own.path), "--verify"])
    assert shown.exit_code == 0
    assert "No damage was found." in shown.output
    assert f"{own.path}: no checksum in pca.nc, so" in shown.output


def test_traces_that_are_never_read_are_looked_at_by_verify(own):
    path = own.path / "llc.nc"
    data, head = bytearray(path.read_bytes()), len(store.seal.sealed_head(path))
    data[(len(data) - head) // 2] ^= 1
    path.write_bytes(data)
    assert np.isfinite(own.llc.llc).all()
    assert f"{path} is damaged (checksum differs); delete it, and `llc estimate-llc" in " ".join(store.verify(own))
    with pytest.raises(StoreError, match=r"llc.nc is damaged \(checksum differs\)"):
        own.llc.load()


# What may not be read


@pytest.mark.parametrize("kind", [*KINDS, "foreign"])
def test_a_file_that_may_not_be_read_is_not_called_absent_or_damaged(kind, single, monkeypatch):
    """Nobody is to delete it. The error is that of the system: root may read all."""
    place = KINDS.get(kind, "step_10.pt")
    path = next(single.path.glob(place), single.path / place)
    read = partial(store.read_foreign, path) if kind == "foreign" else reader(kind, path)
    path.touch()
    whole = builtins.open

    def refused(file, *arguments, **options):
        if file == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return whole(file, *arguments, **options)

    monkeypatch.setattr(builtins, "open", refused)
    with pytest.raises(StoreError) as error:
        read()
    assert str(error.value) == f"cannot read {path}: Permission denied; make it readable for you, or move it away"


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_in_the_place_of_a_file_is_to_be_moved_and_not_deleted(kind, tmp_path):
    path = tmp_path / KINDS[kind].replace("*", "0123456789abcdef")
    path.mkdir(parents=True)
    if kind == "behaviour":
        (path.parent / "config.toml").touch()
    with pytest.raises(StoreError) as error:
        reader(kind, path)()
    assert str(error.value) == f"cannot read {path}: it is a folder, expected a regular file; move it away"


# What becomes of the rest


def damage(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damaged", "kept"),
    [
        ({"pca": ("llc pca", "pca"), "llc": ("llc estimate-llc", "llc")}, "losses"),
        ({"metrics": ("the same `llc train`", "losses")}, "pca"),
    ],
)
def test_report_and_plot_leave_out_what_is_damaged_and_say_so(damaged, kept, own):
    for name in damaged:
        damage(own.path / f"{name}.nc", at=-100)
    reported = CliRunner().invoke(main, ["report", str(own.path)])
    assert reported.exit_code == 0, reported.output
    page = text_of((own.path / "report.html").read_text())
    drawn = CliRunner().invoke(main, ["plot", str(own.path)])
    assert drawn.exit_code == 0, drawn.output
    for name, (command, lost) in damaged.items():
        path = own.path / f"{name}.nc"
        for text in (reported.output, page):
            assert f"{path} is damaged" in text
            assert command in text
        assert f'id="plot-{lost}"' not in page
        assert f"Left out {lost}: {path} is damaged" in drawn.output
    assert f'id="plot-{kept}"' in page
    assert f"Drew {own.path}/figures/{kept}.png" in drawn.output


def test_what_was_made_from_a_damaged_result_is_left_out_and_named(own):
    store.write_dataset(own.path / "essential.nc", xr.Dataset(), own.config)
    damage(own.path / "pca.nc", at=5000)
    page = text_of(write_report(own).read_text())
    assert "essential.nc is left out with what it was made from: " in page
    written, missing = figures.save_figures(own, ["essential", "losses"])
    assert [path.name for path in written] == ["losses.png"]
    assert "pca.nc is damaged" in missing["essential"]


def test_a_damaged_result_is_made_again_by_the_command_that_is_named(own, finished):
    path = own.path / "pca.nc"
    damage(path, at=5000)
    with pytest.raises(StoreError, match=f"pca.nc is damaged .*; delete it, and `llc pca {own.path}` makes it again"):
        own.pca  # noqa: B018
    path.unlink()
    assert CliRunner().invoke(main, ["pca", str(own.path), "--sequences", "16"]).exit_code == 0
    assert own.pca.drop_attrs().identical(finished.pca.drop_attrs())
