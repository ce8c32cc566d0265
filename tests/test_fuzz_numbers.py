"""Numerical functions that anybody may call with anything: what they promise, or one sentence."""

import inspect
import math
from functools import partial

import numpy as np
import pytest
import torch
from fuzz import NUMBERS, tried
from hypothesis import given
from hypothesis import strategies as st

from llc import predictors
from llc.development import trend_changes, turns
from llc.development.boundaries import Boundary
from llc.development.stage_table import Curve, stage_table
from llc.errors import InvalidInput
from llc.systems import SYSTEMS, preset

DTYPES = [torch.float32, torch.float64, torch.int64, torch.bool, torch.complex64, torch.float16]


@st.composite
def tensors(draw, near=()):
    """Of any shape, mostly near the one that is asked for, and of any numbers."""
    shape = list(near)
    if draw(st.integers(0, 3)) == 0:
        shape = draw(st.lists(st.integers(0, 4), max_size=4))
    elif draw(st.integers(0, 3)) == 0 and shape:
        shape[draw(st.integers(0, len(shape) - 1))] = draw(st.integers(0, 3))
    dtype = draw(st.sampled_from(DTYPES)) if draw(st.integers(0, 3)) == 0 else torch.float32
    found = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))).to(dtype)
    strange = draw(st.sampled_from([None, None, None, 0.0, math.nan, math.inf, 1e30, 1e-30]))
    if strange is not None and found.numel() and dtype.is_floating_point:
        found.view(-1)[draw(st.integers(0, found.numel() - 1))] = strange
    return found


B, K, D, C = 3, 4, 2, 2
PAIRS, QUERY, STREAM = {"xs": (B, K, D), "ys": (B, K)}, {"xs": (B, K, D), "ys": (B, K), "query": (B, D)}, (B, K)
ATTENTION = {"queries": (B, K, D), "keys": (B, K, D), "values": (B, K, C)}
WEIGHTS = {"xs": (B, K, D), "query": (B, D), "weights": (B, D)}
# By function: the shapes of its tensors, that of what it returns, and its settings' names.
FUNCTIONS = {
    "zero": (PAIRS, STREAM, ()),
    "ridge": (PAIRS, STREAM, ("noise_variance",)),
    "dmmse": ({**PAIRS, "tasks": (5, D)}, STREAM, ("noise_variance",)),
    "least_squares_so_far": (PAIRS, STREAM, ()),
    "averaging": (PAIRS, STREAM, ()),
    "nearest_neighbours": (PAIRS, STREAM, ("neighbours",)),
    "descent": (PAIRS, STREAM, ("steps",)),
    "lasso": (PAIRS, STREAM, ("penalty",)),
    "decision_tree": (PAIRS, STREAM, ()),
    "segment_least_squares": (PAIRS, STREAM, ("segment", "ridge")),
    "one_step": (QUERY, (B,), ("step",)),
    "ridge_query": (QUERY, (B,), ("strength",)),
    "structured_softmax": ({**QUERY, "omegas": (2,), "mus": (2,)}, (B,), ()),
    "gd_plus_plus": ({**QUERY, "steps": (2,), "gammas": (2,)}, (B,), ()),
    "matching_mean": (QUERY, (B,), ()),
    "zero_query": (QUERY, (B,), ()),
    "one_query": (QUERY, (B,), ()),
    "softmax_descent": (QUERY, (B,), ("step", "steps")),
    "softmax_answer": (WEIGHTS, (B,), ()),
    "softmax_regression_gradient": ({"xs": (B, K, D), "shares": (B, K), "weights": (B, D)}, (B, D), ()),
    "copy_last": ({"series": STREAM}, STREAM, ()),
    "recurrence_mean": ({"series": STREAM}, STREAM, ()),
    "two_parameter_least_squares": ({"series": STREAM}, STREAM, ()),
    "softmax_attention": (ATTENTION, (B, K, C), ("bandwidth",)),
    "local_linear_attention": (ATTENTION, (B, K, C), ("bandwidth", "ridge", "block")),
    "local_linear_weights": ({"queries": (B, K, D), "keys": (B, K, D)}, (B, K, K), ("bandwidth", "ridge")),
    "least_squares_attention": (ATTENTION, (B, K, C), ("ridge",)),
    "linear_attention": (ATTENTION, (B, K, C), ()),
}
# What is called with functions, or is none of the kind.
OTHERS = {"Attention", "Predictor", "baseline", "is_baseline", "after", "in_double", "description_bits"}
SETTINGS = {"steps": st.integers(-2, 30), "neighbours": st.integers(-2, 9), "segment": st.integers(-2, 9)}
SETTINGS["block"] = st.none() | st.integers(-1, 5)


def test_every_reference_is_tried():
    assert set(predictors.__all__) - OTHERS == FUNCTIONS.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_references_answer_in_the_shape_that_they_promise(name):
    shapes, promised, settings = FUNCTIONS[name]
    function = getattr(predictors, name)
    assert {*shapes, *settings} <= {*inspect.signature(function).parameters}

    @given(st.data())
    def check(data):
        inputs = {key: data.draw(tensors(shape), key) for key, shape in shapes.items()}
        chosen = {key: data.draw(SETTINGS.get(key, st.just(0.5) | NUMBERS), key) for key in settings}
        answer = tried(lambda: function(**inputs, **chosen), name)
        if answer is not None:
            if all(inputs[key].shape == shape for key, shape in shapes.items()):
                assert answer.shape == promised
            if name != "copy_last":
                assert answer.is_floating_point()

    check()


# Whose decompositions would fail on other numbers.
FINITE = {"least_squares_so_far", "descent", "lasso", "decision_tree", "two_parameter_least_squares"}
# Whose inputs are multiplied as they are.
ALIKE = {"softmax_answer", "softmax_regression_gradient", "softmax_attention", "local_linear_attention"}
ALIKE |= {"local_linear_weights", "least_squares_attention", "linear_attention"}
WRONG = {"step": [math.inf, math.nan, 2**70]}
WHOLE = {key: [0, -1, 1.5, True, "2"] for key in ("steps", "neighbours", "segment", "block")}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_references_name_themselves_and_what_they_refuse(name):
    shapes, _, settings = FUNCTIONS[name]
    inputs = {key: torch.randn(shape, generator=torch.Generator().manual_seed(1)) for key, shape in shapes.items()}
    fits = {key: 3 if key in WHOLE else 0.5 for key in settings}
    getattr(predictors, name)(**inputs, **fits)

    def refused(said, **changed):
        with pytest.raises(InvalidInput, match=rf"^{name}: .*{said}"):
            getattr(predictors, name)(**{**inputs, **fits, **changed})

    for key, tensor in inputs.items():
        if key != "tasks":  # whose shape alone dmmse looks at
            refused(f"{key}", **{key: tensor.to(torch.complex64)})
            refused(f"{key}", **{key: tensor.tolist()})
        refused(r"given, expected", **{key: tensor[None]})
        refused(r"given, expected", **{key: tensor[..., :0]})
        if len(inputs) > 1 and key != "tasks":
            refused(r"given, expected", **{key: tensor[:1]})
        if name in ALIKE:
            refused("floating-point numbers of one dtype", **{key: tensor.double()})
        if name in FINITE:
            refused(f"{key} with numbers that are not finite", **{key: tensor * math.nan})
    for key in settings:
        for value in [*WHOLE.get(key, WRONG.get(key, [0, -0.5, math.inf, math.nan, 2**70]))]:
            refused(key, **{key: value})


@pytest.mark.parametrize("name", SYSTEMS)
def test_batches_are_pure_functions_of_what_is_asked_for(name):
    task = preset(name).runs()[0].task

    @given(st.integers(-1, 5) | st.floats(0, 3) | st.none(), st.integers(-1, 2**40) | st.text(max_size=3))
    def check(size, step):
        batch = tried(lambda: task.sample(size, step=step), "given, expected a whole number")
        if batch is not None:
            assert batch.size == size
            again = task.sample(size, step=step)
            assert all(torch.equal(one, other) for one, other in zip(batch.flat, again.flat, strict=True))
            assert task.losses(batch.targets, batch).abs().sum() == 0
            assert tried(lambda: task.losses(batch.targets[None], batch), "expected the shape of the targets") is None

    check()


NUMBER = st.floats(-50, 50) | NUMBERS


@st.composite
def curves(draw, least=0):
    """Steps, values and errors; half of them as they should be."""
    size = draw(st.integers(least, 14))

    def numbers(kind):
        return st.lists(kind, min_size=size, max_size=size)

    steps = draw(st.lists(st.integers(0, 10**6), min_size=size, max_size=size, unique=True).map(sorted))
    good = steps, draw(numbers(st.floats(-50, 50))), draw(numbers(st.floats(0.01, 10)))
    if draw(st.booleans()):
        return good
    return tuple(draw(st.just(one) | numbers(NUMBER)) for one in good)


@pytest.mark.parametrize("find", [turns, partial(trend_changes, most=3)])
def test_boundaries_are_inside_of_the_curve_and_of_their_intervals(find):
    @given(curves(), st.integers(-1, 12))
    def check(curve, resamples):
        steps, _, _ = curve
        found = tried(lambda: find(*curve, resamples=resamples))
        for one in found or []:
            assert steps[0] <= one.low <= one.step <= one.high <= steps[-1] * (1 + 1e-9)
            assert 0.5 <= one.support <= 1

    check()


@given(curves(6), curves(6), st.lists(st.floats(0, 10**6) | st.floats(), max_size=3), st.integers(-1, 5))
def test_stages_add_up_to_the_whole(llc, loss, at, resamples):
    boundaries = [Boundary(step, step, step, "maximum", 1.0) for step in sorted(at)]
    loss = ([llc[0][0], *loss[0][1:-1], llc[0][-1]], *loss[1:])
    table = tried(lambda: stage_table(Curve(*llc), Curve(*loss), boundaries, resamples=resamples))
    if table is None:
        return
    assert table["start"].tolist() == [*llc[0][:1], *[one.step for one in boundaries]]
    assert (table["start"].to_numpy() < table["end"].to_numpy()).all()
    assert np.isfinite(table[["delta_llc", "delta_loss"]].to_numpy()).all()
