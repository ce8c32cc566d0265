"""Models of other people's code: any `nn.Module` that a function makes."""

import inspect
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, Field
from torch import nn

from llc import own_code, trusted
from llc.errors import InvalidInput
from llc.models.model_config import ModelConfig


class FactoryConfig(ModelConfig):
    """A model that `function(**arguments)` returns, whose `forward(*inputs)` gives outputs of the targets' shape.

    A function that has an argument `shapes` gets those of the task; one with an argument called like one of these,
    `dim`, `num_examples`, `outputs`, `inputs` or `targets`, gets that, unless `arguments` says otherwise.

    Args:
        function: where it is: `package.module:name`, or `/path/to/file.py:name`.
        arguments: of it, by name.
    """

    kind: Literal["factory"] = "factory"
    function: Annotated[str, AfterValidator(own_code.absolute)]
    arguments: dict[str, Any] = Field(default={})

    def model_post_init(self, context: Any, /) -> None:
        """A program that names a function gives it; a folder's table does not."""
        if trusted.made_by_hand():
            trusted.give([trusted.code_of(self.function, "function")])

    def build(self, shapes: dict[str, Any], seed: int) -> nn.Module:
        """The model, with whatever weights its own code gives it; torch's global random state is left as it was.

        Raises:
            InvalidInput: there is no such function, it fails with these arguments, or what it returns is no module.
            UntrustedCode: a folder named the function, and this user did not.
        """
        function = own_code.named(self.function, asked_by="model.function")
        asked = inspect.signature(function).parameters
        offered = {name: value for name, value in {"shapes": shapes, **shapes}.items() if name in asked}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = own_code.called(self.function, {**offered, **self.arguments}, asked_by="model.function")
        if not isinstance(model, nn.Module):
            raise InvalidInput(f"{self.function} returned a {type(model).__name__}, expected a torch.nn.Module")
        return model
