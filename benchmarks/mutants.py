"""Which changes of a line no test notices: a sample of mutants of the numerical code, by mutmut.

    python benchmarks/mutants.py --area predictors --number 100 --out benchmarks/results/mutants.toml

A mutant is the code with one operator, number, name or argument changed. It is killed where a test that runs its
function fails or hangs. Mutants are drawn evenly from all of an area, so that the share that is killed has a binomial
error. Works on a copy of what git tracks, in `runs/mutants/`; what it learned there serves the next call.
"""

import argparse
import json
import math
import random
import subprocess
import sys
import tomllib
from pathlib import Path

import tomli_w

ROOT = Path(__file__).parent.parent
PLACE = ROOT / "runs" / "mutants"
# By area: what is changed, and the tests that are to notice.
AREAS = {
    "predictors": (
        ["llc/predictors/*.py"],
        "predictors fuzz_numbers invariances query_regression piecewise_linear softmax_regression affine_recurrence "
        "strategies function_class dictionary_regression",
    ),
    "coefficients": (["llc/validation/learning_coefficient.py"], "learning_coefficient problems"),
    "estimator": (
        ["llc/estimate/*.py"],
        "estimate estimate_verdicts verdict scale ladder floor climb climb_steps pair conclusion settle noise reach "
        "lengths moments spectrum target batches calibration invariances baseline from_devinterp observed "
        "observables devinterp responses over_checkpoints arguments labels losses ensemble",
    ),
}
# mutmut's numbers: a test failed; it took too long; it brought Python down.
KILLED = {1, 3, 24, 36, 152, 255, -24, -11, -9}
# A name that no mutant has: mutants are made and tests looked at before it is missed.
_NONE = "none"
SURVIVED, UNTESTED = 0, (5, 33)


def copied(area: str) -> Path:
    """A copy of what git tracks, set up for one area."""
    folder = PLACE / area
    changed, tests = AREAS[area]
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.split("\0")[:-1]:
        there = folder / name
        there.parent.mkdir(parents=True, exist_ok=True)
        if not there.exists() or there.read_bytes() != (ROOT / name).read_bytes():
            there.write_bytes((ROOT / name).read_bytes())
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    config["tool"]["mutmut"] = {
        "source_paths": ["llc"],
        "only_mutate": changed,
        "also_copy": ["cli.py", "tests", "docs", "notebooks", "benchmarks", "README.md"],
        "pytest_add_cli_args_test_selection": [f"tests/test_{name}.py" for name in tests.split()],
    }
    (folder / "pyproject.toml").write_text(tomli_w.dumps(config), "utf-8")
    return folder


def run(folder: Path, names: list[str], jobs: int) -> None:
    """Run mutants by name; the first call also makes all of them, and learns which test runs which function."""
    mutmut = [sys.executable, "-m", "mutmut", "run", "--max-children", str(jobs), *names]
    said = subprocess.run(mutmut, cwd=folder, check=False, capture_output=True, text=True)
    if not (folder / "mutants" / "mutmut-stats.json").exists():
        sys.exit(f"tests fail without any mutant:\n{said.stdout[-3000:]}\n{said.stderr[-1000:]}")
    if said.returncode and names != [_NONE]:
        print(said.stderr, file=sys.stderr)


def outcomes(folder: Path) -> dict[str, int | None]:
    """Exit codes by mutant; None of those that were not run."""
    found = {}
    for path in (folder / "mutants").rglob("*.meta"):
        found.update(json.loads(path.read_text("utf-8"))["exit_code_by_key"])
    return found


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--area", choices=AREAS, required=True)
    parser.add_argument("--number", type=int, default=100, help="of mutants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="a TOML file that gets the area's outcome")
    told = parser.parse_args()
    folder = copied(told.area)
    if not (folder / "mutants" / "mutmut-stats.json").exists():
        run(folder, [_NONE], 1)
    every = sorted(outcomes(folder))
    chosen = random.Random(told.seed).sample(every, min(told.number, len(every)))
    run(folder, chosen, told.jobs)
    found = outcomes(folder)
    survived = [name for name in chosen if found[name] in {SURVIVED, *UNTESTED}]
    killed = [name for name in chosen if found[name] in KILLED]
    share = len(killed) / len(chosen)
    error = math.sqrt(share * (1 - share) / len(chosen))
    print(f"{told.area}: {len(killed)} of {len(chosen)} of {len(every)} mutants killed, {share:.2f} ± {error:.2f}")
    others = [f"{name} ({found[name]})" for name in chosen if name not in {*survived, *killed}]
    print("\n".join(["survived, or run by no test:", *survived, "not known:", *others]))
    if told.out:
        record = tomllib.loads(told.out.read_text("utf-8")) if told.out.exists() else {}
        record[told.area] = {"of": len(every), "run": len(chosen), "killed": len(killed), "survived": survived}
        told.out.write_text(tomli_w.dumps(record), "utf-8")


if __name__ == "__main__":
    main()
