"""What is shipped: a source archive that tests itself, and from it a wheel that runs by itself."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# setuptools as a front end calls it, in the folder of the sources.
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The source archive, unpacked; the wheel that is made of it; and a folder in which that is installed."""
    folder = tmp_path_factory.mktemp("package")
    checkout = folder / "checkout"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not tracked:
        pytest.skip("not in a checkout")
    for name in tracked.split("\0")[:-1]:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-c", BUILD, "build_sdist", str(folder)], cwd=checkout, check=True)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    source = next((folder / "unpacked").iterdir())
    subprocess.run([sys.executable, "-c", BUILD, "build_wheel", str(folder)], cwd=source, check=True)
    wheel = next(folder.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*pip, str(folder / "site"), str(wheel)], check=True)
    return tracked.split("\0")[:-1], source, wheel, folder / "site"


def test_the_wheel_holds_the_package_and_nothing_else(archives):
    tracked, _, wheel, _ = archives
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {name for name in names if ".dist-info/" not in name}
    assert shipped == {name for name in tracked if name.startswith("llc/")}
    assert {"llc/py.typed", "llc/__init__.pyi", "llc/report/page.html"} <= shipped


def test_the_source_archive_holds_what_make_and_the_tests_need(archives):
    tracked, source, _, _ = archives
    held = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    hidden = {name for name in tracked if name.startswith(".")}
    assert set(tracked) - hidden <= held


def test_the_installed_package_runs_outside_of_its_checkout(archives, tmp_path):
    *_, site = archives
    surroundings = {**os.environ, "PYTHONPATH": str(site)}

    def said(*command: str) -> str:
        process = [sys.executable, *command]
        return subprocess.run(
            process, cwd=tmp_path, env=surroundings, stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    assert said("-c", "import llc; print(llc.__file__)").startswith(str(site))
    assert "estimate-llc" in said(str(site / ("Scripts" if os.name == "nt" else "bin") / "llc"), "--help")
    assert "huang2023" in said("-m", "llc", "show", str(ROOT / "docs" / "systems" / "huang2023"))
    assert "| preset, claim" in said("-m", "llc", "systems").lower()
    small = ["--num-tasks", "4", "--set", "training.steps=20", "--set", "training.warmup_steps=5", "--jobs", "1"]
    assert "Next: llc estimate-llc" in said("-m", "llc", "train", "--out", "here", *small)
    said("-m", "llc", "report", "here")
    assert "Development of here" in (tmp_path / "here" / "report.html").read_text("utf-8")
