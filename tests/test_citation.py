"""What is said of whom to cite is the same everywhere."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from llc import citation
from llc.cli import main
from llc.version import library_version

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def cff():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_file_is_of_this_version(cff):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert cff["cff-version"] == "1.2.0"
    assert str(cff["version"]) == project["version"]
    assert cff["license"] == project["license"]
    # A version that is not released has no date, and no line of the changelog that says one.
    heading = re.search(
        rf"^## \[{project['version']}\] – (\S+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert str(cff.get("date-released", "unreleased")) == heading[1]


def names(authors):
    return tuple((one["name"],) if "name" in one else (one["family-names"], one["given-names"]) for one in authors)


def test_the_command_says_what_the_file_says(cff):
    assert (cff["title"], names(cff["authors"])) == (citation.SOFTWARE.title, citation.SOFTWARE.authors)
    theirs = [
        (one["title"], names(one["authors"]), one["year"], one["identifiers"][0]["value"], one["notes"])
        for one in cff["references"]
    ]
    assert theirs == [(w.title, w.authors, w.year, f"arXiv:{w.arxiv}", w.why) for w in citation.BESIDE]


def test_cite_prints_plain_text_and_bibtex():
    said = CliRunner().invoke(main, ["--cite"])
    assert said.exit_code == 0
    assert f"The llc developers (2026). {citation.SOFTWARE.title}. Version {library_version()}" in said.output
    assert "Edmund Lau, Zach Furman, George Wang, Daniel Murfet, Susan Wei (2023)." in said.output
    assert (
        "author = {Carroll, Liam and Hoogland, Jesse and Farrugia-Roberts, Matthew and Murfet, Daniel}" in said.output
    )
    assert "author = {{The llc developers}}" in said.output
    entries = re.findall(r"^@\w+\{(\w+),\n((?:  \w+ = \{.*\},\n)+)\}$", said.output, re.M)
    assert [key for key, _ in entries] == ["llc", "lau2023llc", "carroll2025dynamics"]
    assert all(fields.count("{") == fields.count("}") for _, fields in entries)
