"""What the noise of the data does to λ̂: how cold n samples can be sampled, and in which batches."""

import math

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from llc.devices import one_attention
from llc.errors import InvalidInput
from llc.objective import evaluating
from llc.sampling import Data, Loss, Samples, check_data
from llc.sampling.weights import check_model

# Floating-point operations of a gradient that take about as long as what a step costs besides.
_CHEAP = 1e8
# Weights at the truth lie so many times what is held of F above their floor at most: twice that is chance, where λ is 5
# or more. Where less than this share of F is held, a minimiser's find says nothing of the rest.
_FAR_ABOVE, _TELLING = 3.0, 0.2
# Samples a draw where the whole dataset is not cheap, at least.
_LEAST_BATCH = 256


def noise_nats(nbeta: float, sample_losses: np.ndarray, num_samples: int) -> float:
    """How far the floor of n noisy samples lies below what it would be without their noise, in nats.

        F = nβ/(2n) tr(C H⁻¹) = nβ²/(2n) · mean_i Var_w(ℓ_i(w))

    with C the covariance of per-sample gradients: along the draws Var_w(ℓ_i) = g_iᵀ H⁻¹ g_i/nβ. For a negative
    log-likelihood C = H and F = nβ d/(2n), so that F/λ = β; losses in other units are thus put on its scale. Without
    noise the gradients vanish at the floor and F is next to nothing.

    Args:
        sample_losses: ℓ_i(w) − ℓ_i(w*), (draw, sample).
    """
    if len(sample_losses) < 2:
        return 0.0
    return nbeta**2 / (2 * num_samples) * float(sample_losses.var(0, ddof=1).mean())


def free_nats(noise: float, settled: float, *, llc: float, held: float, degeneracy: float) -> tuple[float, float]:
    """What of F = `noise_nats` no minimiser gives back, and its standard error, in nats.

    With w* at the truth the noise of n samples lowers λ̂(w*) by F on average, whatever the well:

        E[nβ(E_w L_n − L_n(w_0))] = λ − F        (Watanabe 2010, Neural Networks 23)

    Along directions with curvature a minimiser finds as much below w*. Along the others it does not, or fits noise that
    draws do not see: there F (1 − held/λ̂) is still missing. At weights that were trained on these very samples nothing
    is: a minimiser then finds next to nothing along any direction, and of F counts the share that it did find. Where it
    finds far more, w* is no truth either, nor are its curvatures those of the basin: nothing is added then, and the
    error stays. In a well with hardly any curvature (w⁴) there is no telling, and it is half, give or take as much.

    Args:
        settled: nats that a minimiser found below w*.
        llc, held, degeneracy: see `llc.estimate.scale.Rung`; where held is not known, half of the degeneracy is what is
            free, give or take as much.
    """
    known = math.isfinite(held) and llc > 0
    free = noise * min(1.0, max(0.0, 1 - held / llc if known else degeneracy / 2))
    if noise - free < _TELLING * noise:
        return (0.5 * free if settled < _FAR_ABOVE * noise else 0.0), free * (0.5 if known else 1.0)
    found = settled / (noise - free) if noise > 0 else 0.0
    at_truth = min(1.0, max(0.0, found), max(0.0, _FAR_ABOVE - found))
    return at_truth * free, free * (0.5 if known else 1.0)


def tilt_nats(
    nbeta: float, sample_losses: np.ndarray, num_samples: int, *, floor_losses: np.ndarray | float = 0.0
) -> float:
    """How far λ̂ above the floor may be off for the n samples being these and no others, in nats; a standard error.

        ½ nβ sd_i(m_i)/√n,    m_i = E_w[ℓ_i(w)] − ℓ_i at the floor

    Noise in the labels tilts a well. As far as the well is a square, that moves its floor, which a minimiser sees, and
    it leaves m_i alike. Where the loss rises like a higher power, w⁴ + noise · w² for one, draws lean to where it falls
    and take λ̂ along, though nothing lies below w*: Watanabe's (2013, theorem 4) fluctuation U √(λ/2 log n). To first
    order λ̂ moves by E[nβU] − Cov(nβK, nβU) for noise U on a loss K; as U goes with √K, the second takes half of the
    first. The variance is that which two chains have in common, so that the draws' own spread does not count.

    How samples differ in m_i without any noise tells nothing of it, but then each is positive. So only as much counts
    as the negative ones, and as many positive ones, have of it.

    Args:
        sample_losses: ℓ_i(w) − ℓ_i(w*), (chain, draw, sample).
        floor_losses: the same at the floor, (sample,).
    """
    means = sample_losses.mean(1) - floor_losses
    chains = len(means)
    if chains < 2:  # halves of the one there is
        half = sample_losses.shape[1] // 2
        if not half:
            return 0.0
        means = np.stack([sample_losses[0, :half].mean(0), sample_losses[0, half:].mean(0)]) - floor_losses
        chains = 2
    common = np.cov(means)
    shared = float(common.sum() - np.trace(common)) / (chains * (chains - 1))
    mean = means.mean(0)
    of_noise = min(1.0, 2 * float(np.square(np.minimum(mean, 0)).sum()) / max(float(np.square(mean).sum()), 1e-300))
    return nbeta / 2 * math.sqrt(max(0.0, shared * of_noise) / num_samples)


def coldest(nbeta: float, nats: float, llc: float, num_samples: int) -> float:
    """The nβ at which F/λ̂ is 1/log n, as it is at n/log n for a negative log-likelihood.

    Watanabe's (2013) inverse temperature β = 1/log n, in whatever units the loss has. Colder chains fit the noise of
    the n samples, of which the true λ knows nothing.
    """
    if not (nats > 0 and llc > 0):
        return math.inf
    return nbeta * llc / (nats * math.log(num_samples))


def choose_batch(
    model: nn.Module, loss: Loss, data: Data, given: int | None, *, full_batch: bool = False
) -> tuple[int, str]:
    """Samples a draw, and why: all of them where that costs about no more than a step costs anyway.

    The count of operations is what decides, not a clock, so that it comes out the same on every machine.

    Args:
        given: what the user asks for.
        full_batch: whether the sampler needs the whole dataset at once.
    Raises:
        InvalidInput: more samples asked for than there are, or no module with parameters.
    """
    check_model(model)
    found = check_data(data)
    n = len(found)
    if given is not None and given > n:
        raise InvalidInput(f"batch_size = {given} given, expected at most n = {n}")
    if given is not None or full_batch:
        return given or n, "as given" if given else "the sampler needs the whole dataset"
    samples = Samples(found, next(model.parameters()).device)
    few = samples.everything[: min(8, len(samples))]
    # In eval mode: else batch norms would learn from this.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), one_attention(), evaluating(model):
        loss(model, samples.batch(few))
    # A gradient takes a forward pass and two like it; layers without products are counted by their parameters.
    once = max(counter.get_total_flops() / len(few), 2.0 * sum(p.numel() for p in model.parameters()))
    whole = 3 * once * len(samples)
    cheap = _CHEAP * (1 if samples.device.type == "cpu" else 100)
    if whole <= cheap or len(samples) <= _LEAST_BATCH:
        return len(samples), f"all {len(samples)} samples, {whole:.2g} operations a gradient, which is cheap"
    affordable = 2 ** int(math.log2(max(1.0, cheap / 4 / (3 * once))))
    size = min(len(samples), max(_LEAST_BATCH, affordable))
    return size, f"minibatches of {size}: all {len(samples)} samples would take {whole:.2g} operations a gradient"
