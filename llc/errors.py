"""The one family of errors that llc raises on purpose.

Each message is one sentence that names what was given, what was expected and what to do. The command line shows it
as it stands; a Python user can catch `LLCError`, or `ValueError` where an argument was wrong.
"""

import difflib
import shlex
from collections.abc import Iterable


class LLCError(Exception):
    """Base of every error that llc raises on purpose."""


class InvalidInput(LLCError, ValueError):
    """An argument, option or config value that cannot be used."""


class UntrustedCode(InvalidInput):
    """Code that a folder names, and that this user has neither given nor trusted.

    Args:
        code: as the folder names it.
        asked_by: the setting that names it.
        changed: whether its file was trusted when it held something else.
        folder: that names it; empty where that is not known.
    """

    def __init__(self, code: str, asked_by: str, changed: bool = False, folder: str = "") -> None:
        super().__init__(code, asked_by, changed, folder)  # by which it is pickled

    def __str__(self) -> str:
        code, asked_by, changed, folder = self.args
        what = "code that has changed since you trusted it" if changed else "code that you have not trusted"
        where = folder or "FOLDER"
        return (
            f"{folder or 'a folder'} names {what}, {code} ({asked_by}), and nothing of it was run; look at it, then: "
            f"llc trust {shlex.quote(where)}, or in Python llc.trust({where!r})"
        )

    def of(self, folder: object) -> "UntrustedCode":
        """The same, with the folder."""
        code, asked_by, changed, known = self.args
        return UntrustedCode(code, asked_by, changed, known or str(folder))


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
