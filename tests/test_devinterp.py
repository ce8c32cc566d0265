"""SGLD against devinterp's: step by step, and λ̂ of a network."""

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats
from torch import nn
from wells import network, squared_errors

import llc
from llc.randomness import generator
from llc.sampling import SAMPLERS, Target, run_chains
from llc.validation.peers import devinterp_sgld


def devinterp_differences(model, batch, indices, **settings):
    """Loss differences of devinterp's chain, paired with the same samples' losses at w*."""
    kept = []

    def remembered():
        for chosen in indices:
            kept.append(chosen)
            yield chosen

    trace = devinterp_sgld(model, squared_errors, batch, batches=remembered(), **settings)
    with torch.no_grad():
        initial = squared_errors(model, batch)
    return trace - np.array([float(initial[chosen].mean()) for chosen in kept])


def test_sgld_is_devinterps_step_by_step():
    """One parameter tensor, the same noise and minibatches: the two chains coincide to rounding."""
    model = nn.Linear(4, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -1.0, 0.5, 2.0]]))
    _, batch = network()
    settings = {"step_size": 1e-3, "nbeta": 40.0, "gamma": 5.0}
    target = Target(model, squared_errors, batch, nbeta=40.0, gamma=5.0, batch_size=32)
    key = (3,)
    ours = run_chains(target, SAMPLERS["sgld"], {"step_size": 1e-3}, chains=1, warmup=0, draws=200, key=key)
    stream = target.minibatches(generator(*key, "minibatches", 0))
    theirs = devinterp_differences(
        model,
        batch,
        steps=200,
        noise=generator(*key, "noise", 0),
        indices=(minibatch.indices for minibatch in stream),
        **settings,
    )
    # devinterp draws its noise in float32, whatever the type of the weights.
    np.testing.assert_allclose(ours.difference[0], theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_sgld_agrees_with_devinterp_on_a_network():
    """Independent noise and minibatches: λ̂ agrees within four combined standard errors, four chains each."""
    model, batch = network()
    nbeta, gamma, step_size, warmup, draws = 40.0, 5.0, 2e-3, 500, 2500
    tree = llc.estimate_llc(
        model,
        squared_errors,
        batch,
        sampler="sgld",
        nbeta=nbeta,
        gamma=gamma,
        step_size=step_size,
        batch_size=64,
        warmup=warmup,
        draws=draws,
    )

    def shuffled(draw):
        while True:
            yield from torch.randperm(256, generator=draw).split(64)

    traces = nbeta * np.stack(
        [
            devinterp_differences(
                model,
                batch,
                steps=warmup + draws,
                step_size=step_size,
                nbeta=nbeta,
                gamma=gamma,
                noise=generator("theirs", chain),
                indices=shuffled(generator("their batches", chain)),
            )[warmup:]
            for chain in range(4)
        ]
    )
    theirs, their_error = traces.mean(), array_stats.mcse(traces, method="mean")
    ours, our_error = float(tree.llc_raw), array_stats.mcse(tree.posterior.llc.values, method="mean")
    assert ours > 10 * our_error
    assert abs(ours - theirs) < 4 * np.hypot(our_error, their_error)
