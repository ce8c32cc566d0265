import math
from fractions import Fraction

import pytest

import llc
from llc.errors import InvalidInput
from llc.training import TrainingConfig, checkpoint_steps, learning_rate


def test_carroll_grid_has_the_papers_checkpoints():
    steps = checkpoint_steps(llc.presets.carroll())
    assert len(steps) == 2203
    assert steps[0] == 0
    assert steps[-1] == 150_000
    assert set(range(0, 150_001, 100)) <= set(steps)


def test_logarithmic_grid_is_exact_integer_arithmetic():
    config = llc.presets.tiny().override(
        {"training.steps": 1000, "checkpoints.every": 1000, "checkpoints.logarithmic": 7}
    )
    # 1000^(j/6) = 10^(j/2)
    assert checkpoint_steps(config) == [0, *(math.isqrt(10**j) for j in range(7))]


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_short_runs_still_have_both_ends(steps):
    config = llc.presets.tiny().override({"training.steps": steps, "training.warmup_steps": 0})
    grid = checkpoint_steps(config)
    assert grid[0] == 0
    assert grid[-1] == steps


def test_constant_schedule_warms_up():
    config = TrainingConfig(steps=100, batch_size=1, learning_rate=2.0, warmup_steps=4)
    assert [learning_rate(config, step) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


def test_linear_schedule_ends_at_nothing():
    config = TrainingConfig(steps=100, batch_size=1, learning_rate=2.0, warmup_steps=4, schedule="linear")
    rates = [learning_rate(config, step) for step in range(101)]
    assert rates == pytest.approx([2 * min(1, (step + 1) / 4) * (1 - step / 100) for step in range(101)])
    assert rates[100] == 0


def test_triangle_schedule_peaks_at_half_time():
    config = TrainingConfig(steps=100, batch_size=1, learning_rate=3.0, schedule="triangle")
    rates = [learning_rate(config, step) for step in range(101)]
    assert rates[0] == rates[100] == 0
    assert rates[50] == 3.0
    assert rates[25] == pytest.approx(1.5)
    assert rates == pytest.approx([3 * float(1 - abs(Fraction(2 * s, 100) - 1)) for s in range(101)])


def test_sweep_gives_every_diversity_with_every_seed():
    config = llc.presets.tiny().override({"sweep.axes": {"task.num_tasks": [2, "inf"], "seed": [0, 5]}})
    assert [(run.task.num_tasks, run.seed) for run in config.runs()] == [(2, 0), (None, 0), (2, 5), (None, 5)]


def test_the_order_in_which_a_sweep_is_given_does_not_matter():
    one = llc.presets.tiny().override({"sweep.axes": {"task.num_tasks": ["inf", 4, 1], "seed": [1, 0]}})
    assert one == llc.presets.tiny().override({"sweep.axes": {"task.num_tasks": [1, 4, "inf"], "seed": [0, 1]}})


def test_table_round_trip():
    for name in ("tiny", "hoogland", "carroll"):
        config = llc.presets.preset(name)
        assert type(config).from_table(config.to_table()) == config


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"train.step": 5}, "unknown key train.step; did you mean training.steps?"),
        ({"training.steps": "many"}, "training.steps = 'many' given, expected a whole number"),
        ({"training.steps": 0}, "training.steps = 0 given"),
        ({"task.noise_variance": -0.1}, "task.noise_variance = -0.1 given"),
        ({"model.heads": 5}, "model.heads = 5 given, expected a divisor of model.width"),
        (
            {"training.schedule": "cosine"},
            "training.schedule = 'cosine' given, expected 'constant', 'linear' or 'triangle'",
        ),
        ({"training.warmup_steps": 10**9}, "training.warmup_steps = 1000000000 given, expected at most"),
        (
            {"sweep.axes": {"task.num_tasks": [0]}},
            "task.num_tasks = 0 given, expected a whole number of tasks from 1 up",
        ),
        ({"sweep.axes": {"task.num_tasks": [4, 4]}}, "none twice"),
        ({"sweep.axes": {"task.num_tasks": []}}, "at least one value"),
        ({"checkpoints.logarithmic": 1}, "expected 0 for none, or at least 2"),
    ],
)
def test_bad_settings_are_named(settings, said):
    with pytest.raises(InvalidInput) as error:
        llc.presets.tiny().override(settings)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_preset_names_the_nearest():
    with pytest.raises(InvalidInput, match=r"unknown preset tinny; did you mean tiny\?"):
        llc.presets.preset("tinny")


def test_an_axis_is_set_by_its_own_name():
    """`sweep.num_tasks` is the axis of the setting that ends so; what ends none, or several, is unknown."""
    tiny = llc.presets.tiny()
    assert tiny.override({"sweep.num_tasks": [4]}).sweep.axes == {"task.num_tasks": [4], "seed": [0]}
    assert list(tiny.override({"sweep.axes": {"seed": [3]}, "sweep.width": [16, 32]}).sweep.axes) == [
        "model.width",
        "seed",
    ]
    for key in ("sweep.seeds", "sweep.kind", "sweep.axes_"):
        with pytest.raises(InvalidInput, match=r"unknown key sweep\."):
            tiny.override({key: [1]})
    with pytest.raises(InvalidInput, match="at most 10000 runs in a sweep; its values make 10001"):
        tiny.override({"sweep.axes": {"seed": list(range(10_001))}})
