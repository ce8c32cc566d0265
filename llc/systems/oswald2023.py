"""von Oswald et al. (2023), arXiv 2212.07677: a layer of linear self-attention learns one step of gradient descent."""

from llc.models import LinearAttentionConfig
from llc.tasks import QueryRegression
from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig


def oswald2023() -> ExperimentConfig:
    """D = N = 10, x from U(−½, ½), no noise, half the squared error, as in the authors' code; one and two layers."""
    return ExperimentConfig(
        preset="oswald2023",
        task=QueryRegression(dim=10, length=10, covariates="uniform", weight_variance=1.0, half=True),
        model=LinearAttentionConfig(),
        training=TrainingConfig(steps=10_000, batch_size=512, learning_rate=3e-3),
        checkpoints=CheckpointsConfig(every=500, logarithmic=40),
        behaviour=BehaviourConfig(sequences=4096),
        sweep=SweepConfig(axes={"model.depth": [1, 2]}),
    )
