"""Places, steps, paths and names that are none, or are numbers of another library."""

import numpy as np
import pytest
import torch
from test_odd_arguments import estimate

import llc
from llc import development, devices, figures
from llc.errors import InvalidInput, StoreError


def test_a_place_may_be_a_number_of_numpy(finished):
    for value in (np.int64(4), np.float32(4), np.int32(4)):
        assert finished.run(num_tasks=value, seed=np.int64(0)).name == "num_tasks=4,seed=0"
    assert finished.run(num_tasks=np.inf).name == finished.run(num_tasks=np.float64("inf")).name


@pytest.mark.parametrize("value", [object(), {1}, 1j, np.ones(2), b"4", torch.tensor(4), np.datetime64("2024")])
def test_a_place_that_is_none_is_named(value, finished):
    with pytest.raises(InvalidInput, match="given for a value on an axis of the sweep, expected a number, text"):
        finished.run(num_tasks=value)


@pytest.mark.parametrize("step", ["a", 1.5, None, True, -1, float("nan"), [0], 60.0])
def test_a_step_that_is_none_is_named(step, finished):
    run = finished.run(num_tasks=4)
    for attempt in (run.weights, run.model, run.predictions, lambda step: run.model(step, trained=True)):
        with pytest.raises(InvalidInput, match=r"step = .* given, expected a whole number from 0 up"):
            attempt(step)


def test_a_step_may_be_a_number_of_numpy(finished):
    run = finished.run(num_tasks=4)
    assert run.weights(np.int64(60)).keys() == run.weights(60).keys()
    with pytest.raises(StoreError, match="has no checkpoint at step 61; nearest are 60"):
        run.weights(np.int64(61))


@pytest.mark.parametrize("path", [3, None, b"model.pt", ["model.pt"], ""])
def test_a_path_that_is_none_is_named(path, finished):
    with pytest.raises(InvalidInput, match=r"given, expected a (file's )?name that ends in \.safetensors, \.pt"):
        llc.export_weights(finished.runs[0], 60, path)


@pytest.mark.parametrize("given", ["", " ", "x" * 300])
def test_names_that_would_not_be_seen_are_quoted(given, finished):
    quoted = "'xxx" if given.strip() else repr(given)
    for attempt, said in (
        (lambda: llc.joint_pca(finished, weighting=given), f"weighting = {quoted}"),
        (lambda: llc.joint_pca(finished, features=given), f"unknown features {quoted}"),
        (lambda: llc.joint_pca(finished, probe=given), f"unknown probe {quoted}"),
        (lambda: devices.choose_device(given), f"unknown device {quoted}"),
        (lambda: llc.systems.preset(given), f"unknown preset {quoted}"),
        (lambda: development.find_stages(finished, method=given), f"unknown method {quoted}"),
        (lambda: estimate(sampler=given), f"sampler = {quoted}"),
        (lambda: figures.save_figures(finished, [given]), f"unknown figure {quoted}"),
    ):
        with pytest.raises(InvalidInput, match=said):
            attempt()
