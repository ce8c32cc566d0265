"""One small experiment, made once and shared by every test that only reads it."""

import os
import shutil

import filelock
import hypothesis
import pytest
from made_up import every_result

import llc
from llc import trusted
from llc.models import TransformerConfig
from llc.store.lock import LOCK_FILE
from llc.tasks import FunctionClass
from llc.training import CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig

# What every run of the tests throws at the library is little, and the same each time; `make fuzz` has it throw more.
_PROFILE = {"deadline": None, "suppress_health_check": list(hypothesis.HealthCheck)}
hypothesis.settings.register_profile("few", max_examples=8, derandomize=True, database=None, **_PROFILE)
hypothesis.settings.register_profile("many", max_examples=1000, **_PROFILE)

hypothesis.settings.load_profile("few")


def small_config(**settings) -> ExperimentConfig:
    """A sweep that trains in a second or two."""
    return llc.presets.tiny().override(
        {
            "task.dim": 2,
            "task.num_examples": 3,
            "model.width": 8,
            "model.heads": 2,
            "model.mlp_width": 8,
            "model.depth": 1,
            "training.steps": 60,
            "training.batch_size": 16,
            "training.warmup_steps": 10,
            "checkpoints.every": 20,
            "checkpoints.logarithmic": 6,
            "behaviour.sequences": 32,
            "sweep.axes": {"task.num_tasks": [1, 4, "inf"]},
            **settings,
        }
    )


# With nβ given too a study needs no pilots, and with a small budget its minimiser gives up soon: most of what it
# takes at this size.
SMALL_LLC = {
    "nbeta": 15.0,
    "radius": 0.3,
    "num_samples": 64,
    "batch_size": 16,
    "warmup": 5,
    "draws": 16,
    "chains": 1,
    "max_gradients": 400,
    "jobs": 1,
}


@pytest.fixture(scope="session", autouse=True)
def own_list_of_trusted_code(tmp_path_factory):
    """Nothing is noted in the user's own."""
    os.environ[trusted.VARIABLE] = str(tmp_path_factory.mktemp("trust") / "trusted.toml")


# Links without leave, pipes, signals and forks.
POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX")

_HELD = []  # locks, for as long as tests run


def shared(tmp_path_factory, name, make):
    """The experiment that `make(folder)` makes, once for all processes that run tests side by side.

    Who made it holds it for writing until the end: a test that writes there fails in every order of tests, not only
    where another happens to do so too.
    """
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    with filelock.FileLock(root / f"{name}.lock"):
        if not (root / name).exists():
            make(root / f"{name}-unfinished")
            (root / f"{name}-unfinished").rename(root / name)
            _HELD.append(filelock.FileLock(root / name / LOCK_FILE))
            _HELD[-1].acquire()
    return llc.open(root / name)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A whole experiment: trained, estimated, with its PCA. Read only."""

    def make(folder):
        experiment = llc.train(small_config(), folder, jobs=1)
        llc.estimate_llc_over_training(experiment, steps="0,20,60", **SMALL_LLC)
        llc.joint_pca(experiment, sequences=16)

    return shared(tmp_path_factory, "small", make)


@pytest.fixture(scope="session")
def whole(finished, tmp_path_factory):
    """That experiment with every result there is, of λ̂ that is made up. Read only."""
    return shared(
        tmp_path_factory, "whole", lambda folder: every_result(llc.open(shutil.copytree(finished.path, folder)))
    )


@pytest.fixture(scope="session")
def families(tmp_path_factory):
    """Two families of functions, barely trained, with their comparison. Read only."""
    config = ExperimentConfig(
        task=FunctionClass(dim=2, length=4, depth=1),
        model=TransformerConfig(width=4, heads=1, depth=1, mlp_width=4),
        training=TrainingConfig(steps=2, batch_size=4, learning_rate=0.01),
        checkpoints=CheckpointsConfig(every=2),
        sweep=SweepConfig(axes={"task.family": ["linear", "tree"]}),
    )

    def make(folder):
        llc.compare(llc.train(config, folder, jobs=1), steps=[0, 2], sequences=20)

    return shared(tmp_path_factory, "families", make)


@pytest.fixture(scope="session")
def alone(finished, tmp_path_factory):
    """One of its runs, M = 4, as an experiment with its estimates. Read only."""
    from parts import part_of  # which imports this file

    return shared(tmp_path_factory, "alone", lambda folder: part_of(finished, folder, 4))


@pytest.fixture
def single(alone, tmp_path):
    """A copy of one run with its estimates: what needs no other run takes a third of the time."""
    return llc.open(shutil.copytree(alone.path, tmp_path / "single"))


@pytest.fixture
def own(finished, tmp_path):
    """A copy of the finished experiment to damage."""
    shutil.copytree(finished.path, tmp_path / "own")
    return llc.open(tmp_path / "own")
