import pytest
import torch
from conftest import small_config

import llc
from llc import devices
from llc.errors import InvalidInput


def test_the_cpu_is_always_there():
    assert devices.available()[-1] == "cpu"
    assert devices.choose_device("cpu") == torch.device("cpu")
    assert devices.choose_device("auto").type == devices.available()[0]


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidInput, match=r"device = cuda given, but PyTorch finds none on this machine; here: .*cpu"):
        devices.choose_device("cuda")
    with pytest.raises(InvalidInput, match=r"unknown device cudo; did you mean cuda\?"):
        devices.choose_device("cudo")
    with pytest.raises(InvalidInput, match="device = cpu:x given"):
        devices.choose_device("cpu:x")


def test_a_sweep_on_a_device_that_is_not_there_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidInput, match="device = cuda given"):
        llc.train(small_config(), tmp_path / "gpu", device="cuda")
    assert not (tmp_path / "gpu").exists()


def test_workers_are_one_a_gpu_or_one_a_core(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert llc.parallel.default_workers(30, torch.device("cuda")) == 4
    assert llc.parallel.default_workers(3, torch.device("cuda")) == 3
    assert llc.parallel.default_workers(30, torch.device("cuda:1")) == 1
    assert llc.parallel.default_workers(30, torch.device("cpu")) == llc.parallel.default_jobs(30)


def test_matmul_precision_is_put_back():
    before = torch.get_float32_matmul_precision()
    with devices.matmul_precision("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.slow
def test_bfloat16_trains_about_as_float32_does(tmp_path):
    """Rounding to 8 bits in matrix products moves the loss a little, and what is stored stays float32."""
    few = {"training.steps": 40, "sweep.axes": {"task.num_tasks": [1, 4]}}
    config = small_config(**few, **{"model.width": 16, "training.learning_rate": 2e-3})

    def last_loss(experiment):
        return experiment.metrics.loss.sel(test_set="id").mean("position").isel(step=-1)

    theirs, stacked = (last_loss(llc.train(config, tmp_path / f"full{n}", jobs=1, together=n)) for n in (1, 2))
    for together in (1, 2):
        rounded = config.override({"training.precision": "bf16"})
        half = llc.train(rounded, tmp_path / f"half{together}", jobs=1, together=together)
        ours = last_loss(half)
        assert (abs(ours / theirs - 1) < 0.05).all()
        assert (abs(ours / theirs - 1) > 10 * abs(stacked / theirs - 1)).all()  # and more than training together does
        assert (ours != (theirs if together == 1 else stacked)).all()
        assert all(value.dtype == torch.float32 for value in half.run(num_tasks=4).weights(40).values())
