"""The hot settings of a published study, on a model like its own: E[L] ends where nothing is known."""

import pytest

import llc


@pytest.mark.slow
def test_the_published_settings_delocalise(tmp_path):
    """ε = 3e-4, nβ = 66.7, γ = 6.67, batch 1024 (Hoogland et al. 2024's regression transformer)."""
    config = llc.presets.hoogland().override(
        {"training.steps": 2000, "checkpoints.every": 2000, "checkpoints.logarithmic": 2}
    )
    experiment = llc.train(config, tmp_path / "hoogland", jobs=1)
    found = llc.estimate_llc_over_training(
        experiment,
        steps="last",
        sampler="sgld",
        step_size=3e-4,
        nbeta=66.7,
        gamma=6.67,
        batch_size=1024,
        num_samples=2048,
        chains=2,
        draws=250,
        warmup=300,
        jobs=1,
    ).squeeze()
    assert (
        float(experiment.metrics.loss.sel(test_set="id").isel(step=-1).mean()) < 2.8
    )  # 4.5 at the start, the zero predictor 4.2
    assert str(found.verdict.values) == "delocalised", str(found.reason.values)
    assert float(found.loss_sampled) > 4.1
