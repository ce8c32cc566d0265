"""Singular fluctuation and WAIC."""

from typing import Any

import numpy as np
import xarray as xr

from llc.errors import InvalidInput
from llc.estimate.diagnostics import EXCESS_ERROR
from llc.estimate.observed.pieces import Cut, Found, blocks, jackknife, variances
from llc.estimate.observed.reading import Reading, labelled, read


def waic(tree: xr.DataTree, dataset: str) -> xr.Dataset:
    """How well the localised posterior predicts, by its draws alone; losses are −log p(x_i|w), in nats.

    A loss with positions is that of a sample by their mean; for −log p of whole sequences estimate with a loss that is
    the sum over positions (nβ is then of that).

        V = Σ_i Var_w ℓ_i,   ν = β/2 · V with β = nβ/n,
        T = −1/n Σ_i log E_w e^{−ℓ_i},   WAIC = T + β V/n

    Watanabe (2010), JMLR 11, 3571. ν estimates the singular fluctuation: d/2 for a regular model of d parameters that
    holds the truth, with γ small beside the curvature.

    Args:
        tree: of `estimate_llc(…, observables=[llc.Losses(dataset)])`, of the data that are sampled.
        dataset: name of the losses, `own` for `llc.Losses("own")`.
    Returns:
        `functional_variance` V, `singular_fluctuation` ν, `training_loss` T, `waic`, each with `_se`, `_low`, `_high`
        (90 %). That of T and WAIC is of the draws: what another sample of data would give is not in it.
    Raises:
        InvalidInput: the tree has no losses of that dataset, or fewer or more than the samples it was sampled on, or
            these had weights.
    """
    found = read(tree, dataset)
    if not found.dims or not found.sampled:
        there = f"{len(found.baseline)} samples, mean {found.baseline.mean():.4g}," if found.dims else "a mean alone"
        wanted = f"{found.num_samples:g} samples, mean {float(tree['loss_init']):.4g}"
        raise InvalidInput(
            f"{dataset} has {there} in place of the {wanted}, that the posterior is of; expected llc.Losses('own') of "
            "the sampled data"
        )
    if found.weighted:
        raise InvalidInput(
            "sample_weights were given, and V and WAIC are of samples that count alike; estimate without weights, on "
            "the samples that are to count"
        )
    beta, cut, n = found.nbeta / found.num_samples, found.cut, found.num_samples
    total, training = _sums(found, cut)
    variance = jackknife(*total).cooled(found.heat)
    # T is E L less half of V/n, and heat has added to both: to E L what is known to a tenth and its own share.
    raised, fallen = found.excess / found.nbeta, found.heat * float(variance.value) / (2 * n)
    known = np.hypot(abs(raised) * (EXCESS_ERROR + found.heat), fallen / 2)
    level = jackknife(training[0] / n, training[1] / n)
    level = Found(level.value - raised + fallen, np.hypot(level.se, known))
    both = jackknife(training[0] / n + beta * total[0] / n, training[1] / n + beta * total[1] / n)
    heated = beta / n * (found.heat * float(variance.value))
    both = Found(both.value - raised + fallen - heated, np.sqrt(both.se**2 + known**2 + (heated / 2) ** 2))
    quantities = {
        "functional_variance": (variance, "V, the sum over samples of Var(loss_i)", "nats^2"),
        "singular_fluctuation": (variance.scaled(beta / 2), "nu, beta/2 times V", "1"),
        "training_loss": (level, "T, -mean log E exp(-loss_i)", "nats"),
        "waic": (both, "WAIC, T + beta V/n", "nats"),
    }
    data: dict[str, Any] = {}
    for name, (what, text, units) in quantities.items():
        data |= labelled(what, cut, name, (), (text, units))
    return xr.Dataset(data, attrs=found.attrs("losses are -log p(x|w); beta = nbeta/n") | {"beta": beta})


def _sums(found: Reading, cut: Cut) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """ΣVar and −Σ log E e^{−ℓ}, of all draws and without each piece; a sample's loss is that of its positions' mean."""
    variance, without = 0.0, np.zeros(cut.number)
    training, training_without = 0.0, np.zeros(cut.number)
    draws = cut.number * cut.length
    for block in blocks(len(found.baseline), found.difference[:, :, 0].size):
        here = found.difference[:, :, block]
        here = here.mean(-1, dtype=np.float64) if here.ndim == 4 else here.astype(np.float64)
        of_block = variances(here, cut)
        variance, without = variance + of_block[0].sum(), without + of_block[1].sum(1)
        least = here.min((0, 1))
        pieces = np.exp(-(cut.of(here) - least)).sum(2).reshape(cut.number, -1)
        level = (found.baseline[block].reshape(len(least), -1).mean(1) + least).sum()
        training += level - np.log(pieces.sum(0) / draws).sum()
        others = np.zeros_like(pieces)  # sums of all pieces but each, with nothing taken off again
        others[1:] += pieces[:-1].cumsum(0)
        others[:-1] += pieces[:0:-1].cumsum(0)[::-1]
        training_without += level - np.log(others / (draws - cut.length)).sum(1)
    return (np.asarray(variance), without), (np.asarray(training), training_without)
