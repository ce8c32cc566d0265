"""What an estimate of one model has to load: the estimator and the samplers, nothing of runs, tasks and figures."""

import subprocess
import sys

import pytest

OUTSIDE = ("store", "tasks", "figures", "training", "study")


@pytest.mark.parametrize("first", ["llc.estimate", "llc.estimate.estimate", "llc.sampling"])
def test_an_estimate_needs_no_run_folder(first):
    """In a fresh interpreter, which has nothing loaded yet."""
    program = f"import sys, {first}; print(*[name for name in sys.modules if name.startswith('llc.')])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[1] for name in answer.stdout.split()}
    assert "sampling" in loaded
    assert not loaded & set(OUTSIDE)
