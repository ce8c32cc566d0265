"""llc doctor: what is there, what is made missing or slow, and what it says to do."""

import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from llc import devices, doctor
from llc.cli import main
from llc.doctor import compiler, disk, machine, packages
from llc.errors import InvalidInput
from llc.version import DISTRIBUTION

ROOT = Path(__file__).parent.parent


def named(found, name):
    (one,) = [one for one in found if one.name == name]
    return one


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return doctor.examine(tmp_path_factory.mktemp("runs"), seconds=0.05)


def test_what_is_here_is_usable_and_its_figures_are_plausible(found):
    assert doctor.usable(found)
    assert named(found, "torch").said == torch.__version__
    cores = named(found, "CPU").numbers
    assert 1 <= cores["cores_visible"] <= cores["cores_of_machine"]
    assert named(found, "threads").numbers["threads"] == torch.get_num_threads()
    assert 0.1 < named(found, "float32 matrix product").numbers["gflop_per_s"] < 1e5
    disk = named(found, "working folder").numbers
    assert disk["free_bytes"] > 0
    assert 1e5 < disk["write_bytes_per_s"] < 1e12
    assert named(found, "results in netCDF").status == "ok"


def test_nothing_is_left_in_the_folder(tmp_path):
    disk.disks(tmp_path)
    disk.results(tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_requirement_of_the_package_is_looked_at(found):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + [line for extra in packages.EXTRAS for line in _lines(project, extra)]
    wanted = [packages.Requirement.of(line) for line in lines]
    names = {one.name for one in found if one.topic == "packages"}
    assert {one.name for one in wanted if one.python <= "3.11" and one.name != DISTRIBUTION} <= names
    assert packages.EXTRAS.keys() == project["optional-dependencies"].keys() - {"all", "dev", "docs"}


def _lines(project, extra):
    return project["optional-dependencies"][extra]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("torch>=2.8", ("torch", "2.8", "", "", "")),
        ("arviz-stats[xarray]<2,>=0.8", ("arviz-stats", "0.8", "2", "", "")),
        ('dask>=2025.1; extra == "cluster"', ("dask", "2025.1", "", "cluster", "")),
        ("a; python_version >= '3.12' and extra == 'peers'", ("a", "", "", "peers", "3.12")),
    ],
)
def test_a_line_of_metadata_is_read(line, expected):
    assert packages.Requirement.of(line) == expected


@pytest.mark.parametrize(
    ("line", "version", "taken"),
    [
        ("a>=2.8", "2.13.0+cpu", True),
        ("a>=2.8", "2.8", True),
        ("a>=2.8.0", "2.8", True),
        ("a>=2.8", "2.7.9", False),
        ("a>=2,<3", "3.0.0", False),
        ("a", "0.0.1", True),
    ],
)
def test_versions_are_compared_as_numbers(line, version, taken):
    assert packages.Requirement.of(line).takes(version) == taken


def lacks(monkeypatch, name, version=None):
    """Let a package have another version, or none."""
    real = metadata.version

    def pretended(asked):
        if asked != name:
            return real(asked)
        if version is None:
            raise metadata.PackageNotFoundError(asked)
        return version

    monkeypatch.setattr(metadata, "version", pretended)


def test_a_required_package_that_is_missing_makes_llc_unusable(monkeypatch, tmp_path):
    lacks(monkeypatch, "netcdf4")
    found = doctor.examine(tmp_path, seconds=0.01)
    missing = named(found, "netcdf4")
    assert (missing.status, missing.said) == ("unusable", "not installed")
    assert missing.advice.startswith('pip install "netcdf4>=')
    assert not doctor.usable(found)
    assert not [one for one in found if one.name.startswith("results")]  # which need it


def test_without_torch_the_rest_is_told(monkeypatch, tmp_path):
    lacks(monkeypatch, "torch")
    found = doctor.examine(tmp_path)
    assert named(found, "torch").status == "unusable"
    assert named(found, "working folder").status != "unusable"
    assert not [one for one in found if one.topic in ("processor", "speed", "GPU")]


def test_a_package_that_is_too_old_is_told_with_the_range(monkeypatch):
    lacks(monkeypatch, "xarray", "2024.7.0")
    old = named(packages.packages(), "xarray")
    assert old.status == "unusable"
    assert old.said.startswith("2024.7.0, expected >=20")


def test_a_package_that_cannot_be_imported_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "tomli_w", None)
    broken = named(packages.packages(), "tomli-w")
    assert broken.status == "unusable"
    assert "cannot be imported (import of tomli_w halted" in broken.said
    assert "--force-reinstall" in broken.advice


def test_an_optional_package_that_is_missing_is_told_with_its_use(monkeypatch):
    lacks(monkeypatch, "dask")
    missing = named(packages.packages(), "dask")
    assert missing.status == "missing"
    expected = 'for work spread over many machines (--scheduler): pip install "local-learning-coefficient[cluster]"'
    assert missing.advice == expected


def test_a_copy_that_is_not_installed_is_told(monkeypatch):
    lacks(monkeypatch, packages.DISTRIBUTION)
    assert named(packages.packages(), "llc").status == "missing"


@pytest.mark.parametrize(
    ("threads", "cores", "asked", "advice"),
    [
        (4, 4, None, ""),
        (2, 4, None, ""),  # hyperthreads are no cores to PyTorch
        (1, 4, "1", "unset OMP_NUM_THREADS: single estimates use 1 of 4 cores"),
        (8, 2, None, "set OMP_NUM_THREADS=2: more threads than cores wait for one another"),
    ],
)
def test_threads_that_do_not_suit_the_cores_are_told(threads, cores, asked, advice, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(machine, "available_cores", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    said = named(machine.cores(), "threads")
    assert (said.status, said.advice) == ("slow" if advice else "ok", advice)


@pytest.mark.parametrize(
    ("quota", "said"), [("150000 100000", "of 1.5 cores, by the container"), ("max 100000", None), ("", None)]
)
def test_time_that_a_container_allows_is_told(quota, said, monkeypatch, tmp_path):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(machine, "_CGROUP", tmp_path / "cpu.max")
    monkeypatch.setattr(machine, "available_cores", lambda: 8)
    allowed = [one for one in machine.cores() if one.name == "CPU time"]
    assert [one.said for one in allowed] == [said] * (said is not None)
    assert all("--jobs 1," in one.advice for one in allowed)


def test_slow_products_are_told(monkeypatch):
    rates = {"float32": 1.0, "bf16": 0.5}
    monkeypatch.setattr(devices, "matmul_rate", lambda device, precision, seconds: rates[precision])
    full, half = machine.cpu_speed(1.0)
    assert (full.status, half.status) == ("slow", "slow")
    assert "does 2.0 times as much in it" in half.advice
    rates.update(float32=1e5, bf16=2e5)
    assert [one.status for one in machine.cpu_speed(1.0)] == ["ok", "ok"]


def test_gpus_are_told_with_their_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (60 * 10**9, 80 * 10**9))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H100")

    def rate(device, precision, seconds):
        if device.index == 1:
            raise RuntimeError("no kernel image is available\nmore")
        return 5e4

    monkeypatch.setattr(devices, "matmul_rate", rate)
    good, bad = machine.gpus(1.0)
    assert good.said == "H100, 60.0 of 80.0 GB free, 50,000 GFLOP/s in float32, 50,000 in bfloat16"
    assert bad.status == "missing"
    assert bad.said == "PyTorch fails on it (no kernel image is available)"
    assert "--device cpu" in bad.advice


def test_a_driver_without_a_pytorch_for_it_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert [one.status for one in machine.gpus(1.0)] == ["ok"]
    monkeypatch.setattr(machine.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert [one.status for one in machine.gpus(1.0)] == ["missing"]


def test_a_compiler_that_is_missing_or_fails_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    (none,) = compiler.compiler()
    assert (none.status, none.said) == ("missing", "no no-such-compiler")
    assert none.advice.startswith("for --compile: ")
    failing = tmp_path / "c++"
    failing.write_text("#!/bin/sh\necho 'fatal error: Python.h: No such file' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setenv("CXX", str(failing))
    (fails,) = compiler.compiler()
    assert fails.said == f"{failing} fails (fatal error: Python.h: No such file)"
    failing.write_text("#!/bin/sh\nexit 0\n")
    assert [one.status for one in compiler.compiler()] == ["ok"]


def test_disks_that_are_full_slow_or_not_ours_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr(disk, "write_rate", lambda folder: 1e6)
    assert disk.disk("x", tmp_path, "missing", "go away").status == "slow"
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**9))
    full = disk.disk("x", tmp_path, "missing", "go away")
    assert (full.status, full.said) == ("missing", f"{tmp_path}: 1.0 GB free, writes 1 MB/s")

    def refuses(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(disk, "write_rate", refuses)
    assert [one.status for one in disk.disks(tmp_path)] == ["missing", "unusable"]
    assert disk.disks(tmp_path)[0].said == f"{tmp_path}: Permission denied"


def test_results_that_cannot_be_written_or_locked_are_told(monkeypatch, tmp_path):
    import xarray as xr

    def refuses(*_, **__):
        raise OSError(-101, "NetCDF: HDF error")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", refuses)
    monkeypatch.setenv("HDF5_USE_FILE_LOCKING", "TRUE")
    (failed,) = disk.results(tmp_path)
    assert failed.name == "results in netCDF, HDF5_USE_FILE_LOCKING=TRUE"
    assert failed.status == "unusable"
    assert "HDF5_USE_FILE_LOCKING=FALSE" in failed.advice


def test_a_look_that_fails_does_not_hide_the_others(monkeypatch, tmp_path):
    def fails(*_):
        raise RuntimeError("no such thing")

    monkeypatch.setattr(machine, "gpus", fails)
    found = doctor.examine(tmp_path, seconds=0.01)
    assert named(found, "GPU").said == "could not be looked at (RuntimeError: no such thing)"
    assert named(found, "temporary files")


def test_whatever_is_not_well_comes_with_advice():
    with pytest.raises(ValueError, match="a mistake in this library"):
        doctor.Finding("disk", "x", "full", "missing")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="gone given, which is none"):
        doctor.examine(tmp_path / "gone")


@pytest.mark.parametrize("status", ["slow", "missing", "unusable"])
def test_the_command_says_it_in_words_and_as_json(status, monkeypatch):
    findings = [
        doctor.Finding("speed", "product", "fast", numbers={"gflop_per_s": 2.0}),
        doctor.Finding("disk", "room", "none", status, "make some"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda folder: findings)
    said = CliRunner().invoke(main, ["doctor"])
    assert f"disk\n  {status:9s} room: none\n            → make some\n" in said.output
    assert said.output.endswith(f"here: 1 ok, 1 {status}.\n")
    table = CliRunner().invoke(main, ["doctor", "--json"])
    assert json.loads(table.output)["findings"][0]["numbers"] == {"gflop_per_s": 2.0}
    assert json.loads(table.output)["usable"] == (status != "unusable")
    assert said.exit_code == table.exit_code == (status == "unusable")


def test_it_can_be_imported_where_nothing_else_can():
    code = """
import sys
from llc import doctor
heavy = {"torch", "xarray", "numpy", "click", "pydantic"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_rates_of_products_do_not_hang_on_how_long_they_are_measured():
    short, long = (devices.matmul_rate(torch.device("cpu"), seconds=seconds) for seconds in (0.05, 0.3))
    assert 0.1 < long / short < 10
