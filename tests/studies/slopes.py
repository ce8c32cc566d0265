"""A study of somebody else's: one file, nothing of it in the package. What `tests/test_outside_study.py` runs.

Sequences of scalars x_1 … x_K and y = w·mean(x) + noise: one prediction a sequence, and as many sequences in a batch as
there are examples in one (B = K), so that nothing can tell the two apart by their size.
"""

from typing import ClassVar, Literal

import torch
from torch import nn

from llc.models import FactoryConfig
from llc.predictors import baseline
from llc.randomness import generator
from llc.tasks import Batch, Task
from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig

LENGTH = 16


class Slopes(Task):
    kind: Literal["slopes"] = "slopes"
    headline: ClassVar[str | None] = "steep"
    slope: float = 1.0
    noise: float = 0.1

    def sample(self, size, *, step=0, stream="train"):
        rng = generator(self.slope, "slopes", stream, step)
        xs = torch.randn(size, LENGTH, generator=rng)
        ys = self.slope * xs.mean(1) + self.noise * torch.randn(size, generator=rng)
        return Batch((xs,), ys)

    def test_tasks(self):
        return {"own": self, "steep": self.override({"slope": 2.0})}

    def shifts(self):
        return {"loud": self.override({"noise": 1.0})}

    def predictors(self):
        return {
            "mean": lambda xs: self.slope * xs.mean(1),
            "first": lambda xs: self.slope * xs[:, 0],
            "zero": baseline(lambda xs: torch.zeros(len(xs))),
        }


class Reader(nn.Module):
    def __init__(self, shapes, width):
        super().__init__()
        self.into = nn.Linear(shapes["inputs"][0][-1], width)
        self.out = nn.Linear(width, 1)

    def forward(self, xs):
        return self.out(torch.tanh(self.into(xs)))[:, 0]

    def readouts(self, batch):
        return {"gain": self.out.weight.detach().norm(), "hidden": self.into.weight.detach().norm(dim=1)}


def reader(width, shapes):
    return Reader(shapes, width)


def study():
    return ExperimentConfig(
        task=Slopes(),
        model=FactoryConfig(function=f"{__file__}:reader", arguments={"width": 4}),
        training=TrainingConfig(steps=40, batch_size=LENGTH, learning_rate=3e-2),
        checkpoints=CheckpointsConfig(every=4),
        behaviour=BehaviourConfig(sequences=LENGTH),
        sweep=SweepConfig(axes={"model.arguments.width": [2, 8], "task.slope": [0.5]}),
    )
