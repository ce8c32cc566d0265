"""Susceptibilities over training, and the principal components of the response."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import llc
from llc import development, figures
from llc.errors import InvalidInput, StoreError

GIVEN = {"nbeta": 7.0, "gamma": 0.3, "draws": 24, "jobs": 1}
PARTS = {"first": ["0.*"], "second": ["1.*"]}


def make() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)).double()


def squared_errors(model, batch):
    return (model(batch[0])[:, 0] - batch[1]).square()


@pytest.fixture(scope="module")
def problem():
    rng = torch.Generator().manual_seed(0)
    xs = torch.randn(20, 3, generator=rng, dtype=torch.float64)
    states = {}
    for step in (0, 10):
        torch.manual_seed(step)
        states[step] = make().state_dict()
    return states, (xs, xs.sum(1))


@pytest.fixture(scope="module")
def found(problem, tmp_path_factory):
    states, data = problem
    few = {"some": tuple(column[:6] for column in data), "others": tuple(column[6:] for column in data)}
    out = tmp_path_factory.mktemp("responses")
    how = {**GIVEN, "out": out, "datasets": few}
    first = llc.susceptibilities_over_checkpoints({0: states[0]}, make, squared_errors, data, PARTS, **how)
    assert first.step.values.tolist() == [0]
    whole = llc.susceptibilities_over_checkpoints(states, make, squared_errors, data, PARTS, **how)
    xr.testing.assert_identical(whole.sel(step=[0]), first)  # which was not made again
    return whole, out, few


def test_a_step_is_what_susceptibilities_says_of_it(found, problem):
    whole, _, few = found
    states, data = problem
    model = make()
    model.load_state_dict(states[10])
    one = llc.susceptibilities(model, squared_errors, data, PARTS, few, nbeta=7.0, gamma=0.3, draws=24)
    assert whole.susceptibility.dims == ("step", "part", "sample")
    for name in ("llc", "susceptibility", "susceptibility_mean", "llc_sample"):
        np.testing.assert_array_equal(whole[name].sel(step=10), one[name])
    assert whole.dataset_of_sample.values.tolist() == one.dataset_of_sample.values.tolist()


def test_results_of_something_else_are_not_mixed_in(found, problem):
    _, out, few = found
    states, data = problem
    how = {**GIVEN, "out": out, "datasets": few}
    longer = {**how, "draws": 30}
    with pytest.raises(StoreError, match=r"results of something else .*draws"):
        llc.susceptibilities_over_checkpoints(states, make, squared_errors, data, PARTS, **longer)
    with pytest.raises(StoreError, match="step 0 has other weights than when"):
        llc.susceptibilities_over_checkpoints({0: states[10]}, make, squared_errors, data, PARTS, **how)


def scaled(model, batch):
    return 100 * squared_errors(model, batch)


def test_what_has_changed_is_noticed(found, problem):
    """Another loss of the same name, other weights of samples, and datasets in another order."""
    _, out, few = found
    states, data = problem
    how = {**GIVEN, "out": out, "datasets": few}
    same_name = scaled
    same_name.__qualname__ = "squared_errors"
    for loss, given, said in (
        (same_name, how, "the loss at step 10 is .*, and was"),
        (squared_errors, {**how, "sample_weights": torch.arange(20.0)}, "results of something else .*sample_weights"),
        (squared_errors, {**how, "datasets": dict(reversed(few.items()))}, "results of something else .*datasets"),
    ):
        with pytest.raises(StoreError, match=said):
            llc.susceptibilities_over_checkpoints(states, make, loss, data, PARTS, **given)


def test_a_call_that_failed_leaves_the_folder_free(problem, tmp_path):
    states, data = problem
    how = {**GIVEN, "draws": 8, "out": tmp_path}
    for wrong, said in (({"drws": 3}, "drws given, expected"), ({"convention": "theirs"}, "convention = 'theirs'")):
        with pytest.raises(InvalidInput, match=said):
            llc.susceptibilities_over_checkpoints(states, make, squared_errors, data, PARTS, **how, **wrong)
    wrong = {"first": ["2.*"]}
    with pytest.raises(llc.LLCError, match="no parameter matches"):
        llc.susceptibilities_over_checkpoints(states, make, squared_errors, data, wrong, **how)
    found = llc.susceptibilities_over_checkpoints({0: states[0]}, make, squared_errors, data, PARTS, **how)
    one = make()
    one.load_state_dict(states[0])
    alone = llc.susceptibilities(one, squared_errors, data, PARTS, nbeta=7.0, gamma=0.3, draws=8)
    np.testing.assert_array_equal(found.susceptibility[0], alone.susceptibility)


def test_components_are_those_of_the_centred_response(found):
    """Against numpy's SVD, signs apart; what errors alone give is told."""
    whole, _, _ = found
    components = llc.response_components(whole, 2)
    rows = whole.susceptibility.values.reshape(4, -1)
    _, singular, axes = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    np.testing.assert_allclose(components.explained_variance_ratio, (singular**2 / (singular**2).sum())[:2])
    np.testing.assert_allclose(abs(components.loading), abs(axes[:2]).T, rtol=1e-6)
    assert components.score.dims == ("step", "part", "component")
    errors = (whole.susceptibility_se.values**2).sum()
    np.testing.assert_allclose(components.noise_share, errors / (singular**2).sum())
    with pytest.raises(InvalidInput, match="components = 9"):
        llc.response_components(whole, 9)
    with pytest.raises(InvalidInput, match="no susceptibility by part"):
        llc.response_components(whole[["llc"]])


def test_answers_that_change_sign_are_found():
    """Not where an interval holds 0 on the way, and once for each change."""
    steps, low, high = [0, 1, 2, 3, 4], [0.1, 0.2, -0.1, -3.0, 0.5], [0.3, 0.4, 0.1, -1.0, 0.9]
    dims = ("step", "part", "dataset")
    given = {
        f"susceptibility_mean{end}": (dims, np.reshape(values, (5, 1, 1)))
        for end, values in (("", np.add(low, high) / 2), ("_low", low), ("_high", high))
    }
    found = xr.Dataset(given, {"step": steps, "part": ["head"], "dataset": ["test"]})
    flips = development.sign_flips(found)
    assert flips == [("head", "test", 1, 3, False), ("head", "test", 3, 4, True)]
    with pytest.raises(InvalidInput, match="no susceptibility by step"):
        development.sign_flips(found.sel(step=0))


def test_figures_of_responses(found, tmp_path):
    whole, _, _ = found
    specs = (
        figures.susceptibilities(whole),
        figures.susceptibilities(whole.sel(step=10)),
        figures.responses(llc.response_components(whole, 2)),
    )
    for number, spec in enumerate(specs):
        assert figures.save_figure(figures.draw(spec), tmp_path / f"{number}.png").stat().st_size > 10_000
    assert len(specs[0].panels) == 2


def test_parts_may_come_from_the_model(problem):
    states, data = problem
    model = make()
    model.load_state_dict(states[0])
    given = {10: model}
    how = {"nbeta": 7.0, "gamma": 0.3, "draws": 8, "jobs": 1}
    found = llc.susceptibilities_over_checkpoints(given, None, squared_errors, data, lambda _: PARTS, **how)
    assert found.part.values.tolist() == ["first", "second"]
    with pytest.raises(InvalidInput, match="expected which weights move by name"):
        llc.susceptibilities_over_checkpoints(given, None, squared_errors, data, {}, **how)


@pytest.mark.parametrize("name", ["observables", "parameters", "radius", "drawz"])
def test_settings_that_are_not_of_parts_are_named(problem, name):
    states, data = problem
    with pytest.raises(InvalidInput, match=f"{name} given, expected settings of estimate_llc"):
        llc.susceptibilities(make(), squared_errors, data, PARTS, **{name: 3})
    with pytest.raises(InvalidInput, match=f"{name} given, expected settings of estimate_llc"):
        llc.susceptibilities_over_checkpoints(states, make, squared_errors, data, PARTS, **{name: 3})


def test_a_part_that_matches_nothing_is_told_before_anything_runs(problem):
    states, data = problem
    with pytest.raises(InvalidInput, match="no parameter matches 'nothing'"):
        llc.susceptibilities_over_checkpoints(states, make, squared_errors, data, {"a": ["nothing"]}, **GIVEN)


def test_components_and_figures_of_too_little_are_refused(found):
    whole, _, _ = found
    one = whole.isel(step=[0], part=[0])
    with pytest.raises(InvalidInput, match="one part at one step given"):
        llc.response_components(one, 1)
    with pytest.raises(InvalidInput, match=r"components = 1\.5 given, expected 1 to"):
        llc.response_components(whole, 1.5)
    with pytest.raises(InvalidInput, match="no plane given"):
        figures.responses(llc.response_components(whole, 1))
    with pytest.raises(InvalidInput, match="no part in found given to susceptibilities"):
        figures.susceptibilities(whole.isel(part=0))
