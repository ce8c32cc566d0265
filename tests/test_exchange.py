"""Other people's checkpoints in, plain `state_dict`s out."""

import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import SMALL_LLC, small_config
from safetensors.torch import load_file
from test_cli import flags

import llc
from llc.cli import main
from llc.errors import InvalidInput, StoreError
from llc.training import with_factory

_THEIRS = """
import torch
from torch import nn

class Mean(nn.Module):
    '''Predicts the mean of the earlier y, times a learnt gain, from a learnt linear map of x.'''

    def __init__(self, dim):
        super().__init__()
        self.map = nn.Linear(dim, 1)

    def forward(self, xs, ys):
        return self.map(xs)[..., 0]

def build(dim=2):
    return Mean(dim)

def wrong():
    return "no model"
"""

_TIED = """
from torch import nn

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False), nn.Linear(2, 1)
        self.b.weight = self.a.weight

    def forward(self, xs, ys):
        return self.out(self.b(self.a(xs)))[..., 0]
"""


@pytest.fixture
def theirs(tmp_path):
    """A file with a model, and a folder of its checkpoints as a training script would leave them."""
    code = tmp_path / "their_model.py"
    code.write_text(_THEIRS)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for step in (0, 50, 100):
        rng = torch.Generator().manual_seed(step)
        weights = {"map.weight": torch.randn(1, 2, generator=rng), "map.bias": torch.zeros(1)}
        torch.save({"step": step, "model_state_dict": weights}, folder / f"run1_step_{step}.pt")
    (folder / "notes.txt").write_text("not a checkpoint")
    return code, folder


def one_run(**settings):
    return small_config(**{"sweep.axes": {"task.num_tasks": [4]}, **settings})


def factory_flags():
    return [flag for flag in flags(one_run()) if not str(flag).startswith("--set=model")]


def run(*arguments, code=0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_there_and_back_again(finished, tmp_path):
    """A run exported step by step and imported again: the same weights and the same behaviour."""
    ours, suffixes = finished.run(num_tasks=4), ("safetensors", "pt", "pth", "ckpt", "bin")
    for number, step in enumerate(ours.steps):
        suffix = suffixes[number % len(suffixes)]
        llc.export_weights(ours, step, tmp_path / "out" / f"step{step}.{suffix}")
    found = llc.import_weights(tmp_path / "out", tmp_path / "in", one_run()).run(num_tasks=4)
    assert found.finished
    assert found.steps == ours.steps
    for step in ours.steps:
        assert all(torch.equal(value, ours.weights(step)[name]) for name, value in found.weights(step).items())
    same = found.metrics.drop_vars("learning_rate").drop_attrs()
    assert same.identical(ours.metrics.drop_vars("learning_rate").drop_attrs())
    assert np.isnan(found.metrics.learning_rate).all()


def test_a_model_of_ones_own_from_the_command_line(theirs, tmp_path):
    code, folder = theirs
    out = tmp_path / "theirs"
    arguments = ["import", folder, "--out", out, "--factory", f"{code}:build", *factory_flags()]
    run(*arguments)
    said = run("show", out)
    assert f"weights imported from {folder}" in said
    assert "num_tasks=4,seed=0: 3 checkpoints" in said
    experiment = llc.open(out)
    assert experiment.run(num_tasks=4).steps == [0, 50, 100]
    found = llc.estimate_llc_over_training(experiment, steps="last", **SMALL_LLC)
    assert np.isfinite(found.llc).all()
    llc.joint_pca(experiment, components=2, sequences=16)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    run(*arguments)  # again: nothing is done
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}


def test_what_was_added_since_is_imported_too(theirs, tmp_path):
    code, folder = theirs
    config, out = with_factory(one_run(), f"{code}:build"), tmp_path / "in"
    found = llc.import_weights(folder, out, config).run(num_tasks=4)
    before, first = found.metrics, (out / found.name / "checkpoints" / "000050.safetensors").stat().st_mtime_ns
    torch.save({"map.weight": torch.ones(1, 2), "map.bias": torch.zeros(1)}, folder / "run1_step_70.pt")
    torch.save({"map.weight": torch.zeros(1, 2), "map.bias": torch.zeros(1)}, folder / "run1_step_170.pt")
    torch.save({}, folder / "best.pt")
    said = run("import", folder, "--out", out, "--factory", f"{code}:build", *factory_flags())
    assert "passed over, for their names hold no step: best.pt" in said
    experiment = llc.open(out)
    found = experiment.run(num_tasks=4)
    assert found.steps == [0, 50, 70, 100, 170]
    assert found.finished
    assert found.metrics.step_last.item() == 170
    assert found.metrics.loss.sel(step=before.step).identical(before.loss)
    assert list(experiment.metrics.step.values) == found.steps
    assert (out / found.name / "checkpoints" / "000050.safetensors").stat().st_mtime_ns == first
    torch.save({"map.weight": torch.ones(1, 2), "map.bias": torch.zeros(1)}, folder / "run1_step_50.pt")
    with pytest.raises(StoreError, match=r"run1_step_50.pt holds other weights than when it was imported into"):
        llc.import_weights(folder, out, config)
    assert experiment.run(num_tasks=4).finished


def test_a_model_with_tied_weights_comes_in_and_goes_out(tmp_path):
    (tmp_path / "tied.py").write_text(_TIED)
    config = with_factory(one_run(), f"{tmp_path / 'tied.py'}:Tied")
    (run_config,) = config.runs()
    model = llc.models.build(run_config.model, run_config.task)
    (tmp_path / "theirs").mkdir()
    torch.save(model.state_dict(), tmp_path / "theirs" / "step_10.pt")
    found = llc.import_weights(tmp_path / "theirs", tmp_path / "out", config).run(num_tasks=4)
    same = found.model(10)
    assert same.a.weight is same.b.weight
    assert torch.equal(same.a.weight, model.a.weight)
    llc.export_weights(found, 10, tmp_path / "step_10.safetensors")
    assert load_file(tmp_path / "step_10.safetensors").keys() == model.state_dict().keys()
    few = config.override({"training.steps": 5, "training.warmup_steps": 0})
    assert llc.train(few, tmp_path / "trained", jobs=1).run(num_tasks=4).finished


def test_a_model_with_another_signature_is_told_the_contract(theirs, tmp_path):
    code, folder = theirs
    code.write_text(code.read_text().replace("def forward(self, xs, ys)", "def forward(self, xs)"))
    said = (
        r"Mean.forward\(xs\) cannot take inputs of shapes .* of the task linear-regression, and has to give outputs of"
    )
    with pytest.raises(InvalidInput, match=said):
        llc.import_weights(folder, tmp_path / "in", with_factory(one_run(), f"{code}:build"))
    assert not (tmp_path / "in").exists()


def test_an_imported_folder_is_not_trained_on(theirs, tmp_path):
    code, folder = theirs
    config = with_factory(one_run(), f"{code}:build")
    llc.import_weights(folder, tmp_path / "in", config)
    with pytest.raises(StoreError, match=f"was imported from {re.escape(str(folder))}; choose another folder"):
        llc.train(config, tmp_path / "in")


def test_a_sweep_is_a_folder_of_folders(finished, tmp_path):
    for ours in finished.runs:
        llc.export_weights(ours, 60, tmp_path / "out" / ours.name / "60.pt")
    found = llc.import_weights(tmp_path / "out", tmp_path / "in", small_config())
    assert [run.steps for run in found.runs] == [[60]] * 3
    (tmp_path / "out" / "num_tasks=4,seed=0" / "60.pt").unlink()
    with pytest.raises(InvalidInput, match=r"num_tasks=4,seed=0 has no checkpoints; expected files such as"):
        llc.import_weights(tmp_path / "out", tmp_path / "other", small_config())
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"map.weight": torch.zeros(1, 2)}, r"does not fit the model \(missing: map.bias\)"),
        ({"map.weight": torch.zeros(1, 2), "bias": torch.zeros(1)}, r"missing: map.bias; not known to it: bias"),
        (
            {"map.weight": torch.zeros(1, 3), "map.bias": torch.zeros(1)},
            r"of another shape: map.weight \(1, 3\), expected \(1, 2\)",
        ),
        ({"epoch": 3, "lr": 0.1}, "holds a dict with epoch, lr, expected a state_dict"),
        ([1, 2], "holds a list, expected a state_dict"),
    ],
)
def test_weights_that_do_not_fit_are_named(theirs, tmp_path, weights, said):
    code, folder = theirs
    torch.save(weights, folder / "step_7.pt")
    for path in folder.glob("run1*.pt"):
        path.unlink()
    with pytest.raises(InvalidInput, match=said):
        llc.import_weights(folder, tmp_path / "in", with_factory(one_run(), f"{code}:build"))
    assert not (tmp_path / "in").exists()


def test_files_that_cannot_be_read_are_named(theirs, tmp_path):
    code, folder = theirs
    config = with_factory(one_run(), f"{code}:build")
    (folder / "step_7.pt").write_bytes(b"half")
    with pytest.raises(StoreError, match=r"step_7.pt (cannot be read|holds more than tensors)"):
        llc.import_weights(folder, tmp_path / "in", config)
    (folder / "step_7.pt").unlink()
    (folder / "other_50.pt").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"other_50.pt and .*run1_step_50.pt are both of step 50"):
        llc.import_weights(folder, tmp_path / "in", config)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("build", "expected package.module:name or /path/to/file.py:name"),
        ("no.such.module:build", "no.such.module cannot be imported: ModuleNotFoundError"),
        ("{code}:bild", "there is no such function"),
        ("{code}:wrong", r"wrong returned a str, expected a torch.nn.Module"),
        ("/no/such/file.py:build", "file.py cannot be imported: ImportError: there is no such file as"),
    ],
)
def test_factories_that_cannot_be_used_are_named(theirs, tmp_path, function, said):
    code, folder = theirs
    with pytest.raises(InvalidInput, match=said):
        llc.import_weights(folder, tmp_path / "in", with_factory(one_run(), function.format(code=code)))


def test_export_from_the_command_line(finished, tmp_path):
    run("export", finished.run(num_tasks=4).path, tmp_path / "last.pt")
    run("export", finished.run(num_tasks=4).path, tmp_path / "early.safetensors", "--step", 20)
    last, early = torch.load(tmp_path / "last.pt", weights_only=True), load_file(tmp_path / "early.safetensors")
    for name, value in finished.run(num_tasks=4).weights(60).items():
        assert torch.equal(last[name], value)
    assert torch.equal(early["readout.bias"], finished.run(num_tasks=4).weights(20)["readout.bias"])
    assert "nearest are 26 and 40" in run(
        "export", finished.run(num_tasks=4).path, tmp_path / "x.pt", "--step", 30, code=1
    )
    for name in ("x.xyz", "x"):
        said = run("export", finished.run(num_tasks=4).path, tmp_path / name, code=2)
        assert f"{name} given, expected a name that ends in .safetensors, .pt, .pth, .ckpt, .bin" in said
        assert not (tmp_path / name).exists()
    assert "is an experiment; name one of its runs: num_tasks=1,seed=0" in run("export", finished.path, "x.pt", code=2)


def test_training_leaves_an_imported_sweep_as_it_is(theirs, tmp_path):
    code, folder = theirs
    config = with_factory(one_run(), f"{code}:build")
    there = llc.import_weights(folder, tmp_path / "in", config)
    before = {path.name: path.read_bytes() for path in there.path.iterdir() if path.is_file()}
    for sweep in ([4], [2, 4]):
        with pytest.raises(StoreError, match="was imported from"):
            llc.train(config.override({"sweep.axes": {"task.num_tasks": sweep}}), there.path, jobs=1)
    assert before == {path.name: path.read_bytes() for path in there.path.iterdir() if path.is_file()}
    llc.import_weights(folder, tmp_path / "in", config)
