"""What other tools make of problems with known λ, at the gradients that an estimate at the defaults takes and at more.

    python benchmarks/cost.py --problems 12 --only regression

`estimate_llc` gets the model, the loss and the data of each case of `llc validate --suite quick`. devinterp's SGLD with
its own estimator, and canonical-interp's where it is installed (Python 3.12 or later), get what their users have to
find by themselves: nβ and γ, those that `estimate_llc` came to or n/log n and a prior as wide as the weights, and a
step size, the one that our SGLD begins with or a tenth of it; and as many gradients. devinterp also gets `MORE` times
as many, with the smaller steps. Prints a table, writes `results/cost.toml`.
"""

import argparse
import math
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tomli_w
import torch

import llc
from llc.parallel import available_cores, quiet, run_units
from llc.sampling import SAMPLERS, Target, largest_curvature
from llc.validation.known_cases import suite
from llc.validation.peers import PEERS, peer_estimate
from llc.validation.problems.case import Case

HERE = Path(__file__).resolve().parent
MORE = 20
# Shares of the step that this package's own SGLD begins with, and whose heat it takes off; theirs do not, and at the
# whole of it come out high by tens of per cent.
STEPS = (1.0, 0.1)
CHAINS = 4
OWN = "llc, nothing given"


def case_rows(case: Case, others: tuple[str, ...], _progress=quiet) -> list[dict]:
    """What each makes of one case."""
    started = time.perf_counter()
    own = llc.estimate_llc(*case.build(*case.arguments))
    rows = [{"who": OWN, "llc": float(own.llc), "verdict": own.verdict.item(), "gradients": float(own.gradients)}]
    rows[0]["seconds"] = time.perf_counter() - started
    spent, n = int(own.gradients), own.attrs["num_samples"]
    batch = int(own.attrs["batch_size"])
    targets = {"its nbeta and gamma": (own.attrs["nbeta"], own.attrs["gamma"])}
    targets["n/log n and a prior as wide as the weights"] = (n / math.log(n), float(own["ladder"].gamma[0]))
    asked = [(who, what, 1, share) for who in others for what in targets for share in STEPS]
    if "devinterp" in others:  # with the step that hardly heats its chains
        asked.append(("devinterp", "its nbeta and gamma", MORE, min(STEPS)))
    for who, what, times, share in asked:
        model, loss, data = case.build(*case.arguments)
        nbeta, gamma = targets[what]
        target = Target(model, loss, data, nbeta=nbeta, gamma=gamma, batch_size=batch)
        step = share * SAMPLERS["sgld"].default_settings(largest_curvature(target), gamma, 200)["step_size"]
        common = {"gradients": times * spent, "step_size": step, "nbeta": nbeta, "gamma": gamma}
        started = time.perf_counter()
        key = ("peers", case.name, what)
        found = peer_estimate(who, model, loss, data, chains=CHAINS, batch_size=batch, key=key, **common)["llc"]
        name = f"{who}, {what}, {share:g} of the step" + (f", {times} times the gradients" if times > 1 else "")
        rows.append({"who": name, "llc": found, "gradients": times * spent, "seconds": time.perf_counter() - started})
    return [{"case": case.name, "exact": case.exact, **row} for row in rows]


def table(rows: list[dict]) -> list[dict]:
    """By who: median and largest error, how many are within a tenth."""
    found = []
    for who in dict.fromkeys(row["who"] for row in rows):
        of = [row for row in rows if row["who"] == who]
        errors = np.array([abs(row["llc"] / row["exact"] - 1) for row in of])
        errors[~np.isfinite(errors)] = np.inf
        found.append(
            {
                "who": who,
                "cases": len(of),
                "converged": sum(row.get("verdict") == "converged" for row in of),
                "within_a_tenth": int((errors <= 0.1).sum()),
                "median_error": float(np.median(errors)),
                "largest_error": float(errors.max()),
                "gradients": float(np.median([row["gradients"] for row in of])),
                "seconds": float(np.median([row["seconds"] for row in of])),
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=available_cores())
    parser.add_argument("--only", default="", help="cases whose names hold this")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "cost.toml")
    arguments = parser.parse_args()
    others = tuple(name for name, peer in PEERS.items() if peer.installed)
    cases = [case for case in suite("quick", problems=arguments.problems) if arguments.only in case.name]
    rows: list[dict] = []
    for outcome in run_units(case_rows, [(case, others) for case in cases], jobs=arguments.jobs):
        if outcome.error:
            raise outcome.error
        rows += outcome.result
        for row in outcome.result:
            print(f"{row['case']}: {row['who']}: {100 * (row['llc'] / row['exact'] - 1):+.1f} %", flush=True)
        about = {
            "problems": arguments.problems,
            **{name: version(PEERS[name].package) for name in others},
            "torch": torch.__version__,
        }
        arguments.out.write_text(tomli_w.dumps({**about, "rows": table(rows)}))
    for row in table(rows):
        print(
            f"{row['who']}: {row['within_a_tenth']} of {row['cases']} within 10 %, median error "
            f"{100 * row['median_error']:.1f} %, largest {100 * row['largest_error']:.0f} %, "
            f"{row['gradients']:.0f} gradients, {row['seconds']:.0f} s"
        )


if __name__ == "__main__":
    main()
