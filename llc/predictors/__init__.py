"""Reference algorithms in closed form: models without weights, `predictor(*inputs) -> outputs`."""

from llc.predictors.attention import (
    Attention,
    least_squares_attention,
    linear_attention,
    local_linear_attention,
    local_linear_weights,
    softmax_attention,
)
from llc.predictors.dmmse import dmmse
from llc.predictors.gd_plus_plus import gd_plus_plus
from llc.predictors.pairs import (
    averaging,
    decision_tree,
    descent,
    lasso,
    least_squares_so_far,
    nearest_neighbours,
)
from llc.predictors.predictor import Predictor, baseline, is_baseline
from llc.predictors.query import matching_mean, one_query, one_step, ridge_query, structured_softmax, zero_query
from llc.predictors.recurrence import copy_last, recurrence_mean, two_parameter_least_squares
from llc.predictors.ridge import ridge
from llc.predictors.softmax_regression import softmax_answer, softmax_descent, softmax_regression_gradient
from llc.predictors.streams import after, in_double, segment_least_squares
from llc.predictors.zero import zero

__all__ = [
    "Attention",
    "Predictor",
    "after",
    "averaging",
    "baseline",
    "copy_last",
    "decision_tree",
    "descent",
    "dmmse",
    "gd_plus_plus",
    "in_double",
    "is_baseline",
    "lasso",
    "least_squares_attention",
    "least_squares_so_far",
    "linear_attention",
    "local_linear_attention",
    "local_linear_weights",
    "matching_mean",
    "nearest_neighbours",
    "one_query",
    "one_step",
    "recurrence_mean",
    "ridge",
    "ridge_query",
    "segment_least_squares",
    "softmax_answer",
    "softmax_attention",
    "softmax_descent",
    "softmax_regression_gradient",
    "structured_softmax",
    "two_parameter_least_squares",
    "zero",
    "zero_query",
]
