"""Losses of datasets along the draws of an estimate: when they are looked at, and what is kept."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from llc.errors import Interrupted, InvalidInput
from llc.estimate.climb import Climb
from llc.estimate.settings import SamplingConfig
from llc.parallel import Progress, check_interrupt, quiet
from llc.sampling import (
    LEAST_DRAWS,
    LOOKS,
    Chains,
    Data,
    Look,
    Loss,
    Losses,
    Observable,
    Observed,
    Positions,
    Storage,
    Target,
    check_observables,
    chosen,
)
from llc.sampling.storage import check_room

# Draws may be kept as they are, for losses to be read at them later, where those of a rung take at most so many bytes.
_MOST_POSITIONS = 2**28
# Draws of a chain that losses are read at then.
_MOST_LOOKS = 2 * LOOKS


class Observing:
    """Looks at the datasets that are asked for, among a user's observables.

    On a ladder only the draws of its last rung count, and nobody knows which that is before it has ended: draws are
    kept, and losses computed afterwards, at draws after burn-in alone. Where nβ and γ are given there is one rung, and
    where draws are too large to be kept, or a dataset says how often, losses are computed on the way.

    Args:
        observables: `Losses`, and observables of the user's own.
        targets: of each w*.
        own: the loss and the data that are sampled, as they were given.

    Attributes:
        on_the_way: what chains are to be given.

    Raises:
        StoreError: no room for what is to be kept.
    """

    def __init__(
        self,
        observables: Sequence[Observable | Losses],
        targets: Sequence[Target],
        own: tuple[Loss, Data],
        config: SamplingConfig,
    ) -> None:
        self.looks = [Look(one, targets, own) for one in observables if isinstance(one, Losses)]
        users = [one for one in observables if not isinstance(one, Losses)]
        ladder = config.gamma is None and config.radius is None
        size = config.chains * LOOKS * targets[0].num_parameters * targets[0].origin.element_size()
        may_wait = ladder and size <= _MOST_POSITIONS
        self._later = [look for look in self.looks if may_wait and look.every is None]
        for look in self.looks:  # said before any chain runs
            of_round = LOOKS if look.every is None else (config.draws or LEAST_DRAWS) // look.every
            number = _MOST_LOOKS if look in self._later else of_round
            check_room((config.chains, number, *look.baseline(targets[0]).shape), look.dtype)
        waiting: list[Observable] = [Positions(targets[0])] if self._later else []
        self.on_the_way = [*users, *(look for look in self.looks if look not in self._later), *waiting]

    def after(self, climbed: Climb, progress: Progress = quiet) -> Climb:
        """With the losses that were left for later."""
        if not self._later:
            return climbed
        cold, target, warmup = climbed.pair.cold, climbed.pair.target, climbed.reading.warmup
        observed = dict(cold.observed)
        positions = observed.pop(Positions.name)
        slots = np.flatnonzero(positions.at >= warmup)
        slots = np.unique(np.linspace(0, len(slots) - 1, min(len(slots), _MOST_LOOKS)).round().astype(int)) + slots[0]
        for number, look in enumerate(self._later):
            progress("looks", number, len(self._later), f"losses of {look.name}")
            observed[look.name] = _looked(look, target, positions, slots, cold.survivors)
        return replace(climbed, pair=replace(climbed.pair, cold=replace(cold, observed=observed)))

    def baselines(self, target: Target) -> dict[str, np.ndarray]:
        """ℓ_i(w*) of each dataset."""
        return {look.name: look.baseline(target).numpy() for look in self.looks}


def _looked(look: Look, target: Target, positions: Observed, slots: np.ndarray, survivors: Sequence[int]) -> Observed:
    """What a look sees at some of the draws that were kept."""
    shape = look.baseline(target).shape
    found = Storage((len(positions.values), len(slots), *shape), look.dtype)
    for chain in survivors:
        for place, slot in enumerate(slots):
            if check_interrupt():
                raise Interrupted("stopped while looking at draws")
            position = torch.from_numpy(np.array(positions.values[chain, slot])).to(target.origin)
            with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
                found.put(chain, place, look.at(target, position).numpy())
    return Observed(found.array(), positions.at[slots], look.dims)


def check_what_to_observe(observables: Sequence[Observable | Losses], draws: int) -> None:
    """Observables that results can have, before any chain runs.

    Raises:
        InvalidInput: see `check_observables`; or two datasets of one name.
    """
    if not isinstance(observables, Sequence):
        raise InvalidInput(f"observables = {observables!r} given, expected a list of them")
    datasets = [one.name for one in observables if isinstance(one, Losses)]
    users = [one for one in observables if not isinstance(one, Losses)]
    check_observables(users, draws)
    names = datasets + [one.name for one in users]
    for one in observables:
        if isinstance(one, Losses) and one.every is not None and one.every > draws:
            raise InvalidInput(
                f"losses of {one.name} are asked for at every {one.every} draws, expected every 1 to {draws}; give "
                "draws, or leave `every` out"
            )
    for name in datasets:
        if names.count(name) > 1:
            raise InvalidInput(
                f"{names.count(name)} observables are called {name}, expected a name of its own for each"
            )


def losses_of(chains: Chains, name: str, warmup: int) -> tuple[np.ndarray, np.ndarray]:
    """ℓ_i(w) − ℓ_i(w*), (chain, look, …), of the chains that survived, after warm-up; and the draws, (look,)."""
    seen = chains.observed[name]
    slots = np.flatnonzero(seen.at >= warmup)
    return chosen([seen.values], chains.survivors, [slots]), seen.at[slots] - warmup
