"""What the tiny preset is tuned to show, on its real runs."""

import numpy as np
import pytest

import llc


@pytest.mark.slow
def test_the_tiny_preset_shows_what_it_should(tmp_path):
    """M = 1 memorises, M = ∞ comes near ridge, and at least one M in between is transient."""
    experiment = llc.train(llc.presets.tiny(), tmp_path / "tiny")
    end = experiment.metrics.mean("position").isel(seed=0, step=-1)
    memorised = end.sel(num_tasks=1)
    distance = memorised.distance.sel(test_set="id")
    assert distance.sel(reference="dmmse") < distance.sel(reference="ridge") / 3
    ridge = llc.behaviour.eval_sets(experiment.run(num_tasks=None).task, 1024)["id"].references["ridge"].double()
    assert end.sel(num_tasks=np.inf).distance.sel(reference="ridge", test_set="id") < float(ridge.square().mean()) / 5
    middle = [m for m in end.num_tasks.values if 1 < m < np.inf]
    falls = experiment.metrics.loss.sel(test_set="ood").mean("position").isel(seed=0, step=0) - end.loss.sel(
        test_set="ood"
    )
    transient = [
        m
        for m in middle
        if end.rise.sel(num_tasks=m) > 3 * end.rise_se.sel(num_tasks=m)
        and falls.sel(num_tasks=m) + end.rise.sel(num_tasks=m) > 3 * end.rise_se.sel(num_tasks=m)
    ]
    assert transient
