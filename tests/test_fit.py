"""What is wrong with somebody's task or model is one sentence, before a folder is made."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

import llc
from llc.errors import InvalidInput
from llc.models import FactoryConfig
from llc.tasks import Batch
from llc.training import TrainingFailed

sys.path.insert(0, str(Path(__file__).parent / "studies"))
from slopes import LENGTH, Slopes, study

HERE = f"{Path(__file__).resolve()}:"


class Mine(Slopes):
    kind: str = "fit-mine"

    @property
    def shapes(self):
        return {"inputs": [(LENGTH,)], "targets": ()}


class Plain(Mine):
    kind: str = "fit-plain"

    def sample(self, size, *, step=0, stream="train"):
        return (torch.ones(size, LENGTH),), torch.ones(size)


class Impure(Mine):
    kind: str = "fit-impure"

    def sample(self, size, *, step=0, stream="train"):
        return Batch((torch.rand(size, LENGTH),), torch.ones(size))


class Infinite(Mine):
    kind: str = "fit-infinite"

    def sample(self, size, *, step=0, stream="train"):
        return Batch((torch.ones(size, LENGTH),), torch.full((size,), torch.inf))


class NoTests(Mine):
    kind: str = "fit-no-tests"

    def test_tasks(self):
        return {"own": 3}


class Headline(Mine):
    kind: str = "fit-headline"
    headline: ClassVar[str | None] = "stepe"


class Shifted(Mine):
    kind: str = "fit-shifted"

    def shifts(self):
        return {"steep": self, "other": self}


class Unshifted(Mine):
    kind: str = "fit-unshifted"

    def shifts(self):
        return {"other": Wider()}  # noqa: F821


class Asked(Mine):
    kind: str = "fit-asked"
    asked: ClassVar[int | None] = 1


class Raising(Mine):
    kind: str = "fit-raising"

    def losses(self, outputs, batch):
        raise ValueError("oh no")


class Nowhere(Mine):
    kind: str = "fit-nowhere"

    def losses(self, outputs, batch):
        return super().losses(outputs, batch) * torch.nan


class Pair(Mine):
    kind: str = "fit-pair"
    pair: ClassVar[tuple[str, str] | None] = ("mean", "frist")


class References(Mine):
    kind: str = "fit-references"

    def predictors(self):
        return {"mean": lambda xs: xs.nope}


class Lossless(Mine):
    kind: str = "fit-lossless"

    def losses(self, outputs, batch):
        return (outputs - batch.targets).square().mean()


class Positions(Mine):
    kind: str = "fit-positions"
    first: bool = False

    def sample(self, size, *, step=0, stream="train"):
        return Batch((torch.ones(size, LENGTH),), torch.ones(size, LENGTH))

    def losses(self, outputs, batch):
        squares = (outputs - batch.targets).square()
        return squares[:, 0] if self.first else squares

    def predictors(self):
        return {}

    def test_tasks(self):
        return {"own": self, "steep": self.override({"first": True})}


@dataclass
class Case:
    said: str
    task: type = Mine
    model: str = "reader"


def reader():
    return nn.Sequential(nn.Linear(LENGTH, 1), nn.Flatten(0))


def wide():
    return nn.Sequential(nn.Linear(LENGTH + 1, 1), nn.Flatten(0))


def column():
    return nn.Linear(LENGTH, 1)


def square():
    return nn.Linear(LENGTH, LENGTH)


def empty():
    return nn.Flatten(0)


CASES = {
    "no batch": Case("Plain.sample returned a tuple, expected an llc.tasks.Batch", Plain),
    "another each time": Case("Impure.sample gave another batch when it was called again", Impure),
    "not finite": Case("Infinite.sample gave numbers that are not finite", Infinite),
    "test set": Case(r"NoTests.test_tasks\(\) holds a int, expected tasks by name", NoTests),
    "headline": Case("headline = stepe of Headline is none of its test sets, own, steep", Headline),
    "shift": Case("Shifted has test sets and shifts of one name, steep; call the shifts otherwise", Shifted),
    "no shift": Case("Unshifted.shifts failed: NameError", Unshifted),
    "asked": Case("asked = 1 of Asked given, expected None or the number of one of its 1 inputs, from 0", Asked),
    "losses that fail": Case("Raising.losses failed: ValueError: oh no", Raising),
    "pair": Case("has no reference frist; did you mean first", Pair),
    "reference": Case("a reference of the task fit-references failed: AttributeError", References),
    "losses": Case(r"losses of Lossless are \(\) for targets", Lossless),
    "losses of test sets": Case(
        r"test sets of Positions have losses of several shapes, own \(2, 16\), steep \(2,\); expected one",
        Positions,
        "square",
    ),
    "inputs": Case(
        r"Sequential.forward\(input\) cannot take inputs of shapes \(2, 16\) of the task fit-mine, .*: RuntimeError",
        model="wide",
    ),
    "outputs": Case(r"the outputs of Linear are \(2, 1\), expected \(2,\)", model="column"),
    "no weights": Case("Flatten has no parameters to train", model="empty"),
    "no such function": Case("there is no such function in .*; did you mean reader", model="raeder"),
    "no function": Case("CASES is a value of type dict", model="CASES"),
    "wrong arguments": Case(r"column\(width=2\) failed: TypeError", model="column width"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_is_said_before_anything_is_written(case, tmp_path):
    name, *arguments = case.model.split()
    model = FactoryConfig(function=HERE + name, arguments=dict.fromkeys(arguments, 2))
    config = study().model_copy(update={"task": case.task(), "model": model})
    config = config.override({"sweep.axes": {"seed": [0]}})
    with pytest.raises(InvalidInput, match=case.said):
        llc.train(config, tmp_path / "run", jobs=1)
    assert not (tmp_path / "run").exists()


def test_what_fits_is_trained(tmp_path):
    config = study().model_copy(update={"task": Mine(), "model": FactoryConfig(function=HERE + "reader")})
    changed = {"sweep.axes": {"seed": [0]}, "training.steps": 4, "checkpoints.every": 4, "checkpoints.logarithmic": 0}
    trained = llc.train(config.override(changed), tmp_path / "run", jobs=1)
    assert trained.finished
    assert llc.joint_pca(trained).sizes["component"] == 2  # as many as there are checkpoints
    nowhere = config.model_copy(update={"task": Nowhere()}).override(changed)
    with pytest.raises(TrainingFailed, match=r"not finite at step 0, before any update: look at the task's losses"):
        llc.train(nowhere, tmp_path / "nowhere", jobs=1)
