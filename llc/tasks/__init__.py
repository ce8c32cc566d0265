"""What is learned: a batch is a pure function of (seed, stream, step), losses and references belong to the task."""

# A line a task: importing it makes its kind known.
from llc.tasks.affine_recurrence import AffineRecurrence
from llc.tasks.dictionary_regression import DictionaryRegression
from llc.tasks.function_class import FunctionClass
from llc.tasks.linear_regression import LinearRegression
from llc.tasks.piecewise_linear import PiecewiseLinear
from llc.tasks.query_regression import QueryRegression
from llc.tasks.softmax_regression import SoftmaxRegression
from llc.tasks.task import PROBE_SEQUENCES, AnyTask, Batch, Task

__all__ = [
    "PROBE_SEQUENCES",
    "AffineRecurrence",
    "AnyTask",
    "Batch",
    "DictionaryRegression",
    "FunctionClass",
    "LinearRegression",
    "PiecewiseLinear",
    "QueryRegression",
    "SoftmaxRegression",
    "Task",
]
