"""Code that a folder names runs only if this user gave it or trusted it before."""

import importlib.util
import os
import pickle
import py_compile
import shutil
import sys
from pathlib import Path

import pytest
import tomli_w
from click.testing import CliRunner
from conftest import SMALL_LLC, small_config

import llc
from llc import own_code, store, trusted
from llc.cli import main
from llc.errors import InvalidInput, StoreError, UntrustedCode
from llc.models import FactoryConfig, ModelConfig
from llc.tasks import Task
from llc.training import ExperimentConfig
from llc.trusted import Code

# Says that it ran by making a file.
_STUDY = """
from pathlib import Path
Path({mark!r}).touch()
import tabnanny
import torch
from llc.models import FactoryConfig
from llc.predictors import baseline
from llc.randomness import generator
from llc.tasks import Batch, Task
from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, TrainingConfig

class Marked(Task):
    kind: str = {kind!r}
    def sample(self, size, *, step=0, stream="train"):
        xs = torch.randn(size, 4, generator=generator("marked", stream, step))
        return Batch((xs,), xs.mean(1))
    def predictors(self):
        return {{"mean": lambda xs: xs.mean(1), "zero": baseline(lambda xs: torch.zeros(len(xs)))}}
    def shifts(self):
        return {{"same": self}}

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, xs):
        return self.layer(xs)[:, 0]

def other():
    return Net()

def study():
    return ExperimentConfig(
        task=Marked(),
        model=FactoryConfig(function=f"{{__file__}}:Net"),
        training=TrainingConfig(steps=8, batch_size=8, learning_rate=1e-2),
        checkpoints=CheckpointsConfig(every=2),
        behaviour=BehaviourConfig(sequences=8),
    )
"""
NEEDS_CODE = ["pca", "behaviour", "readouts", "compare", "estimate-llc", "calibrate"]
NEEDS_NONE = ["show", "plot", "report"]


def run(*arguments: object, **how):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], **how)


def forget_process(monkeypatch) -> None:
    """As a new process is: nothing was given to it, and no file of others is loaded."""
    monkeypatch.setattr(trusted, "_allowed", set())
    monkeypatch.setattr(own_code, "_copies", [])
    for name in [name for name in sys.modules if name.startswith("llc_own_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "tabnanny", raising=False)  # which the study imports
    for kind in [kind for kind in Task.known if kind.startswith("marked")]:
        monkeypatch.delitem(Task.known, kind)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A study in a file, trained with it; and the list on which that was noted."""
    place = tmp_path_factory.mktemp("made")
    (place / "study.py").write_text(_STUDY.format(mark=str(place / "mark"), kind="marked"))
    before, os.environ[trusted.VARIABLE] = os.environ[trusted.VARIABLE], str(place / "list" / "trusted.toml")
    done = run("train", "--system", place / "study.py:study", "--out", place / "runs", "--jobs", 1)
    os.environ[trusted.VARIABLE] = before
    assert done.exit_code == 0, done.output
    return place


@pytest.fixture
def mine(made, tmp_path, monkeypatch):
    """In a later process of the user who trained it: the folder, the study, the mark and the list, all to change."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    shutil.copytree(made / "list", tmp_path / "list")
    monkeypatch.setenv(trusted.VARIABLE, str(tmp_path / "list" / "trusted.toml"))
    forget_process(monkeypatch)
    (made / "mark").unlink(missing_ok=True)
    yield tmp_path / "runs"
    (made / "study.py").write_text(_STUDY.format(mark=str(made / "mark"), kind="marked"))


@pytest.fixture
def theirs(mine, monkeypatch, tmp_path):
    """The same folder where somebody else trained it."""
    monkeypatch.setenv(trusted.VARIABLE, str(tmp_path / "nothing" / "trusted.toml"))
    return mine


def renamed(folder: Path, tables: dict, file: str = "config.toml") -> None:
    """Put other tables into the configs of a folder's runs."""
    for path in folder.rglob(file):
        path.write_text(tomli_w.dumps({**store.read_table(path), **tables}))


@pytest.mark.parametrize("gone", [False, True], ids=["file beside", "file in code/"])
def test_nothing_of_a_folder_from_elsewhere_is_run(theirs, made, gone):
    if gone:
        (made / "study.py").unlink()
    named = theirs / "code" if gone else made / "study.py"
    for command in NEEDS_CODE:
        done = run(command, theirs)
        assert done.exit_code == 2, done.output
        assert done.output.startswith(f"Error: {theirs} names code that you have not trusted, {named}"), done.output
        assert f"llc trust {theirs}" in done.output
        assert done.output.count("\n") == 1
    for command in NEEDS_NONE:
        done = run(command, theirs)
        assert done.exit_code == 0, done.output
        assert not isinstance(done.exception, Exception)
    assert "what the task says of itself: " in (theirs / "report.html").read_text()
    assert "names code that you have not trusted" in run("show", theirs).output
    assert "Every checkpoint and result is whole" in run("show", theirs, "--verify").output
    assert run("export", theirs / "seed=0", theirs / "model.pt").exit_code == 0
    assert llc.open_results(theirs).metrics.sizes["step"] == 5
    for command in ("stages", "strategies", "claims"):
        assert run(command, theirs).exit_code in (1, 2)
    assert not (made / "mark").exists()


@pytest.mark.parametrize("where", ["model", "task", "system"])
def test_no_function_of_a_module_is_run_either(tmp_path, monkeypatch, where):
    """A folder that was trained with a model of ours, and changed since."""
    short = {"training.steps": 2, "training.warmup_steps": 0, "sweep.axes": {"task.num_tasks": [4]}}
    own = llc.train(small_config(**short), tmp_path / "own", jobs=1)
    forget_process(monkeypatch)
    mark = tmp_path / "mark"
    model = {"kind": "factory", "function": "os:system", "arguments": {"command": f"touch {mark}"}}
    (own.path / "beside.py").write_text(f"__import__('pathlib').Path({str(mark)!r}).touch()")
    if where == "model":
        renamed(own.path, {"model": model})
    elif where == "task":
        renamed(own.path, {"task": {"kind": "marked", "defined_in": str(own.path / "beside.py")}})
    else:
        table = store.read_table(own.path / "experiment.toml")
        system = {**table["provenance"], "system": f"{own.path / 'beside.py'}:study"}
        renamed(own.path, {"provenance": system}, "experiment.toml")
    for command in ["report"] if where == "system" else NEEDS_CODE:
        done = run(command, own.path)
        assert done.exit_code == (0 if where == "system" else 2), done.output
        assert where == "system" or "names code that you have not trusted" in done.output
    assert not mark.exists()


def test_what_was_trusted_runs(theirs, made):
    asked = run("trust", theirs, input="n\n")
    assert f"{made / 'study.py'}:Net (model.function): " in asked.output
    assert "SHA-256" in asked.output
    assert "from pathlib import Path" in asked.output
    assert "more lines" in asked.output
    assert run("pca", theirs).exit_code == 2
    assert not (made / "mark").exists()
    assert run("trust", theirs, "--yes").exit_code == 0
    assert not (made / "mark").exists()
    assert f"{made / 'study.py'}, SHA-256" in run("trust").output
    done = run("pca", theirs)
    assert done.exit_code == 0, done.output
    assert (made / "mark").exists()
    before = (made / "study.py").read_text()
    try:  # other tests read it too
        (made / "study.py").write_text(f"{before}# edited since\n")
        assert "SHA-256" in run("trust", theirs, "--forget").output
        assert "Nothing is trusted yet" in run("trust").output
    finally:
        (made / "study.py").write_text(before)


def test_trust_in_python(theirs, monkeypatch):
    with pytest.raises(UntrustedCode, match=r"or in Python llc\.trust"):
        llc.open(theirs).run().model(8)
    assert {code.asked_by for code in llc.trust(theirs)} == {"task.defined_in", "model.function", "system"}
    assert llc.open(theirs).run().model(8).layer.in_features == 4


@pytest.mark.parametrize("moved", [False, True])
def test_ones_own_study_runs_without_questions(mine, made, moved):
    if moved:
        (made / "study.py").unlink()
    for command in ("pca", "report"):
        done = run(command, mine)
        assert done.exit_code == 0, done.output
    assert "not trusted" not in (mine / "report.html").read_text()
    assert "not trusted" not in run("show", mine).output


def test_an_edited_file_is_refused_until_it_is_given_again(mine, made):
    with open(made / "study.py", "a") as file:
        file.write("# edited\n")
    done = run("pca", mine)
    assert done.exit_code == 2
    assert "names code that has changed since you trusted it, " in done.output
    assert not (made / "mark").exists()
    with pytest.raises(StoreError, match=r"was edited since .* train in a new folder, or go on .* --system"):
        llc.train(own_code.called(_given(f"{made / 'study.py'}:study"), {}, asked_by="system"), mine, jobs=1)
    llc.trust(mine)
    assert run("pca", mine).exit_code == 0


def _given(place: str) -> str:
    trusted.give([trusted.code_of(place, "system")])
    return place


def test_only_the_functions_of_a_file_that_were_named_are_called(mine, made):
    renamed(mine, {"model": {"kind": "factory", "function": f"{made / 'study.py'}:other"}})
    done = run("pca", mine)
    assert done.exit_code == 2
    assert "study.py:other (model.function)" in done.output
    renamed(mine, {"model": {"kind": "factory", "function": f"{os.__file__}:system", "arguments": {"command": "x"}}})
    with pytest.raises(UntrustedCode, match=r"os\.py:system"):
        llc.open(mine).run().untrained()


def test_what_lies_beside_a_copy_is_not_imported(mine, made):
    """Neither a module that shadows one, nor bytecode that says it is of the copy."""
    (made / "study.py").unlink()
    (copy,) = (mine / "code").iterdir()
    evil = mine / "evil.py"
    evil.write_text(f"__import__('pathlib').Path({str(mine / 'evil-mark')!r}).touch()")
    shutil.copy(evil, mine / "code" / "tabnanny.py")
    py_compile.compile(
        str(evil),
        cfile=importlib.util.cache_from_source(str(copy)),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    assert run("pca", mine).exit_code == 0
    assert (made / "mark").exists()
    assert not (mine / "evil-mark").exists()
    assert str(copy.parent) not in sys.path


def test_a_folder_of_another_with_the_users_file_beside_other_modules(theirs, tmp_path, monkeypatch):
    """Trusted by what it holds, and not by where it is: what it imports there may be anybody's."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    for place in ("one", "two"):
        (tmp_path / place / "needs_helper.py").write_text("import marked_helper\ndef build(): ...\n")
        (tmp_path / place / "marked_helper.py").write_text(
            f"__import__('pathlib').Path({str(tmp_path / place / 'ran')!r}).touch()\n"
        )
    store.remember([Code(str(tmp_path / "one" / "needs_helper.py"), "build", "")])
    with pytest.raises(InvalidInput, match="No module named 'marked_helper'"):
        own_code.named(f"{tmp_path / 'two' / 'needs_helper.py'}:build", asked_by="model.function")
    assert own_code.named(f"{tmp_path / 'one' / 'needs_helper.py'}:build", asked_by="model.function")
    assert (tmp_path / "one" / "ran").exists()
    assert not (tmp_path / "two" / "ran").exists()
    monkeypatch.delitem(sys.modules, "marked_helper")


def test_workers_may_run_what_their_parent_may(mine):
    """Also where they cannot read the list, as on another machine."""
    experiment = llc.open(mine)
    for one in experiment.runs:
        one.check_code()
    trusted.place().unlink()
    found = llc.estimate_llc_over_training(experiment, steps="4,8", **{**SMALL_LLC, "jobs": 2, "chains": 1})
    assert found.llc.notnull().all()


def test_a_pickle_takes_along_what_may_run_and_nothing_else(mine, monkeypatch):
    task, model = llc.open(mine).run().task, llc.open(mine).run().model_config
    foreign = ModelConfig.of({"kind": "factory", "function": "os:system"})
    sent = pickle.dumps((task, model, foreign))
    forget_process(monkeypatch)
    trusted.place().unlink()
    task, model, foreign = pickle.loads(sent)
    assert llc.models.build(model, task).layer.in_features == 4
    with pytest.raises(UntrustedCode):
        llc.models.build(foreign, task)


def test_tables_give_nothing_and_programs_do(monkeypatch, tmp_path):
    forget_process(monkeypatch)
    table = {**small_config().to_table(), "model": {"kind": "factory", "function": "os:getpid"}}
    config = ExperimentConfig.from_table(table)
    with pytest.raises(UntrustedCode, match="a folder names code that you have not trusted, os:getpid"):
        llc.models.build(config.model, config.task)
    with pytest.raises(InvalidInput, match=r"os:getpid returned a int"):
        llc.models.build(FactoryConfig(function="os:getpid"), config.task)
    with pytest.raises(InvalidInput, match=r"os:getppid returned a int"):
        llc.train(config.override({"model.function": "os:getppid"}), tmp_path / "x", jobs=1)


@pytest.mark.parametrize(
    "content", ["no list", "functions = 3\nfiles = []", "files = [1]\nfunctions = []", "", b"\xff"]
)
def test_a_damaged_list_is_one_sentence(mine, made, content):
    place = trusted.place()
    place.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = run("pca", mine)
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: the list of trusted code, {place}, cannot be read (")
    assert done.output.count("\n") == 1
    assert "cannot be read" in run("show", mine).output
    assert run("trust").exit_code == 1
    assert run("trust", mine, "--yes").exit_code == 1
    with pytest.warns(UserWarning, match="the list of trusted code"):
        store.remember([Code("os", "getpid", "")])
    assert not (made / "mark").exists()


def test_a_folder_without_code_has_nothing_to_trust(finished):
    assert "names no code but llc's own" in run("trust", finished.path).output
    assert run("trust", "--yes").exit_code == 2
    with pytest.raises(StoreError, match="does not exist"):
        llc.trust(finished.path / "none")


@pytest.mark.slow
def test_workers_of_a_cluster_may_run_what_their_client_may(mine, made):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        experiment, address = llc.open(mine), cluster.scheduler_address
        experiment.run().check_code()
        trusted.place().unlink()
        settings = {**SMALL_LLC, "num_samples": 32, "scheduler": address}
        assert llc.estimate_llc_over_training(experiment, steps="8", **settings).llc.notnull().all()
        config = own_code.called(_given(f"{made / 'study.py'}:study"), {}, asked_by="system")
        assert llc.train(config, mine.parent / "spread", scheduler=address).finished
