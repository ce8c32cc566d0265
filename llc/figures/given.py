"""What a figure asks of the datasets that it is given."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import xarray as xr

from llc.errors import InvalidInput, shown

_P = ParamSpec("_P")
_R = TypeVar("_R")

# Names of what a dataset holds that an error lists.
_LISTED = 12


def takes(**needed: tuple[str, ...]) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """The figure, which says so where a dataset is another than it draws.

    Args:
        needed: by argument: where such a dataset comes from, and the names of variables and dims it has to have. An
            argument that may be None may be left out.
    """

    def decorated(figure: Callable[_P, _R]) -> Callable[_P, _R]:
        signature = inspect.signature(figure)

        @functools.wraps(figure)
        def checked(*given: _P.args, **named: _P.kwargs) -> _R:
            bound = signature.bind(*given, **named).arguments
            for argument, (source, *names) in needed.items():
                if bound.get(argument) is not None or signature.parameters[argument].default is not None:
                    _check(figure.__name__, argument, bound[argument], source, names)
            return figure(*given, **named)

        return checked

    return decorated


def _check(figure: str, argument: str, found: Any, source: str, names: list[str]) -> None:
    if not isinstance(found, xr.Dataset):
        raise InvalidInput(f"{argument} = {shown(found)} given to {figure}, expected a dataset, as of {source}")
    held = {*map(str, found.data_vars), *map(str, found.dims)}
    if missing := [name for name in names if name not in held]:
        listed = ", ".join(sorted(held)[:_LISTED]) + (" and more" if len(held) > _LISTED else "")
        what = f"which has {listed}" if held else "which is empty"
        raise InvalidInput(f"no {', no '.join(missing)} in {argument} given to {figure}, {what}; give that of {source}")
