"""What was measured of the papers' claims: a file that `llc systems --run` writes, and the table made of it."""

import math
import re
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import tomli_w
import xarray as xr

import llc
from llc.errors import InvalidInput, StoreError
from llc.store import EXPERIMENT_FILE, MADE, atomic_path, read_dataset, write_as_it_is, write_text
from llc.store.atomic import check_readable, is_there
from llc.systems.claims import Claim, claim_rows, verdict_of

FIGURES = ("compare", "learned", "error_curves", "llc", "pca", "stages", "losses_by_axis", "losses_by_position")
"""Those that are kept of every system alike."""
RECORD = Path(llc.__file__).parent.parent / "benchmarks" / "results" / "systems.toml"
"""Of a checkout; an installed package has none, and lists claims without values."""


def read_record(path: Path = RECORD) -> dict[str, Any]:
    """What was measured, by preset; nothing where there is no such file.

    Raises:
        InvalidInput: it is no such record.
    """
    if not is_there(path):
        return {}
    why = "it is no list of claims for each preset, each with its value and interval"
    try:
        check_readable(path)
        found = tomllib.loads(path.read_text("utf-8"))
        times = (one.get(name, 0) for one in found.values() for name in ("seconds", "jobs"))
        if all(map(_is_number, times)) and all(_is_claim(row) for one in found.values() for row in one["claims"]):
            return found
    except (KeyError, TypeError, AttributeError):  # a table of other things
        pass
    except (StoreError, OSError, ValueError, RecursionError) as error:
        why = str(error)
    raise InvalidInput(
        f"{path} given, expected a record of measured claims, as `llc systems --run NAME --record FILE` writes it, or "
        f"no file: {why}"
    )


def _is_claim(row: Any) -> bool:
    """Whether a row says what was measured."""
    return isinstance(row["claim"], str) and all(_is_number(row[name]) for name in ("value", "low", "high"))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def write_record(path: Path, name: str, compared: xr.Dataset, seconds: float | None, jobs: int | None) -> None:
    """Put what was measured of one preset into the file, beside what it has of others.

    Args:
        compared: with the claims, as `llc.development.compare` returns it.
        seconds: that training took; None where part of it was there before, for what the file has of that.
        jobs: workers that it had; None for one a core.
    """
    known = read_record(path)
    rows = claim_rows(compared)
    claims = [
        {"claim": row["claim"]} | {key: float(row[key]) for key in ("value", "low", "high")}
        for _, row in rows.iterrows()
    ]
    if seconds is None:
        time = {key: value for key, value in known.get(name, {}).items() if key in {"seconds", "jobs"}}
    else:
        time = {"seconds": round(seconds, 1), "jobs": jobs or 0}
    known[name] = {**time, "library": str(compared.attrs.get("library", "")), "claims": claims}
    write_text(path, tomli_w.dumps(dict(sorted(known.items()))))


def keep(experiment: Path, folder: Path, figures: Sequence[str] | None = None) -> list[Path]:
    """Copy an experiment's results and its figures to a folder, a few hundred KiB of each.

    In single precision, without draws and loadings, and distances to references as means over positions; with what
    `llc.open_results` needs to open them.

    Args:
        figures: names; by default every one that is drawn.
    Returns:
        What was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / EXPERIMENT_FILE]
    with atomic_path(written[0]) as scratch:
        shutil.copyfile(experiment / EXPERIMENT_FILE, scratch)
    for result in (experiment / f"{name}.nc" for name in ("metrics", *MADE)):
        if is_there(result):
            small = read_dataset(result, lazy=True).drop_dims(["draw", "sequence"], errors="ignore")
            if "distance" in small and "position" in small.distance.dims:
                small["distance"] = small.distance.mean("position", keep_attrs=True)
            compressed = {
                key: {"zlib": True, "dtype": "float32"} for key, values in small.items() if values.dtype.kind == "f"
            }
            write_as_it_is(folder / result.name, small, compressed)
            written.append(folder / result.name)
    for figure in sorted((experiment / "figures").glob("*.png")):
        if figures is None or figure.stem in figures:
            with atomic_path(folder / figure.name) as scratch:
                shutil.copyfile(figure, scratch)
            written.append(folder / figure.name)
    return written


def systems_table(systems: Mapping[str, ModuleType], measured: Mapping[str, Any]) -> str:
    """Every preset's claims, what was published and what was measured, in Markdown.

    Args:
        systems: modules by preset.
        measured: as `read_record` returns it.
    """
    lines = ["| preset, claim | published | measured, 90 % interval | |", "|---|---|---|---|"]
    for name, system in systems.items():
        found = measured.get(name, {})
        lines.append(f"| **`{name}`**: {_paper(system)} | | {_took(found)} | |")
        values = {row["claim"]: row for row in found.get("claims", [])}
        lines += [_row(claim, values.get(claim.name)) for claim in system.CLAIMS]
    return "\n".join(lines)


def _paper(system: ModuleType) -> str:
    """The first line of a system's file, with a link to the paper."""
    first = (system.__doc__ or "").splitlines()[0].rstrip(".")
    return re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", first)


def _took(found: Mapping[str, Any]) -> str:
    if not found:
        return "not measured"
    if "seconds" not in found:
        return "trained in several goes"
    workers = f"{found['jobs']} worker{'s' * (found['jobs'] != 1)}" if found["jobs"] else "a worker a core"
    return f"trained in {found['seconds'] / 60:.1f} minutes, {workers}"


def _row(claim: Claim, found: Mapping[str, Any] | None) -> str:
    published = "" if math.isnan(claim.published) else f"{claim.published:.4g}"
    if found is None:
        measured, verdict = "", ""
    else:
        inside = f" [{found['low']:.3g}, {found['high']:.3g}]" if found["high"] > found["low"] else ""
        measured, verdict = f"{found['value']:.3g}{inside}", verdict_of(claim, found["low"], found["high"])
    said = f"{claim.name}: {claim.said} ({_bounds(claim)})".replace("|", "\\|")
    verdict += f", {claim.already}" if verdict and claim.already else ""
    return f"| {said} | {published} | {measured} | {verdict} |"


def _bounds(claim: Claim) -> str:
    if math.isinf(claim.low):
        return f"below {claim.high:.4g}"
    if math.isinf(claim.high):
        return f"above {claim.low:.4g}"
    return f"{claim.low:.4g} to {claim.high:.4g}"
