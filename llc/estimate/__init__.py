"""One model's λ̂: the estimate, its diagnostics and verdict, and the choice of its settings. Needs no run folder."""

from llc.estimate.calibration import Calibration, calibrate
from llc.estimate.calibration_labels import calibration_dataset, format_calibration
from llc.estimate.estimate import estimate_llc
from llc.estimate.from_devinterp import from_devinterp
from llc.estimate.measure import Point
from llc.estimate.observed import influence, loss_kernel, per_sample_llc, susceptibilities, susceptibility, waic
from llc.estimate.settings import SamplingConfig

__all__ = [
    "Calibration",
    "Point",
    "SamplingConfig",
    "calibrate",
    "calibration_dataset",
    "estimate_llc",
    "format_calibration",
    "from_devinterp",
    "influence",
    "loss_kernel",
    "per_sample_llc",
    "susceptibilities",
    "susceptibility",
    "waic",
]
