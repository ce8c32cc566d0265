"""Runs trained as one graph against runs trained apart."""

import numpy as np
import pytest
import torch
from conftest import small_config
from test_training import assert_same_runs

import llc
from llc.errors import Interrupted, InvalidInput
from llc.training import TrainingFailed, loop, train_run
from llc.training.learner import Ensemble, Solo
from llc.training.loop import train_runs
from llc.training.sweep import choose_together


def folders_of(place, configs):
    return [place / f"run{index}" for index in range(len(configs))]


@pytest.fixture(scope="module")
def configs():
    axes = {"task.num_tasks": [1, 4], "seed": [0, 1]}
    return small_config(**{"training.steps": 40, "sweep.axes": axes}).runs()


@pytest.fixture(scope="module")
def stacked(configs, tmp_path_factory):
    """The folders of runs trained together. Read only."""
    folders = folders_of(tmp_path_factory.mktemp("whole"), configs)
    with llc.parallel.torch_threads(1):
        assert train_runs(folders, configs) == []
    return folders


@pytest.fixture(scope="module")
def apart(configs, tmp_path_factory):
    """The folders of the same runs trained apart. Read only."""
    folders = folders_of(tmp_path_factory.mktemp("apart"), configs)
    for folder, config in zip(folders, configs, strict=True):
        train_run(folder, config)
    return folders


def test_runs_trained_together_equal_runs_trained_apart(stacked, apart):
    """Weights of every checkpoint within float32's rounding, grown over 40 steps; behaviour likewise."""
    for together, alone in zip(stacked, apart, strict=True):
        ours, theirs = llc.Run(together), llc.Run(alone)
        assert ours.steps == theirs.steps
        for step in ours.steps:
            for name, value in ours.weights(step).items():
                torch.testing.assert_close(value, theirs.weights(step)[name], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(
            ours.metrics.loss.sel(test_set="ood"), theirs.metrics.loss.sel(test_set="ood"), rtol=1e-3
        )


def test_an_update_in_microbatches_is_that_of_the_whole_batch(configs, monkeypatch):
    """As models with wide layers are trained on a CPU, for caches."""
    whole = Solo(configs[:1], [None])
    pieces = Solo(configs[:1], [None])
    batch = configs[0].task.sample(20)
    losses = whole.update([batch], 0)
    seen = []
    pieces.model(0).register_forward_hook(lambda _model, inputs, _output: seen.append(len(inputs[0])))
    monkeypatch.setattr("llc.microbatches._BYTES", 8 * _widest(configs[0]))
    torch.testing.assert_close(pieces.update([batch], 0), losses)
    assert seen == [1, 8, 8, 4]
    for ours, theirs in zip(pieces.model(0).parameters(), whole.model(0).parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def _widest(config) -> int:
    """Bytes of the widest layer's output for one sequence."""
    return 4 * 2 * config.task.num_examples * max(config.model.width, config.model.mlp_width)


def test_one_update_of_a_stack_is_that_of_each_model(configs):
    """Losses and weights after one step agree to a few units in the last place."""
    batches = [config.task.sample(16) for config in configs]
    ensemble = Ensemble(configs, [None] * 4)
    losses = ensemble.update(batches, 0)
    for run, config in enumerate(configs):
        solo = Solo([config], [None])
        torch.testing.assert_close(losses[run : run + 1], solo.update([batches[run]], 0), rtol=1e-6, atol=0)
        for ours, theirs in zip(ensemble.model(run).parameters(), solo.model(0).parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_stack_that_is_stopped_ends_with_the_same_bits_also_when_its_runs_stand_apart(
    configs, stacked, tmp_path, monkeypatch
):
    stopped = folders_of(tmp_path / "stopped", configs)
    with llc.parallel.torch_threads(1):
        asked = iter([False] * 23 + [True])
        monkeypatch.setattr(loop, "check_interrupt", lambda: next(asked))
        with pytest.raises(Interrupted, match="run0, run1, run2, run3 stopped at step 23"):
            train_runs(stopped, configs)
        monkeypatch.undo()
        (stopped[2] / "resume.pt").unlink()  # as if it had been killed before its first state was written
        train_runs(stopped, configs)
    for ours, theirs in zip(stacked, stopped, strict=True):
        assert_same_runs(llc.Run(ours), llc.Run(theirs))


def test_a_run_that_began_in_a_stack_can_go_on_alone(configs, apart, tmp_path, monkeypatch):
    together = folders_of(tmp_path / "together", configs)
    asked = iter([False] * 23 + [True])
    monkeypatch.setattr(loop, "check_interrupt", lambda: next(asked))
    with pytest.raises(Interrupted):
        train_runs(together, configs)
    monkeypatch.undo()
    train_run(together[1], configs[1])
    ours, theirs = llc.Run(together[1]), llc.Run(apart[1])
    assert ours.finished
    for name, value in ours.weights(40).items():
        torch.testing.assert_close(value, theirs.weights(40)[name], rtol=1e-3, atol=1e-4)


def test_a_run_that_diverges_leaves_the_stack_and_spares_the_others(configs, stacked, tmp_path, monkeypatch):
    update = Ensemble.update

    def broken(self, batches, step):
        losses = update(self, batches, step)
        return losses.where(torch.arange(4) != 1, torch.nan) if step == 20 else losses

    folders = folders_of(tmp_path / "broken", configs)
    monkeypatch.setattr(Ensemble, "update", broken)
    with llc.parallel.torch_threads(1):  # as the whole ones
        (error,) = train_runs(folders, configs)
    assert str(error).startswith("run1: the loss is not finite at step 20")
    assert not llc.Run(folders[1]).finished
    for run in (0, 2, 3):
        assert_same_runs(llc.Run(folders[run]), llc.Run(stacked[run]))


def test_small_updates_are_stacked_and_large_ones_are_not(monkeypatch):
    monkeypatch.setattr("llc.training.sweep.default_workers", lambda _units, _device: 2)
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert choose_together(small_config(), cpu) == 2
    assert choose_together(small_config(**{"sweep.axes": {"task.num_tasks": [4]}}), cpu) == 1
    assert choose_together(llc.presets.tiny(), cpu) == 1
    assert choose_together(llc.presets.tiny(), gpu) == 3
    assert choose_together(llc.presets.carroll(), gpu) == 1


def test_a_sweep_says_how_many_it_trains_together_and_names_the_runs_that_fail(tmp_path):
    few = {"training.steps": 10, "checkpoints.every": 10}
    experiment = llc.train(small_config(**few), tmp_path / "three", together=3, jobs=1)
    assert experiment.provenance["together"] == 3
    with pytest.raises(
        TrainingFailed,
        match=r"3 of 3 runs failed: num_tasks=1,seed=0, num_tasks=4,seed=0, num_tasks=inf,seed=0: .* not finite",
    ):
        llc.train(small_config(**{"training.learning_rate": 1e30}), tmp_path / "hot", together=3, jobs=1)
    with pytest.raises(InvalidInput, match="together = 0 given"):
        llc.train(small_config(), tmp_path / "none", together=0)
