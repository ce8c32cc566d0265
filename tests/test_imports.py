"""What is loaded for a job, in an interpreter without the library: no room and nothing heavy without use."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import POSIX

import llc

DRAWING = {"figures", "seaborn", "plotly", "jinja2"}
WORKERS = {"dask", "distributed"}
FILES = {"netCDF4", "safetensors", "tomli_w"}
OF_STUDIES = {"development", "systems", "ruptures", "sklearn", "rich"}
JOBS = {
    "llc.estimate": {"store", "tasks", "training", "study"} | OF_STUDIES | DRAWING | WORKERS | FILES,
    "llc.study": {"report"} | OF_STUDIES | DRAWING | WORKERS,
    "llc.training, llc.systems": {"study", "estimate", "development", "scipy.stats", "matplotlib", "sklearn"} | DRAWING,
    "llc.development": {"report", "ruptures", "sklearn", "rich"} | DRAWING,
}


# Each job in a fork of an interpreter that has loaded what all of them need, and nothing of ours.
FORKS = f"""
import os, sys
import numpy, pandas, pydantic, torch, xarray
assert "llc" not in sys.modules
for imported in {[*JOBS]}:
    if os.fork() == 0:
        exec(f"import {{imported}}")
        print(imported, *sys.modules, sep=";", flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def loaded():
    answer = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True)
    lines = (line.split(";") for line in answer.stdout.splitlines())
    return {imported: {name.removeprefix("llc.") for name in names} for imported, *names in lines}


@POSIX
@pytest.mark.parametrize("imported", JOBS)
def test_a_job_loads_nothing_that_it_has_no_use_for(loaded, imported):
    loaded = loaded[imported]
    assert "randomness" in loaded
    assert not loaded & JOBS[imported]


def test_the_package_itself_loads_nothing():
    code = "import sys; before = {*sys.modules}; import llc; print(*{*sys.modules} - before)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.partition(".")[0] for name in answer.stdout.split()} <= {"llc", *sys.stdlib_module_names}


# As the README's table has them.
ROOMS = [
    "predictors",
    "tasks",
    "models",
    "store",
    "behaviour",
    "training",
    "systems",
    "sampling",
    "estimate",
    "validation",
    "study",
    "development",
    "figures",
    "report",
    "doctor",
    "cli",
]


def imported_rooms(path: Path) -> set[str]:
    """What a file imports of this package, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("llc.")}
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_those_above_them(room):
    root = Path(llc.__file__).parent
    files = [root / f"{room}.py"] if (root / f"{room}.py").exists() else list((root / room).rglob("*.py"))
    assert files
    for path in files:
        below = imported_rooms(path) & set(ROOMS[ROOMS.index(room) + 1 :])
        assert not below, f"{path} imports {below}"
