"""The samplers there are, by name."""

import pickle

import cloudpickle

from llc.errors import InvalidInput, did_you_mean, shown_name
from llc.sampling.devinterp_sampler import DevInterp
from llc.sampling.gle import GLE
from llc.sampling.hmc import HMC
from llc.sampling.kinetic import Kinetic
from llc.sampling.mala import MALA
from llc.sampling.rmsprop_sgld import RMSpropSGLD
from llc.sampling.sampler import Sampler
from llc.sampling.sgld import SGLD

# The line to add for a new sampler.
_EVERY: tuple[Sampler, ...] = (Kinetic(), GLE(), SGLD(), RMSpropSGLD(), MALA(), HMC())
# Those of another package, which has to be there only where one of them is run.
_FOREIGN: tuple[Sampler, ...] = (DevInterp("sgld"), DevInterp("rmsprop_sgld"))

SAMPLERS: dict[str, Sampler] = {sampler.name: sampler for sampler in _EVERY}


def known_samplers() -> dict[str, Sampler]:
    """Every sampler by name: `SAMPLERS`, with what users have put there, and devinterp's."""
    return {sampler.name: sampler for sampler in _FOREIGN} | SAMPLERS


def sampler_named(name: str) -> Sampler:
    """A sampler by name, or InvalidInput with the nearest one, or with what a user's own one lacks.

    Args:
        name: such as `kinetic`, `sgld` or `mala`.
    """
    known = known_samplers()
    if name not in known:
        raise InvalidInput(f"unknown sampler {shown_name(name)}; {did_you_mean(name, known)}")
    lacks = [member for member in vars(Sampler) if member[0] != "_" and not hasattr(known[name], member)]
    if lacks:
        raise InvalidInput(
            f"the sampler {shown_name(name)} of type {type(known[name]).__name__} lacks {', '.join(lacks)}; "
            "llc.sampling.Sampler says what each is"
        )
    return known[name]


def sent_samplers() -> bytes:
    """What users have put into `SAMPLERS`, for other processes, which have only those of the package."""
    own = {name: sampler for name, sampler in SAMPLERS.items() if sampler not in _EVERY}
    return cloudpickle.dumps(own) if own else b""


def take_samplers(sent: bytes) -> None:
    """Have another process's too.

    Args:
        sent: by `sent_samplers`, from a process that this one trusts.
    """
    if sent:
        SAMPLERS.update(pickle.loads(sent))
