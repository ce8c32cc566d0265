"""The results of an experiment: what each is made from, by which command, and what its settings are called."""

import shlex
from pathlib import Path
from typing import NamedTuple


class Result(NamedTuple):
    """A labelled dataset in an experiment's folder, `NAME.nc`.

    Attributes:
        name: of it.
        command: that makes it.
        needs: results that it is made from, and says nothing without or after.
        settings: what its settings are called in what it says of itself.
        asks: what the task has to have for it, an attribute or what a method of that name returns.
        missed: whether a study without it lacks something.
    """

    name: str
    command: str
    needs: tuple[str, ...] = ()
    settings: str = ""
    asks: str = ""
    missed: bool = True


# A line a result.
_RESULTS = (
    Result("metrics", "train"),
    Result("llc", "estimate-llc", settings="llc"),
    Result("pca", "pca", settings="pca"),
    Result("stages", "stages", ("llc", "pca"), "stages"),
    Result("tradeoff", "stages", ("llc",), "tradeoff", "pair"),
    Result("strategies", "strategies", ("tradeoff",), "strategies", "pair"),
    Result("essential", "stages", ("pca",), "essential"),
    Result("behaviour", "behaviour", settings="shifts", asks="shifts"),
    Result("readouts", "readouts", settings="readouts"),
    Result("compare", "compare", settings="compare", asks="predictors"),
    Result("claims", "claims", ("metrics", "llc", "pca", "tradeoff", "strategies"), missed=False),
)
RESULTS = {result.name: result for result in _RESULTS}
# Those that training does not make.
MADE = [name for name in RESULTS if name != "metrics"]


def again(path: Path) -> str:
    """What to do about the file of a result that cannot be used."""
    if path.stem == "metrics":
        return "delete it and run the same `llc train` or `llc import` command again"
    commands = {name: result.command for name, result in RESULTS.items()} | {"calibration": "calibrate"}
    if path.stem in commands:
        return f"delete it, and `llc {commands[path.stem]} {shlex.quote(str(path.parent))}` makes it again"
    return "delete it and run the same `llc estimate-llc` command, or what else made it, again"
