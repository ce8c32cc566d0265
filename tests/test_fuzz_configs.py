"""Configs, settings and tables of any kind: what they say, or one sentence."""

import numpy as np
import pytest
from fuzz import JUNK, NUMBERS, TEXTS, altered, tried
from hypothesis import example, given
from hypothesis import strategies as st

from llc import store
from llc.errors import StoreError
from llc.models import ModelConfig
from llc.study import LLCConfig
from llc.study.points import chosen_steps
from llc.systems import SYSTEMS, preset
from llc.tasks import Task
from llc.training import ExperimentConfig, presets

CONFIGS = [presets.tiny(), presets.small(), *(preset(name) for name in SYSTEMS)]
TABLES = [config.to_table() for config in CONFIGS]


@given(st.sampled_from(TABLES).flatmap(altered))
def test_an_experiment_is_what_its_table_says_or_an_error_of_one_sentence(table):
    config = tried(lambda: ExperimentConfig.from_table(table))
    if config is not None:
        assert ExperimentConfig.from_table(config.to_table()) == config


@pytest.mark.parametrize(("family", "part"), [(Task, "task"), (ModelConfig, "model")])
def test_kinds(family, part):
    @given(st.sampled_from([table[part] for table in TABLES]).flatmap(altered))
    def check(table):
        one = tried(lambda: family.of(table))
        if one is not None:
            assert family.of(one.to_table()) == one

    check()


@given(st.dictionaries(st.sampled_from([*LLCConfig.model_fields]) | TEXTS, JUNK, max_size=4))
@example({"chains": np.int64(3)})
def test_settings_of_an_estimate(settings):
    config = tried(lambda: LLCConfig(**settings))
    if config is not None:
        assert LLCConfig(**config.to_table()) == config


SPELLED = st.from_regex(r"(log|linear|all|last|[0-9]{1,9})(:?[-+0-9a-z.,]{0,12})?", fullmatch=True)


@given(SPELLED | TEXTS | st.lists(NUMBERS, max_size=4), st.sets(st.integers(0, 10**6), min_size=1, max_size=30))
@example("log:" + "9" * 6000, {0, 4})
@example("9" * 6000, {0, 4})
def test_steps_are_some_of_those_there_are_or_an_error(steps, there):
    available = sorted(there)

    def check(step):
        if step not in there:
            raise StoreError(f"no step {step}")

    chosen = tried(lambda: chosen_steps(steps, available, check))
    if chosen is not None:
        assert set(chosen) <= there
        assert chosen == sorted(set(chosen))


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"a = " + b"[" * 3000)
@example(b"a = " + b"9" * 6000)
@example(b"a.b = 1\na = 2")
@example(b"\xff\xfe")
def test_any_bytes_are_a_table_or_a_named_file(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    assert isinstance(tried(lambda: store.read_table(path), "any.toml"), dict | None)
