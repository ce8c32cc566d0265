"""Settings of `estimate_llc_over_training` that go with the training presets."""

from typing import Any

# Fewer sequences mean a lower nβ, which takes smaller minibatches for the same share of heat, and shorter chains to a
# plateau.
TINY: dict[str, Any] = {
    "steps": "400,600,800,1200,1600,2200,3000,4000,5000",
    "num_samples": 1024,
    "batch_size": 64,
    "draws": 100,
}
# Sixteen runs: steps before, around and after t_crit, and for each about a minute of a core. That leaves too little for
# the search of a floor, without which λ̂ of the basin is known to a quarter: it is asked for at w*, as in the paper.
SMALL: dict[str, Any] = {
    "steps": "300,600,900,1200,1800,2400,3000,4200,6000,8400,12000,15000,18000",
    "num_samples": 1024,
    "batch_size": 32,
    "max_gradients": 3000,
    "headline": "w*",
    "target_error": 0.2,
}
# Presets that `llc demo` takes.
ESTIMATES = {"tiny": TINY, "small": SMALL}
