"""Data distributions of in-context regression: a batch is a pure function of (seed, stream, step)."""

from llc.tasks.linear_regression import LinearRegression

# The line to add for a new task: `kind` tells the members of the union apart.
AnyTask = LinearRegression

__all__ = ["AnyTask", "LinearRegression"]
