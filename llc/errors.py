"""The one family of errors that llc raises on purpose.

Each message is one sentence that names what was given, what was expected and what to do. The command line shows it
as it stands; a Python user can catch `LLCError`, or `ValueError` where an argument was wrong.
"""

import difflib
from collections.abc import Iterable


class LLCError(Exception):
    """Base of every error that llc raises on purpose."""


class InvalidInput(LLCError, ValueError):
    """An argument, option or config value that cannot be used."""


class StoreError(LLCError):
    """A run folder or a file in one that is missing, damaged, in use or made by another config."""


class EstimateFailed(LLCError):
    """An estimate could not be made at all, for example because too few chains survived."""


class Interrupted(LLCError):
    """Work was stopped on request; what was finished is kept."""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The tail of an error about an unknown name: the nearest known one, or all of them."""
    known = sorted(known)
    nearest = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(known)}"
