"""The state that training resumes from: damage is seen, and nobody else's is taken."""

import pytest
import torch
from conftest import small_config

import llc
from llc import store
from llc.errors import StoreError


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A run that was stopped on its way, and the call that goes on with it."""
    from llc.training import loop, train_run

    config = small_config(**{"sweep.axes": {"task.num_tasks": [4]}}).runs()[0]
    asked = iter([False] * 33 + [True])
    monkeypatch.setattr(loop, "check_interrupt", lambda: next(asked))
    with pytest.raises(llc.errors.Interrupted):
        train_run(tmp_path / "run", config)
    monkeypatch.undo()
    return tmp_path / "run" / "resume.pt", lambda: train_run(tmp_path / "run", config)


def test_a_flipped_bit_in_the_state_is_seen_wherever_it_is(stopped):
    state, go_on = stopped
    whole = state.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 200)):
        data = bytearray(whole)
        data[place] ^= 1
        state.write_bytes(data)
        with pytest.raises(StoreError, match=r"resume.pt is damaged \(checksum differs\); delete it to train this run"):
            store.read_state(state, config_hash=llc.Run(state.parent).config_hash)
    with pytest.raises(StoreError, match="delete it to train this run again from step 0"):
        go_on()
    state.unlink()
    go_on()
    assert llc.Run(state.parent).finished


def test_a_state_of_another_run_is_refused(stopped):
    state, go_on = stopped
    store.write_state(state, store.read_state(state, config_hash=llc.Run(state.parent).config_hash), config_hash="else")
    with pytest.raises(StoreError, match=r"resume.pt belongs to another run; delete it to train this run again"):
        go_on()


def test_a_state_comes_back_as_it_was(tmp_path):
    state = {"step": 3, "model": {"w": torch.randn(3, 4)}, "optimiser": {"state": {0: torch.arange(2)}, "lr": 0.1}}
    store.write_state(tmp_path / "resume.pt", state, config_hash="abc")
    found = store.read_state(tmp_path / "resume.pt", config_hash="abc")
    assert found.keys() == state.keys()
    assert torch.equal(found["model"]["w"], state["model"]["w"])
    assert torch.load(tmp_path / "resume.pt", weights_only=True)["step"] == 3  # PyTorch alone reads it too


def test_a_checkpoint_of_another_config_is_neither_replaced_nor_removed(tmp_path):
    path = store.checkpoint_path(tmp_path, 20)
    store.write_checkpoint(path, {"w": torch.zeros(2)}, step=20, config_hash="theirs")
    before = path.read_bytes()
    store.remove_checkpoint(path, config_hash="ours")
    with pytest.raises(StoreError, match=r"000020.safetensors belongs to another config .*; move it away"):
        store.write_checkpoint(path, {"w": torch.ones(2)}, step=20, config_hash="ours")
    assert path.read_bytes() == before
    store.remove_checkpoint(path, config_hash="theirs")
    assert not path.exists()
    store.remove_checkpoint(path, config_hash="ours")
