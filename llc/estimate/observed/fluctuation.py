"""Singular fluctuation and WAIC."""

import numpy as np
import xarray as xr

from llc.errors import InvalidInput
from llc.estimate.observed.pieces import Cut, Found, blocks, jackknife, variances
from llc.estimate.observed.reading import Reading, labelled, read


def waic(tree: xr.DataTree, dataset: str) -> xr.Dataset:
    """How well the localised posterior predicts, by its draws alone; losses are −log p(x_i|w), in nats.

        V = Σ_i Var_w ℓ_i,   ν = β/2 · V with β = nβ/n,
        T = −1/n Σ_i log E_w e^{−ℓ_i},   WAIC = T + β V/n

    Watanabe (2010), JMLR 11, 3571. ν estimates the singular fluctuation: d/2 for a regular model of d parameters that
    holds the truth, with γ small beside the curvature.

    Args:
        tree: of `estimate_llc(…, observables=[llc.Losses(dataset)])`, of the data that are sampled.
    Returns:
        `functional_variance` V, `singular_fluctuation` ν, `training_loss` T, `waic`, each with `_se`, `_low`, `_high`
        (90 %). That of T and WAIC is of the draws: what another sample of data would give is not in it.
    Raises:
        InvalidInput: the tree has no losses of that dataset, or fewer or more than the samples it was sampled on.
    """
    found = read(tree, dataset)
    if not found.dims or len(found.baseline) != int(found.num_samples):
        there = f"{len(found.baseline)} samples" if found.dims else "a mean alone"
        raise InvalidInput(
            f"{dataset} has {there} in place of the {found.num_samples:g} samples that the posterior is of; expected "
            "llc.Losses('own') of the sampled data"
        )
    beta, cut = found.nbeta / found.num_samples, found.cut
    total, training = _sums(found, cut)
    total = (total[0], total[1])
    n = found.num_samples
    variance = jackknife(*total).cooled(found.heat)
    both = jackknife(training[0] / n + beta * total[0] / n, training[1] / n + beta * total[1] / n)
    heat = beta / n * found.heat / 2 * float(np.abs(variance.value))
    both = Found(both.value - beta / n * found.heat * float(variance.value), np.hypot(both.se, heat))
    quantities = {
        "functional_variance": (variance, "V, the sum over samples of Var(loss_i)", "nats^2"),
        "singular_fluctuation": (variance.scaled(beta / 2), "nu, beta/2 times V", "1"),
        "training_loss": (jackknife(training[0] / n, training[1] / n), "T, -mean log E exp(-loss_i)", "nats"),
        "waic": (both, "WAIC, T + beta V/n", "nats"),
    }
    data: dict = {}
    for name, (what, text, units) in quantities.items():
        data |= labelled(what, cut, name, (), (text, units))
    return xr.Dataset(data, attrs=found.attrs("losses are -log p(x|w); beta = nbeta/n") | {"beta": beta})


def _sums(found: Reading, cut: Cut) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """ΣVar and −Σ log E e^{−ℓ}, of all draws and without each piece; a sample's loss is that of its positions' mean."""
    kept = found.by_sample
    variance, without = 0.0, np.zeros(cut.number)
    training, training_without = 0.0, np.zeros(cut.number)
    for block in blocks(kept.shape[2], kept.shape[0] * kept.shape[1]):
        here = kept[:, :, block]
        of_block = variances(here, cut)
        variance, without = variance + of_block[0].sum(), without + of_block[1].sum(1)
        least = here.min((0, 1))
        weights = np.exp(-(cut.of(here) - least))
        pieces = weights.sum(2).reshape(cut.number, -1)
        draws = cut.number * cut.length
        baseline = found.baseline.reshape(len(found.baseline), -1).mean(1)[block]
        level = (baseline + least).sum()
        training += level - np.log(pieces.sum(0) / draws).sum()
        training_without += level - np.log((pieces.sum(0) - pieces) / (draws - cut.length)).sum(1)
    return (np.asarray(variance), without), (np.asarray(training), training_without)
