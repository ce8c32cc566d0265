"""What is no result, no curve and no choice, given to functions of `llc.development` and its neighbours."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import llc
from llc import development, figures, sampling
from llc.development import Boundary, Curve, geometry, stage_table
from llc.errors import InvalidInput, StoreError
from llc.store import RESULTS

STEPS = np.arange(10.0)
CURVE = Curve(STEPS, STEPS, STEPS + 1)
POINTS = np.column_stack([np.cos(STEPS), np.sin(STEPS)])
OF_DATASETS = [
    *("compare_rows", "form_rows", "format_behaviour", "format_pca", "format_strategies", "format_tradeoff"),
    *("response_components", "sign_flips", "stage_rows", "strategy_rows"),
]


@pytest.mark.parametrize("given", [3, None, xr.Dataset(), xr.Dataset({"step": 1}), pd.DataFrame({"x": [1]})])
@pytest.mark.parametrize("name", OF_DATASETS)
def test_what_reads_a_dataset_names_what_makes_it(name, given):
    with pytest.raises(InvalidInput, match=r"(given, expected (a dataset|one) from|the dataset has no .*;) llc\."):
        getattr(development, name)(given)


@pytest.mark.parametrize("given", [3, None, xr.Dataset(), pd.DataFrame({"stage": [1]})])
@pytest.mark.parametrize("function", [development.format_stages, development.latex_stages])
def test_what_prints_stages_names_what_makes_them(function, given):
    with pytest.raises(InvalidInput, match=r"given, expected (a table|one) from stage_table or stage_rows"):
        function(given)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: stage_table(3, CURVE, []), r"3 given, expected an llc\.development\.Curve"),
        (lambda: stage_table(CURVE, None, []), r"None given, expected an llc\.development\.Curve"),
        (lambda: stage_table(CURVE, CURVE, [3]), "3 given among boundaries"),
        (lambda: stage_table(CURVE, CURVE, None), "boundaries = None given, expected a list"),
        (lambda: stage_table(CURVE, CURVE, "abc"), "boundaries = 'abc' given, expected a list"),
        (lambda: geometry(3, 3), r"steps of shape \(\) with points of shape \(\) given"),
        (lambda: geometry("abc", POINTS), "steps and points have to be numbers"),
        (lambda: geometry(STEPS, POINTS, width="wide"), "width = 'wide' given, expected a number > 0"),
        (lambda: geometry(STEPS, POINTS, width=np.nan), "width = nan given, expected a number > 0"),
        (lambda: geometry(STEPS[::-1], POINTS), "steps have to increase from 0"),
        (lambda: geometry(STEPS - 1, POINTS), "steps have to increase from 0"),
        (lambda: geometry(STEPS, np.full((10, 2), np.inf)), "points to be finite"),
        (lambda: sampling.largest_curvature(3), r"3 given, expected an llc\.sampling\.Target"),
        (lambda: sampling.largest_curvatures(3), r"3 given, expected an llc\.sampling\.Target"),
        (lambda: sampling.largest_curvatures([None]), r"None given, expected an llc\.sampling\.Target"),
    ],
)
def test_functions_of_curves_and_targets(call, said):
    with pytest.raises(InvalidInput, match=said):
        call()


def test_boundaries_may_come_one_by_one():
    boundary = Boundary(3.0, 2.0, 4.0, "trend", 1.0)
    made = stage_table(CURVE, CURVE, iter([boundary]), resamples=5)
    pd.testing.assert_frame_equal(made, stage_table(CURVE, CURVE, [boundary], resamples=5))


@pytest.mark.parametrize(
    ("function", "arguments", "said"),
    [
        ("compare", {"sequences": 1}, "sequences = 1 given, expected a whole number from 2 up"),
        ("compare", {"claims": 3}, "3 given among claims"),
        ("compare", {"claims": ["all"]}, "'all' given among claims"),
        ("study_claims", {"claims": 3}, "3 given among claims"),
        ("joint_pca", {"probe": 3}, r"probe = 3 given, expected own, the name of a test set, or an llc\.tasks\.Batch"),
        ("joint_pca", {"probe": (3, 4)}, r"probe = \(3, 4\) given"),
        ("joint_pca", {"probe": ((torch.ones(2, 3, 2), torch.ones(2, 3)), torch.ones(1, 3))}, "of as many sequences"),
        ("joint_pca", {"probe": ((torch.ones(0, 3, 2), torch.ones(0, 3)), torch.ones(0, 3))}, "of as many sequences"),
        ("pca_robustness", {"components": "2"}, "components = '2' given"),
        ("pca_robustness", {"sequences": 3}, "sequences = 3 given, expected several whole numbers"),
        ("pca_robustness", {"sequences": []}, r"sequences = \[\] given"),
        ("pca_robustness", {"every": [1.5]}, r"one of every = 1\.5 given, expected a whole number from 1 up"),
        ("essential_dynamics", {"components": 3}, "components = 3 given, expected two of them"),
        ("essential_dynamics", {"components": (1, 2, 3)}, r"components = \(1, 2, 3\) given, expected two of them"),
        ("essential_dynamics", {"components": (1, 1)}, "component 1 given twice"),
        ("essential_dynamics", {"components": "ab"}, "a component = 'a' given"),
        ("shifted_behaviour", {"sequences": 1}, "sequences = 1 given, expected a whole number from 2 up"),
        ("shifted_behaviour", {"changed": 3}, "changed = 3 given, expected values by setting"),
        ("shifted_behaviour", {"changed": {"dim": 7}}, "changed = {'dim': 7} given, expected values by setting"),
        ("shifted_behaviour", {"changed": {3: [7]}}, "expected values by setting"),
        ("shifted_behaviour", {"changed": {"noise_variance": [0.5, 0.5]}}, "expected none of the values twice"),
        ("shifted_behaviour", {"icl_positions": 3}, "icl_positions = 3 given, expected two, 1 <= k1 < k2 <= K = 3"),
        ("shifted_behaviour", {"icl_positions": (1, 2.5)}, r"one of icl_positions = 2\.5 given"),
        ("check_pair", {"pair": 3}, "pair = 3 given, expected the names of two references"),
        ("strategies", {"pair": "ridge,dmmse"}, "pair = 'ridge,dmmse' given"),
        ("tradeoff", {"pair": (["ridge"], "dmmse")}, "pair = .* given, expected the names of two references"),
        ("tradeoff", {"seed": -1}, "seed = -1 given, expected a whole number from 0 up"),
        ("find_stages", {"method": ["turns"]}, r"unknown method \['turns'\]"),
    ],
)
def test_functions_of_experiments(function, arguments, said, finished):
    arguments = {"pair": None, **arguments} if function == "check_pair" else arguments
    with pytest.raises(InvalidInput, match=said):
        getattr(development, function)(finished, **arguments)


def test_an_experiment_is_asked_for_by_what_takes_two_arguments(finished):
    with pytest.raises(InvalidInput, match="3 given, expected an experiment"):
        development.check_pair(3, None)
    with pytest.raises(InvalidInput, match="3 given, expected an experiment"):
        development.project(finished.pca, 3)
    with pytest.raises(InvalidInput, match=r"3 given, expected a dataset from llc\.joint_pca"):
        development.project(3, finished)


@pytest.mark.parametrize("name", ["metric", 3, None, ["llc"]])
@pytest.mark.parametrize("method", ["result", "outdated", "incomplete"])
def test_results_go_by_names_that_there_are(method, name, finished):
    with pytest.raises(StoreError, match=r"unknown result .*; (did you mean \w+\?|known: behaviour, claims)"):
        getattr(finished, method)(name)
    assert all(isinstance(finished.outdated(known), str) for known in RESULTS)


def test_figures_go_by_names_that_there_are(finished):
    with pytest.raises(InvalidInput, match=r"unknown figure \['llc'\]"):
        figures.spec_of(finished, ["llc"])
    with pytest.raises(InvalidInput, match="3 given, expected names of figures"):
        figures.save_figures(finished, 3)


def test_a_batch_of_ones_own_is_a_probe_as_before(own):
    made = llc.joint_pca(own, 2, probe=tuple(own.runs[0].task.probe(8)), sequences=8)
    np.testing.assert_allclose(made.score, llc.joint_pca(own, 2, sequences=8).score, atol=1e-5)
