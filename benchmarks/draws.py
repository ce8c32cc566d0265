"""How much λ̂ differs from one draw of noisy data to another of the same truth.

    python benchmarks/draws.py --problems 13 --draws 6     # more than an hour on two cores

By theory (Watanabe 2013) λ̂ at nβ = n/log n fluctuates with the data, by up to √(λ/(2 log n)). For the first cases of
each kind with noisy labels and a truth that is known, `estimate_llc` gets several samples of that truth, and draws that
are enough for half of the error that is its default. Of the spread of its λ̂, what the estimates' own standard errors
explain is taken off. Prints a table, writes `results/draws.toml`.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import tomli_w

import llc
from llc.parallel import available_cores, quiet, run_units
from llc.validation.known_cases import suite
from llc.validation.problems.case import Case, redrawn

KINDS = ("linear regression", "flat directions", "softmax regression", "deep linear, noisy", "deep linear, fitted")
# Half of the default error takes four times the default budget.
LONG = {"target_error": 0.05, "max_gradients": 400_000}
OUT = Path(__file__).resolve().parent / "results" / "draws.toml"


def one(case: Case, _progress=quiet) -> tuple[float, float, str, int]:
    """λ̂, its standard error, its verdict, and n."""
    tree = llc.estimate_llc(*case.build(*case.arguments), **LONG)
    return float(tree.llc), float(tree.llc_se), tree.verdict.item(), tree.attrs["num_samples"]


def row(case: Case, found: list[tuple[float, float, str, int]]) -> dict:
    """What the draws of one truth say."""
    llcs, errors = np.array([each[0] for each in found]), np.array([each[1] for each in found])
    n = found[0][3]
    between = math.sqrt(max(0.0, llcs.var(ddof=1) - float(np.square(errors).mean())))
    return {
        "case": case.name,
        "exact": case.exact,
        "mean_error": float(llcs.mean() / case.exact - 1),
        "mean_error_se": float(llcs.std(ddof=1) / math.sqrt(len(llcs)) / case.exact),
        "spread": float(llcs.std(ddof=1) / case.exact),
        "own_error": float(math.sqrt(np.square(errors).mean()) / case.exact),
        "spread_of_data": between / case.exact,
        "bound": math.sqrt(case.exact / (2 * math.log(n))) / case.exact,
        "converged": sum(each[2] == "converged" for each in found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=13)
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--each", type=int, default=2, help="cases of each kind")
    parser.add_argument("--only", default="", help="the cases whose names hold this, of whatever kind")
    parser.add_argument("--jobs", type=int, default=available_cores())
    arguments = parser.parse_args()
    every = [case for case in suite("full", problems=arguments.problems) if not case.sample_of]
    cases = [case for kind in KINDS for case in [c for c in every if c.kind == kind][: arguments.each]]
    if arguments.only:
        cases = [case for case in every if arguments.only in case.name]
    units = [(redrawn(case, draw),) for case in cases for draw in range(arguments.draws)]
    found: dict[int, list] = {}
    rows: list[dict] = []
    for outcome in run_units(one, units, jobs=arguments.jobs):
        if outcome.error:
            raise outcome.error
        number = outcome.index // arguments.draws
        of_case = found.setdefault(number, [])
        of_case.append(outcome.result)
        if len(of_case) < arguments.draws:
            continue
        each = row(cases[number], of_case)
        rows.append(each)
        OUT.write_text(tomli_w.dumps({"problems": arguments.problems, "draws": arguments.draws, "rows": rows}))
        print(
            f"{each['case'][:70]:70s} mean {100 * each['mean_error']:+5.1f} ± {100 * each['mean_error_se']:.1f} %, "
            f"spread {100 * each['spread']:.1f} % of which the data {100 * each['spread_of_data']:.1f} % (bound "
            f"{100 * each['bound']:.1f} %), {each['converged']} converged",
            flush=True,
        )


if __name__ == "__main__":
    main()
