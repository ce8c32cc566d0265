"""The table of the papers' claims: its record, what is shown of it, and rebuilding."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import xarray as xr
from click.testing import CliRunner

import llc.systems
from llc.cli import main
from llc.errors import InvalidInput, StoreError
from llc.study.points import LLCConfig, chosen_steps
from llc.systems import SYSTEMS, Claim, estimate_settings, preset
from llc.systems.claims import judged, with_claims
from llc.systems.record import RECORD, read_record, systems_table, write_record

DOCS = Path(__file__).parents[1] / "docs"
CLAIMS = (
    Claim("half", "it is a half", 0.5, lambda _: (0.51, 0.01), 0.4, 0.6),
    Claim("more", "it is |more| than one", math.nan, lambda _: (0.2, 0.0), low=1.0, already="of references alone"),
)
MADE_UP = SimpleNamespace(__doc__="Doe (2020), arXiv 2001.00001: a system.\n\nMore.", CLAIMS=CLAIMS)


def test_what_is_recorded_is_what_is_shown(tmp_path):
    path = tmp_path / "systems.toml"
    compared = with_claims(xr.Dataset(attrs={"library": "llc 1"}), CLAIMS)
    write_record(path, "doe", compared, 90.0, 2)
    write_record(path, "another", compared, None, None)
    write_record(path, "doe", compared, None, None)  # whose time is known
    measured = read_record(path)
    assert list(measured) == ["another", "doe"]
    assert systems_table({"doe": MADE_UP}, measured).splitlines()[2:] == [
        "| **`doe`**: Doe (2020), [arXiv 2001.00001](https://arxiv.org/abs/2001.00001): a system | "
        "| trained in 1.5 minutes, 2 workers | |",
        "| half: it is a half (0.4 to 0.6) | 0.5 | 0.51 [0.494, 0.526] | supported |",
        "| more: it is \\|more\\| than one (above 1) |  | 0.2 | contradicted, of references alone |",
    ]
    assert "not measured" in systems_table({"roe": MADE_UP}, measured)


def test_a_record_that_is_none_is_named(tmp_path):
    assert read_record(tmp_path / "none.toml") == {}
    for text in ("[", "he2025 = 1", "[he2025]\nseconds = 1.0", "[[he2025.claims]]\nclaim = 'x'"):
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(InvalidInput, match=r"bad.toml given, expected a record of measured claims"):
            read_record(tmp_path / "bad.toml")
    with pytest.raises(InvalidInput, match=r"expected a record of measured claims, .* it is a folder"):
        read_record(tmp_path)
    for other in (
        'preset = "tiny"',
        "[a]\nb = 1",
        "[a]\nclaims = 1",
        '[a]\nclaims = ["b"]',
        '[a]\nclaims = []\njobs = "x"',
    ):
        (tmp_path / "other.toml").write_text(other)
        with pytest.raises(InvalidInput, match=r"or no file: it is no list of claims for each preset, each with"):
            read_record(tmp_path / "other.toml")
    with pytest.raises(InvalidInput, match=r"/dev/zero given, expected a record .* it is a device"):
        read_record(Path("/dev/zero"))


def test_the_page_has_the_table_of_the_record():
    """`llc systems` prints it; every preset is in it, with every claim that it makes."""
    table = systems_table(SYSTEMS, read_record())
    assert table in (DOCS / "systems.md").read_text()
    measured = read_record()
    assert set(measured) == set(SYSTEMS)
    for name, system in SYSTEMS.items():
        assert [row["claim"] for row in measured[name]["claims"]] == [claim.name for claim in system.CLAIMS]


def test_the_command_lists_and_names_what_it_does_not_know():
    listed = CliRunner().invoke(main, ["systems"])
    assert listed.exit_code == 0
    assert listed.output.strip() == systems_table(SYSTEMS, read_record(RECORD))
    for options, said in (
        (["--keep", "x"], "--keep given without --run"),
        (["--record", "."], "expected a record"),
        (["--record", "no.toml"], "there is no such file"),
        (["--run", "huang2023", "--record", "no/no.toml"], "there is no folder no"),
    ):
        refused = CliRunner().invoke(main, ["systems", *options])
        assert refused.exit_code != 0
        assert said in refused.output
    unknown = CliRunner().invoke(main, ["systems", "--run", "huang2024"])
    assert unknown.exit_code != 0
    assert "--run huang2024 given" in unknown.output
    assert "huang2023" in unknown.output


@pytest.mark.parametrize("name", SYSTEMS)
def test_settings_of_estimates_fit(name):
    """Steps can be read, the others are fields of an estimate's config, and a chain can take its first steps."""
    settings = estimate_settings(name)
    last = preset(name).training.steps
    assert chosen_steps(settings.pop("steps"), [*range(0, last + 1, 100), last], lambda _: None)[-1] == last
    assert LLCConfig(**settings).max_gradients >= 1000


def test_the_command_rebuilds_a_system(tmp_path, monkeypatch):
    """All that it is to make, of a preset cut short; and a second time it goes on from what is there."""
    small = preset("huang2023").override({
        "training.steps": 20, "checkpoints.every": 10, "behaviour.sequences": 16,
        "sweep.axes": {"task.dominant": [0.5]},
    })  # fmt: skip
    monkeypatch.setattr(llc.systems, "preset", lambda name: small)
    record = tmp_path / "systems.toml"
    kept = tmp_path / "kept"
    command = ["systems", "--run", "huang2023", "--out", str(tmp_path), "--no-llc", "--record", str(record)]
    command += ["--keep", str(kept)]
    for _ in range(2):
        made = CliRunner().invoke(main, [*command, "--jobs", "1"])
        assert made.exit_code == 0, made.output
        monkeypatch.setattr("llc.figures.save_figure", lambda _, path: path)  # most of the time; once is enough
    assert read_record(record)["huang2023"]["seconds"] > 0  # of the first time
    folder = tmp_path / "huang2023"
    assert {"compare.nc", "pca.nc", "metrics.nc"} <= {path.name for path in folder.iterdir()}
    assert (folder / "figures" / "pca.png").exists()
    assert read_record(record)["huang2023"]["claims"] == []  # they are of the preset as it is
    shipped = llc.open_results(kept / "huang2023")
    assert shipped.runs == []
    xr.testing.assert_allclose(shipped.metrics, llc.open(folder).metrics.drop_dims("sequence", errors="ignore"))
    assert shipped.pca.score.shape == llc.open(folder).pca.score.shape
    for command in (["show", "--verify"], ["plot"], ["report"]):
        made = CliRunner().invoke(main, [*command, str(shipped.path)])
        assert made.exit_code == 0, made.output
        assert "--verify" not in command or "Every checkpoint and result is whole." in made.output
    for command in ("pca", "stages", "readouts", "estimate-llc"):
        refused = CliRunner().invoke(main, [command, str(shipped.path)])
        assert refused.exit_code == 1
        assert "holds results alone, without their runs and weights" in refused.output


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_record_is_what_the_shipped_results_say(name):
    """Each claim's measure, taken again from what is shipped, is what the record and the table have."""
    shipped = llc.open_results(DOCS / "systems" / name)
    for claim, row in zip(SYSTEMS[name].CLAIMS, read_record()[name]["claims"], strict=True):
        found = judged(claim, shipped.compare)
        for key in ("value", "low", "high"):
            assert found[key] == pytest.approx(row[key], rel=1e-4, abs=1e-6), claim.name


@pytest.mark.parametrize("name", SYSTEMS)
def test_results_that_are_shipped_open(name):
    """Without runs or weights; each has its claims, and estimates with their verdicts."""
    shipped = llc.open_results(DOCS / "systems" / name)
    assert shipped.config["preset"] == name
    assert shipped.compare.claim.values.tolist() == [claim.name for claim in SYSTEMS[name].CLAIMS]
    assert shipped.llc.verdict.notnull().any()
    assert shipped.pca.sizes["component"] >= 2
    assert len(llc.summary_table(shipped)) == len(shipped.wanted)


def test_results_that_are_not_there_are_named(tmp_path, finished):
    with pytest.raises(StoreError, match="does not exist"):
        llc.open_results(tmp_path / "nowhere")
    with pytest.raises(StoreError, match=r"is a single run; name the experiment's folder"):
        llc.open_results(finished.runs[0].path)
    (tmp_path / "experiment.toml").write_text((finished.path / "experiment.toml").read_text())
    with pytest.raises(StoreError, match="holds no results yet"):
        llc.open_results(tmp_path)
