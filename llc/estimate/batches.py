"""How minibatches are taken: plainly or with control variates, whichever has less noise where the chains are."""

import math

import torch

from llc.randomness import generator
from llc.sampling import CONTROL_VARIATE_BYTES, LEAST_DRAWS, Sampler, Target, run_chains

# Steps after which a chain has left w*, and minibatches whose gradients are compared there.
_SCOUT, _COMPARED = 60, 8
# Control variates keep a gradient for each minibatch: they are taken where they halve the variance at least.
_WORTH = 0.5


def choose_control_variates(target: Target, kernel: Sampler, curvature: float, *, key: tuple) -> tuple[Target, str]:
    """The target with control variates at w* or without, and why.

    They take the noise away where chains stay near w* and add some where they go far (Baker et al. 2019): one chain of
    some 60 steps shows which, from the variance of its last position's minibatch gradients. An anchor that moves with
    the chain is not among the choices: on a transformer of `tiny` one has to be no more than an epoch old to leave 0.4
    of the variance, and costs as many gradients as that epoch has (`benchmarks/anchors.py`); twice the batch leaves
    0.5.

    Args:
        target: without.
        curvature: nβ h_max at w*.
        key: seeds the chain and the minibatches.
    """
    if target.batch_size == target.num_samples:
        return target, "none: there are no minibatches"
    if target.positions is not None:
        return target, "none: they are kept for the mean over positions only"
    if math.ceil(target.num_samples / target.batch_size) * target.center.nbytes > CONTROL_VARIATE_BYTES:
        return target, "none: gradients of all minibatches at w* would take too much memory"
    settings = kernel.default_settings(curvature, target.gamma, _SCOUT)
    scout = run_chains(
        target, kernel, settings, chains=1, warmup=_SCOUT, draws=LEAST_DRAWS, adapt=True, look=True, key=(*key, "scout")
    )
    if scout.diverged:
        return target, "none: the chain that was to tell diverged"
    corrected = target.with_control_variates()
    plain, with_them = (_variance(one, scout.ended.position[0], key) for one in (target, corrected))
    target.gradients += corrected.gradients
    share = with_them / plain if plain > 0 else math.inf
    said = f"control variates have {share:.2g} times the variance of plain minibatches after {_SCOUT} steps"
    if share > _WORTH:
        return target, f"none: {said}"
    corrected.gradients = target.gradients
    return corrected, f"at w*: {said}"


def _variance(target: Target, position: torch.Tensor, key: tuple) -> float:
    """tr Cov of a minibatch's gradient of U."""
    minibatches = target.minibatches(generator(*key, "compared"))
    gradients = torch.stack([target.evaluate(position, next(minibatches)).gradient for _ in range(_COMPARED)])
    return float(gradients.var(0).sum())
