"""Pages: links lead somewhere, and what readers are told to type works."""

import ast
import importlib
import inspect
import math
import pkgutil
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import FunctionType

import nbformat
import pytest
from click.testing import CliRunner

import llc
from llc.cli import main

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
PAGES = [page for page in PAGES if "_build" not in page.parts]
GALLERY = sorted((ROOT / "docs" / "gallery").glob("*.ipynb"))


def blocks_of(page: str) -> list[str]:
    """Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_are_there(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    found = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r"```\{image\} (\S+)", page.read_text())
    for link in found:
        if not re.match(r"https?://|mailto:", link):
            assert (page.parent / link).exists(), link
    for name in re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", text):
        assert (page.parent / f"{name}.md").exists() or (page.parent / f"{name}.ipynb").exists(), name


def test_every_page_is_in_a_table_of_contents():
    listed = set()
    for page in PAGES:
        for toctree in re.findall(r"```\{toctree\}(.*?)```", page.read_text(), flags=re.DOTALL):
            names = [line for line in toctree.strip().splitlines() if line and not line.startswith(":")]
            listed |= {(page.parent / name).resolve() for name in names}
    docs = [page for page in PAGES if ROOT / "docs" in page.parents] + GALLERY
    assert {page.with_suffix("").resolve() for page in docs} - {(ROOT / "docs" / "index").resolve()} == listed


def test_the_readme_is_what_a_newcomer_needs():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_readmes_model_of_ones_own_is_estimated(monkeypatch, capsys):
    """With a tenth of the work; in a script of its own, and all of it, below."""
    (block,) = blocks_of("README.md")
    monkeypatch.setattr(llc, "estimate_llc", partial(llc.estimate_llc, max_gradients=2000))
    exec(block, {})
    value, error = map(float, capsys.readouterr().out.split()[:2])
    assert abs(value - 2.5) < 4 * error < 4


@pytest.mark.slow
def test_what_the_readme_says_of_a_model_of_ones_own_works():
    (block,) = blocks_of("README.md")
    found = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=120, check=True)
    value, error = map(float, found.stdout.split()[:2])
    assert abs(value - 2.5) < 3 * error
    assert "converged" in found.stdout


def test_the_study_from_scratch_trains(tmp_path):
    file = tmp_path / "my_study.py"
    task, model, sweep, _ = blocks_of("docs/study.md")
    file.write_text("\n\n".join([task, model, sweep]))
    told = ["train", "--system", f"{file}:my_study", "--set", "training.steps=3", "--jobs", "1"]
    found = CliRunner().invoke(main, [*told, "--out", str(tmp_path / "means")])
    assert found.exit_code == 0, found.output
    experiment = llc.open(tmp_path / "means")
    assert experiment.metrics.sizes["width"] == 3
    assert {"mean", "zero"} == set(experiment.metrics.reference.values)


@pytest.mark.slow
def test_the_tutorial_shows_what_it_says(tmp_path):
    """In one process, as somebody would type it; its first estimate may be another machine's."""
    told = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks_of("docs/tutorial.md"))],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=280,
    ).stdout
    (value, error, verdict), (known, its_error, of_known) = re.findall(r"λ̂ = (\S+) ± (\S+), ([a-z-]+):", told)
    (said, said_error) = re.findall(r"λ̂ = (\S+) ± (\S+), converged:", (ROOT / "docs" / "tutorial.md").read_text())[0]
    assert abs(float(value) - float(said)) < 3 * math.hypot(float(error), float(said_error))
    assert verdict in {"converged", "scale-dependent"}
    assert abs(float(known) - 2) < 3 * float(its_error)
    assert of_known == "converged"
    assert all(f"{step} " in told for step in (30, 100, 300, 1000, 3000))
    assert (tmp_path / "llc.png").stat().st_size > 10_000


@pytest.mark.parametrize("kept", GALLERY, ids=lambda path: path.stem)
def test_the_gallery_shows_notebooks_as_they_are(kept):
    one, other = (nbformat.read(path, as_version=4) for path in (kept, ROOT / "notebooks" / kept.name))
    assert [(cell.cell_type, cell.source) for cell in one.cells] == [
        (cell.cell_type, cell.source) for cell in other.cells
    ]
    shown = [output for cell in one.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)
    assert not [output for output in shown if output.output_type == "error"]


def _parameters(node) -> set[str]:
    """Names that a docstring may have entries of."""
    if isinstance(node, ast.ClassDef):
        fields = {one.target.id for one in node.body if isinstance(one, ast.AnnAssign)}
        begun = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
        return fields.union(*(_parameters(one) for one in begun))
    of = node.args
    return {one.arg for one in [*of.posonlyargs, *of.args, *of.kwonlyargs]}


def _entries(docstring: str) -> list[str]:
    """Entries of `Args:` and `Attributes:`, a line each."""
    found: list[str] = []
    for section in re.findall(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)*)", docstring, flags=re.MULTILINE):
        for line in section.splitlines():
            if line.startswith("     "):
                found[-1] += " " + line.strip()
            elif line.strip():
                found.append(line.strip())
    return found


def test_a_docstring_has_an_entry_for_each_argument():
    """Sphinx reads an entry as one argument, or as several of one meaning: `low, high: ends`."""
    two = []
    for file in (ROOT / "llc").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef):
                continue
            names = "|".join(map(re.escape, _parameters(node))) or "-"
            for entry in _entries(ast.get_docstring(node) or ""):
                if re.search(rf"\. (?:{names})(?:, (?:{names}))*: ", entry):
                    two.append(f"{file.name} {node.name}: {entry}")
    assert not two


def _public_functions() -> dict[str, FunctionType]:
    rooms = ["llc", *(one.name for one in pkgutil.walk_packages(llc.__path__, "llc.") if one.ispkg)]
    # `description_bits` measures the source of a predictor, its docstring included: entries there would change results.
    modules = [importlib.import_module(room) for room in rooms if room != "llc.predictors"]
    found = {f"{module.__name__}.{name}": getattr(module, name) for module in modules for name in module.__all__}
    return {name: one for name, one in found.items() if inspect.isfunction(one)}


def test_every_argument_of_a_public_function_has_an_entry():
    wrong = []
    for name, function in _public_functions().items():
        parameters = inspect.signature(function).parameters
        listed = [entry.partition(":")[0] for entry in _entries(inspect.getdoc(function) or "")]
        wrong += [f"{name}: no entry for {one}" for one in parameters if one not in listed]
        wrong += [f"{name}: an entry for {one}, which is no parameter" for one in listed if one not in parameters]
    assert not wrong, "\n".join(wrong)
