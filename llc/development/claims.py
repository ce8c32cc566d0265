"""What a paper says of a whole study, judged on all results of an experiment."""

from collections.abc import Sequence

import xarray as xr

from llc import store
from llc.errors import InvalidInput, StoreError
from llc.parallel import Progress, quiet
from llc.systems import STUDIES, study_claims_of
from llc.systems.claims import Claim, StudyResults, check_claims, claims_dataset, said_of_claims


@store.takes_experiment
def study_claims(
    experiment: store.Experiment, claims: Sequence[Claim] | None = None, *, progress: Progress = quiet
) -> xr.Dataset:
    """Every claim as a number with its 90 % interval and a verdict, also written to the experiment's `claims.nc`.

    `supported` where the interval lies within the claim's bounds, `contradicted` where it lies outside, `undecided`
    where it holds one of them or where there is no number, because a result is missing or its estimates may not be
    compared.

    Args:
        experiment: from `llc.open` or `llc.train`.
        claims: by default those of the preset's paper (`llc.systems.study_claims_of`).
        progress: told (unit, done, total, note).
    Returns:
        By `claim`: `claim_value` with `claim_low` and `claim_high`, `claim_from` and `claim_to`, `claim_verdict`,
        `claim_said`, `claim_published`.
    Raises:
        InvalidInput: the preset's paper claims nothing of a study, and no claims are given.
        StoreError: nothing is trained yet, or a result is damaged or older than what it was made from.
    """
    chosen = study_claims_of(experiment.config) if claims is None else check_claims(claims)
    if not chosen:
        raise InvalidInput(
            f"the preset {experiment.config['preset']} has no claims of a study; those of {', '.join(STUDIES)} have"
        )
    if not experiment.has_metrics:
        raise StoreError(f"{experiment.path} has no metrics yet; train it first")
    # What is not there yet leaves claims about it undecided; what is damaged or too old is named.
    there = [name for name in store.MADE if name != "claims" and store.is_there(experiment.path / f"{name}.nc")]
    for name in there:
        if outdated := experiment.outdated(name):
            raise StoreError(outdated)
    with store.folder_lock(experiment.path):
        judged = None if claims is not None else said_of_claims(chosen)
        made = store.recipe(experiment, "claims", sources=("metrics", *there), claims=judged)
        if store.is_made(experiment, "claims", made, progress):
            return experiment.claims
        known = {name: experiment.result(name) for name in ("metrics", *there)}
        found = claims_dataset(StudyResults(known), chosen)
        return store.write_dataset(experiment.path / "claims.nc", found, made)
