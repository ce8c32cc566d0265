"""What every run of chains is looked at for: the whole dataset's loss, the gradient's noise, and positions."""

import numpy as np

from llc.sampling.observable import Draws

# Samples whose losses are kept: their mean variance over draws is known to a few per cent from so many.
_SAMPLES = 1024


def samples_looked_at(num_samples: int) -> np.ndarray:
    """Which of n samples have losses that are kept: all, or a thousand of them, evenly spread."""
    return np.unique(np.linspace(0, num_samples - 1, min(num_samples, _SAMPLES)).astype(int))


class FullDifference:
    """L_n(w) − L_n(w*), what low precision adds to it (0 in float32), and ℓ_i(w) − ℓ_i(w*) of `samples_looked_at`.

    Args:
        num_samples: n.
    """

    name, dims, dtype = "full difference", ("part",), np.float64

    def __init__(self, num_samples: int) -> None:
        self._kept = samples_looked_at(num_samples)
        self.shape = (2 + len(self._kept),)

    def of_rows(self, draws: Draws) -> np.ndarray:
        """(R, 2 + samples)."""
        by_sample = draws.ensemble.differences(draws.position).cpu()
        difference = by_sample.mean(1)
        rounding = draws.ensemble.rounding(draws.position, difference)
        return np.concatenate([np.stack([difference, rounding], 1), by_sample.numpy()[:, self._kept]], 1)


class GradientNoise:
    """tr Cov(∇Û) of a minibatch, from another minibatch at the same point, and ‖∇Û‖² − γP; in the sampler's metric."""

    name, dims, shape, dtype = "gradient noise", ("part",), (2,), np.float64

    def of_rows(self, draws: Draws) -> np.ndarray:
        """(R, 2)."""
        metric, gradient, ensemble = draws.metric(), draws.evaluation.gradient, draws.ensemble
        square = (metric * (gradient.square() - ensemble.gamma)).sum(1).cpu().numpy()
        if ensemble.full_batch:
            return np.stack([np.zeros(len(ensemble)), square], 1)
        other = ensemble.evaluate(draws.position, draws.fresh()).gradient
        noise = (metric * (other - gradient).square()).sum(1).cpu().numpy() / 2
        return np.stack([noise, square], 1)


class ByPosition:
    """L_B(w) − L_B(w*) of every position."""

    name, dims, dtype = "by position", ("position",), np.float64

    def __init__(self, positions: int) -> None:
        self.shape = (positions,)

    def of_rows(self, draws: Draws) -> np.ndarray:
        """(R, K)."""
        assert draws.evaluation.by_position is not None  # of a loss that has positions
        return draws.evaluation.by_position.cpu().numpy()
