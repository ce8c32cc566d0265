"""The names that users, notebooks and other tools rely on."""

import ast
import importlib
from importlib import metadata
from pathlib import Path

import pytest

import llc


@pytest.mark.parametrize("name", llc.__all__)
def test_public_names_exist(name):
    assert getattr(llc, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'llc' has no attribute 'trian'"):
        _ = llc.trian


def test_public_docstrings_are_there():
    for name in llc.__all__:
        assert getattr(llc, name).__doc__, name


def test_type_checkers_know_every_public_name_as_what_it_is():
    stub = ast.parse(Path(llc.__file__).with_name("__init__.pyi").read_text("utf-8"))
    known = {}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                module = importlib.import_module(node.module)
                known[alias.asname] = getattr(module, alias.name)
        elif isinstance(node, ast.Assign):
            known[node.targets[0].id] = known.pop(node.value.id)
    assert known == {name: getattr(llc, name) for name in llc.__all__}


def test_the_version_is_that_of_the_package():
    assert llc.__version__ == metadata.version("local-learning-coefficient")
