"""Error curves over the number of examples: closed forms, and results of runs that have some of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from llc import behaviour, development, figures, predictors
from llc.development.curves import ErrorCurves
from llc.tasks import FunctionClass

D, K, B = 4, 10, 1200
TASK = FunctionClass(dim=D, length=K)


class LeastSquares(nn.Module):
    """Of least norm, from the examples before each question."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, xs, ys):
        return predictors.least_squares_so_far(xs, ys)


@pytest.fixture(scope="module")
def found():
    curves = ErrorCurves(TASK, B, behaviour.eval_sets(TASK, B).values())
    return curves.of(LeastSquares(), SimpleNamespace(place={"seed": 0})).isel(seed=0)


def within(found, expected, **place):
    of = found.sel(place)
    assert (abs(of.curve_loss - expected) <= 4 * of.curve_loss_se + 1e-6).all()


def test_least_squares_loses_what_its_closed_forms_say(found):
    """Of w ~ N(0, I) the part that n examples do not span, D − n, with noise σ² + σ² D/(n − D − 1) (Gaussian x)."""
    shots = np.arange(K)
    within(found, np.maximum(D - shots, 0), error_curve="as in training")
    within(found, np.maximum(D - shots, 0) / 9, error_curve="x times 0.33")
    within(found, 9 * np.maximum(D - shots, 0), error_curve="y times 3")
    within(found.sel(shots=slice(D + 3, None)), 1 + D / (shots[D + 3 :] - D - 1), error_curve="noise of variance 1")
    within(found.sel(shots=slice(1, None)), 0, error_curve="question seen before")
    # Half of the dimensions with as much trace: of x in them the share that is not spanned.
    within(found, 2 * np.maximum(D / 2 - shots, 0), error_curve="half subspace")
    # What is orthogonal to all examples it knows nothing of.
    orthogonal = found.sel(error_curve="orthogonal question", shots=slice(1, D - 1))
    within(orthogonal, orthogonal.curve_reference_loss.sel(reference="zero"))
    within(orthogonal, D - shots[1:D])


def test_a_model_that_is_a_reference_loses_what_it_does(found):
    its = found.curve_reference_loss.sel(reference="least_squares")
    np.testing.assert_allclose(found.curve_loss, its, atol=1e-5)
    error = found.curve_reference_loss_se.sel(reference="least_squares")
    np.testing.assert_allclose(found.curve_loss_se, error, atol=1e-5)


def test_bent_prompts_have_a_curve_where_they_have_a_question(found):
    known = {str(name): found.shots[np.isfinite(found.curve_loss.sel(error_curve=name))].values.tolist()
             for name in found.error_curve.values}  # fmt: skip
    assert known.pop("random quadrants") == known.pop("question seen before") == list(range(1, K))
    assert known.pop("orthogonal question") == list(range(1, D))
    assert len(known) == 8
    assert all(shots == list(range(K)) for shots in known.values())


def test_shifts_are_places_on_these_curves():
    curves = TASK.curves()
    for name, task in TASK.shifts().items():
        assert curves[name][task.examples] == task


def test_runs_without_some_of_them_have_gaps(families):
    compared = families.result("compare")
    of_trees = compared.curve_loss.sel(family="tree", seed=0)
    assert np.isfinite(of_trees.sel(error_curve="as in training")).all()
    assert np.isnan(of_trees.sel(error_curve="skewed")).all()
    assert np.isfinite(compared.curve_loss.sel(family="linear", seed=0, error_curve="skewed")).all()


def test_as_in_training_they_are_losses_by_position(families):
    """On the same sequences: those of the task's test sets after so many examples."""
    compared = families.result("compare").sel(seed=0, step=2)
    for shots in (1, 2):
        on_test_set = compared.loss.sel(test_set=f"{shots} examples")
        found = compared.curve_loss.sel(error_curve="as in training", shots=shots)
        np.testing.assert_allclose(found, on_test_set, rtol=1e-6)


def test_references_are_drawn_where_they_are_the_same_for_all_runs(families):
    spec = figures.spec_of(families, "error_curves")
    assert [panel.title for panel in spec.panels] == families.result("compare").error_curve.values.tolist()
    assert [mark.label for mark in spec.panels[0].marks] == ["family = linear", "family = tree"]
    references = ["least squares", "averaging", "3 nearest neighbours"]
    assert [mark.label for mark in spec.panels[1].marks] == [*references, "family = linear"]


def test_a_task_without_them_has_no_figure(own):
    assert "curve_loss" not in development.compare(own, steps="60", sequences=20)
    assert figures.spec_of(own, "error_curves") is None
