"""What stands beside the code says the same as the code."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from llc.figures.runs import VERDICT_SHAPES

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


@pytest.fixture(scope="module")
def workflow():
    return read(ROOT / ".github" / "workflows" / "tests.yml")


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def commands(job):
    return [step["run"] for step in job["steps"] if "run" in step]


def test_the_workflow_runs_what_make_check_does(workflow):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    pytest_command = re.search(r"^PYTEST := (.*)$", makefile, re.M)[1]
    recipe = "".join(re.search(rf"^{target}:.*\n((?:\t.*\n)+)", makefile, re.M)[1] for target in ("lint", "check"))
    recipe = recipe.replace("$(PYTEST)", pytest_command)
    ours = [line.strip().replace("$(VENV)/bin/", "") for line in recipe.splitlines()]
    set_there = f"OMP_NUM_THREADS={workflow['env']['OMP_NUM_THREADS']} "
    install, *theirs = commands(workflow["jobs"]["check"])
    assert "--constraint constraints.txt" in install
    assert theirs == [line.removeprefix(set_there) for line in ours]
    assert f"MPLBACKEND := {workflow['env']['MPLBACKEND']}" in makefile


def test_the_workflow_runs_everywhere_and_may_only_read(workflow):
    matrix = workflow["jobs"]["check"]["strategy"]["matrix"]
    assert [name.partition("-")[0] for name in matrix["os"]] == ["ubuntu", "macos", "windows"]
    assert PROJECT["requires-python"].startswith(f">={matrix['python'][0]}")
    assert workflow["permissions"] == {"contents": "read"}
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", one) for one in used)
    oldest = commands(workflow["jobs"]["oldest"])
    assert any("--resolution lowest-direct" in command for command in oldest)
    assert "pytest" in oldest[-1]


def test_templates_of_issues_are_forms():
    assert [path.stem for path in TEMPLATES] == ["bug", "feature", "wrong_number"]
    for path in TEMPLATES:
        form = read(path)
        assert form.keys() >= {"name", "description", "body"}
        ids = [part["id"] for part in form["body"]]
        assert len(ids) == len(set(ids))
        assert all(part["attributes"]["label"] for part in form["body"])


def test_a_wrong_number_is_asked_for_with_any_verdict():
    (verdict,) = [part for part in read(TEMPLATES[-1])["body"] if part["id"] == "verdict"]
    assert set(verdict["attributes"]["options"][:-1]) == VERDICT_SHAPES.keys() - {"none"}


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *_ = re.findall(r"^## \[(.*?)\]", text, re.M)
    assert first == PROJECT["version"]
    headings = re.findall(r"^### (\w+)$", text, re.M)
    assert headings == ["Added", "Changed", "Removed", "Fixed"]
