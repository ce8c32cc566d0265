"""The configs of a run and of a sweep of runs."""

import json
import math
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from llc import trusted
from llc.config import Config
from llc.devices import Precision
from llc.errors import InvalidInput
from llc.models import AnyModel
from llc.store import places
from llc.tasks import AnyTask


class TrainingConfig(Config):
    """The optimiser loop on fresh batches.

    Args:
        steps: T, the number of updates.
        batch_size: B, sequences a step.
        learning_rate: the peak of the schedule.
        schedule: see `llc.training.schedules`.
        warmup_steps: linear warm-up from 0, for `constant` and `linear`.
        optimiser: `adam`, or plain stochastic gradient descent, `sgd`.
        betas: of Adam.
        average_steps: n > 0 to record weights that are averaged over about the last n steps, see
            `llc.training.average`; those that are trained are kept beside them. 0: no average.
        precision: of matrix products in training: `float32`, `tf32` (on a GPU that has it) or `bf16`. Weights,
            Adam's moments and what is recorded at checkpoints are float32 whatever it is.
    """

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    schedule: Literal["constant", "linear", "triangle"] = "constant"
    warmup_steps: int = Field(0, ge=0)
    optimiser: Literal["adam", "sgd"] = "adam"
    betas: list[float] = Field(default=[0.9, 0.999])
    average_steps: int = Field(0, ge=0)
    precision: Precision = "float32"

    @field_validator("betas")
    @classmethod
    def _two_betas(cls, value: list[float]) -> list[float]:
        if len(value) != 2 or not all(0 <= beta < 1 for beta in value):
            raise ValueError("expected two numbers from 0 up to, not including, 1")
        return value

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Self:
        if self.warmup_steps > self.steps:
            raise ValueError(
                f"training.warmup_steps = {self.warmup_steps} given, expected at most training.steps = {self.steps}"
            )
        return self


class CheckpointsConfig(Config):
    """Which steps are recorded: {0, every, 2·every, …, T} ∪ {⌊T^{j/(n−1)}⌋, j = 0 … n−1}.

    Args:
        every: spacing of the linear part.
        logarithmic: n, the size of the logarithmic part (many of its early members coincide); 0 for none.
        weights_every: where disks are small, keep the weights of every so many of these steps only, beside those of
            the last and of t_crit. Behaviour is recorded at all of them, and so are the predictions that the joint
            PCA needs; λ̂ needs weights.
    """

    every: int = Field(ge=1)
    logarithmic: int = Field(0, ge=0)
    weights_every: int = Field(1, ge=1)

    @field_validator("logarithmic")
    @classmethod
    def _two_ends(cls, value: int) -> int:
        if value == 1:
            raise ValueError("expected 0 for none, or at least 2")
        return value


class BehaviourConfig(Config):
    """What is evaluated at every checkpoint: test sets of so many sequences."""

    sequences: int = Field(1024, ge=2)


class RunConfig(Config):
    """Everything that determines one run.

    Args:
        place: the values of the sweep's axes, by their dims.
        seed: of the initial weights and the training data.
    """

    preset: str
    task: AnyTask
    model: AnyModel
    training: TrainingConfig
    checkpoints: CheckpointsConfig
    behaviour: BehaviourConfig = BehaviourConfig()
    seed: int = Field(0, ge=0, lt=2**63)  # what a coordinate of a dataset holds
    place: dict[str, Any] = Field(default={})


def _placed(base: RunConfig, values: dict[str, Any]) -> RunConfig:
    """The run with these values of the sweep's axes, and its place: the values as its config has them."""
    try:
        run = base.override(values)
    except InvalidInput as error:
        infinite = [key for key, value in values.items() if value == "inf"]
        hint = f" (None and inf stand for infinity in a sweep: {', '.join(infinite)})" if infinite else ""
        raise InvalidInput(f"{error}{hint}") from None
    table, place, dims = run.to_table(), {}, places.dims_of(values)
    for key, value in values.items():
        found: Any = table
        for part in key.split("."):
            found = found.get(part, value) if isinstance(found, dict) else value
        place[dims[key]] = found
    return run.model_copy(update={"place": place})


# More checkpoints than this are a slip of the keyboard.
MOST_CHECKPOINTS = 10**6
# The order of a sweep's axes.
_SECTIONS = ("task", "model", "training")


class SweepConfig(Config):
    """The runs of an experiment: every combination of the values of its axes, each sorted.

    Axes of the task come first, then the model's, the training's and others, the seed last.

    Args:
        axes: values by the dotted name of any setting, such as `{"task.num_tasks": [1, 16, None], "seed": [0, 1]}`. A
            dim of the results is called by the last part of its key (see `llc.store.places.dims_of`). None stands for
            infinity.
    """

    axes: dict[str, list[Any]] = Field(default={"seed": [0]})

    @field_validator("axes")
    @classmethod
    def _in_order(cls, value: dict[str, list[Any]]) -> dict[str, list[Any]]:
        found = {}
        for key in sorted(value, key=_rank):  # the order in which they are given does not matter
            written = ["inf" if one is None or one == math.inf else one for one in value[key]]
            places.check_values(key, written)
            found[key] = sorted(written, key=places.order_of)
        seed = found.pop("seed", [0])
        places.check_axes({**found, "seed": seed})
        return {**found, "seed": seed}


def _rank(key: str) -> tuple[int, str]:
    """Where an axis comes among others."""
    section = key.partition(".")[0]
    return (_SECTIONS.index(section) if section in _SECTIONS else len(_SECTIONS), key)


class ExperimentConfig(Config):
    """A sweep: what its runs share, and what they differ in.

    Args:
        preset: a name for it.
    """

    preset: str = "own"
    task: AnyTask
    model: AnyModel
    training: TrainingConfig
    checkpoints: CheckpointsConfig = CheckpointsConfig(every=100, logarithmic=50)
    behaviour: BehaviourConfig = BehaviourConfig()
    sweep: SweepConfig = SweepConfig()

    @model_validator(mode="after")
    def _can_be_swept(self) -> Self:
        """Values on the axes are kept as the runs' configs have them: 1 and 1.0 are one."""
        runs = self.runs()
        dims = places.dims_of(self.sweep.axes)
        axes = {key: [*dict.fromkeys(json.dumps(run.place[dim]) for run in runs)] for key, dim in dims.items()}
        normal = SweepConfig(axes={key: [json.loads(value) for value in values] for key, values in axes.items()})
        object.__setattr__(self, "sweep", normal)
        return self

    def runs(self) -> list[RunConfig]:
        """The config of each run, the seed changing slowest.

        Raises:
            InvalidInput: an axis that is no setting, or a value that does not fit it.
        """
        shared = {name: value for name, value in dict(self).items() if name != "sweep"}
        base, axes = RunConfig(**shared), self.sweep.axes
        # Checked one by one: no other setting hangs on the seed, and there may be thousands.
        seeds = [_placed(base, {"seed": seed}).seed for seed in axes["seed"]]
        others = {key: values for key, values in axes.items() if key != "seed"}
        found = [_placed(base, dict(zip(others, place.values(), strict=True))) for place in places.places_of(others)]
        return [
            run.model_copy(update={"seed": seed, "place": {**run.place, "seed": seed}})
            for seed in seeds
            for run in found
        ]

    def override(self, settings: dict[str, Any]) -> Self:
        """See `Config.override`; `sweep.num_tasks` is short for the axis of the setting that ends in that name."""
        names = [
            "seed",
            *(name for name in self.setting_names() if not name.startswith("sweep.") and name != "task.seed"),
        ]
        ends = [name.rpartition(".")[2] for name in names]
        whole = {end: name for end, name in zip(ends, names, strict=True) if ends.count(end) == 1}
        short = {key: whole.get(key.removeprefix("sweep."), "") for key in settings if key.startswith("sweep.")}
        swept = {short[key]: value for key, value in settings.items() if short.get(key)}
        others = {key: value for key, value in settings.items() if not short.get(key)}
        if swept:
            others["sweep.axes"] = {**others.get("sweep.axes", self.sweep.axes), **swept}
        return super().override(others)


def give_code(config: ExperimentConfig, system: str | None = None) -> list[trusted.Code]:
    """Let the code that a config names run here: who trains it, or plans to, has given it.

    Args:
        system: the function that gave the config.
    Returns:
        All of it.
    """
    tables = [{"system": system}, *(run.to_table() for run in config.runs())]
    codes = [code for table in tables for code in trusted.code_in(table)]
    trusted.give(codes)
    return codes


def checkpoint_steps(config: RunConfig | ExperimentConfig) -> list[int]:
    """The steps that are recorded, ascending; step 0 and the last are always among them.

    Args:
        config: of a run or a sweep.
    Raises:
        InvalidInput: more checkpoints than a run may have.
    """
    last, grid = config.training.steps, config.checkpoints
    asked = last // grid.every + grid.logarithmic
    if asked > MOST_CHECKPOINTS:
        way = "smaller checkpoints.logarithmic" if 2 * grid.logarithmic > asked else "larger checkpoints.every"
        raise InvalidInput(
            f"training.steps = {last} with checkpoints.every = {grid.every} and checkpoints.logarithmic = "
            f"{grid.logarithmic} asks for {asked:,} checkpoints a run, expected at most {MOST_CHECKPOINTS:,}; "
            f"set a {way}"
        )
    linear = {0, last, *range(0, last, grid.every)}
    logarithmic = {_floor_power(last, j, grid.logarithmic - 1) for j in range(grid.logarithmic)}
    return sorted(linear | logarithmic)


def weight_steps(config: RunConfig | ExperimentConfig) -> list[int]:
    """Those of `checkpoint_steps` whose weights are kept, wherever t_crit turns out to be.

    Args:
        config: of a run or a sweep.
    """
    steps = checkpoint_steps(config)
    return sorted({*steps[:: config.checkpoints.weights_every], steps[-1]})


def _floor_power(base: int, j: int, n: int) -> int:
    """⌊base^{j/n}⌋ exactly: floating point alone turns 150000^{999/999} into 149999.99…"""
    guess = math.floor(base ** (j / n))
    for candidate in (guess + 1, guess):
        if candidate**n <= base**j:
            return candidate
    return guess - 1
