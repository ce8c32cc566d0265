"""The names that users, notebooks and other tools rely on."""

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
