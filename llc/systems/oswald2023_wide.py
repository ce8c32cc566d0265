"""von Oswald et al. (2023), arXiv 2212.07677, on twice the range: x from U(−1, 1)."""

from llc.systems import oswald2023
from llc.training import ExperimentConfig

CLAIMS, ESTIMATES = oswald2023.CLAIMS, oswald2023.ESTIMATES


def config() -> ExperimentConfig:
    """As `oswald2023`, but for the range."""
    return oswald2023.config(1.0, "oswald2023-wide")
