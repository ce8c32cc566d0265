"""The one family of errors that llc raises on purpose.

Each message is one sentence that names what was given, what was expected and what to do. The command line shows it
as it stands; a Python user can catch `LLCError`, or `ValueError` where an argument was wrong.
"""

import difflib
import re
import shlex
from collections.abc import Iterable
from numbers import Integral


class LLCError(Exception):
    """Base of every error that llc raises on purpose. Its text is one line, whatever was given."""

    def __str__(self) -> str:
        return one_line(super().__str__())


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


def one_line(text: str) -> str:
    """A text with escapes for line breaks and what else cannot be printed, and endless words without their middle."""
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return re.sub(r"\S{400,}", lambda word: f"{word[0][: _SHOWN // 2]} … {word[0][-_SHOWN // 2 :]}", text)


def ended_by(error: SystemExit) -> str:
    """What is said of code of the user's that wants to end the whole program."""
    return f"code that was given or trusted ended the program, by sys.exit({shown(error.code)}); have it raise an error"


# Letters of a value, and names of what is known, in an error.
_SHOWN, _LISTED = 200, 30
# Of PyTorch, on Linux, on Windows, on a GPU, and for a size that no number of it holds.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "size calculation overflowed")


def shown(value: object) -> str:
    """A value as Python writes it, without its middle if that is long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python likes to write
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]} … {text[-_SHOWN // 2 :]}"


def shown_name(name: object) -> str:
    """A name as it was given, or as Python writes it where that would not be seen, is long or is no text."""
    return name if isinstance(name, str) and name.strip() == name != "" and len(name) <= _SHOWN else shown(name)


def check_whole(name: str, value: object, least: int, most: int | None = None) -> int:
    """A whole number from `least` to `most`, of Python or of an array, as Python's; or InvalidInput."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        number = int(value)
        if least <= number and (most is None or number <= most):
            return number
    expected = f"from {least} up" if most is None else f"from {least} to {most}"
    raise InvalidInput(f"{name} = {shown(value)} given, expected a whole number {expected}")


def check_flag(name: str, value: object) -> None:
    """True or False, or InvalidInput: any text would do for True."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{name} = {shown(value)} given, expected True or False")


def beyond_memory(error: BaseException) -> str:
    """What to say of an error that tells of too little memory, after the name of what asked for it; else empty."""
    said = str(error)
    if not (isinstance(error, MemoryError) or any(words in said for words in _NO_MEMORY)):
        return ""
    asked = re.search(r"allocate (\d+) bytes", said)
    size = f" ({int(asked[1]) / 1e9:,.1f} GB at once)" if asked else ""
    return f"takes more memory than there is{size}; give fewer sequences, samples or chains, or a smaller task or model"


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The tail of an error about an unknown name: the nearest known one, or all of them."""
    known = sorted(set(known))
    nearest = difflib.get_close_matches(str(given)[:_SHOWN], known, n=1, cutoff=0.5)
    if nearest:
        return f"did you mean {nearest[0]}?"
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return f"known: {', '.join(known[:_LISTED])}{more}"
