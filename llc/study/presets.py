"""Settings of `estimate_llc_over_training` that go with the training presets."""

# For the tiny preset, so that the demo ends in minutes: fewer sequences mean a lower nβ, which takes smaller
# minibatches for the same share of heat, and shorter chains to a plateau.
TINY: dict[str, int] = {"num_samples": 1024, "batch_size": 64, "draws": 100}
TINY_STEPS = "400,600,800,1200,1600,2200,3000,4000,5000"
