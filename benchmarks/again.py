"""Whether a study that was made again says what its shipped results say.

    make transient-ridge && python benchmarks/again.py runs/transient_ridge docs/transient_ridge

The first may still be in the making: what both hold is compared, at the places that both have. A line a variable: how
many numbers, the largest difference in units of the larger of the two, and, where there is an interval or a standard
error, how many lie within the two intervals together. Writes `results/again.toml` where `--out` names it.
"""

import argparse
import tomllib
from pathlib import Path

import numpy as np
import tomli_w
import xarray as xr

import llc
from llc.errors import StoreError

# Half of a 90 % interval of a normal distribution, in standard errors.
_HALF = 1.645
# Sentences, whose numbers are compared as numbers.
LEFT_OUT = {"reason"}


def half_width(data: xr.Dataset, name: str) -> xr.DataArray | None:
    """Of the interval of a variable, or of its standard error; None where it has neither."""
    if f"{name}_low" in data and f"{name}_high" in data:
        return (data[f"{name}_high"] - data[f"{name}_low"]) / 2
    return _HALF * data[f"{name}_se"] if f"{name}_se" in data else None


def compared(ours: xr.Dataset, theirs: xr.Dataset, name: str) -> dict:
    """One variable of two datasets with the same coordinates."""
    a, b = ours[name], theirs[name]
    if a.dtype.kind not in "fiu":
        same = (a == b).values
        return {"numbers": int(same.size), "same": int(same.sum())}
    known = (a.notnull() & b.notnull()).values
    difference = abs(a - b).values[known].astype(float)
    size = np.maximum(abs(a.values[known]), abs(b.values[known])).astype(float)
    found = {
        "numbers": int(known.sum()),
        "only in one": int((a.notnull() != b.notnull()).sum()),
        "largest": float((difference / np.where(size > 0, size, 1)).max(initial=0.0)),
    }
    widths = half_width(ours, name), half_width(theirs, name)
    if widths[0] is not None and widths[1] is not None:
        together = np.hypot(*(width.values[known] for width in widths))
        found["within"] = int((difference <= np.maximum(together, 1e-6 * size)).sum())
    return found


def results(path: Path) -> dict[str, xr.Dataset]:
    """What there is, by name; of a sweep in the making the metrics and estimates of the runs that have them."""
    found = llc.open(path) if any(path.glob("*/config.toml")) else llc.open_results(path)
    made = {}
    for name in found.results:
        try:
            made[name] = getattr(found, name)
        except StoreError:
            continue
    if "metrics" not in made and found.runs:
        finished = [run.metrics for run in found.runs if run.finished]
        if finished:
            made["metrics"] = xr.combine_by_coords([one.drop_attrs() for one in finished], join="outer")
    return made


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("again", type=Path)
    parser.add_argument("shipped", type=Path)
    parser.add_argument("--out", type=Path, help="a TOML file that gets an entry for the shipped folder")
    told = parser.parse_args()
    ours, theirs = results(told.again), results(told.shipped)
    record: dict[str, dict] = {}
    for name in sorted(ours.keys() & theirs.keys()):
        shared = [
            key for key in theirs[name].data_vars
            if key in ours[name] and key not in LEFT_OUT and ours[name][key].dims == theirs[name][key].dims
        ]  # fmt: skip
        a, b = xr.align(ours[name], theirs[name], join="inner", exclude=())
        record[name] = {str(key): compared(a, b, str(key)) for key in shared}
        print(f"{name}: {dict(a.sizes)} of {dict(theirs[name].sizes)}")
        for key, found in record[name].items():
            print(f"    {key:28s} " + ", ".join(f"{what} {value:.3g}" for what, value in found.items()))
    missing = sorted(theirs.keys() - ours.keys())
    print(f"not there yet: {', '.join(missing)}" if missing else "every result was compared")
    if told.out:
        whole = tomllib.loads(told.out.read_text("utf-8")) if told.out.exists() else {}
        whole[told.shipped.name] = {"missing": missing, **record}
        told.out.write_text(tomli_w.dumps(whole), "utf-8")


if __name__ == "__main__":
    main()
