"""Options that are fields: none is missing, and each says what its config does."""

import click
import pytest

from llc.cli import fields, main
from llc.study.points import LLCConfig


def test_fields_read_from_the_source_are_those_of_the_class():
    """Names, defaults and words: what a user reads is what the config is."""
    found = fields.fields()
    assert set(found) == set(LLCConfig.model_fields)
    for name, field in LLCConfig.model_fields.items():
        assert found[name].default == field.default, name
        assert len(found[name].said) > 15, name


@pytest.mark.parametrize("command", ["estimate-llc", "calibrate"])
def test_options_have_the_types_and_defaults_of_their_fields(command):
    options = {one.name: one for one in main.commands[command].params if isinstance(one, click.Option)}
    own = set(LLCConfig.model_fields) & set(options)
    assert command == "calibrate" or own == set(LLCConfig.model_fields) - {"plateau"}
    changed = {"sampler", "draws"} if command == "calibrate" else set()
    for name in own - changed - {"nbeta", "gamma", "step_size"}:
        default = LLCConfig.model_fields[name].default
        given = options[name].default
        assert given == (False if LLCConfig.model_fields[name].annotation is bool else default), name
    for name in {"nbeta", "gamma", "step_size"} & own:
        assert options[name].default == "auto"
    assert options["chains"].type is click.INT
    if command == "calibrate":
        assert "--target-error" not in " ".join(one.help for one in options.values())
    assert "`" not in " ".join(one.help for one in options.values())
