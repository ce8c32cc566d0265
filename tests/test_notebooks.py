"""Every notebook runs from top to bottom: over a small experiment, or reduced where it trains its own models."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
# They train models of their own and estimate λ̂ over that, with LLC_QUICK at a size that says nothing.
TRAINED = {"digits_cnn", "grokking", "language_model", "superposition"}

# They read results that are kept in docs/.
SHIPPED = {"systems", "transient_ridge"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, own, monkeypatch):
    if path.stem not in SHIPPED:
        monkeypatch.setenv("LLC_EXPERIMENT", str(own.path))
    monkeypatch.setenv("LLC_QUICK", "1")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} > TRAINED | SHIPPED


def test_a_notebook_that_trains_has_a_reduced_size():
    for path in NOTEBOOKS:
        assert ("LLC_QUICK" in path.read_text(encoding="utf-8")) == (path.stem in TRAINED)
