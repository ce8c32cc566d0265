"""What is loaded for a job, in a fresh interpreter: no room, and nothing heavy, that the job has no use for."""

import subprocess
import sys

import pytest

JOBS = {
    "llc.estimate": {"store", "tasks", "figures", "training", "study", "systems"},
    "llc.sampling": {"store", "tasks", "figures", "training", "study", "systems", "estimate"},
    "llc.training, llc.systems": {"figures", "study", "estimate", "development", "scipy.stats", "matplotlib"},
}


@pytest.mark.parametrize("imported", JOBS)
def test_a_job_loads_nothing_that_it_has_no_use_for(imported):
    program = f"import sys, {imported}; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.removeprefix("llc.") for name in answer.stdout.split()}
    assert "sampling" in loaded or "training" in loaded
    assert not loaded & JOBS[imported]
