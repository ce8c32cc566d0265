from typing import Literal

import pytest
import torch
from conftest import small_config

import llc
from llc.errors import StoreError
from llc.models import FactoryConfig
from llc.tasks import LinearRegression
from llc.training import SweepConfig
from llc.training.plan import Plan, count_parameters, disk_needed, update_flops


def test_flops_of_an_update_are_those_of_its_matrix_products():
    """2·(inputs)·(outputs) a token forwards, twice that backwards; the embedding needs no gradient of its input.

    The last block, here the only one, is computed at the tokens of x; all tokens have keys and values for them.
    """
    run = small_config().runs()[0]
    batch, tokens, width, mlp, readouts, dim = run.training.batch_size, 6, 8, 8, 3, 2
    asking = (
        width * width + 2 * tokens * width + width * width + 2 * width * mlp
    )  # q; q·k and mixing v; projection; MLP
    forward = 2 * batch * (tokens * 2 * width * width + readouts * (asking + width * (dim + 1)))
    embedding = 2 * batch * tokens * (dim + 1) * width
    assert update_flops(run) == 3 * forward + 2 * embedding


class Weighted(LinearRegression):
    """Its losses hold a tensor of their own."""

    kind: Literal["test-weighted"] = "test-weighted"

    def losses(self, outputs, batch):
        return super().losses(outputs, batch) * torch.linspace(1, 2, self.num_examples)


def build(shapes):
    """A model whose code looks at values."""
    size = shapes["inputs"][0][-1]
    model = torch.nn.Linear(size, 1)
    return Flat(model) if float(model.weight.detach().sum()) < 1e6 else model


class Flat(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, xs, ys):
        return self.inner(xs)[..., 0]


def test_a_plan_counts_what_other_peoples_code_does(tmp_path):
    task = Weighted(dim=2, num_examples=3, noise_variance=0.1)
    config = small_config().model_copy(update={"task": task, "model": FactoryConfig(function=f"{__file__}:build")})
    found = llc.training.plan(config.override({"sweep.axes": {"seed": [0]}}), tmp_path / "planned", jobs=1)
    assert found.parameters == 3
    assert found.flops == 60 * 2 * 2 * 16 * 3 * 2  # forwards and backwards: the inputs need no gradient


@pytest.mark.parametrize(
    ("preset", "parameters"), [("raventos", 1_588_745), ("small", 151_751), ("carroll", 2_654_217)]
)
def test_presets_have_the_size_they_say(preset, parameters):
    config = llc.presets.preset(preset)
    assert count_parameters(config) == parameters
    assert config.preset == preset


def test_a_plan_says_what_a_sweep_takes_and_writes_nothing(tmp_path):
    config = small_config(**{"checkpoints.weights_every": 3})
    found = llc.training.plan(config, tmp_path / "planned", jobs=2)
    assert list(tmp_path.iterdir()) == []
    assert (found.runs, found.jobs, found.steps, found.batch_size) == (3, 2, 60, 16)
    assert found.parameters == count_parameters(config)
    assert found.flops == 3 * 60 * update_flops(config.runs()[0])
    assert found.disk == disk_needed(config)
    experiment = llc.train(config, tmp_path / "planned", jobs=1)
    assert all(len(run.recorded_steps) == found.checkpoints for run in experiment.runs)
    assert all(found.weights <= len(run.steps) <= found.weights + 1 for run in experiment.runs)
    of_run = 60 * found.step_seconds + found.checkpoints * found.checkpoint_seconds
    assert found.seconds == pytest.approx(2 * of_run)


def test_a_plan_reads_as_text():
    found = Plan(
        runs=30,
        parameters=2_654_217,
        jobs=2,
        steps=150_000,
        batch_size=1024,
        checkpoints=2203,
        weights=2203,
        flops=2.4e18,
        disk=655 * 2**30,
        free=61 * 2**30,
        step_seconds=3.0,
        checkpoint_seconds=5.0,
    )
    said = str(found)
    assert "30, 2 at a time" in said
    assert "2,654,217 a run" in said
    assert "655 GiB; 61 GiB are free: too little" in said
    assert "about 80 days: 3 s a step" in said


def test_the_estimate_of_disk_is_near(finished):
    used = sum(path.stat().st_size for path in finished.path.rglob("checkpoints/*"))
    assert used < disk_needed(small_config()) < 4 * used + 2**20
    large = llc.presets.carroll()
    dense, thin = (disk_needed(large.override({"checkpoints.weights_every": every})) for every in (1, 100))
    assert dense / 100 < thin < dense / 30


def test_too_little_disk_is_an_error_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Usage())
    with pytest.raises(StoreError, match=r"its disk has 1 KiB free"):
        llc.train(small_config(), tmp_path / "full")
    assert not (tmp_path / "full").exists()


class _Usage:
    free = 1024


@pytest.mark.parametrize(("axis", "differ"), [({"task.noise_variance": [0.1, 0.5]}, True), ({"seed": [0, 1]}, False)])
def test_weights_left_out_of_runs_with_probes_of_their_own_are_spoken_of(axis, differ, tmp_path):
    """Before they are trained, since predictions on different probes cannot be compared afterwards."""
    said = []
    config = small_config(**{"checkpoints.weights_every": 3, "training.steps": 2, "training.warmup_steps": 1})
    config = config.model_copy(update={"sweep": SweepConfig(axes=axis)})
    llc.train(config, tmp_path / "thin", jobs=1, progress=lambda *message: said.append(message[-1]))
    assert any("probes of their own" in one for one in said) == differ
