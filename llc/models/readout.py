"""One thing that a model says of itself."""

from typing import NamedTuple

import numpy as np
from torch import Tensor


class Readout(NamedTuple):
    """Numbers over training, to set beside λ̂.

    Attributes:
        values: of one model.
        dims: names of their dimensions.
        said: what they are.
        units: of them.
    """

    values: Tensor | np.ndarray | float
    dims: tuple[str, ...] = ()
    said: str = ""
    units: str = "1"
