"""One problem with its answer, and the same problem on fresh data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from torch import Tensor, nn

from llc.validation.problems.losses import mean_loss

Data = tuple[Tensor, ...]
Loss = Callable[..., Tensor]
Problem = tuple[nn.Module, Loss, Data]


@dataclass(frozen=True)
class Case:
    """One problem with its answer, small enough to send to a worker.

    Attributes:
        name: says all that determines it.
        kind: groups cases in the report.
        build: makes (model, loss, data) when called with `arguments`.
        exact: what λ̂ should come out at.
        settings: fields of `SamplingConfig`; where there are none, `estimate_llc` is called at its defaults.
        lowest: the least mean loss in w*'s basin, from the data; None where w* has it by construction.
        sample_of: the name of the case that this is another sample of; "" for that itself.
    """

    name: str
    kind: str
    build: Callable[..., Problem]
    arguments: tuple
    exact: float
    multiplicity: int
    parameters: int
    settings: dict[str, Any]
    lowest: Callable[[Data], float] | None = None
    sample_of: str = ""

    @property
    def truth(self) -> str:
        """The name that all samples of one truth share."""
        return self.sample_of or self.name

    @cached_property
    def floor(self) -> float | None:
        """L(w*) minus the least loss of w*'s basin; None where w* is the minimum by construction."""
        if self.lowest is None:
            return None
        model, loss, data = self.build(*self.arguments)
        return mean_loss(model, loss, data) - self.lowest(data)


def redrawn(case: Case, redraw: int) -> Case:
    """The same truth with data drawn anew.

    A finite sample moves its own minimum about the truth, and λ̂ with it, so that means over samples are what an exact
    λ of the truth can be held against.

    Args:
        case: one whose `build` takes `redraw`.
        redraw: which sample; 0 is the case's own.
    """
    build = partial(case.build, redraw=redraw)
    return replace(case, name=f"{case.truth}, sample {redraw}", build=build, sample_of=case.truth)
