"""What is installed only where it is asked for, and the sentence that says what is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from llc.errors import LLCError

_PLOTS = {"matplotlib": "matplotlib", "seaborn": "seaborn", "plotly": "plotly"}
# By extra, as pyproject.toml has them: modules, and the package that each comes in.
EXTRAS = {
    "study": {"ruptures": "ruptures", "sklearn": "scikit-learn", "rich": "rich"},
    "plots": _PLOTS,
    "report": {**_PLOTS, "jinja2": "jinja2"},
    "cluster": {"distributed": "distributed", "dask": "dask"},
    "peers": {"devinterp": "devinterp", "canonical_interp": "canonical-interp"},
}


class MissingExtra(LLCError, ImportError):
    """Something that comes with an extra of this package is not installed."""


def installed(module: str) -> bool:
    """Whether it can be imported here."""
    return find_spec(module) is not None


def require(what: str, *extras: str) -> None:
    """Raise MissingExtra unless all of these extras is installed: before long work that ends with it.

    Args:
        what: needs them, such as a command.
    """
    for extra in extras:
        for module in EXTRAS[extra]:
            if not installed(module):
                raise _missing(what, module, extra)


@contextmanager
def needed_by(what: str) -> Iterator[None]:
    """Imports of an extra's modules.

    Args:
        what: cannot be done without.
    Raises:
        MissingExtra: one is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        extra = next((extra for extra, modules in EXTRAS.items() if module in modules), None)
        if extra is None:
            raise
        raise _missing(what, module, extra) from error


def to_install(extra: str) -> str:
    """The command that does."""
    return f'pip install "local-learning-coefficient[{extra}]"'


def _missing(what: str, module: str, extra: str) -> MissingExtra:
    return MissingExtra(
        f"{what} needs {EXTRAS[extra][module]}, which is not installed; {to_install(extra)}", name=module
    )
