"""One thing that was looked at."""

from dataclasses import dataclass, field
from typing import Literal

Status = Literal["ok", "slow", "missing", "unusable"]


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
        topic, name: what was looked at.
        said: what was found, in words.
        status: `ok`; `slow`, work takes longer than it has to; `missing`, something cannot be done; `unusable`, llc
            cannot work at all.
        advice: what to do, in one line; empty where all is well.
        numbers: the same as `said`, for machines; units end their names.
    """

    topic: str
    name: str
    said: str
    status: Status = "ok"
    advice: str = ""
    numbers: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.status == "ok") == bool(self.advice):
            raise ValueError(f"{self.name} is {self.status} with the advice {self.advice!r}: a mistake in this library")
