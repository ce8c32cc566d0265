"""What the estimator, and others, make of problems with known learning coefficients."""

import contextlib
import math
import time
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from llc import store
from llc.errors import EstimateFailed, InvalidInput, check_whole, did_you_mean, shown_name
from llc.estimate.estimate import estimate_llc
from llc.estimate.measure import Point, estimate_at
from llc.estimate.noise import choose_batch
from llc.estimate.settings import SamplingConfig
from llc.extras import to_install
from llc.parallel import Progress, default_jobs, quiet, raise_failures, run_units
from llc.sampling import SAMPLERS, Target, largest_curvature
from llc.validation.known_cases import suite
from llc.validation.peers import PEERS, peer_estimate
from llc.validation.problems.case import Case

# What `estimate_llc` chooses by itself.
DEFAULT = "default"
_CHAINS = 4
_PEER_STEP = 0.1


def validate(
    name: str = "quick",
    *,
    methods: Sequence[str] = (DEFAULT, "sgld", "devinterp"),
    jobs: int | None = None,
    seed: int = 0,
    problems: int = 0,
    only: str | Sequence[str] = (),
    folder: Path | None = None,
    progress: Progress = quiet,
) -> xr.Dataset:
    """Run the estimator on a suite with known answers, and others.

    Args:
        name: `quick` or `full`, where `estimate_llc` chooses everything, or `tuned-quick` or `tuned`, at settings that
            suit each case.
        methods: `default`, for the sampler that `estimate_llc` chooses, samplers of `llc.sampling`, and other tools
            by name (`llc.validation.peers`), for their SGLD with their own estimator, which get the gradients that the
            first one takes; those with verdicts choose for themselves, or have the case's settings.
        jobs: worker processes; by default one a core.
        seed: of the chains.
        problems: another number draws other problems of the same kinds (see `known_cases.suite`).
        only: cases whose names hold this, or one of these; () for all.
        folder: keeps what is finished as it comes; calling again goes on from there.
        progress: told (unit, done, total, note).
    Returns:
        By `case`: `truth` (the same for samples of one truth), `exact`, `kind`, `multiplicity`, `parameters`; by
        (`case`, `estimator`): `llc`, `llc_se`, `llc_low`, `llc_high`, `explored` (NaN for other tools), `verdict`,
        `reason`, `gradients`, `seconds`.
    Raises:
        InvalidInput: an unknown suite or method; negative `problems`; no case is one of `only`.
        StoreError: `folder` cannot be written, or another process is at work in it.
    """
    seed = check_whole("seed", seed, 0)
    known = [DEFAULT, *SAMPLERS, *PEERS]
    for method in methods:
        if method not in known:
            raise InvalidInput(f"unknown method {shown_name(method)}; {did_you_mean(method, known)}")
        if method in PEERS and not PEERS[method].installed:
            raise InvalidInput(
                f"{method} is not installed; {to_install('peers')} (canonical-interp asks "
                "for Python 3.12 or later), or leave it out"
            )
    if not methods or methods[0] in PEERS or len(set(methods)) < len(methods):
        raise InvalidInput(f"methods = {list(methods)} given, expected a sampler first, and each method once")
    only = [only] if isinstance(only, str) else only
    every = suite(name, problems)
    cases = [case for case in every if not only or any(part in case.name for part in only)]
    if not cases:
        raise InvalidInput(
            f"only = {list(only)} given, but no case of suite {name}, problems {problems}, is called so; one is "
            f"{every[0].name!r}"
        )
    # The longest first, so that the workers end together.
    order = sorted(range(len(cases)), key=lambda i: -cases[i].parameters)
    units = [(cases[i], tuple(methods), seed, folder) for i in order]
    rows: dict[int, list[dict]] = {}
    failures = []
    with store.folder_lock(folder) if folder else contextlib.nullcontext():
        for outcome in run_units(_validate_case, units, jobs=jobs or default_jobs(len(units)), progress=progress):
            if outcome.error:
                failures.append(outcome.error)
            else:
                rows[order[outcome.index]] = outcome.result
                progress("cases", len(rows), len(cases), cases[order[outcome.index]].name)
    raise_failures(failures, f"{len(failures)} of {len(cases)} cases could not be run", InvalidInput)
    return label([cases[i] for i in sorted(rows)], methods, [rows[i] for i in sorted(rows)])


def _validate_case(
    case: Case, methods: Sequence[str], seed: int, folder: Path | None, _progress: Progress = quiet
) -> list[dict]:
    """What each method makes of one case."""
    rows: list[dict] = []
    for method in methods:
        told = {"case": case.name, "settings": case.settings, "first": methods[0], "method": method, "seed": seed}
        kept = None if folder is None else folder / f"{store.table_hash(told)}.toml"
        if kept is not None and kept.exists():
            rows.append(store.read_table(kept)["row"])
            continue
        started = time.perf_counter()
        found = (
            _peer(case, method, rows[0], seed)
            if method in PEERS
            else _own(case, None if method == DEFAULT else method, seed)
        )
        row = {name: value if isinstance(value, str) else float(value) for name, value in found.items()}
        rows.append({**row, "seconds": time.perf_counter() - started})
        if kept is not None:
            store.write_table(kept, {**told, "row": rows[-1]})
    return rows


_NUMBERS = ("llc", "llc_se", "llc_low", "llc_high", "explored", "gradients")
_CHOSEN = ("nbeta", "gamma", "batch_size")


def _own(case: Case, sampler: str | None, seed: int) -> dict:
    if not case.settings:
        return _at_defaults(case, sampler, seed)
    config = SamplingConfig(sampler=sampler, chains=_CHAINS // 2, **case.settings)
    point = Point(case.name, *case.build(*case.arguments))
    estimate = estimate_at(point, config, key=(seed, "validate", case.name))
    row = {name: getattr(estimate.summary, name) for name in ("llc", "llc_se", "llc_low", "llc_high")}
    return row | {name: getattr(estimate, name) for name in ("explored", "verdict", "reason", "gradients")}


def _at_defaults(case: Case, sampler: str | None, seed: int) -> dict:
    """What somebody gets who says nothing but the model, the loss and the data; and what was chosen for them."""
    try:
        root = estimate_llc(*case.build(*case.arguments), sampler=sampler, seed=seed)
    except EstimateFailed as error:
        return dict.fromkeys(_NUMBERS, math.nan) | {"gradients": 0, "verdict": "diverged", "reason": str(error)}
    row = {name: float(root[name]) for name in _NUMBERS}
    chosen = {name: root.attrs[name] for name in _CHOSEN if name in root.attrs}
    return row | chosen | {name: str(root[name].item()) for name in ("verdict", "reason")}


def _peer(case: Case, peer: str, first: dict, seed: int) -> dict:
    """Another tool with the same target, at a tenth of the step size that this package's SGLD would begin with.

    At the whole of it the step's heat, which we take off and it does not, is a third of its λ̂ (`benchmarks/cost.py`).

    Args:
        first: what the first method made of it: its gradients, and its choices where the case has no settings.
    """
    model, loss, data = case.build(*case.arguments)
    chosen = {name: first[name] for name in _CHOSEN if name in first and math.isfinite(first[name])}
    if "batch_size" in chosen:
        chosen["batch_size"] = int(chosen["batch_size"])
    config = SamplingConfig(**chosen | case.settings)
    n = len(data[0])
    nbeta, gamma = config.nbeta or n / math.log(n), config.gamma or 0.0
    batch_size, _ = choose_batch(model, loss, data, config.batch_size)
    target = Target(model, loss, data, nbeta=nbeta, gamma=gamma, batch_size=batch_size)
    own = SAMPLERS["sgld"].default_settings(largest_curvature(target), gamma, config.draws or 200)["step_size"]
    return peer_estimate(
        peer,
        model,
        loss,
        data,
        gradients=max(int(first["gradients"]), 2 * _CHAINS),  # none are known where the first method failed
        chains=_CHAINS,
        step_size=_PEER_STEP * own,
        nbeta=nbeta,
        gamma=gamma,
        batch_size=batch_size,
        key=(seed, "validate", case.name, peer),
    )


_CASE_COLUMNS = {
    "truth": "the problem that the case is a sample of",
    "kind": "kind of problem",
    "exact": "exact learning coefficient (at finite nbeta and gamma for Gaussian wells)",
    "multiplicity": "its multiplicity",
    "parameters": "number of parameters",
}
_COLUMNS = {
    "llc": "estimated learning coefficient",
    "llc_se": "standard error of llc",
    "llc_low": "lower end of the 90 % interval of llc",
    "llc_high": "upper end of the 90 % interval of llc",
    "explored": "share of the way that the prior lets chains go that they have gone",
    "verdict": "what the estimate is worth",
    "reason": "why",
    "gradients": "gradients computed",
    "seconds": "time taken on one core",
}


def label(cases: Sequence[Case], methods: Sequence[str], rows: Sequence[Sequence[dict]]) -> xr.Dataset:
    """The dataset that `validate` returns, from one row a case and method."""
    data: dict = {
        name: ("case", [getattr(case, name) for case in cases], {"long_name": said, "units": "1"})
        for name, said in _CASE_COLUMNS.items()
    }
    for name, said in _COLUMNS.items():
        values = [[row.get(name, math.nan) for row in of_case] for of_case in rows]
        data[name] = (("case", "estimator"), values, {"long_name": said, "units": "s" if name == "seconds" else "1"})
    coords = {
        "case": ("case", [case.name for case in cases], {"long_name": "case", "units": "1"}),
        "estimator": ("estimator", list(methods), {"long_name": "sampler, or another tool", "units": "1"}),
    }
    return xr.Dataset(data, coords)
