"""What losses of datasets along the draws say: per-sample λ̂, kernel, influence, susceptibility, WAIC."""

from llc.estimate.observed.fluctuation import waic
from llc.estimate.observed.kernel import influence, loss_kernel
from llc.estimate.observed.per_sample import per_sample_llc
from llc.estimate.observed.susceptibility import susceptibilities, susceptibility

__all__ = ["influence", "loss_kernel", "per_sample_llc", "susceptibilities", "susceptibility", "waic"]
