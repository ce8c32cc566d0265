"""Training: configs, presets, schedules, the one optimiser loop, and sweeps of runs."""

from llc.training.config import (
    BehaviourConfig,
    CheckpointsConfig,
    ExperimentConfig,
    RunConfig,
    SweepConfig,
    TrainingConfig,
    checkpoint_steps,
    weight_steps,
)
from llc.training.exchange import export_weights, import_weights, with_factory
from llc.training.loop import train_run
from llc.training.plan import Plan, count_parameters, plan
from llc.training.recorder import TrainingDiverged
from llc.training.schedules import learning_rate
from llc.training.sweep import TrainingFailed, train

__all__ = [
    "BehaviourConfig",
    "CheckpointsConfig",
    "ExperimentConfig",
    "Plan",
    "RunConfig",
    "SweepConfig",
    "TrainingConfig",
    "TrainingDiverged",
    "TrainingFailed",
    "checkpoint_steps",
    "count_parameters",
    "export_weights",
    "import_weights",
    "learning_rate",
    "plan",
    "train",
    "train_run",
    "weight_steps",
    "with_factory",
]
