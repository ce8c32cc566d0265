"""Presets are plain functions that return a config; change one with `.override({"training.steps": 2000})`."""

from collections.abc import Callable, Mapping

from llc.errors import InvalidInput, did_you_mean, shown_name
from llc.models import TransformerConfig
from llc.tasks import LinearRegression
from llc.training.config import (
    BehaviourConfig,
    CheckpointsConfig,
    ExperimentConfig,
    SweepConfig,
    TrainingConfig,
)

# The task diversities of Carroll et al.: powers of two and one even number about half-way (in log M) between them.
# fmt: off
HALF_OCTAVES = [
    1, 2, 4, 6, 8, 12, 16, 24, 32, 46, 64, 92, 128, 182, 256, 362, 512, 724, 1024, 1448, 2048, 2896, 4096, 5792,
    8192, 11586, 16384, 23170, 32768,
]
# fmt: on


def tiny() -> ExperimentConfig:
    """The whole pipeline in minutes on two CPU cores, transience included."""
    return ExperimentConfig(
        preset="tiny",
        task=LinearRegression(dim=4, num_examples=8, noise_variance=0.125),
        model=TransformerConfig(width=32, depth=2, heads=4, mlp_width=64),
        training=TrainingConfig(steps=5000, batch_size=128, learning_rate=5e-3, warmup_steps=200),
        checkpoints=CheckpointsConfig(every=200, logarithmic=48),
        behaviour=BehaviourConfig(sequences=1024),
        sweep=SweepConfig(axes={"task.num_tasks": [1, 4, 8, 32, None]}),
    )


def hoogland() -> ExperimentConfig:
    """The regression transformer of Hoogland et al. (2024), arXiv 2402.02364: 51,717 parameters."""
    return ExperimentConfig(
        preset="hoogland",
        task=LinearRegression(dim=4, num_examples=8, noise_variance=0.125),
        # Their code adds the residual stream twice in each block.
        model=TransformerConfig(width=64, depth=2, heads=4, mlp_width=64, residual_scale=2.0),
        training=TrainingConfig(steps=500_000, batch_size=256, learning_rate=3e-3, schedule="triangle"),
        checkpoints=CheckpointsConfig(every=5000, logarithmic=100),
        sweep=SweepConfig(axes={"task.num_tasks": [None]}),
    )


def small() -> ExperimentConfig:
    """Ridge comes and partly goes again between M = 16 and 32, in some two hours on two CPU cores, with two seeds.

    Three layers, where Carroll et al. have two: at this size two end further from ridge. A rate that falls to nothing
    and averaged weights stand in for their batch of 1024, whose gradients have little noise. What was tried is in
    `benchmarks/results/recipes.toml` and `recipes_cpu.toml`; none came 80 % of the way to ridge and then lost a third.
    """
    return ExperimentConfig(
        preset="small",
        task=LinearRegression(dim=6, num_examples=12, noise_variance=0.125),
        model=TransformerConfig(width=64, depth=3, heads=4, mlp_width=256),
        training=TrainingConfig(
            steps=18_000,
            batch_size=64,
            learning_rate=3e-3,
            schedule="linear",
            warmup_steps=500,
            average_steps=500,
        ),
        checkpoints=CheckpointsConfig(every=300, logarithmic=100),
        behaviour=BehaviourConfig(sequences=1024),
        sweep=SweepConfig(axes={"task.num_tasks": [4, 16, 20, 24, 32, 64, 256, None], "seed": [0, 1]}),
    )


def raventos() -> ExperimentConfig:
    """Raventós et al. (2023), arXiv 2306.15063: eight layers, M in octaves up to 2^20; checkpoints as in `carroll`."""
    return ExperimentConfig(
        preset="raventos",
        task=LinearRegression(dim=8, num_examples=16, noise_variance=0.25),
        model=TransformerConfig(width=128, depth=8, heads=2, mlp_width=512, activation="gelu"),
        training=TrainingConfig(steps=500_000, batch_size=256, learning_rate=1e-3, schedule="triangle"),
        checkpoints=CheckpointsConfig(every=100, logarithmic=1000),
        behaviour=BehaviourConfig(sequences=2048),
        sweep=SweepConfig(axes={"task.num_tasks": [*(2**power for power in range(1, 21)), None]}),
    )


def carroll() -> ExperimentConfig:
    """Carroll et al. (2025), arXiv 2501.17745: 2,654,217 parameters, M in half-octaves up to 2^15, 2203 checkpoints."""
    return ExperimentConfig(
        preset="carroll",
        task=LinearRegression(dim=8, num_examples=16, noise_variance=0.125),
        model=TransformerConfig(width=512, depth=2, heads=4, mlp_width=512, attention_projection=False),
        training=TrainingConfig(steps=150_000, batch_size=1024, learning_rate=3e-3, warmup_steps=1000),
        checkpoints=CheckpointsConfig(every=100, logarithmic=1000),
        behaviour=BehaviourConfig(sequences=2048),
        sweep=SweepConfig(axes={"task.num_tasks": [*HALF_OCTAVES, None]}),
    )


# The line to add for a new preset, the smaller ones first.
PRESETS: dict[str, Callable[[], ExperimentConfig]] = {
    "tiny": tiny,
    "small": small,
    "hoogland": hoogland,
    "raventos": raventos,
    "carroll": carroll,
}


def preset(name: str, known: Mapping[str, Callable[[], ExperimentConfig]] = PRESETS) -> ExperimentConfig:
    """A preset by name.

    Args:
        known: presets by name.

    Raises:
        InvalidInput: there is none of that name; the nearest is named.
    """
    if name not in known:
        raise InvalidInput(f"unknown preset {shown_name(name)}; {did_you_mean(name, known)}")
    return known[name]()
