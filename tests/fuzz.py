"""What `test_fuzz_*.py` throw at the library; `make fuzz` has them throw eighty times as much."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st

from llc.errors import LLCError

T = TypeVar("T")

NUMBERS = st.one_of(
    st.integers(-3, 12),
    st.integers(),
    st.sampled_from([2**31, 2**63, -(2**63), 10**40, 10**400]),
    st.floats(),
    st.floats(-1, 100),
)
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", "inf", "nan", "None", "auto", "1e999", "0x10", "a\nb", "\0", "../..", "os:system", "x" * 5000]
    ),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
# Whatever a table can hold, and what it cannot.
JUNK = st.recursive(
    SCALARS,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=6), inside, max_size=3),
    max_leaves=6,
)


def places(table: dict[str, Any], before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where a nested table has something: keys from the outside in, of tables and of what they hold."""
    found = []
    for key, value in table.items():
        found.append((*before, key))
        if isinstance(value, dict):
            found += places(value, (*before, key))
    return found


@st.composite
def altered(draw: st.DrawFn, table: dict[str, Any]) -> dict[str, Any]:
    """A table of which one to three things are something else, are missing, or have other names."""
    found = copy.deepcopy(table)
    for _ in range(draw(st.integers(1, 3))):
        where = places(found)
        if not where:
            break
        *path, last = draw(st.sampled_from(where))
        inside = found
        for key in path:
            inside = inside[key]
        match draw(st.sampled_from(["another", "another", "another", "gone", "renamed", "more"])):
            case "another":
                inside[last] = draw(JUNK)
            case "gone":
                del inside[last]
            case "renamed":
                inside[draw(TEXTS)] = inside.pop(last)
            case "more":
                inside[draw(TEXTS)] = draw(JUNK)
    return found


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes of which some are others, or too few, too many or twice there; or none of them."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(found)))
        length = draw(st.integers(0, 64))
        match draw(st.sampled_from(["flip", "set", "cut", "drop", "insert", "repeat", "all"])):
            case "flip" if start < len(found):
                found[start] ^= 1 << draw(st.integers(0, 7))
            case "set":
                found[start : start + length] = draw(st.binary(min_size=length, max_size=length))
            case "cut":
                del found[start:]
            case "drop":
                del found[start : start + length]
            case "insert":
                found[start:start] = draw(st.binary(max_size=64))
            case "repeat":
                found[start:start] = found[start : start + length]
            case "all":
                found = bytearray(draw(st.binary(max_size=200)))
    return bytes(found)


def tried(call: Callable[[], T], *names: str) -> T | None:
    """What a call returns; None where it ends in an error of ours, which has to be one sentence.

    Args:
        names: what that has to name.
    """
    try:
        return call()
    except LLCError as error:
        said = str(error)
    # One line, of a length that somebody reads.
    assert said.strip()
    assert len(said.splitlines()) == 1, said
    assert len(said) < 1500, said
    assert all(name in said for name in names), said
    return None
