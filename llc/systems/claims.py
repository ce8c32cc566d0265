"""A paper's claims as numbers: what was measured for each, with an interval, and whether it holds."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from llc.errors import InvalidInput, shown

# 90 % of a normal distribution lie within so many standard deviations.
Z = NormalDist().inv_cdf(0.95)


# (value, standard error) of what `compare` returns, or, of a whole study, of its `StudyResults`.
Measure = Callable[[Any], tuple[float, float]]


@dataclass(frozen=True)
class Claim:
    """One claim of a paper.

    Attributes:
        name: short, one each.
        said: the claim in words.
        published: the paper's number, NaN where it has none.
        measure: (value, standard error) from what `compare` returns, or of a claim about a whole study from its
            `StudyResults`; the error is 0 for what is read off weights.
        low, high: the claim holds where the value lies between these.
        already: why training has no part in it, such as `of references alone`; else empty.
    """

    name: str
    said: str
    published: float
    measure: Measure
    low: float = -math.inf
    high: float = math.inf
    already: str = ""

    def __post_init__(self) -> None:
        if not (self.low < self.high and (math.isfinite(self.low) or math.isfinite(self.high))):
            raise InvalidInput(f"claim {self.name}: low = {self.low}, high = {self.high} given, expected low < high")


def said_of_claims(claims: Sequence[Claim]) -> list[list[str | float]] | None:
    """What claims of this package say; None where one is measured by other code, which may change."""
    if not all(_is_of_this_package(claim.measure) for claim in claims):
        return None
    return [[one.name, one.said, one.published, one.low, one.high, one.already] for one in claims]


def _is_of_this_package(measure: Measure) -> bool:
    function = measure.func if isinstance(measure, functools.partial) else measure
    return str(getattr(function, "__module__", "")).split(".")[0] == "llc"


def check_claims(claims: object) -> tuple[Claim, ...]:
    """Claims in any form, or InvalidInput."""
    given = tuple(claims) if isinstance(claims, Iterable) else (claims,)
    for one in given:
        if not isinstance(one, Claim):
            raise InvalidInput(f"{shown(one)} given among claims, expected llc.systems.Claim(name, said, …) each")
    return given


class NoNumber(LookupError):
    """What a claim is of is not there: a finished run, a step, what the model has not learned yet."""


class StudyResults:
    """The results of a study by name, `results.metrics`, `results.llc`; one that is not there is no number."""

    def __init__(self, known: Mapping[str, xr.Dataset]) -> None:
        self._known = dict(known)

    def __getattr__(self, name: str) -> xr.Dataset:
        known = self.__dict__.get("_known", {})
        if name not in known:
            raise NoNumber(f"no {name}")
        return known[name]


def run_at(compared: xr.Dataset, **place: float | str) -> xr.Dataset:
    """The runs at a place of the sweep, at every step.

    Raises:
        NoNumber: there is none.
        KeyError: the sweep has no such axis, which is a mistake of the claim's.
    """
    for dim, value in place.items():
        if value not in compared[dim].values:
            raise NoNumber(f"no run at {dim} = {value}")
    return compared.sel(place)


def last_of(compared: xr.Dataset, **place: float | str) -> xr.Dataset:
    """The last step of the run at a place; where that leaves several seeds, of the one with the lowest loss.

    Runs that end before others do are not finished, and count as if they were not there.

    Raises:
        NoNumber: none has come to the last step.
    """
    runs = run_at(compared, **place).isel(step=-1)
    losses = np.atleast_1d(runs.loss.isel(test_set=0).values)
    if np.isnan(losses).all():
        raise NoNumber(f"no finished run at {place}")
    return runs if "seed" not in runs.dims else runs.isel(seed=int(np.nanargmin(losses)))


def judged(claim: Claim, compared: xr.Dataset | StudyResults) -> dict[str, float | str]:
    """Its value with the ends of the 90 % interval, value ± 1.645 se, and its verdict.

    `supported` where the interval lies within the claim's bounds, `contradicted` where it lies outside, `undecided`
    where it holds one of them, or where there is no number: of a run that is not there, for one.
    """
    try:
        value, se = map(float, claim.measure(compared))
    except NoNumber:
        value, se = math.nan, math.nan
    low, high = value - Z * se, value + Z * se
    return {"value": value, "low": low, "high": high, "verdict": verdict_of(claim, low, high)}


def verdict_of(claim: Claim, low: float, high: float) -> str:
    """What an interval says of a claim; see `judged`."""
    if claim.low <= low and high <= claim.high:
        return "supported"
    return "contradicted" if high < claim.low or low > claim.high else "undecided"


_SAID = {
    "claim_said": "the claim",
    "claim_published": "what was published",
    "claim_value": "what was measured",
    "claim_low": "lower end of its 90 % interval",
    "claim_high": "upper end of its 90 % interval",
    "claim_from": "the claim holds from here",
    "claim_to": "the claim holds up to here",
    "claim_verdict": "supported, contradicted or undecided",
}


def with_claims(compared: xr.Dataset, claims: Sequence[Claim]) -> xr.Dataset:
    """The dataset with each claim's value, interval, bounds and verdict, by `claim`."""
    return compared.merge(claims_dataset(compared, claims)) if claims else compared


def claims_dataset(found_in: xr.Dataset | StudyResults, claims: Sequence[Claim]) -> xr.Dataset:
    """Each claim's value, interval, bounds and verdict, by `claim`."""
    found = [judged(claim, found_in) for claim in claims]
    values = {
        "claim_said": [claim.said for claim in claims],
        "claim_published": [claim.published for claim in claims],
        "claim_from": [claim.low for claim in claims],
        "claim_to": [claim.high for claim in claims],
        **{f"claim_{name}": [one[name] for one in found] for name in ("value", "low", "high", "verdict")},
    }
    data = {name: ("claim", values[name], {"long_name": said, "units": "1"}) for name, said in _SAID.items()}
    about = {"long_name": "claim of the paper", "units": "1"}
    return xr.Dataset(data, {"claim": ("claim", [claim.name for claim in claims], about)})


def claim_rows(compared: xr.Dataset) -> pd.DataFrame:
    """A row a claim; none where there are none.

    Args:
        compared: of `llc.compare` or `study_claims`.
    """
    if "claim" not in compared.dims:
        return pd.DataFrame()
    frame = compared[list(_SAID)].to_dataframe().reset_index()
    return frame.rename(columns=lambda name: str(name).removeprefix("claim_"))


def format_claims(rows: pd.DataFrame) -> str:
    """The rows as text.

    Args:
        rows: of `claim_rows`.
    """
    lines = [f"{'claim':44s} {'published':>9s} {'measured':>9s} {'90 % interval':>20s}  verdict"]
    for _, row in rows.iterrows():
        published = "–" if np.isnan(row.published) else f"{row.published:.4g}"
        reach = f"{row.low:.4g} to {row.high:.4g}"
        lines.append(f"{row.claim:44s} {published:>9s} {row.value:9.4g} {reach:>20s}  {row.verdict}")
    return "\n".join(lines)
