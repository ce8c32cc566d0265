"""Weights averaged over recent steps, beside those that are trained."""

import shutil

import numpy as np
import pytest
import torch
from conftest import small_config
from safetensors.torch import load_file

import llc
from llc import store
from llc.training import train_run
from llc.training.average import Average
from llc.training.loop import train_runs

STEPS, RECENT = 20, 8


def config(**settings):
    """Recorded after every step, so that the average can be made again from what was trained."""
    every = {"training.steps": STEPS, "checkpoints.every": 1, "behaviour.sequences": 8}
    return small_config(**every, **{"training.average_steps": RECENT, **settings}).runs()[1]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("average") / "run"
    train_run(folder, config())
    return llc.Run(folder)


def averaged_again(trained: list[np.ndarray]) -> list[np.ndarray]:
    """Of the definition: the mean of all so far, and from n on shares (1 − 1/n)^age."""
    found = []
    for step in range(len(trained)):
        if step < RECENT:
            found.append(np.mean(trained[: step + 1], axis=0))
            continue
        ages = np.arange(step - RECENT + 1)
        shares = (1 - 1 / RECENT) ** ages / RECENT
        before = (1 - 1 / RECENT) ** len(ages) * found[RECENT - 1]
        found.append(before + sum(share * trained[step - age] for age, share in zip(ages, shares, strict=True)))
    return found


def test_recorded_weights_are_the_average_of_the_trained_ones(run):
    kept = [load_file(store.checkpoint_path(run.trained, step)) for step in run.steps]
    assert run.steps == list(range(STEPS + 1))
    for name, value in run.weights(0).items():
        expected = averaged_again([weights[name].double().numpy() for weights in kept])
        found = [run.weights(step)[name] for step in run.steps]
        np.testing.assert_allclose(np.stack(found), np.stack(expected), rtol=1e-4, atol=1e-6)
        assert torch.equal(value, kept[0][name])
    assert not torch.equal(run.weights(STEPS)["embedding.weight"], kept[-1]["embedding.weight"])


def test_averaging_leaves_training_as_it_is(run, tmp_path):
    train_run(tmp_path / "plain", config(**{"training.average_steps": 0}))
    plain = llc.Run(tmp_path / "plain")
    assert not plain.trained.exists()
    for step in (0, 7, STEPS):
        for weights in (plain.weights(step), plain.model(step, trained=True).state_dict()):
            assert all(
                torch.equal(weights[name], own) for name, own in run.model(step, trained=True).state_dict().items()
            )


def test_behaviour_is_that_of_the_averaged_weights(run):
    test = llc.behaviour.eval_sets(run.task, run.sequences)
    found = llc.behaviour.evaluate(run.model(STEPS), test)["loss"]
    np.testing.assert_allclose(run.metrics.loss.sel(step=STEPS).squeeze().values, found, rtol=1e-6)
    other = llc.behaviour.evaluate(run.model(STEPS, trained=True), test)["loss"]
    assert np.abs(other - found).max() > 1e-4


def test_a_run_that_was_stopped_goes_on_with_the_same_bits(run, tmp_path, monkeypatch):
    from llc.training import loop

    asked = iter([False] * 13 + [True])
    monkeypatch.setattr(loop, "check_interrupt", lambda: next(asked))
    with pytest.raises(llc.errors.Interrupted):
        train_run(tmp_path / "run", config())
    monkeypatch.undo()
    train_run(tmp_path / "run", config())
    again = llc.Run(tmp_path / "run")
    for step in (12, 14, STEPS):
        for folder in ("checkpoints", "trained"):
            one, other = (load_file(store.checkpoint_path(of.path / folder, step)) for of in (run, again))
            assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_lost_or_damaged_file_of_trained_weights_is_noticed(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    there = llc.Run(tmp_path / "run")
    path = store.checkpoint_path(there.trained, 5)
    assert store.verify(there) == []
    path.write_bytes(path.read_bytes()[:-3])
    assert "trained/000005.safetensors is damaged" in store.verify(there)[0]
    with pytest.raises(llc.errors.StoreError, match="is damaged"):
        there.model(5, trained=True)
    (there.trained / "notes.txt").write_text("mine")
    assert "notes.txt is not of this run" in store.passed_over(there)[0]


def test_an_ensemble_averages_as_single_runs_do(tmp_path):
    few = {"training.steps": 30, "sweep.axes": {"task.num_tasks": [1, 4]}}
    configs = small_config(**{"training.average_steps": 10, **few}).runs()
    train_runs([tmp_path / str(number) for number in range(2)], configs)
    for number, of_run in enumerate(configs):
        train_run(tmp_path / f"{number} alone", of_run)
        for trained in (False, True):
            one, other = (
                llc.Run(tmp_path / name).model(30, trained=trained) for name in (f"{number}", f"{number} alone")
            )
            for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_tied_weights_and_one_step():
    weight = torch.zeros(2)
    average = Average(1, {"a": weight, "b": weight})
    for step in range(3):
        weight += 1
        average.update({"a": weight, "b": weight}, step)
    assert average.weights["a"].tolist() == average.weights["b"].tolist() == [3, 3]
