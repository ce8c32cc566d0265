"""The samplers there are, by name."""

from llc.errors import InvalidInput, did_you_mean
from llc.sampling.gle import GLE
from llc.sampling.hmc import HMC
from llc.sampling.kinetic import Kinetic
from llc.sampling.mala import MALA
from llc.sampling.rmsprop_sgld import RMSpropSGLD
from llc.sampling.sampler import Sampler
from llc.sampling.sgld import SGLD

# The line to add for a new sampler.
_EVERY: tuple[Sampler, ...] = (Kinetic(), GLE(), SGLD(), RMSpropSGLD(), MALA(), HMC())

SAMPLERS: dict[str, Sampler] = {sampler.name: sampler for sampler in _EVERY}


def sampler_named(name: str) -> Sampler:
    """A sampler by name, or InvalidInput with the nearest one."""
    if name not in SAMPLERS:
        raise InvalidInput(f"unknown sampler {name}; {did_you_mean(name, SAMPLERS)}")
    return SAMPLERS[name]
