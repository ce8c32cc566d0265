"""What every run of chains is looked at for: the whole dataset's loss, the gradient's noise, and positions."""

import numpy as np

from llc.sampling.observable import Draws


class FullDifference:
    """L_n(w) − L_n(w*) over the whole dataset, and what low precision adds to it; 0 in float32."""

    name, dims, shape = "full difference", ("part",), (2,)

    def of_rows(self, draws: Draws) -> np.ndarray:
        """(R, 2)."""
        difference = draws.ensemble.difference(draws.position)
        return np.stack([difference, draws.ensemble.rounding(draws.position, difference)], 1)


class GradientNoise:
    """tr Cov(∇Û) of a minibatch, from another minibatch at the same point, and ‖∇Û‖² − γP; in the sampler's metric."""

    name, dims, shape = "gradient noise", ("part",), (2,)

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

    name, dims = "by position", ("position",)

    def __init__(self, positions: int) -> None:
        self.shape = (positions,)

    def of_rows(self, draws: Draws) -> np.ndarray:
        """(R, K)."""
        assert draws.evaluation.by_position is not None  # of a loss that has positions
        return draws.evaluation.by_position.cpu().numpy()
