"""Checkpoints of other programs: what step they are of, what is in them, and names that wrappers changed."""

import argparse
import json
import os
import pickle
import warnings

import numpy as np
import pytest
import torch
from conftest import POSIX
from safetensors.torch import save_file
from torch import nn

from llc.errors import InvalidInput, StoreError
from llc.models import load_state
from llc.store import checkpoints_in, read_foreign


def touched(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        place = folder / name
        place.parent.mkdir(exist_ok=True, parents=True)
        place.write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (["step_1000.pt", "step_20.pt"], [20, 1000]),
        (["001000.safetensors", "20.safetensors"], [20, 1000]),
        (["step=1000-val_loss=0.43.ckpt"], [1000]),
        (["epoch=3-step=1000.ckpt", "epoch=4-step=2000.ckpt"], [1000, 2000]),
        (["model-1e+03.pt", "model-5e2.pt"], [500, 1000]),
        (["checkpoint-1000/model.safetensors", "checkpoint-500/pytorch_model.bin"], [500, 1000]),
        (["step1000/model.pt", "step20/weights.pt"], [20, 1000]),
        (["global_step40/model.safetensors.index.json"], [40]),
        (["checkpoint-7/model.safetensors", "checkpoint-7/optimizer.pt"], [7]),
        (["ckpt_epoch_12.pth.tar"], [12]),
        (["run1_000300.pt", "run1_000400.pt"], [300, 400]),
        (["mlp2_lr3e-4_at_300.pt", "mlp2_lr3e-4_at_400.pt"], [300, 400]),
        (["iter_0000200.pth"], [200]),
        (["it200_seed3.pt", "it300_seed4.pt"], [200, 300]),
        (["net-0.43-200.pt"], [200]),
        (["model_1000.pt", "optimizer_1000.pt", "scheduler_1000.pt"], [1000]),
        (["checkpoint-9/adapter.safetensors", "checkpoint-9/optimizer.pt", "checkpoint-9/rng_state.pth"], [9]),
        (["global_step10/mp_rank_00_model_states.pt", "global_step10/zero_pp_rank_0_mp_rank_00_optim_states.pt"], [10]),
    ],
)
def test_the_step_is_told_from_the_name(tmp_path, names, steps):
    found, without = checkpoints_in(touched(tmp_path / "theirs", *names))
    assert list(found) == steps
    assert not without


def test_what_has_no_step_is_named_and_not_counted(tmp_path):
    for names, steps, without in (
        (["step_1.pt", "best.pt", ".step_2.pt", "notes.txt", "log/out.txt"], [1], ["best.pt"]),
        (["exp2_10.pt", "exp2_100.pt", "exp2_final.pt"], [10, 100], ["exp2_final.pt"]),
        (["step_5.pt", "step_10k.pt", "step_-1.pt"], [5], ["step_-1.pt", "step_10k.pt"]),
    ):
        found, others = checkpoints_in(touched(tmp_path / names[0], *names))
        assert list(found) == steps
        assert [path.name for path in others] == without


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["model2_100_0.pt"], "may be of step 2 or 100 or 0; write step="),
        (["a1_100.pt", "a2_200.pt"], "may be of step 1 or 100"),
        (["step_1_step_2.pt"], "may be of step 1 or 2; rename it"),
        (["step_1.pt", "step_1.safetensors"], "are both of step 1"),
        (["1e3.pt", "1000.pt"], "are both of step 1000"),
        (["best.pt"], "has no checkpoints"),
    ],
)
def test_a_name_that_may_mean_several_steps_is_asked_about(tmp_path, names, said):
    with pytest.raises(InvalidInput, match=said):
        checkpoints_in(touched(tmp_path / "theirs", *names))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Embedding(3, 2)
        self.head = nn.Linear(2, 3, bias=False)
        self.head.weight = self.model.weight


def weights():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).state_dict()


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda state: {"model_state_dict": state},
        lambda state: {"model": {"state_dict": state}, "step": 3},
        lambda state: state,
        lambda state: {"model": state, "params": {"lr": 0.1}, "loss": np.float64(2.0), "net": {"width": 3}},
    ],
)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "model.module."])
def test_weights_are_found_and_named_as_the_model_has_them(tmp_path, wrapped, prefix):
    state = weights()
    torch.save(wrapped({prefix + name: value for name, value in state.items()}), tmp_path / "a.pth.tar")
    for model in (nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), nn.Module()):
        if not [*model.parameters()]:  # one that has the prefix itself
            model.model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        load_state(model, read_foreign(tmp_path / "a.pth.tar"), "a.pth.tar")
        for ours, theirs in zip(model.state_dict().values(), state.values(), strict=True):
            assert torch.equal(ours, theirs)


def test_a_compiled_part_in_the_middle():
    state = weights()
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    load_state(model, {name.replace("1.", "1._orig_mod."): value for name, value in state.items()}, "x")
    assert torch.equal(model[1].weight, state["1.weight"])


def test_what_lies_beside_a_model_is_left(tmp_path):
    """A loss's weights under another prefix, buffers of older versions; but nothing that may be a weight."""
    state, model = weights(), nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    beside = {f"net.{name}": value for name, value in state.items()} | {"criterion.weight": torch.ones(2)}
    buffers = {
        "h.0.attn.bias": torch.ones(2),
        "h.0.attention.masked_bias": torch.ones(()),
        "n_averaged": torch.ones(()),
    }
    for given in (beside, state | buffers):
        load_state(model, given, "x")
        assert torch.equal(model[1].weight, state["1.weight"])
    with pytest.raises(InvalidInput, match=r"not known to it: 2\.weight"):
        load_state(model, state | {"2.weight": torch.ones(2)}, "x")
    with pytest.raises(InvalidInput, match=r"has 0.bias as torch.int8, expected torch.float32; undo its quantisation"):
        load_state(model, state | {"0.bias": torch.ones(3, dtype=torch.int8)}, "x")
    norm = nn.Sequential(nn.BatchNorm1d(2))
    old = {name: value for name, value in norm.state_dict().items() if "num_batches" not in name}
    load_state(norm, old, "x")


def test_of_tied_weights_one_name_is_enough():
    value = torch.randn(3, 2)
    for names in (["model.weight"], ["head.weight"], ["model.weight", "head.weight"], ["module.model.weight"]):
        model = Tied()
        load_state(model, dict.fromkeys(names, value), "x")
        assert torch.equal(model.head.weight, value)
    with pytest.raises(InvalidInput, match=r"different weights for model\.weight and head\.weight, which the model"):
        load_state(Tied(), {"model.weight": value, "head.weight": value + 1}, "x")


def test_shards_are_one_checkpoint(tmp_path):
    state, folder = weights(), tmp_path / "step_3"
    folder.mkdir()
    places = {name: f"model-0000{1 + (name > '1')}-of-00002.safetensors" for name in state}
    for shard in set(places.values()):
        save_file({name: value for name, value in state.items() if places[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    found = read_foreign(folder)
    assert all(torch.equal(found[name], value) for name, value in state.items())
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(StoreError, match=r"names the shard model-00002-of-00002\.safetensors, which is not beside it"):
        read_foreign(folder)


def test_what_is_no_state_is_named(tmp_path):
    for content, error, said in (
        ({"state_dict": weights(), "args": argparse.Namespace(lr=1)}, StoreError, "holds a argparse.Namespace beside"),
        (nn.Linear(2, 1), StoreError, r"holds a torch\.nn\.modules\.linear\.Linear beside tensors.*weights_only=False"),
        ({"model": weights(), "state_dict": weights()}, InvalidInput, "holds weights under state_dict and model"),
        ({"lr": 0.1, "epoch": 3}, InvalidInput, "holds a dict with lr, epoch, expected a state_dict"),
    ):
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(error, match=said):
            read_foreign(tmp_path / "x.pt")


def test_grouped_digits_and_signs_are_not_guessed(tmp_path):
    for number, (name, said) in enumerate(
        {
            "ckpt_1,000.pt": "may be of step 1000 or 1; rename it",
            "step_1_000.pt": "may be of step 1000 or 1; rename it",
            "step--1.pt": "no step can be told from the name step--1.pt",
        }.items()
    ):
        with pytest.raises(InvalidInput, match=said):
            checkpoints_in(touched(tmp_path / str(number), name))


@pytest.mark.parametrize(
    "names",
    [
        ["model-00001-of-00002.bin", "model-00002-of-00002.bin"],
        ["model.safetensors.index.json", "model-00001-of-00001.safetensors"],
        ["pytorch_model.bin"],
    ],
)
def test_one_checkpoint_is_no_folder_of_them(tmp_path, names):
    with pytest.raises(InvalidInput, match=r"is one checkpoint, with .* in it; give the folder that it lies in"):
        checkpoints_in(touched(tmp_path / "theirs", *names))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.pt", b"", "it is empty"),
        ("a.pt", b"version https://git-lfs.github.com/spec/v1", "a pointer of Git LFS.*git lfs pull"),
        ("a.pt", b"\x1f\x8b\x08", "compressed by gzip"),
        ("a.pt", b"nonsense", "damaged, or no file of torch.save"),
        ("a.safetensors", b"nonsense", "damaged, or no file of safetensors"),
        ("model.safetensors.index.json", b'{"weight_map": {}}', "lists no shards"),
    ],
)
def test_what_a_file_is_instead_is_told(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StoreError, match=said):
        read_foreign(tmp_path if name.endswith(".json") else tmp_path / name)


def test_an_archive_of_torchscript_is_told(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Linear(2, 1)).save(tmp_path / "a.pt")
    with pytest.raises(StoreError, match="TorchScript archive"):
        read_foreign(tmp_path / "a.pt")


def test_arrays_are_weights_and_no_weights_do_not_fit(tmp_path):
    torch.save({"weight": np.ones((1, 2), "float32"), "bias": np.zeros(1, "float32")}, tmp_path / "a.pt")
    model = nn.Linear(2, 1)
    load_state(model, read_foreign(tmp_path / "a.pt"), "a.pt")
    assert torch.equal(model.weight, torch.ones(1, 2))
    with pytest.raises(InvalidInput, match="missing: bias, weight"):
        load_state(model, {}, "nothing")


@pytest.mark.parametrize("name", ["step_10.pt", "step_10.safetensors", "model.safetensors.index.json"])
@POSIX
def test_a_pipe_among_checkpoints_is_named_and_not_waited_for(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(StoreError, match=f"cannot read {tmp_path / name}: it is a named pipe, expected a regular file"):
        read_foreign(tmp_path / name)


@POSIX
def test_a_link_to_nothing_among_checkpoints_is_named(tmp_path):
    (tmp_path / "step_10.pt").symlink_to("step_10.pt")
    ((_, path),) = checkpoints_in(tmp_path)[0].items()
    with pytest.raises(StoreError, match=r"step_10.pt: it is a symbolic link that leads to no file .* move it away"):
        read_foreign(path)


def test_a_plain_pickle_is_refused_in_one_sentence(tmp_path):
    """Without what PyTorch says of its protocol."""
    (tmp_path / "step_1.pt").write_bytes(pickle.dumps({"weight": object()}, protocol=4))
    with warnings.catch_warnings(record=True) as said, pytest.raises(StoreError, match=r"step_1\.pt cannot be read"):
        read_foreign(tmp_path / "step_1.pt")
    assert not said
