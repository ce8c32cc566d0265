"""One training: its config, its checkpoints and its metrics."""

import bisect
from functools import cached_property
from pathlib import Path

import xarray as xr
from torch import Tensor, nn

from llc import models, own_code, trusted
from llc.errors import StoreError, check_whole
from llc.models import ModelConfig
from llc.store import places
from llc.store.atomic import is_there
from llc.store.checkpoints import CHECKPOINT, PREDICTIONS, Weights, checkpoint_path, checkpoint_steps, read_checkpoint
from llc.store.numbered import KEPT, check_numbered
from llc.store.reading import read_dataset
from llc.store.results import check_made_with
from llc.store.tables import Table, read_table, table_hash
from llc.tasks import Task

RUN_FILE = "config.toml"
EXPERIMENT_FILE = "experiment.toml"


class Run:
    """One training: its config, its checkpoints and its metrics, read from its folder when asked for.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not is_there(self.path / RUN_FILE):
            raise StoreError(f"{path} is not a run: it has no {RUN_FILE}")
        own_code.use_copies(self.path.parent)

    def __repr__(self) -> str:
        return f"<llc.Run {self.path}: {len(self.steps)} checkpoints>"

    @cached_property
    def config(self) -> Table:
        """Everything that determined the run, as a plain table."""
        return read_table(self.path / RUN_FILE, needs=("task", "model", "training", "seed", "place"))

    @property
    def config_hash(self) -> str:
        """What every checkpoint of the run carries in its header."""
        return table_hash(self.config)

    @property
    def name(self) -> str:
        """`num_tasks=16,seed=0`."""
        return self.path.name

    @property
    def place(self) -> dict[str, float | int | str]:
        """Where the run stands in its sweep, by axis: its labels in every dataset."""
        return places.coordinates(self.config["place"])

    @property
    def seed(self) -> int:
        """Of the initial weights and the training data."""
        return self.config["seed"]

    @cached_property
    def task(self) -> Task:
        """What it was trained on.

        Raises:
            UntrustedCode: its class is in a file that may not be imported; so of a model.
        """
        with own_code.named_in(self._named_in):
            return Task.of(self.config["task"])

    @cached_property
    def model_config(self) -> ModelConfig:
        """What its model is built from."""
        with own_code.named_in(self._named_in):
            for code in trusted.code_in({"model": self.config["model"]}):
                if code.name:  # a function, which is called later; classes are imported here
                    own_code.check(code)
            return ModelConfig.of(self.config["model"])

    def check_code(self) -> None:
        """Raise UntrustedCode where its task or model is code that may not run here."""
        _ = self.task, self.model_config

    @property
    def _named_in(self) -> Path:
        """The folder that is to be trusted for the run's code."""
        return self.path.parent if is_there(self.path.parent / EXPERIMENT_FILE) else self.path

    @property
    def sequences(self) -> int:
        """Of each of its test sets."""
        return self.config["behaviour"]["sequences"]

    def model(self, step: int, *, trained: bool = False) -> nn.Module:
        """The model as it was at a step, on the CPU, in eval mode.

        Args:
            trained: with the weights that were trained, where recorded ones are averages (`training.average_steps`).
        Raises:
            InvalidInput: a step that is no whole number.
            StoreError: no such checkpoint, or a damaged one.
        """
        step = check_whole("step", step, 0)
        model = self.untrained()
        averaging = self.config["training"].get("average_steps", 0) > 0
        model.load_state_dict(self.read(self.trained, step) if trained and averaging else self.weights(step))
        return model.eval()

    def untrained(self) -> nn.Module:
        """The model with its initial weights."""
        return models.build(self.model_config, self.task, self.seed)

    @property
    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        return checkpoint_steps(self.checkpoints)

    @property
    def recorded_steps(self) -> list[int]:
        """Steps that have a checkpoint or, where weights were thinned out, predictions on the probe, ascending."""
        return sorted({*self.steps, *checkpoint_steps(self.predicted)})

    @property
    def checkpoints(self) -> Path:
        """The folder of the weights."""
        return self.path / "checkpoints"

    @property
    def predicted(self) -> Path:
        """The folder of the predictions that stand in for weights that were not kept."""
        return self.path / "predictions"

    @property
    def trained(self) -> Path:
        """The folder of the weights that were trained, where those in `checkpoints` are averages of them."""
        return self.path / "trained"

    @property
    def kept(self) -> list[Path]:
        """The folders of files that are named by their step, in a run that has all of them."""
        return [self.path / name for name in KEPT]

    @property
    def estimates(self) -> Path:
        """The folder of the estimates, with a folder in it for each choice of settings."""
        return self.path / "llc"

    @property
    def metrics(self) -> xr.Dataset:
        """Behaviour at every checkpoint of this run so far.

        Raises:
            StoreError: there is none yet, it cannot be read, or it is another run's.
        """
        path = self.path / "metrics.nc"
        found = read_dataset(path)
        check_made_with(found, path, self.config)
        return found

    @property
    def state(self) -> Path:
        """The file that training goes on from."""
        return self.path / "resume.pt"

    @property
    def finished(self) -> bool:
        """Whether training came to its end (`step_last` is written then) and all it recorded is there.

        Raises:
            StoreError: metrics that cannot be read, or something else than a file in a checkpoint's place.
        """
        self.check_files()
        if not is_there(self.path / "metrics.nc"):
            return False
        metrics = self.metrics
        return (
            "step_last" in metrics
            and ("step_critical" not in metrics or int(metrics.step_critical.item()) in self.steps)
            and set(metrics.step.values.tolist()) <= set(self.recorded_steps)
        )

    def weights(self, step: int) -> Weights:
        """The weights at one step.

        Raises:
            InvalidInput: a step that is no whole number.
            StoreError: there is no such checkpoint (the nearest are named), or it is damaged.
        """
        self.check_step(step)
        return self.read(self.checkpoints, step)

    def predictions(self, step: int) -> Tensor:
        """Predictions on the probe at a step whose weights were not kept, (sequence, position).

        Raises:
            StoreError: there are none, or they are damaged.
        """
        return self.read(self.predicted, step)[PREDICTIONS]

    def read(self, folder: Path, step: int) -> Weights:
        """What the file of a step in `checkpoints`, `predicted` or `trained` holds.

        Raises:
            InvalidInput: a step that is no whole number.
            StoreError: there is none, it is damaged, or it is one of the other folder's.
        """
        step = check_whole("step", step, 0)
        return read_checkpoint(checkpoint_path(folder, step), config_hash=self.config_hash)

    def check_files(self) -> None:
        """Raise StoreError where something else than a file has the place of a checkpoint; none of them is read."""
        for folder in self.kept:
            check_numbered(folder, CHECKPOINT)

    def check_step(self, step: int) -> None:
        """Raise StoreError, naming the nearest steps, unless there is a checkpoint at this one.

        Raises:
            InvalidInput: it is no step.
        """
        steps, step = self.steps, check_whole("step", step, 0)
        if step not in steps:
            place = bisect.bisect(steps, step)
            nearest = " and ".join(str(near) for near in steps[max(0, place - 1) : place + 1])
            hint = f"nearest are {nearest}" if nearest else "it has none yet"
            raise StoreError(f"{self.path} has no checkpoint at step {step}; {hint}")
