"""Units of work for `test_parallel.py`, apart from it: each worker imports this, and little else."""

import os
import signal
import time
from pathlib import Path

from llc.errors import InvalidInput

_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows either ends it at once


def square(number: int, progress) -> int:
    """Three is refused."""
    progress(f"unit {number}", number, 10, "")
    if number == 3:
        raise InvalidInput("three given")
    return number**2


def die_once(folder: Path, number: int, _progress) -> int:
    """Unit 2 kills its own process the first time."""
    if number == 2 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), _KILL)
    time.sleep(0.05)
    return number


def die_always(_progress) -> None:
    os.kill(os.getpid(), _KILL)
