"""Options that are fields of a config: name, type, default and help are written there, and read from its source.

From the source and not from the class, so that `--help` answers without loading torch.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from llc.cli.group import Auto

_ROOM = Path(__file__).resolve().parent.parent
# The configs of an estimate, as file and class; what a later one says goes before what an earlier one does.
_CONFIGS = (
    ("estimate/settings.py", "SamplingConfig"),
    ("study/points.py", "CurveConfig"),
    ("study/points.py", "LLCConfig"),
)
_NUMBERS = {"int": click.INT, "float": click.FLOAT}
# Numbers for which people write `auto`.
_AUTO = ("nbeta", "gamma", "step_size")


class Field(NamedTuple):
    """A setting: its annotation as it is written, its default, and what it is."""

    annotation: str
    default: Any
    said: str


def fields() -> dict[str, Field]:
    """The settings of an estimate by name, in the order in which they are written."""
    found: dict[str, Field] = {}
    for file, name in _CONFIGS:
        module = ast.parse((_ROOM / file).read_text("utf-8"))
        config = next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)
        said = _arguments(ast.get_docstring(config) or "")
        for node in config.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                setting = node.target.id
                before = found[setting].said if setting in found else ""
                found[setting] = Field(ast.unparse(node.annotation), _default(node), said.get(setting, before))
    return found


def _default(node: ast.AnnAssign) -> Any:
    value = node.value
    if isinstance(value, ast.Call) and value.args:  # Field(2, ge=1)
        value = value.args[0]
    return ast.literal_eval(value) if value is not None else None


def _arguments(docstring: str) -> dict[str, str]:
    """What `Args:` says of each: an entry a line, those that go on are indented further."""
    _, _, listed = inspect.cleandoc(docstring).partition("Args:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", listed, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def settings(*names: str, leave_out: tuple[str, ...] = (), **defaults: Any) -> Callable:
    """Give a command an option for each of these settings, or for all.

    Args:
        leave_out: settings that are no options.
        defaults: other than the config's own.
    """
    known = fields()
    chosen = [name for name in known if (name in names or not names) and name not in leave_out]

    def decorate(command: Callable) -> Callable:
        for name in reversed(chosen):
            command = _option(name, known[name], known, defaults)(command)
        return command

    return decorate


def _option(name: str, field: Field, known: dict[str, Field], defaults: dict[str, Any]) -> Callable:
    flag = f"--{name.replace('_', '-')}"
    default = defaults.get(name, field.default)
    said = re.sub(r"`(\w+)`", lambda m: f"--{m[1].replace('_', '-')}" if m[1] in known else m[1], field.said)
    if name in defaults:  # not what the config says of its own
        said = re.sub(r"[;.] by default .*", ".", said, flags=re.IGNORECASE)
    said = said[:1].upper() + said[1:]
    kind = field.annotation.removesuffix(" | None")
    if kind == "bool":
        return click.option(flag, is_flag=True, default=default, help=said)
    if kind.startswith("list"):
        return click.option(flag, default=None, metavar="PATTERN,…", help=said)
    if name in _AUTO:
        return click.option(flag, type=Auto(), default="auto", show_default=True, help=said)
    return click.option(flag, type=_NUMBERS.get(kind, click.STRING), default=default, show_default=True, help=said)
