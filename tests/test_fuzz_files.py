"""Files with anything in them: they read as they were, or are named, and nothing else is written."""

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from fuzz import damaged, tried
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from test_damage import KINDS, reader, same

from llc import store, trusted
from llc.cli import main
from llc.store.foreign_checkpoints import checkpoints_in, read_foreign

WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b.c": torch.ones(1)}


def _slow(kind: str):
    return pytest.param(kind, marks=pytest.mark.slow)


def held(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_an_experiment(kind, finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "own")
    if kind == "state":
        store.write_state(tmp_path / "own" / KINDS[kind], {"step": 3, "model": WEIGHTS}, config_hash="ours")
    (path,) = (tmp_path / "own").glob(KINDS[kind])
    data, before = path.read_bytes(), held(tmp_path)
    whole = reader(kind, path)()

    @given(damaged(data))
    def check(changed):
        path.unlink()  # a file that is kept open stays what it was
        path.write_bytes(changed)
        found = tried(reader(kind, path), path.name)
        # A table without its first line is somebody's own, and says what it says.
        assert found is None or same(found, whole) or path.suffix == ".toml"
        assert held(tmp_path) == before

    check()


def _saved(path: Path) -> None:
    if path.suffix == ".safetensors":
        save_file(WEIGHTS, path)
    elif path.suffix == ".pkl":
        path.with_suffix(".pt").write_bytes(pickle.dumps(WEIGHTS))
    else:
        torch.save({"model": WEIGHTS, "epoch": 3}, path)


@pytest.mark.parametrize("name", ["7.pt", "7.safetensors", "7.pkl"])
def test_checkpoints_of_others(name, tmp_path):
    path = tmp_path / name
    _saved(path)
    path = path.with_suffix(".pt") if path.suffix == ".pkl" else path
    data, before = path.read_bytes(), held(tmp_path)

    @given(damaged(data))
    def check(changed):
        path.unlink()
        path.write_bytes(changed)
        found = tried(lambda: read_foreign(path), path.name)
        assert found is None or all(isinstance(value, torch.Tensor) for value in found.values())
        assert held(tmp_path) == before

    check()


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=30)
STEPS = st.from_regex(r"[a-z_-]{0,6}[0-9]{0,25}[-_=. a-z]{0,4}[0-9]{0,4}\.(pt|bin|safetensors)", fullmatch=True)


@given(st.lists(NAMES | STEPS, max_size=5, unique=True))
def test_folders_of_files_with_any_names(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("names")
    for name in names:
        if name not in {".", ".."} and len(name.encode()) < 250:
            (folder / name).touch()
    found = tried(lambda: checkpoints_in(folder))
    if found is not None:
        steps, without = found
        assert len({*steps.values(), *without}) == len(steps) + len(without)
        assert all(isinstance(step, int) and step >= 0 for step in steps)
    shutil.rmtree(folder)


LIST = b"""functions = ["os:path"]

[[files]]
path = "/x/y.py"
sha256 = "00"
names = ["f"]
"""


def test_the_list_of_trusted_code(tmp_path, monkeypatch):
    place = tmp_path / "trusted.toml"
    monkeypatch.setenv(trusted.VARIABLE, str(place))

    @given(damaged(LIST))
    def check(changed):
        place.write_bytes(changed)
        found = tried(trusted.read, "trusted.toml")
        assert found is None or all(isinstance(one, str) for one in found.functions)

    check()


@pytest.mark.parametrize("kind", [*map(_slow, ["settings", "merged", "estimate", "weights"]), "config"])
def test_what_commands_say_of_them(kind, finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "own")
    (path,) = (tmp_path / "own").glob(KINDS[kind])
    data = path.read_bytes()

    @settings(max_examples=1 + settings.default.max_examples // 15)  # each looks at the whole folder, twice
    @given(damaged(data))
    def check(changed):
        path.unlink()
        path.write_bytes(changed)
        for command in (["show"], ["show", "--verify"]):
            done = CliRunner().invoke(main, [*command, str(tmp_path / "own")])
            assert done.exit_code in {0, 1}, done.output
            assert isinstance(done.exception, SystemExit | None), done.exception
            assert "Traceback" not in done.output

    check()
