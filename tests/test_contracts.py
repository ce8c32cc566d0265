"""Tasks and models of whatever kind: shapes, axes, registration, and what is refused in one sentence."""

import pickle
import tomllib
from typing import Literal

import pytest
import tomli_w
import torch
from torch import nn

import llc
from llc import behaviour
from llc.config import Config
from llc.errors import InvalidInput
from llc.models import (
    FactoryConfig,
    LinearAttentionConfig,
    ModelConfig,
    SeriesTransformerConfig,
    SoftmaxHeadsConfig,
    SoftmaxQueryConfig,
    StreamAttentionConfig,
    TransformerConfig,
)
from llc.predictors import baseline
from llc.store import labels, places
from llc.tasks import (
    AffineRecurrence,
    Batch,
    DictionaryRegression,
    FunctionClass,
    LinearRegression,
    PiecewiseLinear,
    QueryRegression,
    SoftmaxRegression,
    Task,
)
from llc.training import BehaviourConfig, CheckpointsConfig, ExperimentConfig, SweepConfig, TrainingConfig

TASKS = {
    "linear regression": LinearRegression(dim=2, num_examples=3, noise_variance=0.1, num_tasks=2),
    "query regression": QueryRegression(dim=2, length=4, noise_variance=0.1),
    "several outputs": QueryRegression(dim=3, length=4, noise_variance=0.1, supports=[[0, 1], [1, 2]]),
    "dictionary": DictionaryRegression(features=3, length=6, dominant=0.5),
    "recurrence": AffineRecurrence(length=5),
    "stream": PiecewiseLinear(dim=2, length=8, segment=4),
    "functions": FunctionClass(dim=2, length=4),
    "softmax regression": SoftmaxRegression(dim=2, length=4),
}
MODELS = {
    "transformer": TransformerConfig(width=4, heads=2, depth=1, mlp_width=4),
    "softmax heads": SoftmaxHeadsConfig(heads=2),
    "linear attention": LinearAttentionConfig(depth=2),
    "softmax query": SoftmaxQueryConfig(),
    "series transformer": SeriesTransformerConfig(width=4, heads=2, depth=1, mlp_width=4),
    "stream attention": StreamAttentionConfig(),
}
FIT = [("linear regression", "transformer"), ("query regression", "softmax heads")]
FIT += [("query regression", "linear attention"), ("several outputs", "softmax heads")]
FIT += [("dictionary", "softmax query"), ("recurrence", "series transformer"), ("stream", "stream attention")]
SHORT = {"nbeta": 20.0, "gamma": 20.0, "num_samples": 64, "batch_size": 16, "draws": 16, "warmup": 5, "jobs": 1}
SHORT |= {"chains": 1, "max_gradients": 200}


def experiment_of(task: Task, model: ModelConfig, **axes) -> ExperimentConfig:
    return ExperimentConfig(
        task=task,
        model=model,
        training=TrainingConfig(steps=20, batch_size=8, learning_rate=1e-2),
        checkpoints=CheckpointsConfig(every=5),
        behaviour=BehaviourConfig(sequences=16),
        sweep=SweepConfig(axes=axes),
    )


def test_every_kind_is_tried():
    """A task or model that is added has to be added above too."""
    of_package = {kind for kind, known in Task.known.items() if known.__module__.startswith("llc.")}
    assert of_package == {task.kind for task in TASKS.values()}
    models = {kind for kind, known in ModelConfig.known.items() if known.__module__.startswith("llc.")}
    assert models == {model.kind for model in MODELS.values()} | {"factory"}


@pytest.mark.parametrize(("task", "model"), FIT)
def test_what_fits_together_goes_the_whole_way(task, model, tmp_path):
    """Trained for twenty steps, estimated, projected and reported."""
    experiment = llc.train(experiment_of(TASKS[task], MODELS[model]), tmp_path / "x", jobs=1)
    assert llc.estimate_llc_over_training(experiment, steps="last", **SHORT).llc.dims == ("seed", "step")
    assert llc.joint_pca(experiment, 2, sequences=8).score.dims == ("seed", "step", "component")
    assert llc.compare(experiment, steps="last", sequences=16).excess.dims[:3] == ("seed", "step", "test_set")
    assert llc.write_report(experiment).exists()
    assert (
        behaviour.outputs_of(experiment.run().model(20), TASKS[task].sample(3)).shape
        == TASKS[task].sample(3).targets.shape
    )


@pytest.mark.parametrize("task", TASKS)
def test_shapes_are_those_of_a_batch(task):
    batch, shapes = TASKS[task].sample(2), TASKS[task].shapes
    assert [tuple(tensor.shape[1:]) for tensor in batch.inputs] == shapes["inputs"]
    assert tuple(batch.targets.shape[1:]) == shapes["targets"]
    own = Task.shapes.fget(TASKS[task])  # what a task that says nothing of them would have
    assert own == {**own, **{name: shapes[name] for name in own if name != "num_examples"}}


class Vectors(Task):
    """Three positions of two coordinates each, and no reference, headline or test set of its own."""

    kind: Literal["test-vectors"] = "test-vectors"
    scale: float = 1.0
    maybe: float | None = 0.5

    def sample(self, size, *, step=0, stream="train"):
        draw = llc.randomness.generator("vectors", stream, step)
        xs = torch.randn(size, 3, 2, generator=draw)
        return Batch((xs,), self.scale * xs.flip(-1))


class Wide(nn.Module):
    def __init__(self, dim, outputs):
        super().__init__()
        self.map = nn.Sequential(nn.Linear(dim, outputs), nn.Dropout(0.5))

    def forward(self, xs):
        return self.map(xs)


def test_vectors_without_references(tmp_path):
    """Losses are summed over coordinates; a model with dropout is evaluated without it."""
    config = experiment_of(Vectors(), FactoryConfig(function=f"{__file__}:Wide"), **{"task.scale": [1, 2.5]})
    experiment = llc.train(config, tmp_path / "vectors", jobs=1)
    metrics = experiment.metrics
    assert metrics.loss.dims == ("scale", "seed", "step", "test_set", "position")
    assert "distance" not in metrics
    assert "step_critical" not in metrics
    run = experiment.run(scale=2.5)
    batch = run.task.sample(16, stream="test")
    expected = (run.model(20)(batch.inputs[0]) - batch.targets).square().sum(-1).mean(0)
    found = metrics.loss.sel(scale=2.5, seed=0, step=20, test_set="id")
    torch.testing.assert_close(torch.tensor(found.values).float(), expected)
    assert [run.name for run in experiment.runs] == ["scale=1.0,seed=0", "scale=2.5,seed=0"]
    with pytest.raises(InvalidInput, match="the task test-vectors has no references to compare with"):
        llc.compare(experiment)
    assert llc.joint_pca(experiment, 2).loading.dims == ("sequence", "position", "output", "component")
    assert llc.write_report(experiment).exists()


def test_a_kind_of_ones_own_survives_tables_and_pickling():
    task = Vectors(scale=2.0)
    table = task.to_table()
    assert table["defined_in"] == __file__
    assert Task.of(table) == task == pickle.loads(pickle.dumps(task))
    assert isinstance(Task.of(table), Vectors)
    with pytest.raises(InvalidInput, match=r"kind = 'test-vector' given; did you mean test-vectors\\?"):
        Task.of({"kind": "test-vector"})
    with pytest.raises(InvalidInput, match=r"is defined in /no/such\.py, which cannot be imported"):
        Task.of({"kind": "other", "defined_in": "/no/such.py"})


class Sized(Vectors):
    kind: Literal["test-sized"] = "test-sized"
    sizes: tuple[int, ...] = (1, 2)
    reach: tuple[float, float] | None = None


def test_settings_that_are_tuples_survive_files_which_have_lists_only():
    task = Sized(sizes=(3, 4), reach=(0.5, 2.0))
    written = tomllib.loads(tomli_w.dumps(task.to_table()))
    assert written == task.to_table()
    assert Task.of(written) == task
    assert task.override({"sizes": [5]}).sizes == (5,)
    with pytest.raises(InvalidInput, match=r"sizes\.0 = 'a' given, expected a whole number"):
        task.override({"sizes": ["a"]})


def test_a_second_class_of_one_kind_is_refused():
    with pytest.raises(InvalidInput, match=r"kind = test-vectors of .* choose another"):

        class Other(Task):
            kind: Literal["test-vectors"] = "test-vectors"


def test_none_in_place_of_another_default_is_refused():
    """No file could tell it from the default."""
    with pytest.raises(InvalidInput, match=r"maybe = None given, whose default is 0\.5"):
        Vectors(maybe=None).to_table()


def test_outputs_and_losses_of_another_shape_are_refused():
    """Never broadcast: (B, 1) against (B,) would be (B, B)."""

    class Column(nn.Module):
        def forward(self, xs, ys, query):
            return query[:, :1]

    task = TASKS["query regression"]
    with pytest.raises(InvalidInput, match=r"outputs of Column are \(3, 1\), expected \(3,\)"):
        behaviour.outputs_of(Column(), task.sample(3))
    batch = task.sample(3)
    with pytest.raises(InvalidInput, match=r"losses of .* are \(\) for targets \(3,\)"):
        behaviour.checked_losses(Mean(**task.to_table() | {"kind": "test-mean"}), batch.targets, batch)
    with pytest.raises(InvalidInput, match=r"a transformer answers every example; targets of shape \(\) given"):
        llc.models.build(MODELS["transformer"], task)


class Mean(QueryRegression):
    """Whose losses are one number."""

    kind: Literal["test-mean"] = "test-mean"

    def losses(self, outputs, batch):
        return super().losses(outputs, batch).mean()


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"training.learning_rates": [0.1]}, "did you mean training.learning_rate?"),
        ({"task.scale": ["a"]}, "task.scale = 'a' given"),
        ({"task.scale": [1.0, "inf", "b"]}, "numbers alone or words alone"),
        ({"task.scale": [1.0, 1]}, "none twice"),
        ({"seed": []}, "at least one value"),
    ],
)
def test_axes_that_cannot_be_are_named(axes, said):
    with pytest.raises(InvalidInput) as error:
        experiment_of(Vectors(), FactoryConfig(function=f"{__file__}:Wide"), **axes)
    assert said in str(error.value)


class Named(Vectors):
    """Whose settings are called like numbers of estimates and read-outs, and like the runs' seed."""

    kind: Literal["test-named"] = "test-named"
    num_samples: int = 3
    rank: float = 1.0
    seed: int = 0


def test_settings_that_are_called_like_results_go_by_longer_names(tmp_path):
    """Any can be swept; and every result can tell it from its own."""
    axes = {"task.num_samples": [2, 3], "task.rank": [1.0], "task.seed": [4], "task.scale": [1.0]}
    factory = FactoryConfig(function=f"{__file__}:Wide")
    experiment = llc.train(experiment_of(Named(), factory, **axes), tmp_path / "x", jobs=1)
    place = ("task_num_samples", "task_rank", "scale", "task_seed", "seed")
    assert set(experiment.runs[0].place) == set(place)
    assert experiment.run(task_num_samples=3).task.num_samples == 3
    found = llc.estimate_llc_over_training(experiment, steps="last", **SHORT)
    assert set(found.num_samples.dims) <= {*place, "step"}
    assert found.num_samples.max() == SHORT["num_samples"]
    assert set(llc.development.readouts(experiment, steps="last").hessian_eigenvalue.dims) == {*place, "step", "rank"}
    assert set(llc.joint_pca(experiment, 2).score.dims) == {*place, "step", "component"}


def test_an_axis_keeps_its_short_name_where_nothing_else_has_it():
    assert places.dims_of({"task.scale": [1], "model.arguments.width": [1], "seed": [0]}) == {
        "task.scale": "scale",
        "model.arguments.width": "width",
        "seed": "seed",
    }
    both = places.dims_of({"task.depth": [1], "model.depth": [1], "model.arguments.step": [1], "task.llc_low": [1]})
    assert list(both.values()) == ["task_depth", "model_depth", "arguments_step", "task_llc_low"]
    with pytest.raises(InvalidInput, match=r"sweep\.axes has step, whose name step is needed by results"):
        places.dims_of({"step": [1]})
    with pytest.raises(InvalidInput, match=r"sweep\.axes has a\.b_llc, whose name b_llc is that of b\.llc"):
        places.dims_of({"b.llc": [1], "a.b_llc": [1]})


def test_places_and_their_names():
    """The order of axes does not matter; 1 and 1.0 are one; what no folder can be called gets a hash."""
    model = FactoryConfig(function=f"{__file__}:Wide", arguments={"way": "a"})
    one = experiment_of(Vectors(), model, **{"task.scale": [2, 1], "model.arguments.way": ["b", "a/b"]})
    other = experiment_of(Vectors(), model, **{"model.arguments.way": ["a/b", "b"], "task.scale": [1.0, 2.0]})
    assert one == other
    names = [places.run_name(run.place) for run in one.runs()]
    assert len(set(names)) == 4
    assert "scale=1.0,way=b,seed=0" in names
    assert all("/" not in name for name in names)
    assert [run.task.scale for run in one.runs()] == [1.0, 1.0, 2.0, 2.0]


def test_what_knows_nothing_is_told_from_references(tmp_path):
    experiment = llc.train(experiment_of(TASKS["query regression"], MODELS["softmax heads"]), tmp_path / "x", jobs=1)
    assert labels.references_of(experiment.metrics) == ["gd", "debiased_gd", "linear", "ridge"]
    assert set(experiment.metrics.reference.values) == {"gd", "debiased_gd", "linear", "ridge", "zero"}
    assert not llc.predictors.is_baseline(llc.predictors.ridge)
    assert llc.predictors.is_baseline(baseline(llc.predictors.zero))


def test_a_config_is_overridden_inside_free_tables():
    class Outer(Config):
        model: FactoryConfig = FactoryConfig(function="a:b", arguments={"width": 2})

    found = Outer().override({"model.arguments.width": 3, "model.arguments.depth": 1})
    assert found.model.arguments == {"width": 3, "depth": 1}
    with pytest.raises(InvalidInput, match=r"unknown key model\.argument\.width; did you mean model\.arguments"):
        Outer().override({"model.argument.width": 3})


def test_a_kind_is_given_as_briefly_as_one_likes():
    class Short(Vectors):
        kind = "test-short"

    class Shorter(Vectors, kind="test-shorter"):
        pass

    for made, name in ((Short(), "test-short"), (Shorter(), "test-shorter")):
        assert made.kind == name
        assert llc.tasks.Task.of({"kind": name}) == made
    with pytest.raises(InvalidInput, match="kind = 3 of class Number given, expected text"):

        class Number(Vectors, kind=3):
            pass


def test_a_rate_that_is_swept_is_an_axis_and_what_it_falls_to_a_variable(tmp_path):
    """Axes of the task come first, whatever the order they are given in."""
    axes = {"training.learning_rate": [1e-2, 1e-3], "seed": [0], "task.noise_variance": [0.1]}
    experiment = llc.train(experiment_of(TASKS["linear regression"], MODELS["transformer"], **axes), tmp_path, jobs=1)
    metrics = experiment.metrics
    assert metrics.next_learning_rate.dims == ("noise_variance", "learning_rate", "seed", "step")
    assert (metrics.next_learning_rate.isel(step=0).squeeze() == metrics.learning_rate).all()
    row = behaviour.row_of(experiment.runs[0].metrics.squeeze().isel(step=1))  # as it is taken up again
    assert row[behaviour.RATE] == metrics.next_learning_rate.isel(step=1, learning_rate=0).item()
    rates = llc.train(
        experiment_of(TASKS["linear regression"], MODELS["transformer"]), tmp_path / "one", jobs=1
    ).metrics
    assert rates.learning_rate.dims == ("seed", "step")
