"""A finished command that is run again does nothing and says so, unless what its result is made from has changed."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_cli import run

import llc
from llc import development, store
from llc.errors import InvalidInput, StoreError
from llc.store.again import _code_of
from llc.systems.claims import Claim

# Options of a command, further ones, which results these move, what is made again, and which results that moves.
CASES = {
    "pca": (["--sequences", "8"], ["--components", "2"], {"pca"}, "checkpoint", {"pca"}),
    "behaviour": (["--steps", "0,60"], ["--sequences", "8"], {"behaviour"}, "checkpoint", {"behaviour"}),
    "readouts": (["--steps", "60"], ["--no-hessian"], {"readouts"}, "checkpoint", {"readouts"}),
    "compare": (["--steps", "60", "--sequences", "16"], ["--steps", "0"], {"compare"}, "checkpoint", {"compare"}),
    "stages": (["--resamples", "20"], ["--seed", "1"], {"stages", "tradeoff"}, "llc", {"stages", "tradeoff"}),
    "stages and forms": (["--resamples", "20"], ["--method", "trend"], {"stages"}, "pca", {"stages", "essential"}),
    "strategies": ([], ["--pair", "dmmse,ridge"], {"strategies"}, "tradeoff", {"strategies"}),
    "claims": ([], [], set(), "compare", {"claims"}),
    "calibrate": (
        ["--nbeta=15", "--gamma=3", "--num-samples=32", "--batch-size=16", "--draws=8", "--chains=1", "--points=1"],
        ["--gamma", "4"],
        {"calibration"},
        "checkpoint",
        {"calibration"},
    ),
}


@pytest.fixture
def whole_copy(whole, tmp_path):
    return llc.open(shutil.copytree(whole.path, tmp_path / "whole"))


def make_again(experiment: llc.Experiment, source: str) -> None:
    """A result with another number in it, or runs with a checkpoint fewer."""
    if source == "checkpoint":
        for of_run in experiment.runs:
            store.checkpoint_path(of_run.checkpoints, of_run.steps[-2]).unlink()
        return
    found = experiment.result(source).load()
    name = next(name for name, values in found.data_vars.items() if values.dtype.kind == "f" and values.size)
    found[name] = found[name] + 1e-3 * abs(found[name]).max().item()
    store.write_dataset(experiment.path / f"{source}.nc", found.drop_attrs(deep=False), json.loads(found.config))


def changed_since(before: dict[Path, tuple], folder: Path) -> set[str]:
    return {path.stem for path, held in look(folder).items() if before.get(path) != held}


def look(folder: Path) -> dict[Path, tuple]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.glob("*.nc")}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] * (case == "calibrate")) for case in CASES]
)
def test_again_nothing_is_done_until_something_has_changed(case, whole_copy):
    options, others, moved, source, made_again = CASES[case]
    command = [case.partition(" ")[0], whole_copy.path, *options]
    run(*command)
    before = look(whole_copy.path)
    said = run(*command).output
    assert changed_since(before, whole_copy.path) == set()
    for name in moved | made_again:
        assert f"{whole_copy.path / name}.nc holds just this already; nothing to do" in said
    run(*command, *others)
    assert changed_since(before, whole_copy.path) == moved
    before = look(whole_copy.path)
    make_again(whole_copy, source)
    run(*command, *others)
    assert changed_since(before, whole_copy.path) - {source} == made_again


def test_python_returns_what_is_there(whole_copy):
    said = []
    found = development.essential_dynamics(whole_copy, progress=lambda *told: said.append(told))
    note = f"{whole_copy.path / 'essential.nc'} holds just this already; nothing to do"
    assert said == [("essential", 0, 0, note)]
    assert found.identical(whole_copy.essential)
    assert development.essential_dynamics(whole_copy, width=0.5).attrs["config"] != found.attrs["config"]


def test_what_is_wrong_is_said_although_the_result_is_there(whole_copy):
    with pytest.raises(InvalidInput, match="unknown method turn"):
        development.find_stages(whole_copy, method="turn")
    with pytest.raises(InvalidInput, match="unknown reference rigde"):
        development.strategies(whole_copy, pair=("rigde", "dmmse"))
    with pytest.raises(InvalidInput, match="steps = 'early' given"):
        development.readouts(whole_copy, steps="early")
    path = whole_copy.path / "essential.nc"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StoreError, match=r"essential.nc .*; delete it, and `llc stages .* makes it again"):
        development.essential_dynamics(whole_copy)


def test_of_another_version_or_older_than_its_source_it_is_made_again(whole_copy, monkeypatch):
    """Contents of the same checksum: `llc show` says by the clock that what was made from them is old."""
    before = look(whole_copy.path)
    later = whole_copy.pca.assign_attrs(created="2100-01-01T00:00:00+00:00")
    store.write_as_it_is(whole_copy.path / "pca.nc", later, {})
    assert whole_copy.outdated("essential")
    development.essential_dynamics(whole_copy)
    monkeypatch.setattr("llc.store.results.library_version", lambda: "0.1.9")
    development.tradeoff(whole_copy)
    assert changed_since(before, whole_copy.path) == {"pca", "essential", "tradeoff"}


def test_claims_that_are_given_are_judged_every_time(whole_copy):
    """What a function of the user's measures cannot be told from its text."""
    sizes = [1.0, 2.0]
    mine = [Claim("one", "it is one", 1.0, lambda _: (sizes[0], 0.0), 0.5, 1.5)]
    assert development.study_claims(whole_copy, mine).claim_verdict.item() == "supported"
    sizes.reverse()
    assert development.study_claims(whole_copy, mine).claim_verdict.item() == "contradicted"
    assert development.study_claims(whole_copy).sizes["claim"] > 1
    told = []
    development.study_claims(whole_copy, progress=lambda *said: told.append(said[-1]))
    assert "nothing to do" in told[0]


def test_other_peoples_code_counts_by_what_is_in_its_file(finished, tmp_path):
    """Classes that are in no file, and functions of modules, may have changed unseen."""
    one = finished.runs[0]
    code = tmp_path / "study.py"

    def of(model):
        named = SimpleNamespace(config={"model": model}, task=one.task, model_config=one.model_config)
        return _code_of([named])

    code.write_text("first = 1\n")
    first = of({"defined_in": str(code)})
    assert first != of({"kind": "transformer"})
    code.write_text("first = 2\n")
    assert of({"defined_in": str(code)}) != first
    assert of({"function": "package.module:make"}) is None
    typed_in = type("Typed", (), {"__module__": "typed.in"})()
    assert _code_of([SimpleNamespace(config={}, task=typed_in, model_config=one.model_config)]) is None
