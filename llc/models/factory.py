"""Models of other people's code: any `nn.Module` that a function makes."""

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from llc.config import Config
from llc.errors import InvalidInput


class FactoryConfig(Config):
    """A model that `function(**arguments)` returns, whose `forward(xs, ys)` gives predictions (B, K).

    Args:
        function: where it is: `package.module:name`, or `/path/to/file.py:name`.
        arguments: of it, by name.
    """

    kind: Literal["factory"] = "factory"
    function: str
    arguments: dict[str, Any] = Field(default={})


def make(config: FactoryConfig, seed: int) -> nn.Module:
    """The model, with whatever weights its own code gives it; torch's global random state is left as it was.

    Raises:
        InvalidInput: there is no such function, or what it returns is no module.
    """
    where, _, name = config.function.rpartition(":")
    if not where:
        raise InvalidInput(
            f"model.function = {config.function} given, expected package.module:name or /path/to/file.py:name"
        )
    try:
        function = getattr(_file(Path(where)) if where.endswith(".py") else importlib.import_module(where), name)
    except (ImportError, OSError, AttributeError) as error:
        raise InvalidInput(
            f"model.function = {config.function} given, but there is no such function ({error})"
        ) from None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = function(**config.arguments)
    if not isinstance(model, nn.Module):
        raise InvalidInput(f"{config.function} returned a {type(model).__name__}, expected a torch.nn.Module")
    return model


def _file(path: Path) -> Any:
    """A module from a file, imported once under a name of its own."""
    name = f"llc_factory_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
