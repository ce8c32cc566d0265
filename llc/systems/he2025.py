"""He et al. (2025), arXiv 2503.12734: one layer of softmax heads learns a debiased step of gradient descent."""

from llc.models import SoftmaxHeadsConfig
from llc.tasks import QueryRegression
from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig


def he2025() -> ExperimentConfig:
    """D = 5, L = 40, σ² = 0.1, Adam at 1e-3 on batches of 256, as in the authors' code; one, two and four heads."""
    return ExperimentConfig(
        preset="he2025",
        task=QueryRegression(dim=5, length=40, noise_variance=0.1),
        model=SoftmaxHeadsConfig(),
        training=TrainingConfig(steps=20_000, batch_size=256, learning_rate=1e-3),
        checkpoints=CheckpointsConfig(every=500, logarithmic=40),
        behaviour=BehaviourConfig(sequences=4096),
        sweep=SweepConfig(axes={"model.heads": [1, 2, 4]}),
    )
