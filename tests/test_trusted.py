"""Which code may run by itself, the user's list of what else may, and code that ends the process."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner
from conftest import POSIX, small_config

import llc
from llc import store, trusted
from llc.cli import main
from llc.errors import InvalidInput
from llc.models import FactoryConfig
from llc.tasks import Task
from llc.trusted import Code


@pytest.mark.parametrize(
    ("place", "may"),
    [
        ("llc.models:Transformer", True),
        ("llc.systems.he2025:config", True),
        ("llc.training.presets:tiny", True),
        ("llc.models:nn", False),
        ("llc.models.transformer:torch", False),
        ("llc.store:write_text", False),
        ("llc.store:remove_folder", False),
        ("llc.trusted:give", False),
        ("llc.no_such:thing", False),
        ("llc.own_code.os:system", False),
        ("llcother:thing", False),
        ("os:system", False),
    ],
)
def test_models_and_presets_of_this_package_need_no_trust(place, may, monkeypatch, tmp_path):
    monkeypatch.setattr(trusted, "_allowed", set())
    monkeypatch.setenv(trusted.VARIABLE, str(tmp_path / "none.toml"))
    assert trusted.is_allowed(trusted.code_of(place, "model.function")) is may


@pytest.mark.parametrize("raised", ["SystemExit(3)", "BaseException('odd')", "ValueError('bad')"])
def test_code_that_ends_the_process_is_one_sentence(tmp_path, raised):
    file = tmp_path / "ends.py"
    file.write_text(f"def build(): raise {raised}")
    config, task = FactoryConfig(function=f"{file}:build"), small_config().task
    with pytest.raises(InvalidInput, match=rf"build\(\) failed: {raised.partition('(')[0]}: "):
        llc.models.build(config, task)
    worse = tmp_path / "worse.py"
    worse.write_text(f"raise {raised}")
    with pytest.raises(InvalidInput, match=r"worse\.py cannot be imported"):
        llc.models.build(FactoryConfig(function=f"{worse}:build"), task)
    trusted.give([Code(str(worse), "", "")])
    with pytest.raises(InvalidInput, match=r"worse\.py, which cannot be imported"):
        Task.of({"kind": "worse", "defined_in": str(worse)})
    with pytest.raises(InvalidInput, match="sys:exit: exit"):
        llc.models.build(FactoryConfig(function="sys:exit"), task)


def test_ctrl_c_inside_of_other_peoples_code_is_ctrl_c(tmp_path):
    file = tmp_path / "stopped.py"
    file.write_text("def build(): raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        llc.models.build(FactoryConfig(function=f"{file}:build"), small_config().task)
    (tmp_path / "at_once.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        llc.models.build(FactoryConfig(function=f"{tmp_path / 'at_once.py'}:build"), small_config().task)


@pytest.mark.parametrize("kind", ["folder", "file in the way", pytest.param("pipe", marks=POSIX)])
def test_a_list_that_cannot_be_written_stops_nobody(tmp_path, monkeypatch, kind):
    place = tmp_path / "in" / "trusted.toml"
    if kind == "folder":
        place.mkdir(parents=True)
    elif kind == "pipe":
        place.parent.mkdir()
        os.mkfifo(place)
    else:
        place.parent.write_text("")
    monkeypatch.setenv(trusted.VARIABLE, str(place))
    with pytest.warns(UserWarning, match="list of trusted code"):
        store.remember([Code("os", "getpid", "")])


def test_the_list_is_in_the_folder_of_the_users_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv(trusted.VARIABLE, "")
    assert trusted.place() == tmp_path / "llc" / "trusted.toml"
    assert trusted.read() == trusted.Trusted()
    store.remember([Code("os", "getpid", "system")])
    assert trusted.read().functions == ("os:getpid",)
    assert stat.S_ISREG(trusted.place().stat().st_mode)
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert trusted.place() == tmp_path / "home" / ".config" / "llc" / "trusted.toml"


def test_two_that_write_the_list_at_once_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv(trusted.VARIABLE, str(tmp_path / "trusted.toml"))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: store.remember([Code("module", f"f{number}", "")]), range(20)))
    assert len(trusted.read().functions) == 20


ENDS = """
import sys
import torch

class Ends(torch.nn.Module):
    calls = 0
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
    def forward(self, xs, ys):
        Ends.calls += 1
        if Ends.calls > {after}:
            sys.exit(0)
        return self.weight * ys
"""


@pytest.mark.parametrize("after", [0, 6])
def test_code_that_ends_the_program_is_named_and_no_success(after, tmp_path):
    """When it is first tried, and in the middle of a training."""
    file = tmp_path / f"ends{after}.py"
    file.write_text(ENDS.format(after=after))
    table = small_config(**{"sweep.axes": {}}).to_table()
    table["model"] = {"kind": "factory", "function": f"{file}:Ends"}
    (tmp_path / f"study{after}.py").write_text(
        f"from llc.training import ExperimentConfig\ndef study():\n    return ExperimentConfig.from_table({table!r})\n"
    )
    told = ["train", "--system", f"{tmp_path}/study{after}.py:study", "--out", str(tmp_path / "runs"), "--jobs", "1"]
    done = CliRunner().invoke(main, told)
    assert done.exit_code == 1
    assert "code that was given or trusted ended the program, by sys.exit(0)" in done.output
