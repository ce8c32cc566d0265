"""The examples of CONTRIBUTING.md run as they stand."""

import importlib.util
import re
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from llc import store
from llc.models import ModelConfig
from llc.sampling import SAMPLERS
from llc.tasks import Task

TEXT = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^An? \*\*(\w+)\*\*.*?^```python\n(.*?)^```$", TEXT, re.M | re.S))


def test_there_is_an_example_of_each():
    expected = ["task", "model", "reference", "sampler", "observable", "system", "figure", "result"]
    assert list(EXAMPLES) == expected
    assert len(EXAMPLES) == TEXT.count("```python")
    assert all(sum(map(bool, code.splitlines())) <= 15 for code in EXAMPLES.values())  # blank lines left out


def test_files_that_are_named_are_there():
    root = Path(__file__).parent.parent
    named = set(re.findall(r"`((?:llc|tests|benchmarks)/[\w/]+\.(?:py|toml))`", TEXT))
    assert {"llc/tasks/__init__.py", "llc/store/registry.py"} <= named
    assert not [path for path in named if "/my_" not in path and not (root / path).exists()]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"contributed_{name}.py"
    path.write_text(EXAMPLES[name], encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    with patch.dict(Task.known), patch.dict(ModelConfig.known), patch.dict(SAMPLERS), patch.dict(store.RESULTS):
        spec.loader.exec_module(module)
